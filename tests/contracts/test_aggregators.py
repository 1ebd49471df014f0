"""Every aggregator of hansa's keeps the contract that anybody's must keep."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import hansa as h
from hansa.aggregators import Aggregator
from hansa.messages import Message, Reply, Request, largest
from hansa.spec import Spec
from hansa.testing import check_aggregator


@dataclass(frozen=True)
class FourTurns(h.aggregators.Aggregator):
    """A sum in four messages: here I am; my vector; I know who is in; goodbye. Who has said its vector is in."""

    def client(self, contribute: Any, at: Any) -> Any:
        assert (yield "here") == "your vector"
        known = yield (yield from contribute())
        assert (yield sorted(known)) == "goodbye"
        yield "goodbye"

    def server(self, channel: Any, cohort: Any, decode: Any) -> Any:
        there = channel.gather(dict.fromkeys(cohort))
        said = channel.gather(dict.fromkeys(there, "your vector"))
        told = channel.gather(dict.fromkeys(said, sorted(said)))
        channel.gather(dict.fromkeys(told, "goodbye"))
        total = sum(said.values())
        return (decode(total, len(said)) if said else None), sorted(said)

    def visibility(self) -> Any:
        return (("server", "each client's vector", "none"),)


RULES = [
    h.Median(),
    h.TrimmedMean(0.2),
    h.Krum(2),
    h.MultiKrum(2, 3),
    h.GeometricMedian(),
    h.CentredClipping(10.0),
    h.Bulyan(1),
]


@pytest.mark.promise("P49")
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_every_rule(rule: h.aggregators.RobustRule) -> None:
    check_aggregator(rule)


@pytest.mark.promise("P49")
def test_an_aggregator_of_four_turns() -> None:
    check_aggregator(FourTurns())


# ── how large an answer may be ──

FEW = (h.Clip(1.0, side=10.0), h.Weigh("examples", cap=64))
SUMS = [
    (h.Sum(), FEW),
    (h.Sum(), (*FEW, h.Quantize(20))),
    (h.Sum(), (*FEW, h.Quantize(30, of="sum", clients=20))),
    (h.Sum(), (h.Clip(1.0, side=10.0), h.Weigh("one"), h.Quantize(16, of="sum", clients=20))),
    (h.Median(), FEW),
    (h.VerifiedSum(), FEW),
    (h.VerifiedSum(helpers=("auditor", "registry"), noise=0.01), (*FEW, h.Quantize(16))),
]


class Heard(h.InProcess):
    """All clients in this process, and what they say."""

    def __init__(self, clients: list[h.Client]):
        super().__init__(clients)
        self.bodies: list[Any] = []

    def send(self, message: Message) -> None:
        """Ask that each answer for itself."""
        super().send(replace(message, fold=False) if isinstance(message, Request) else message)

    def receive(self) -> Reply:
        """The next reply; that of a client is kept."""
        reply = super().receive()
        if reply.who[0] not in self.helpers:
            self.bodies.append(reply.body)
        return reply


@pytest.mark.parametrize("aggregator, pipe", SUMS, ids=lambda value: repr(value)[:40])
def test_an_honest_answer_is_exactly_as_large_as_is_said(aggregator: Aggregator, pipe: Any) -> None:
    """But for its name and numbers, which are counted as the longest."""
    quorum = h.Everyone(quorum=2)
    plan = h.Plan(h.Softmax(4, 3), h.FedNova(most=8), pipe, aggregator, rounds=1, sample=quorum)
    rng = np.random.default_rng(0)
    parties = {f"site-{i}": (rng.normal(size=(20, 4)).astype(np.float32), rng.integers(0, 3, 20)) for i in range(3)}
    runtime = Heard([h.Client(who, plan, data) for who, data in parties.items()])
    (state,) = h.synchronous(plan, runtime)
    assert len(state.participants) == len(runtime.bodies) == 3
    assert {largest(body) for body in runtime.bodies} == {aggregator.largest_reply(plan.encoded_spec, 0)}


class Understates(h.aggregators.Sum):
    """Its clients' answers are larger than it says."""

    def largest_reply(self, spec: Spec, turn: int) -> int:
        """A quarter of them."""
        return super().largest_reply(spec.replace(blocks={"delta": spec.size // 4}), turn)

    def __repr__(self) -> str:
        return "Understates()"


def test_an_aggregator_that_says_less_is_found_out() -> None:
    with pytest.raises(AssertionError, match=r"largest_reply\(\) says"):
        check_aggregator(Understates())
