"""The vector of a plan: its blocks, what is reported beside them, and the pipe that they take.

    [delta, statistics, …, side values]  →  transform  →  …  →  what is summed

A spec says of each of these what is known: names, sizes, bounds, noise. A plan is taken as a value
with the fields of `Plan`, so that `Plan` itself can ask here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..algorithms import Algorithm, reports
from ..known import own
from ..models import Model
from ..spec import Bound, Kind, Spec, SumFacts
from ..transforms import Pipe
from .checks import STATISTICS


def carried(model: Model) -> bool:
    """Has the model statistics that travel, as a block of their own?"""
    return model.trainable < model.size


def blocks(model: Model, algorithm: Algorithm) -> dict[str, int]:
    """The algorithm's blocks, name → size; behind `delta` the part of it that are statistics, as a
    block of its own.
    """
    found = dict[str, int]()
    for name, size in algorithm.blocks(model.size).items():
        found[name] = size
        if name == "delta" and carried(model):
            found[name] = model.trainable
            found[STATISTICS] = model.size - model.trainable
    return found


def reported(plan: Any) -> dict[str, Bound]:
    """The side values that clients of a plan report: name → bound."""
    return reports.bounds(plan.model, plan.algorithm, plan.training)


def accepts(plan: Any, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Do clients of the plan get vectors of these shapes? A model that grows may have any number of
    rows.
    """
    size = plan.model.size
    if plan.model.traits.grows:
        shapes = {name: tuple(n % size for n in shape) for name, shape in shapes.items()}
    return bool(shapes == plan.broadcast_shapes)


def pipeline(plan: Any) -> Pipe:
    """The pipe of a plan, with the facts that enter each transform.

    Where ε rests on nobody knowing who was sampled, the facts say so: `share`, `hidden`.
    """
    return piped(plan, _first(plan))


def piped(plan: Any, first: Spec) -> Pipe:
    """The same where it is known what a client says before any transform."""
    pipe = Pipe.of(plan.pipe, first)
    amplified = None
    if own(plan.sample):
        amplified = plan.sample.amplification
    shown = plan.sample.quorum > 1 or not pipe.amplifiable
    if amplified is None or shown:
        return pipe
    # A mean over those who came would tell, of each client, whether it was sampled, and so would a
    # round without effect because few came; privacy rests on that too.
    specs = tuple(_hidden(spec, amplified.rate) for spec in pipe.specs)
    return replace(pipe, specs=specs)


def _first(plan: Any) -> Spec:
    """What a client says before any transform: the algorithm's blocks, then its side values."""
    added = plan.aggregator.added(plan.sample.most)
    facts = SumFacts(clients=added, quorum=plan.sample.quorum, rounds=plan.rounds)
    kinds = dict[str, Kind]()
    if carried(plan.model):
        kinds[STATISTICS] = STATISTICS
    spec = Spec(blocks(plan.model, plan.algorithm), kinds=kinds, sum_facts=facts)
    for name, bound in (*plan.algorithm.side().items(), *reported(plan).items()):
        spec = spec.with_side(name, bound)
    return spec


def _hidden(spec: Spec, rate: float) -> Spec:
    """The same where a client is in the sum with this probability, and nobody knows who is.

    rate: of a Poisson sample; 0 for one of fixed size.
    """
    return spec.replace(
        noise=replace(spec.noise, share=rate), sum_facts=replace(spec.sum_facts, hidden=True)
    )
