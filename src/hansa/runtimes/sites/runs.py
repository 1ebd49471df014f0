"""Runs: in which runs a site takes part, when they began and ended, and what they give away.

    began      a run begins: what it may give away counts in full from here on
    ended      it is over: what was answered counts, and nothing more is
    left       its owner has left it

What all of them give away at δ is held against the owner's ε by a Rényi filter (Feldman & Zrnic
2021), with the conversion of Canonne et al. 2020, Prop. 12:

    Σᵢ sᵢ Dᵢ(α) + log(1 − 1/α) − log(δα)/(α − 1)  ≤  ε

    Dᵢ(α)   the Rényi divergence of run i as it was planned
    sᵢ      1 while it may go on; answers / rounds once it is over, and 1 at least where not each
            answer gives as much
    α       one order for all runs, fixed with the first of them: that at which most runs like it
            stay within ε

An order that is chosen later could be chosen by results, and for those the bound does not hold. It
is kept in `orders`, for each unit: of clients, and of examples.

A run is on the disk before its first question is answered, and it counts whole from there on, also
where the process ends at once. The file is read while a site attends, and written by the site
alone: its book lets in nobody else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import privacy
from ...errors import PolicyError, ProtocolError
from ...parties.client import Client
from ...parties.database import Database, Row
from ...parties.policy import Policy
from ...privacy.given import Given, added
from ...rounds import Unit

TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    run TEXT PRIMARY KEY, plan TEXT, rounds INTEGER, began TEXT, ended TEXT, gone TEXT,
    answers INTEGER, client TEXT, example TEXT, state BLOB
);
CREATE TABLE IF NOT EXISTS orders (unit TEXT PRIMARY KEY, place INTEGER);
CREATE TABLE IF NOT EXISTS void (run TEXT, since TEXT);
"""
NOW = "strftime('%Y-%m-%dT%H:%M:%SZ', 'now')"


@dataclass(frozen=True)
class Taken:
    """A run that a site has taken part in: its plan's digest, how many rounds, and when.

    ended: when it was over; gone: when its owner left it. answers: in how many sessions the site
    had answered then; None while it may go on.
    """

    run: str
    plan: str
    rounds: int
    began: str
    ended: str | None
    gone: str | None
    answers: int | None
    amounts: Mapping[Unit, str | None]  # what it gives away, as far as that is counted

    def given(self, unit: Unit) -> Given:
        """What it gives away; of a run that is over, as far as it was answered."""
        text = self.amounts[unit]
        if text is None:
            return Given(why=f"what an earlier run gives away about one {unit} was not counted")
        whole = Given.decode(text)
        if self.answers is None:
            return whole
        return whole.times(self.answers / self.rounds)


