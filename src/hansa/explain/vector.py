"""What is learnt, what of it leaves a client, and what is done to it on the way.

A client sends one vector a round, of named blocks: the update, and side values that ride along.
Its facts before the pipe are `plan.spec`, after it `plan.encoded_spec`; the facts in between are
`plan.pipeline.specs`, one more than there are transforms. What is new after each step is read off
two neighbours of them, and not asked of the transform.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from ..aggregators import revealed
from ..algorithms.reports import GLOBAL, PERSONAL
from ..metrics import DEFINED
from ..models import Model
from ..plan import Plan
from ..plan.checks import remembering
from ..spec import Spec
from ..training import Training, amounts_by_name
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
    """The model, or the questions, and how a client works on them.

    A plan whose vector has no update is a survey: it has questions and trains nothing.
    """
    if not plan.spec.update:
        return _surveyed(plan)
    model = plan.model
    validation = plan.training.validation
    kept = "nothing"
    if validation:
        kept = f"{validation:.0%} of its examples, to score the global model on"
    kind = type(getattr(model, "model", model)).__name__
    rows = (
        ("model", f"{kind}, {many(model.size)} numbers{_untrained(model)}"),
        ("algorithm", f"{plan.algorithm!r}"),
        ("local training", _work(plan.training, plan.rounds)),
        *_by_client(plan.training),
        ("kept from training", kept),
        *parts.rows(model, plan.training),
        *_remembered(plan),
    )
    text = (
        # P1
        "One model is trained over all clients. A client's examples never leave it: it gets the "
        "model, trains it on them, and says what the next table lists."
    )
    return Section("What is learnt", text, ("", ""), rows)


def _remembered(plan: Plan) -> Iterator[tuple[str, str]]:
    """What each client keeps from round to round, a row for each piece that says that it remembers.

    It stays with the client but for what of it goes into a later vector, which is that piece's
    matter: TopK says later what it has left out.
    """
    for piece in remembering(plan):
        # P290
        words = f"for {piece!r} something of its earlier rounds, which may go into later vectors"
        yield ("each client remembers", words)


def _untrained(model: Model) -> str:
    """What else there is to say of the size of a model: numbers that no optimizer moves, and trees
    that are still to be grown.
    """
    if model.traits.grows:
        return " more by each client of each round"
    words = ""
    if carried := model.size - model.trainable:
        words += (
            f", of which {many(carried)} are running statistics that are averaged and not trained"
        )
    if variances := int(np.isfinite(model.domain).sum()):
        # P111
        words += f" ({many(variances)} of them are variances, and kept ≥ 0)"
    return words


LAST = {
    "keep": "",
    "drop": " (a shorter last one is left out)",
    "merge": " (a last one of at most half of that is added to the one before)",
}


def _work(training: Training, rounds: int) -> str:
    """How much a client trains in a round, on which batches, by which optimizer."""
    amount = f"{count(training.epochs, 'pass', 'passes')} over its examples"
    if training.steps:
        amount = f"{training.steps} batches"
    batch = "all examples at once"
    if training.batch:
        batch = f"batches of {training.batch}" + LAST[training.last]
    optimizer = f"{training.optimizer}, learning rate {training.learning_rate:g}"
    if training.schedule is not None:
        last = training.at(rounds - 1, rounds).learning_rate
        first = training.at(0, rounds).learning_rate
        optimizer = (
            f"{training.optimizer}, learning rate {first:g} in the first round and {last:g} in the "
            f"last by {training.schedule!r}"
        )
    if training.clip is not None:
        optimizer += f", gradients of norm {training.clip:g} at most"
    if training.optimizer == "compiled":
        optimizer = "the optimizer that the model is compiled with"
    return f"{amount} a round, {batch}, {optimizer}"


def _by_client(training: Training) -> Iterator[tuple[str, str]]:
    """How much single clients train, where they have amounts of their own: by name, or that it
    hangs on how many examples they have.
    """
    if callable(training.by_client):
        yield "of each client", "its own epochs, steps or batches by how many examples it has"
    for pattern, amounts in amounts_by_name(training).items():
        own = (f"{name}={amount}" for name, amount in dict(amounts).items())
        yield f"of {pattern}", ", ".join(own)


def _surveyed(plan: Plan) -> Section:
    """The questions of a survey, in the place of model and training."""
    text = (
        # P1
        "No model is trained. Each client computes sums and counts over its examples, which never "
        "leave it, and says what the next table lists; the answers are their sums over all clients."
    )
    rows = [("question", one) for one in asked(plan)]
    if most := getattr(plan.model, "most", None):
        rows.append(("of each client", f"{most} records at most"))
    return Section("What is learnt", text, ("", ""), tuple(rows))


def sent(plan: Plan, first: Plan | None) -> Section:
    """The parts of the vector, and how large each may be.

    The bounds are those after all transforms: what one client can change in the sum (its
    sensitivity), block by block. first: a survey that is asked before.
    """
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
        f"on the wire they are {form}. The last column bounds what one client can change in the "
        "sum, after all steps of the next table."
    )
    if encoded.learns:
        text += " The update is said as a multiple of the norm that AdaptiveClip has learnt"
        if encoded.statistics:
            text += ", but for the statistics"
        text += "."
    if first is not None:
        text += f" Before the first round it has said more: see “{BEFORE}”."
    return Section("What a client sends", text, ("part", "numbers", "what it is", "at most"), rows)


def steps(plan: Plan) -> Section:
    """The transforms in their order, what each does, and what is newly known after it.

    What a transform does it says itself, of the facts that it finds: a clip how long vectors are
    before, noise how large σ is for what one client can change.
    """
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
    """The questions of a survey, each as name: question.

    A plan without questions whose vector has no update (a stranger's statistics) is told by its
    algorithm, which is what asks there.
    """
    questions = getattr(survey.model, "questions", {"": survey.algorithm})
    return [f"{name}: {one!r}" if name else repr(one) for name, one in questions.items()]


def meaning(name: str) -> str:
    """What a block stands for; nothing where a stranger's algorithm or transform has named it."""
    if name == f"{GLOBAL}{DEFINED}":
        return "1 where examples are kept from training, and scores on them are numbers; else 0"
    if name.endswith(f"_{DEFINED}"):
        return f"1 where {name.removesuffix(f'_{DEFINED}')} is defined, else 0"
    for prefix, whose in (
        (GLOBAL, "the global model"),
        (PERSONAL, "the client's own model, which stays with it,"),
    ):
        if name.startswith(prefix):
            return f"{name.removeprefix(prefix)} of {whose} on the examples kept from training"
    return BLOCKS.get(name, "")


def _bound(spec: Spec, name: str) -> str:
    """Within what a block of one client lies: the 2-norm of several numbers, and the two ends of
    one.
    """
    bound = spec.bounds.get(name, math.inf)
    if not math.isfinite(bound) and name in spec.lows:
        return f"no bound above {spec.lows[name]:.4g}"
    if not math.isfinite(bound):
        return "no bound"
    if spec.blocks[name] > 1:
        return f"norm\u00a0≤\u00a0{bound:.4g}"
    if name in spec.lows:
        return f"{spec.lows[name]:.4g}\u00a0…\u00a0{bound:.4g}"
    return f"±\u00a0{bound:.4g}"


def _facts(before: Spec, after: Spec) -> str:
    """What is known of the vector after a transform, and was not known before it."""
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
