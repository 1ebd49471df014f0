"""What a person sees: live progress in the terminal, plots, and the report of a run. Readers of
states only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import printable
from ..privacy import EXAMPLES, SPENT
from ..privacy.ledger import NAMED
from ..state import State

if TYPE_CHECKING:
    from .. import store

HIDDEN = "who took part is a secret that ε rests on"

# The same score may be taken on the test data, on what clients kept from training, and while they
# trained.
SIDES = {"test_": "the central test", "val_": "the clients' validation", "": "training examples"}


@dataclass(frozen=True)
class Round:
    """What one round gave, without the model."""

    number: int  # 1 for the first
    metrics: Mapping[str, float] = field(default_factory=dict)
    participants: tuple[str, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)  # who → why
    skipped: str = ""
    named: bool = False  # did noise grow from a secret that the simulation names?
    hidden: bool = False  # is who took part not told, because ε rests on nobody knowing it?

    @classmethod
    def of(cls, state: State) -> Round:
        """The round that led to this state."""
        return cls._shown(state, state.round, state.metrics)

    @classmethod
    def stored(cls, one: store.Round) -> Round:
        """A round as the store has it."""
        return cls._shown(one, one.round, tested(one.metrics, one.scores))

    @classmethod
    def _shown(cls, one: State | store.Round, number: int, metrics: Mapping[str, float]) -> Round:
        """A round without who took part where that is a secret; names, reasons and note command no
        terminal.
        """
        skipped = printable(one.skipped)
        if one.hidden:
            return cls(number, dict(metrics), skipped=skipped, named=one.named, hidden=True)
        excluded = {printable(who): printable(why) for who, why in one.excluded.items()}
        return cls(
            number,
            dict(metrics),
            tuple(map(printable, one.participants)),
            excluded,
            skipped,
            one.named,
        )


def tested(metrics: Mapping[str, float], scores: Mapping[str, float]) -> dict[str, float]:
    """What clients report, and beside it the scores on the test data as test_…"""
    return {**metrics, **{f"test_{name}": value for name, value in scores.items()}}


def scores(metrics: Mapping[str, float]) -> dict[str, float]:
    """Each score once, from the best witness: central test, clients' validation, training; the loss
    first.
    """
    found: dict[str, float] = {}
    for side in SIDES:
        for name, value in metrics.items():
            if _side(name) == side:
                found.setdefault(name.removeprefix(side), value)
    return dict(sorted(found.items(), key=lambda pair: pair[0] != "loss"))


def witness(metrics: Mapping[str, float]) -> str:
    """On what the scores of a round were taken."""
    return next((words for side, words in SIDES.items() if side in map(_side, metrics)), "")


def private(metrics: Mapping[str, float], named: bool = False) -> str:
    """What has been given away, where it is known: ε, its δ, of whom; and against whom it does not
    hold.
    """
    found = [
        f"ε {value:.3g} at δ {name[len(word) :]} for each {unit}"
        for word, unit in ((SPENT, "client"), (EXAMPLES, "example"))
        for name, value in metrics.items()
        if name.startswith(word)
    ]
    return "; ".join(found) + (f" ({NAMED})" if found and named else "")


def _side(name: str) -> str | None:
    """Whose score this is; None for what is none."""
    return (
        None
        if name.startswith((SPENT, EXAMPLES))
        else next(side for side in SIDES if name.startswith(side))
    )


def curves(rounds: Sequence[Round]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """score → who saw it (a side) → [(round, value)], the best witness first.

    Kept examples score the model that a round begins with, which is that of the round before.
    """
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for side in SIDES:
        for one in rounds:
            for name, value in one.metrics.items():
                if math.isfinite(value) and _side(name) == side:
                    found.setdefault(name.removeprefix(side), {}).setdefault(side, []).append(
                        (one.number - (side == "val_"), value)
                    )
    return dict(sorted(found.items(), key=lambda pair: pair[0] != "loss"))


def figure(name: str, value: float) -> str:
    """A score as people write it: accuracies in percent."""
    return (
        f"{100 * value:.1f} %"
        if name.endswith("accuracy")
        else f"{value:.4g}"
        if abs(value) >= 1
        else f"{value:.3f}"
    )


def names(words: Iterable[str], most: int = 6) -> str:
    """A, B and C; or how many, where there are more than `most`."""
    listed = list(words)
    if len(listed) > most:
        return f"{len(listed)} clients"
    return (
        listed[0]
        if len(listed) == 1
        else f"{', '.join(listed[:-1])} and {listed[-1]}"
        if listed
        else "nobody"
    )
