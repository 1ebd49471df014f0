"""Arriving: `buffered` with sums that hide what is in them, one cell of those who are ready for each round."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import hansa as h
from hansa.aggregators.arriving import Arriving, chosen
from hansa.aggregators.ideal import Ideal
from hansa.cli.options import commands
from hansa.errors import PlanError, RoundError, StoreError
from hansa.explain import explain
from hansa.loops.journal import Journal
from hansa.messages import Message, Request
from hansa.parties.book import Book
from hansa.store import Store, verify
from hansa.testing.algorithm import MODEL, federation
from hansa.transforms import Context, Transform
from hansa.transforms.staleness import slowed

KEY = h.Key.of(0)
BOUND = (h.Clip(1.0, side=10.0), h.Weigh("one"))
PIPE = (*BOUND, h.Quantize(16, of="sum", clients=20))
TRAINING = h.Training(batch=0, learning_rate=0.05)
SLOW = h.Network(latency=1.0, stragglers=0.3, slowdown=4.0)
FRAIL = replace(SLOW, vanish=0.2)


@dataclass(frozen=True)
class Noted(Transform):
    """Notes, in this process, each vector that is said, and each sum of which a mean is decoded."""

    def encode(self, v: Any, at: Context) -> Any:
        SAID.append((at.who, at.round, v.copy()))
        return v

    def decode(self, total: Any, at: Context) -> Any:
        SUMS.append(total.copy())
        return total


SAID: list[tuple[str, int, Any]] = []
SUMS: list[Any] = []


def plan_of(pipe: Iterable[Transform] = PIPE, **more: Any) -> h.Plan:
    given = {"aggregator": Arriving(h.MaskedSum(), size=5), "sample": h.Everyone(quorum=4), "rounds": 5, **more}
    return h.Plan(MODEL, pipe=tuple(pipe), training=given.pop("training", TRAINING), **given)


def clients(plan: h.Plan, n: int = 14) -> list[h.Client]:
    return [h.Client(who, plan, data, secret=KEY) for who, data in federation(n).items()]


def run(plan: h.Plan, runtime: Any, busy: int = 12, **more: Any) -> list[h.State]:
    with runtime:
        return list(h.buffered(plan, runtime, secret=KEY, busy=busy, **more))


PLANS: dict[str, dict[str, Any]] = {
    "masked": {"algorithm": h.Scaffold()},
    "encrypted": {"aggregator": Arriving(h.EncryptedSum(), size=5)},
    "ideal": {"aggregator": Arriving(Ideal(h.MaskedSum()), size=5)},
    "noise": {"pipe": (*BOUND, h.Quantize(16, of="sum"), h.SkellamNoise(0.5, by="all", least=4))},
    "examples": {"training": h.Training(batch=4, report=False, private=h.PerExample(1.0, 1.0))},
}


# ── rounds ──


@pytest.mark.promise("P580")
@pytest.mark.parametrize("name", PLANS)
def test_a_step_is_the_sum_of_a_cell(name: str) -> None:
    """Of those who are in it, to the last bit, each slowed as its model was old; whoever vanishes at whichever turn, or
    else nothing has changed. Nobody is in a cell twice, and nobody's model is too old."""
    pieces = {"pipe": PIPE, **PLANS[name]}
    plan = plan_of((*pieces.pop("pipe"), Noted()), **pieces, rounds=8)
    SAID.clear()
    SUMS.clear()
    before = plan.start()
    vanished = skipped = 0
    for state in h.buffered(plan, h.InProcess(clients(plan), FRAIL, secret=KEY), secret=KEY, busy=12):
        vanished += len(state.excluded)
        if state.skipped:
            skipped += 1
            assert state.x.tobytes() == before.x.tobytes() and not state.participants
        else:
            assert 4 <= len(set(state.participants)) == len(state.participants) <= 5
            latest = {who: v for who, _, v in SAID}
            want = np.sum([latest[who] for who in state.participants], axis=0, dtype=np.uint64)
            word = plan.encoded_spec.word
            mask = word.type(2**plan.encoded_spec.sum_facts.modulus - 1)
            assert np.array_equal(SUMS[-1] & mask, want.astype(word) & mask)
            assert not np.array_equal(state.x, before.x)
        SAID.clear()
        before = state
    assert vanished and skipped < 6


