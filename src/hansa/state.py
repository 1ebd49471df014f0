"""State: all that passes from one round to the next.

A run goes on from a state as if it had not stopped: what a checkpoint holds is this, and no more.
Clients keep what is theirs themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from .optim import ServerState
from .rounds import Round
from .spec import Vector


@dataclass(frozen=True)
class State(Round):
    """A round and what it led to: all that passes to the next, and what a checkpoint holds."""

    x: Vector  # the model [size]
    memo: ServerState  # what the algorithm remembers
    transforms: tuple[Any, ...] = ()  # what each transform has learnt
    # what clients have signed of the round, for the run's record; no part of a checkpoint
    record: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)

    @property
    def counted(self) -> tuple[str, ...]:
        """Whose vectors have changed the model."""
        if self.skipped:
            return ()
        return self.participants

    @property
    def happened(self) -> Round:
        """The round alone, which holds nothing of the model."""
        return Round(**{one.name: getattr(self, one.name) for one in fields(Round)})


FAILED = "the round failed"  # why a client is lost whose vector was in a sum that could not be used
