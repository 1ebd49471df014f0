"""State: all that passes from one round to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .optim import ServerState
from .spec import Vector


@dataclass(frozen=True)
class State:
    """All that passes from one round to the next, and what a checkpoint holds."""

    round: int  # rounds done
    x: Vector  # the model [size]
    memo: ServerState  # what the algorithm remembers
    transforms: tuple[Any, ...] = ()  # what each transform has learnt
    metrics: Mapping[str, float] = field(default_factory=dict)  # means of what clients report
    participants: tuple[str, ...] = ()  # who is in the last sum
    excluded: Mapping[str, str] = field(
        default_factory=dict
    )  # who was asked and is not in it → why, in no word of its own
    skipped: str = ""  # why the last round changed nothing, if so
    named: bool = False  # did what hides grow from a secret that the simulation names?
    hidden: bool = False  # does ε rest on nobody but the server knowing who took part?

    @property
    def counted(self) -> tuple[str, ...]:
        """Whose vectors have changed the model."""
        return () if self.skipped else self.participants


FAILED = "the round failed"  # why a client is lost whose vector was in a sum that could not be used