class Runs:
    """The runs of a site, in a file at a path."""

    def __init__(self, path: Path):
        self.file = Database(path, TABLES, alone=False)

    def __iter__(self) -> Iterator[Taken]:
        """All of them, in the order in which they began."""
        columns = "run, plan, rounds, began, ended, gone, answers, client, example"
        rows = self.file.execute(f"SELECT {columns} FROM runs ORDER BY began, rowid")
        for row in rows:
            client, example = row[-2:]
            values: tuple[Any, ...] = (*row[:-2], {"client": client, "example": example})
            yield Taken(*values)

    def get(self, run: str) -> Taken | None:
        """A run by its id."""
        return next((one for one in self if one.run == run), None)

    def named(self, begin: str) -> Taken:
        """The one run whose id begins so; ProtocolError where none or several do."""
        found = [one for one in self if one.run.startswith(begin)]
        if len(found) != 1 or not begin:
            raise ProtocolError(
                f"{len(found)} runs begin with {begin!r:.80}.",
                "A site knows the runs that it has taken part in.",
                "Name one that is listed by: hansa kit show kit/",
            )
        return found[0]

    def check(self, party: Client) -> None:
        """PolicyError where a further run could pass what its owner allows for all of them.

        Also where there is no ε for it, or for one before it, and the owner allows a finite one.
        Nothing is written down: that does `began`.
        """
        policy = party.allow
        policy.check(party.plan, party.who, before=party.before)
        if math.isinf(policy.epsilon):
            return
        planned = planned_by(party, policy.unit)
        before = added(one.given(policy.unit) for one in self)
        both = before.plus(planned)
        place = self._order(policy, planned)
        at = f"at δ = {policy.delta:g}"
        allowed = f"at most ε = {policy.epsilon:g} {at} for each {policy.unit}, over all runs"
        if both.why:
            raise PolicyError(
                f"{party.who} does not take part: there is no ε for it: {both.why}.",
                f"Its owner allows {allowed} on the data here.",
                "Take a plan with noise; or ask the owner to change the policy.",
            )
        spent = before.epsilon(place, policy.delta)
        total = both.epsilon(place, policy.delta)
        if total > policy.epsilon:
            raise PolicyError(
                f"{party.who} does not take part: earlier runs on the data here have given away "
                f"ε = {spent:.4g} {at}, and with the {party.plan.rounds} rounds of this one it "
                f"could be {total:.4g}.",
                f"Its owner allows {allowed}.",
                "Take fewer rounds or more noise; or ask the owner to change the policy.",
            )

    def total(self, policy: Policy, more: Given = Given()) -> float:
        """ε of all runs together, and of one more; infinite where nobody knows."""
        total = added(one.given(policy.unit) for one in self).plus(more)
        return total.epsilon(self._order(policy, more), policy.delta)

    def told(self, party: Client) -> Iterator[str]:
        """How a run of the party's plan keeps to what its owner allows, in sentences."""
        policy = party.allow
        planned = planned_by(party, policy.unit)
        after = f"after {party.plan.rounds} rounds"
        if planned.why:
            yield f"The plan keeps to your policy: no ε for one {policy.unit}: {planned.why}."
            return
        alone = planned.epsilon(planned.order(math.inf, policy.delta), policy.delta)
        yield (
            f"The plan keeps to your policy: ε = {alone:.4g} at δ = {policy.delta:g} for each "
            f"{policy.unit}, {after}."
        )
        if list(self):
            total = self.total(policy, planned)
            yield f"With all earlier runs on the data here: ε = {total:.4g}."

    def listed(self, policy: Policy) -> Iterator[str]:
        """All runs, a line for each, and what they give away together."""
        at = f"at δ = {policy.delta:g}"
        for one in self:
            given = one.given(policy.unit)
            epsilon = given.epsilon(given.order(math.inf, policy.delta), policy.delta)
            told = f"ε = {epsilon:.4g} {at}"
            if given.why:
                told = f"no ε: {given.why}"
            if one.amounts[policy.unit] is None:  # a helper's, or before its owner counted examples
                told = "no ε was counted"
            until = "not over"
            if one.ended:
                until = f"until {one.ended}, {one.answers} of {one.rounds} rounds answered"
            if one.gone:
                until += f", left {one.gone}"
            yield f"run {one.run}  plan {one.plan[:16]}…  {one.began}, {until}; {told}"
        if math.isfinite(policy.epsilon):
            yield (
                f"all runs: ε = {self.total(policy):.4g} of {policy.epsilon:g} {at} for each "
                f"{policy.unit}"
            )

    def began(self, run: str, party: Any) -> None:
        """A run begins: it counts in full from here on.

        party: a client, whose plan is counted, or a helper, of which no ε is kept. The first run of
        a unit fixes its order.
        """
        texts = dict[Unit, str]()
        rows = list[Row]()
        if isinstance(party, Client):
            for unit in units_of(party.allow):
                given = planned_by(party, unit)
                texts[unit] = given.encode()
                if given.curve:
                    place = given.order(party.allow.epsilon, party.allow.delta)
                    rows.append(("INSERT OR IGNORE INTO orders VALUES (?, ?)", (unit, place)))
        row = (run, party.plan.digest, party.plan.rounds, texts.get("client"), texts.get("example"))
        text = f"INSERT INTO runs VALUES (?, ?, ?, {NOW}, NULL, NULL, NULL, ?, ?, NULL)"
        self.file.write([*rows, (text, row)])

    def ended(self, run: str, answers: int, left: bool = False) -> None:
        """A run is over, with so many sessions answered; what it has learnt goes where its owner
        has left it.

        Told a second time, when it was over and how many were answered stay as they are. Of one
        that began before a backup all count, for what was answered since is forgotten.
        """
        known = "CASE WHEN run IN (SELECT run FROM void) THEN rounds ELSE ? END"
        values = f"ended = coalesce(ended, {NOW}), answers = coalesce(answers, {known})"
        rows: list[Row] = [(f"UPDATE runs SET {values} WHERE run = ?", (answers, run))]
        if left:
            rows.append((f"UPDATE runs SET gone = {NOW}, state = NULL WHERE run = ?", (run,)))
        self.file.write(rows)
        if left:
            self.file.forget()

    def void(self, run: str) -> bool:
        """Did it begin before this kit was put back from a backup?"""
        return bool(self.file.execute("SELECT 1 FROM void WHERE run = ? LIMIT 1", (run,)))

    def restored(self) -> int:
        """How often this kit was put back from a backup."""
        ((restored,),) = self.file.execute("SELECT COUNT(*) FROM void WHERE run = ''")
        return int(restored)

    def _order(self, policy: Policy, planned: Given) -> int:
        """The place of the order that was fixed with the first run, or is with this one."""
        rows = self.file.execute("SELECT place FROM orders WHERE unit = ?", (policy.unit,))
        for (place,) in rows:
            return int(place)
        return planned.order(policy.epsilon, policy.delta)

    def close(self) -> None:
        """Let the file go."""
        self.file.close()


def units_of(policy: Policy) -> Sequence[Unit]:
    """Of whom it is counted what runs give away: of the client, and of examples where the owner
    asks for that. Then the data is read when a run begins.
    """
    if policy.unit == "example" and math.isfinite(policy.epsilon):
        return ("client", "example")
    return ("client",)


def planned_by(party: Client, unit: Unit) -> Given:
    """What a run of the party's plan gives away at most, in all its rounds.

    For examples the party's data is read: how many there are decides it.
    """
    ledger = privacy.planned_privacy(party.plan)
    if unit == "example":
        ledger = privacy.examples(party.plan, party.count)
    return Given.by(ledger, party.allow.delta)
