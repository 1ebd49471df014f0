"""Mesh: who hears whom among nodes, how far one may be ahead, and which plans nodes can run.

The peers of a roster, sorted by name, are the names of the graph, so all find the same graph. A run
has a name that follows from what all have agreed on, and so nobody has to draw it:

    run = SHA-256(enrolment key, plan, names, weights, which run of the plan)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...aggregators.mixing import Rule, rule_of
from ...codec import fingerprint
from ...errors import Fault, PlanError, WorkerError, refuse
from ...graphs import Mixing
from ...plan import Plan

MOST = 2**24  # weights of all rounds together


@dataclass(frozen=True)
class Mesh:
    """The graph of a run as one node sees it, by name.

    length: how many numbers one says.
    """

    me: str
    mixing: Mixing
    length: int

    def heard(self, round: int) -> tuple[str, ...]:
        """Whose words of a round this node mixes, beside its own."""
        return tuple(sorted(self.mixing.of(self.me, round).keys() - {self.me}))

    def hearers(self, round: int) -> tuple[str, ...]:
        """Who mixes this node's words of a round."""
        others = [who for who in self.mixing.names if who != self.me]
        return tuple(who for who in others if self.me in self.mixing.of(who, round))

    @cached_property
    def neighbours(self) -> tuple[str, ...]:
        """All that hear it or are heard by it, in any round."""
        found = set[str]()
        for round in range(self.mixing.period):
            found |= {*self.heard(round), *self.hearers(round)}
        return tuple(sorted(found))

    @cached_property
    def speaks_to(self) -> tuple[str, ...]:
        """All that hear it in any round."""
        heard = [{*self.hearers(round)} for round in range(self.mixing.period)]
        return tuple(sorted(set[str]().union(*heard)))

    @cached_property
    def sources(self) -> frozenset[str]:
        """All that it hears in any round."""
        return frozenset(self.mixing.neighbours(self.me))

    @cached_property
    def leads(self) -> Mapping[str, int]:
        """By how many rounds each neighbour may have spoken ahead of this node, if all wait."""
        return {who: lead(self.mixing, who, self.me) for who in self.neighbours}

    @cached_property
    def lags(self) -> Mapping[str, int]:
        """By how many rounds this node may have spoken ahead of each neighbour, if all wait."""
        return {who: lead(self.mixing, self.me, who) for who in self.neighbours}


def lead(mixing: Mixing, one: str, other: str) -> int:
    """By how many rounds a peer may have spoken ahead of another, where each waits for all it
    hears.

    Words of round s need those of round s − 1 of all whom their speaker hears, and so on: so many
    rounds back the other is among those whose words were needed.
    """
    found = 0
    for phase in range(mixing.period):
        needed = {one}
        back = 0
        while other not in needed:
            back += 1
            for who in tuple(needed):
                needed |= mixing.of(who, phase - back).keys()
        found = max(found, back)
    return found


def mesh_of(me: str, names: Sequence[str], told: Any) -> Mesh:
    """The graph that a worker has told of; WorkerError where that is none of these names.

    told: its expression, and of each round who hears whom how much, as three columns.
    """
    match told:
        case {"graph": str(graph), "rounds": [*rounds], "length": int(length)} if (
            rounds and length > 0 and len(graph) < 2**16
        ):
            rows = tuple(_rows(one, len(names)) for one in rounds)
            return Mesh(me, Mixing(tuple(names), rows, graph), length)
    raise _odd(me)


def told_of(mixing: Mixing) -> list[Any]:
    """The weights of each round, as three columns: who hears, whom, and how much."""
    found = list[Any]()
    for rows in mixing.rows:
        cells = [(i, j, weight) for i, row in enumerate(rows) for j, weight in row.items()]
        hearers, heard, weights = zip(*cells, strict=True)
        found.append((np.array(hearers), np.array(heard), np.array(weights, np.float64)))
    return found


def _rows(columns: Any, n: int) -> tuple[Mapping[int, float], ...]:
    """The weights of one round; WorkerError for what is none among so many."""
    match columns:
        case (np.ndarray() as hearers, np.ndarray() as heard, np.ndarray() as weights):
            whole = hearers.shape == heard.shape == weights.shape and hearers.ndim == 1
            typed = (hearers.dtype, heard.dtype, weights.dtype) == (np.int64, np.int64, np.float64)
            if whole and typed and 0 < hearers.size <= MOST:
                ends = np.concatenate([hearers, heard])
                inside = ends.min() >= 0 and ends.max() < n
                if inside and bool(((weights >= 0) & (weights <= 1 + 1e-9)).all()):
                    rows: list[dict[int, float]] = [{} for _ in range(n)]
                    for i, j, weight in zip(hearers, heard, weights, strict=True):
                        rows[int(i)][int(j)] = float(weight)
                    return tuple(rows)
    raise _odd("this node")


def _odd(who: str) -> WorkerError:
    return WorkerError(
        f"The worker of {who} has told of a graph that joins none of its roster's peers.",
        "Whom a node dials follows from its graph.",
        "Look at the app's own classes.",
    )


def run_of(enrolment: bytes, plan: str, mesh: Mesh, number: int) -> str:
    """The name of a run: 64 hexadecimal digits, the same at all who have agreed on it."""
    agreed = (enrolment, plan, mesh.mixing.names, told_of(mesh.mixing), number)
    return fingerprint(("hansa peers 1", *agreed)).hex()


def check_nodes(plan: Plan, names: Sequence[str], me: str) -> None:
    """PlanError where a plan has no meaning among nodes, of whom nobody sees all."""
    rule = rule_of(plan.aggregator)
    refuse([*_wrong_rule(plan, rule), *_wrong_sample(plan)])
    if me not in names or len(names) < 2:
        raise PlanError(
            f"{me} is one of {len(names)} peers of the roster.",
            "A node learns from those that the roster names, with the addresses where they listen.",
            "Enrol peers, and take the newest roster: hansa kit add kit/ roster.json",
        )


def _wrong_rule(plan: Plan, rule: Rule) -> list[Fault]:
    """What of the rule needs somebody in the middle."""
    return [
        (
            rule.hides,
            f"Nodes cannot run {plan.aggregator!r}.",
            "Hidden sums take four messages each way in a round, between a middle and all of its "
            "neighbourhood; nodes say one thing in a round.",
            "Take Sum(), with which each neighbour sees each model; or a server: "
            "synchronous with MaskedSum().",
        ),
        (
            rule.alone,
            f"Nodes cannot run {plan.aggregator!r}.",
            "Who has the model next follows from who has had it; where a message is late, nobody "
            "can tell whether it was lost, and two would go on with it.",
            "Take Sum().",
        ),
        (
            rule.adds,
            f"Nodes cannot run {plan.aggregator!r}.",
            "What it says is added up: where a node is revoked, gone for good, or put back from a "
            "backup, its share is lost, and the ratio that is left means nothing.",
            "Take Sum(), whose last words count; or simulate it: hansa run.",
        ),
    ]


def _wrong_sample(plan: Plan) -> list[Fault]:
    """What of the sample needs somebody who sees all."""
    return [
        (
            plan.sample.quorum > 1,
            f"The plan wants {plan.sample.quorum} answers in a round.",
            "A node sees its neighbours alone, and not how many took part.",
            "Leave the quorum out: Everyone(deadline=60).",
        ),
        (
            not math.isfinite(plan.sample.deadline),
            "The plan waits for a neighbour without end.",
            "A machine that is switched off would stop all others, one after another.",
            "Give it seconds for a round: Everyone(deadline=60).",
        ),
    ]
