"""Which parts of a model stay with each client, and which alone are trained; and the whole net that
a client remembers, where a loss looks at its last one.

A part is a slice of the model's vector that the model names. One that is kept at home is in nothing
that a client sends; one that is not trained travels all the same, and carries its share of noise.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..models import Model
from ..models.parts import Personal, moves, rates
from ..training import Training


def rows(model: Model, training: Training) -> Iterator[tuple[str, str]]:
    """What an explanation tells of parts: which stay with each client, which are trained, and which
    have another learning rate.
    """
    if isinstance(model, Personal):
        numbers = model.model.size - model.size
        # P181
        kept = f"{', '.join(model.kept)}: {numbers:,} numbers, in nothing that travels"
        yield "stays with each client", kept
    if model.traits.looks_back:
        # P210
        kept = f"the net that its last training ended with, for the loss: {model.size:,} numbers"
        yield "remembered by each client", f"{kept}, in nothing that travels"
    if training.only:
        moved = moves(model, training)
        yield "trained alone", ", ".join(name for name, moves_it in moved.items() if moves_it)
    if training.rates:
        own = [f"{name} {one:g}" for name, one in rates(model, training).items() if one != 1]
        yield "times the learning rate", ", ".join(own)


def warnings(model: Model, training: Training) -> Iterator[str]:
    """What an explanation warns of: a global model that is not whole without what clients keep, and
    parts that travel for nothing.
    """
    if isinstance(model, Personal):
        # P182
        yield (
            f"{', '.join(model.kept)}: each client has its own. The global model has their start "
            "in their place: scored or exported alone it is a model that no client uses."
        )
    if model.traits.statistics:
        # P587
        yield (
            "Running statistics: each client has its own. The global model has those of its start: "
            "scored or exported alone it is a model that no client uses."
        )
    moved = moves(model, training)
    still = [name for name in model.slices() if not moved.get(name, True)]
    if still:
        # P183
        yield (
            f"{', '.join(still)}: not trained, and they travel all the same, with what noise there "
            "is; Personal(keep=…) leaves them at home."
        )
