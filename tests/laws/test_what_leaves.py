"""What leaves a client: one vector of its plan, and none of its records, whatever they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import hansa as h
from hansa import codec as wire
from hansa.messages import Message, Reply, Request

PIPE = (h.Clip(1.0, side=10.0), h.Weigh("examples", cap=50))
PLANS = {"sum": h.Sum(), "verified": h.VerifiedSum(), "median": h.Median()}


class Post(h.InProcess):
    """All clients in this process; what each says is kept, as it would be written on a wire."""

    def __init__(self, clients: Any):
        super().__init__(clients)
        self.said = list[tuple[Any, bytes]]()

    def receive(self) -> Reply:
        reply = super().receive()
        if "client" in reply.who[0]:
            body = reply.body.value() if hasattr(reply.body, "value") else reply.body
            self.said.append((body, wire.dumps(body)))
        return reply

    def send(self, message: Message) -> None:
        super().send(replace(message, fold=False) if isinstance(message, Request) else message)


def records(seed: int) -> tuple[Any, Any]:
    """Numbers that no training comes upon by chance."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(30, 4)), rng.integers(0, 3, 30)


@pytest.mark.promise("P1")
@pytest.mark.parametrize("name", PLANS)
def test_a_client_says_one_vector_of_its_plan_and_no_record(name: str) -> None:
    sample, training = h.Everyone(quorum=3), h.Training(epochs=2, batch=7, validation=0.2)
    plan = h.Plan(h.Softmax(4, 3), pipe=PIPE, aggregator=PLANS[name], training=training, sample=sample, rounds=2)
    data = {f"client-{i}": records(i) for i in range(3)}
    post = Post([h.Client(who, plan, one) for who, one in data.items()])
    assert len(list(h.synchronous(plan, post))) == plan.rounds
    assert len(post.said) == plan.rounds * len(data)
    cells = {float(x).hex(): x for one, _ in data.values() for x in one.ravel()}
    # One number in single precision is four bytes, which the random shares of a proof hold by chance now and then.
    pairs = [row[at : at + 2] for one, _ in data.values() for row in one.astype(np.float32) for at in range(3)]
    for body, sent in post.said:
        if name != "verified":
            assert plan.encoded_spec.fits(body)
            assert not {float(x).hex() for x in body} & cells.keys()
        assert not any(np.float64(x).tobytes() in sent for x in cells.values())
        assert not any(pair.tobytes() in sent for pair in pairs)
