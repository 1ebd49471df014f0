"""What is learnt, what of it leaves a client, and what is done to it on the way."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from ..aggregators import revealed
from ..plan import Plan
from ..spec import Spec
from . import parts
from .words import Section, count, many

BLOCKS = {  # what the blocks of hansa's own algorithms and transforms mean
    "delta": "the update: how far local training moved each number of the model",
    "statistics": "how far running statistics moved, the means and variances of normalisation "
    "layers",
    "control": "SCAFFOLD's control variate: how the client's own gradient differs from the others'",
    "trees": "the trees that it has grown: splits and leaves",
    "share": "how much its trees count among those of the round; the server writes it, and a "
    "client says 1",
    "tau": "how much local training the update stands for",
    "loss": "mean loss while it trained",
    "weight": "how much the client counts; with Weigh('examples') how many examples it has",
    "under": "one bit: was the update shorter than the clip?",
}


BEFORE = "What is asked before the first round"


def learnt(plan: Plan) -> Section:
    """The model, or the questions, and how a client works on them."""
    model = plan.model
    training = plan.training
    if not plan.spec.update:
        return _surveyed(plan)
    carried = model.size - model.trainable
    also = (
        f", of which {many(carried)} are running statistics that are averaged and not trained"
        if carried
        else ""
    )
    variances = int(np.isfinite(model.domain).sum())
    # P111
    also += f" ({many(variances)} of them are variances, and kept ≥ 0)" if variances else ""
    also = " more by each client of each round" if model.grows else also
    amount = (
        f"{training.steps} batches"
        if training.steps
        else count(training.epochs, "pass", "passes") + " over its examples"
    )
    batch = f"batches of {training.batch}" if training.batch else "all examples at once"
    named = f"{training.optimizer}, learning rate {training.learning_rate:g}"
    optimizer = (
        "the optimizer that the model is compiled with"
        if training.optimizer == "compiled"
        else named
    )
    kept = (
        f"{training.validation:.0%} of its examples, to score the global model on"
        if training.validation
        else "nothing"
    )
    kind = type(getattr(model, "model", model)).__name__
    rows = [
        ("model", f"{kind}, {many(model.size)} numbers{also}"),
        ("algorithm", f"{plan.algorithm!r}"),
        ("local training", f"{amount} a round, {batch}, {optimizer}"),
        ("kept from training", kept),
        *parts.rows(model, training),
    ]
    text = (
        # P1
        "One model is trained over all clients. A client's examples never leave it: it gets the "
        "model, trains it on "
        "them, and says what the next table lists."
    )
    return Section("What is learnt", text, ("", ""), tuple(rows))


def _surveyed(plan: Plan) -> Section:
    text = (
        # P1
        "No model is trained. Each client computes sums and counts over its examples, which "
        "never leave it, and "
        "says what the next table lists; the answers are their sums over all clients."
    )
    rows = [("question", one) for one in asked(plan)]
    if most := getattr(plan.model, "most", None):
        rows.append(("of each client", f"{most} records at most"))
    return Section("What is learnt", text, ("", ""), tuple(rows))


def sent(plan: Plan, first: Plan | None) -> Section:
    """The parts of the vector, and how large each may be."""
    spec = plan.spec
    encoded = plan.encoded_spec
    blocks = {
        **spec.blocks,
        **{name: n for name, n in encoded.blocks.items() if name not in spec.blocks},
    }
    rows = tuple(
        (name, many(n), meaning(name), _bound(encoded, name)) for name, n in blocks.items()
    )
    form = plan.aggregator.form(encoded)
    if revealed(plan.aggregator).by == "nobody":
        # P161
        form = f"what {type(plan.aggregator).__name__} makes of them, which nobody has stated"
    text = (
        # P2
        f"In a round a client sends one vector of {many(encoded.size)} numbers, and nothing else; "
        "on the wire they "
        f"are {form}. The last column bounds what one client can change in the sum, after all "
        "steps of the next table."
    )
    if encoded.learns:
        but = ", but for the statistics" if encoded.statistics else ""
        text += f" The update is said as a multiple of the norm that AdaptiveClip has learnt{but}."
    if first is not None:
        text += f" Before the first round it has said more: see “{BEFORE}”."
    return Section("What a client sends", text, ("part", "numbers", "what it is", "at most"), rows)


def steps(plan: Plan) -> Section:
    """The transforms, and what is known after each."""
    specs = pairwise(plan.pipeline.specs)
    rows = tuple(
        (str(i), repr(transform), transform.explain(before), _facts(before, after))
        for i, (transform, (before, after)) in enumerate(zip(plan.pipe, specs, strict=True), 1)
    )
    text = "On the client, in this order; on the sum the server undoes them in reverse."
    return Section(
        "What is done to it", text, ("", "step", "what it does", "known afterwards"), rows
    )


def asked(survey: Plan) -> list[str]:
    """The questions of a survey, each as name: question; the algorithm of a plan that asks none."""
    questions = getattr(survey.model, "questions", {"": survey.algorithm})
    return [f"{name}: {one!r}" if name else repr(one) for name, one in questions.items()]


def meaning(name: str) -> str:
    """What a block stands for."""
    if name.startswith("val_"):
        return f"{name[4:]} of the global model on the examples kept from training"
    return BLOCKS.get(name, "")


def _bound(spec: Spec, name: str) -> str:
    bound = spec.bounds.get(name, math.inf)
    if not math.isfinite(bound):
        return f"no bound above {spec.lows[name]:.4g}" if name in spec.lows else "no bound"
    if spec.blocks[name] > 1:
        return f"norm\u00a0≤\u00a0{bound:.4g}"
    return (
        f"{spec.lows[name]:.4g}\u00a0…\u00a0{bound:.4g}"
        if name in spec.lows
        else f"±\u00a0{bound:.4g}"
    )


def _facts(before: Spec, after: Spec) -> str:
    new = [
        f"{name} {_bound(after, name)}"
        for name in after.blocks
        if name not in before.blocks or _bound(after, name) != _bound(before, name)
    ]
    new += ["a mean can be taken"] * (after.weighed and not before.weighed)
    new += [f"noise multiplier {after.noise.multiplier:g}"] * (
        after.noise.multiplier != before.noise.multiplier
    )
    new += [f"integers of {after.sum_facts.modulus} bits"] * (after.space != before.space)
    new += ["spread evenly"] * (after.rotated != before.rotated)
    return "; ".join(new) or "nothing new"