@pytest.mark.promise("P580")
def test_an_update_is_slowed_before_it_is_rounded_and_no_noise_is() -> None:
    """s(τ)·Δ, of what was clipped; what rides along stays as it is."""
    plan = plan_of()
    at = plan.context(0, h.messages.SessionId(), "client-0", secret=KEY, memo=plan.start().transforms)
    v = np.full(plan.spec.size, 0.01)
    fresh = plan.pipeline.encode(v, at)[0].astype(np.int16)
    stale = plan.pipeline.encode(v, at, staleness=3)[0].astype(np.int16)
    delta = plan.encoded_spec.slice("delta")
    assert np.abs(stale[delta] - fresh[delta] / 2).max() <= 1.5
    rest = np.ones(len(v), bool)
    rest[delta] = False
    assert np.array_equal(stale[rest], fresh[rest])
    noisy = plan_of((*BOUND, h.GaussianNoise(1.0, by="all", least=4), Noted()), aggregator=h.Sum())
    SAID.clear()
    for staleness in (0, 3):
        noisy.pipeline.encode(v, replace(at, memo=noisy.start().transforms), staleness=staleness)
    added = [said - slowed(v, noisy.spec, tau) for (_, _, said), tau in zip(SAID, (0, 3), strict=True)]
    assert np.std(added[1][delta]) > 0.7 * np.std(added[0][delta])


@pytest.mark.promise("P580")
def test_models_of_several_rounds_meet_in_a_cell() -> None:
    """Stragglers' as well; who is too slow for `stale` is left out by name, and trains again."""
    plan = plan_of((*PIPE, Noted()), rounds=12)
    SAID.clear()
    run(plan, h.InProcess(clients(plan), SLOW, secret=KEY))
    ages = {said - asked for said, asked in _ages(SAID)}
    assert len(ages) > 2
    strict = plan_of(rounds=12, aggregator=Arriving(h.MaskedSum(), size=5, stale=1))
    found = run(strict, h.InProcess(clients(strict), SLOW, secret=KEY))
    assert any("too old" in why for state in found for why in state.excluded.values())
    alike = plan_of(rounds=12, aggregator=Arriving(h.MaskedSum(), size=5, alike=2))
    assert not all(state.skipped for state in run(alike, h.InProcess(clients(alike), SLOW, secret=KEY)))


