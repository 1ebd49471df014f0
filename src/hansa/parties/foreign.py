"""What a client runs that is not hansa's: readers, data sets, strangers' algorithms and transforms.

They may draw from generators that all of a process share; what they draw follows from a key.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ..asks import Made, Work, answered
from ..data import Examples
from ..plan import Plan
from ..plan.noise import binds
from ..rand import Key, seeded


def is_plain(data: Any) -> bool:
    """Is this data, or what was read of it, arrays, which run no code when they are read?"""
    if isinstance(data, Examples):
        return data.arrays is not None
    return isinstance(data, tuple | dict)


def reading(data: Any, plan: Plan, who: str, secret: Key) -> AbstractContextManager[None]:
    """What a client's own code draws from global generators while it reads follows from a key: from
    its secret, where a draw may hide something.
    """
    if is_plain(data) and not plan.model.traits.draws:
        return nullcontext()
    root = secret if binds(plan) else plan.key
    return seeded(root.child("read", who))


def seeding(work: Work[Made], plain: Callable[[], bool], key: Key) -> Work[Made]:
    """Work whose draws from global generators follow from the key, between what it asks as well;
    where it is plain it has none.
    """
    answer = None
    step = 0
    while True:
        here: AbstractContextManager[None] = seeded(key.child("foreign", step))
        if plain():
            here = nullcontext()
        try:
            with here:
                ask = answered(work, answer)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        try:
            answer = yield ask
        except Exception as error:
            answer = error
        step += 1
