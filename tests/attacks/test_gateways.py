"""What somebody who adds up others' vectors may try: sums of something else than the plan's vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import hansa as h
from hansa.messages import Reply
from hansa.sums import Total

WRONG: dict[str, Callable[[int], np.ndarray]] = {
    "one number, to be spread over all": lambda d: np.ones(1),
    "a number too many": lambda d: np.ones(d + 1),
    "words": lambda d: np.ones(d, np.uint64),
}


class Gateway(h.InProcess):
    """It hands over a sum of its own making."""

    make: Callable[[int], np.ndarray]

    def receive(self) -> Reply:
        """The next reply, with another sum."""
        reply = super().receive()
        if not isinstance(reply.body, Total):
            return reply
        total = Total()
        for _ in reply.who:
            total.add(self.make(len(reply.body.value())))
        return replace(reply, body=total)


@pytest.mark.guards("a sum fits the plan")
@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
def test_a_sum_of_other_vectors_does_not_count(make: Callable[[int], np.ndarray]) -> None:
    plan = h.Plan(h.Softmax(4, 3), rounds=1)
    rng = np.random.default_rng(0)
    parties = {f"site-{i}": (rng.normal(size=(20, 4)).astype(np.float32), rng.integers(0, 3, 20)) for i in range(3)}
    runtime = Gateway([h.Client(who, plan, data) for who, data in parties.items()])
    runtime.make = make
    before = plan.start().x
    with pytest.raises(h.errors.RoundError, match="invalid"):
        list(h.synchronous(plan, runtime))
    runtime.make = lambda d: np.ones(d)
    (state,) = h.synchronous(plan, runtime)
    assert state.participants == tuple(parties) and not (state.x == before).all()