def _ages(said: list[tuple[str, int, Any]]) -> list[tuple[int, int]]:
    """The round of each cell of five, and that of each model in it."""
    return [(i // 5, round) for i, (_, round, _) in enumerate(said)]


def test_a_cell_is_chosen_of_those_who_are_alike() -> None:
    """Whose model is first goes first; the last ones get a place of theirs."""
    two = partial(chosen, size=5, alike=2)
    a, b, c = b"a", b"b", b"c"
    assert two([a, a, b, a]) == []
    assert two([a, b, a, b, a]) == [0, 1, 2, 3, 4]
    assert two([a, a, a, a, b]) == []  # nobody is like the last
    assert two([a, a, a, a, b, b]) == [0, 1, 2, 4, 5]
    assert two([b, a, a, c, a, a, c, a]) == [1, 2, 4, 5, 7]
    assert chosen([b, a, c, a], 3, 1) == [0, 1, 3]
    assert chosen([a, a], 3, 1) == []


def test_a_round_without_a_cell_changes_nothing_and_the_run_goes_on() -> None:
    """Where too few can ever be ready in it; nobody is asked twice in a round."""
    plan = plan_of(rounds=4)
    some = clients(plan, 6)
    for one in some[:2]:
        one.allow = h.Policy(drawn=True)
    with pytest.warns(match="the server chooses who is added with whom"):
        found = run(plan, h.InProcess(some, secret=KEY), busy=6)
    assert [state.skipped for state in found] == ["4 clients are ready for a sum over 5"] * 4
    assert all(state.excluded == {"client-0": "refused", "client-1": "refused"} for state in found)
    some = clients(plan, 6)
    for one in some:
        one.allow = h.Policy(drawn=True)
    with pytest.warns(), pytest.raises(RoundError, match="None of the 6 clients"):
        run(plan, h.InProcess(some, secret=KEY), busy=6)


def facts(states: list[h.State]) -> Any:
    return [(state.x.tobytes(), state.participants, dict(state.excluded), state.skipped) for state in states]


@pytest.mark.promise("P580")
def test_same_bytes_in_one_process_and_in_many() -> None:
    """Where all are in each cell, so that it does not matter who is first."""
    plan = plan_of(rounds=3, algorithm=h.Scaffold())
    want = facts(run(plan, h.InProcess(clients(plan, 5), secret=KEY), busy=5))
    assert len(want[-1][1]) == 5
    assert facts(run(plan, h.Processes(clients(plan, 5), 2, KEY), busy=5)) == want
    data = list(federation(5).values())
    population = h.Population(plan, 5, lambda i: data[i], secret=KEY)
    assert facts(run(plan, h.InProcess(population, secret=KEY), busy=5)) == want
    with pytest.raises(PlanError, match="with a Population"):
        h.Processes(population, 2, KEY)


class Cut(h.InProcess):
    """Ends before it hears so many replies."""

    left = -1

    def receive(self) -> Any:
        self.left -= 1
        if self.left == 0:
            raise InterruptedError
        return super().receive()


@pytest.mark.parametrize("replies", [3, 9, 14, 19, 24, 29])
def test_a_server_that_starts_again_without_a_journal_goes_on(replies: int) -> None:
    """Who has answered in the round refuses to be asked once more in it; the others make cells, or it changes
    nothing."""
    plan = plan_of(rounds=4)
    runtime = Cut(clients(plan, 8), secret=KEY)
    runtime.left = replies
    done = list[h.State]()
    with pytest.raises(InterruptedError):
        done.extend(h.buffered(plan, runtime, secret=KEY, busy=6))
    again = Cut(list(runtime.clients.values()), secret=KEY)
    again.memory = runtime.memory
    last = done[-1] if done else replace(plan.start(), round=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        after = list(h.buffered(plan, again, last, KEY, busy=6))
    assert [state.round for state in after] == list(range(last.round + 1, 5))
    assert not any(state.skipped for state in after[1:])


class Late(h.InProcess):
    """All that are ready wait for long until their cell is made."""

    told = 0

    def send(self, message: Message) -> None:
        if isinstance(message, Request) and message.turn == 1:
            if self.told % 5 == 0:
                self.now += 100.0
            self.told += 1
        super().send(message)


def test_who_waits_for_others_is_not_late() -> None:
    plan = plan_of(sample=h.Everyone(quorum=4, deadline=50.0), rounds=2)
    found = run(plan, Late(clients(plan, 5), h.Network(latency=0.1), secret=KEY), busy=5)
    assert not any(state.skipped or state.excluded for state in found)


def test_a_book_and_a_journal_of_a_run_are_emptied(tmp_path: Path) -> None:
    """Nothing of a cell that is over is kept."""
    plan = plan_of(rounds=3)
    journal = Journal(tmp_path / "journal")
    book = Book(tmp_path / "book")
    run(plan, h.InProcess(clients(plan, 5), secret=KEY, book=book), busy=5, journal=journal)
    past = journal.waiting("", 0)
    assert not past.any
    ((replies,),) = journal._file.execute("SELECT COUNT(*) FROM heard")
    assert not replies
    journal.close()
    book.close()


# ── plans ──

FAULTS: dict[str, tuple[Any, str]] = {
    "a plain sum": (lambda: Arriving(h.Sum()), "A cell is a hidden sum"),
    "an ideal of none": (lambda: Arriving(Ideal(h.Sum())), "A cell is a hidden sum"),
    "two": (lambda: Arriving(h.MaskedSum(), size=2), "hide each other at least"),
    "a size in words": (lambda: Arriving(h.MaskedSum(), size="ten"), "hide each other at least"),
    "holders": (lambda: Arriving(h.EncryptedSum(holders=700)), "all hold shares"),
    "a cell below the quorum": (lambda: Arriving(h.MaskedSum(), size=3), "never reaches the quorum of 4"),
    "a quorum below t": (lambda: Arriving(h.MaskedSum(), size=12), "a round may end with 4"),
    "stale before it is asked": (lambda: Arriving(h.MaskedSum(), size=5, stale=-1), "counts rounds"),
    "more alike than there are": (lambda: Arriving(h.MaskedSum(), size=5, alike=6), "a number up to 5"),
    "nobody alike": (lambda: Arriving(h.MaskedSum(), size=5, alike=0), "a number up to 5"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_plan_without_cells_is_refused(fault: str) -> None:
    make, words = FAULTS[fault]
    with pytest.raises(PlanError, match=words) as caught:
        plan_of(aggregator=make())
    assert caught.value.why and caught.value.instead


def test_what_does_not_fit_a_buffer_is_refused_before_it_begins() -> None:
    """Rounds in step, another size than the plan's, a buffer that is never full, and what clients have to share."""
    plan = plan_of()

    def refused(words: str, of: h.Plan = plan, n: int = 8, **more: Any) -> None:
        with pytest.raises(PlanError, match=words):
            next(iter(h.buffered(of, h.InProcess(clients(of, n)), **more)))

    with pytest.raises(PlanError, match=r"`synchronous` cannot run Arriving"):
        next(iter(h.synchronous(plan, h.InProcess(clients(plan, 8)))))
    refused("buffered\\(size=4\\) of a plan with", size=4)
    refused("would wait for ever", busy=4)
    refused("A cell has 5 clients", n=4)
    refused("cannot run Rotate", plan_of((*BOUND, h.Rotate(), h.Quantize(16, of="sum", clients=20))))
    adaptive = (h.AdaptiveClip(0.5, side=10.0), h.Weigh("one"), h.Quantize(16, of="sum", clients=20))
    refused("a clip that is learnt", plan_of(adaptive))
    refused("real numbers|cannot ask", plan_of(sample=h.InTurn(8, quorum=4)))


@pytest.mark.promise("P585")
def test_explain_says_who_may_be_in_a_cell() -> None:
    plan = plan_of(aggregator=Arriving(h.MaskedSum(), size=10), sample=h.Everyone(quorum=8))
    text = " ".join(str(explain(plan)).split())
    assert "all who collude with it may be in one. 7 open its sum together, over 8 at least: 2 may vanish" in text
    assert "Up to 3 of the whole roster may collude" in text and "of 5 honest ones or more" in text
    assert "a server that makes up models" in text and "that is, one client alone" in text
    assert "10 clients that are ready" in text and "every client, in every round" not in text
    alike = replace(plan, aggregator=Arriving(h.MaskedSum(), size=10, alike=5))
    assert "that is, 5 clients or more" in " ".join(str(explain(alike)).split())


@pytest.mark.promise("P585")
def test_epsilon_counts_each_cell_once() -> None:
    """For those who are in it; noise by all is whole with `least`, however old their models are."""
    pipe = (*BOUND, h.Quantize(16, of="sum"), h.SkellamNoise(2.0, by="all", least=4))
    plan = plan_of(pipe, rounds=6)
    found = run(plan, h.InProcess(clients(plan), SLOW, secret=KEY))
    ledger = h.spent_privacy(plan, [state.happened for state in found])
    planned = h.planned_privacy(plan)
    assert 0 < ledger.guarantee(1e-6).epsilon < planned.guarantee(1e-6).epsilon
    most = max(sum(who in state.asked for state in found) for who in found[0].asked)
    assert ledger.guarantee(1e-6).epsilon <= h.planned_privacy(plan, rounds=most).guarantee(1e-6).epsilon


# ── the record ──


def recorded(tmp_path: Path, plan: h.Plan) -> Any:
    """A run whose cells hold models of several rounds."""
    kept = Store(tmp_path / "runs").new("plan", plan.digest, "app", {}, plan.rounds)
    for state in h.buffered(plan, h.InProcess(clients(plan), SLOW, secret=KEY), secret=KEY, busy=12):
        kept.commit(state)
    return kept


def rewritten(kept: Any, change: Any) -> None:
    """Its record with a change, by somebody who knows how heads are made."""
    text = kept.record.path.read_text().splitlines()
    every = [{name: value for name, value in json.loads(line).items() if name != "head"} for line in text]
    change(every)
    kept.record.path.unlink()
    kept.record._last = ""
    for line in every:
        kept.record.add(line)


def _other_age(every: list[Any]) -> None:
    """A model is said to be older than it was."""
    line = max(every[1:], key=lambda one: one["round"])["arrivals"]
    line["asked"][0][2] = min(int(one) for one in line["models"])
    line["asked"][1][2] = min(int(one) for one in line["models"])


def _other_model(every: list[Any]) -> None:
    line = every[2]["arrivals"]
    line["models"] = dict.fromkeys(line["models"], "00" * 32)


def _another_cell(every: list[Any]) -> None:
    every[2]["arrivals"]["names"] = every[1]["arrivals"]["names"]


def _no_cell(every: list[Any]) -> None:
    del every[2]["arrivals"]


@pytest.mark.promise("P586")
def test_a_record_holds_the_cells(tmp_path: Path) -> None:
    """With when each was asked, and which model it got; a change of any of it is found."""
    plan = plan_of(rounds=6)
    kept = recorded(tmp_path, plan)
    assert verify(kept) == 6
    ran = CliRunner().invoke(commands, ["verify", kept.id, "--folder", str(tmp_path / "runs")])
    assert ran.exit_code == 0 and "6 rounds hold" in ran.output
    original = kept.record.path.read_text()
    for change in (_other_age, _other_model, _another_cell, _no_cell):
        rewritten(kept, change)
        with pytest.raises(StoreError, match="does not hold"):
            verify(kept)
        kept.record.path.write_text(original)
