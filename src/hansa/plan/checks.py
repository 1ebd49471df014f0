"""What a plan refuses when it is built: pieces that belong in no slot, or do not fit together.

Each raises PlanError, with what was found, why it cannot work and what to write instead. A plan
that stands can be run: nothing here is asked again in a round.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from ..aggregators import Aggregator
from ..algorithms import Algorithm
from ..errors import PlanError, number
from ..models import Model
from ..sample import Sample, check
from ..schedules import check_factors
from ..spec import Spec
from ..training import Training
from ..transforms import Transform
from .noise import amplification

# the block of a model's running statistics, and its kind
STATISTICS: Literal["statistics"] = "statistics"
PIECES: dict[str, type] = {
    "model": Model,
    "aggregator": Aggregator,
    "training": Training,
    "sample": Sample,
}
EXAMPLES = {
    "model": "Softmax(features=784, classes=10)",
    "aggregator": "Sum()",
    "training": "Training(epochs=1)",
    "sample": "Uniform(size=10)",
}
MOST_ROUNDS = 10**9
ALGORITHM = ("plan", "blocks", "side", "start", "broadcast", "client", "step")


def check_pieces(plan: Any) -> None:
    """Raise PlanError where a slot of the plan holds what does not belong there.

    An algorithm may be anybody's class: it is known by its functions, ALGORITHM.
    """
    for name, kind in PIECES.items():
        if not isinstance(getattr(plan, name), kind):
            raise PlanError(
                f"Plan({name}={getattr(plan, name)!r}) is no {kind.__name__}.",
                f"A plan is put together from values of hansa, and `{name}` takes a "
                f"{kind.__name__}.",
                f"Write for example {name}={EXAMPLES[name]}.",
            )
    if isinstance(plan.algorithm, type) or not all(
        hasattr(plan.algorithm, function) for function in ALGORITHM
    ):
        raise PlanError(
            f"Plan(algorithm={plan.algorithm!r}) is no Algorithm.",
            f"An algorithm is a value with the functions {', '.join(ALGORITHM)}.",
            "Write for example algorithm=FedAvg(), with its brackets.",
        )
    check(plan.sample)
    for piece in plan.pipe:
        if not isinstance(piece, Transform):
            raise PlanError(
                f"{piece!r} stands in the pipe and is no Transform.",
                "The pipe holds what happens to a vector between client and sum.",
                "Write for example pipe=(Clip(norm=1.0), Weigh(by='one')).",
            )
    if not number(plan.rounds, whole=True) or not 1 <= plan.rounds <= MOST_ROUNDS:
        raise PlanError(
            f"Plan(rounds={plan.rounds!r}) is no number of rounds.",
            f"It counts them, from 1 to {MOST_ROUNDS:,}.",
            "Write for example rounds=10.",
        )
    if not number(plan.seed, whole=True):
        raise PlanError(
            f"Plan(seed={plan.seed!r}) seeds nothing.", "A seed is a whole number.", "Write seed=0."
        )


def check_statistics(model: Model, algorithm: Algorithm) -> None:
    """Raise PlanError where the algorithm has no place for the model's statistics.

    They are the end of `delta` [size], and travel as a block of their own behind it.
    """
    blocks = algorithm.blocks(model.size)
    if model.trainable < model.size and blocks.get("delta") != model.size:
        raise PlanError(
            f"{algorithm!r} says no `delta`, and the model carries statistics that no "
            "optimizer moves.",
            "They are averaged as part of `delta`, the change of the whole vector.",
            "Take an algorithm that says `delta`, such as FedAvg(), or a model without such "
            "statistics.",
        )
    if model.trainable < model.size and STATISTICS in blocks:
        raise PlanError(
            f"{algorithm!r} has a block {STATISTICS!r}.",
            "So is the block of the model's running statistics called, and a part is found by its "
            "name.",
            "Rename the algorithm's block.",
        )


def check_sum(encoded: Spec, sample: Sample, aggregator: Aggregator) -> None:
    """Raise PlanError where the sum of such vectors is no mean, or hides less than it says.

    A mean needs a weighting. Noise that clients add together, and a sum that hides each among
    others, need as many clients as they count on: no fewer than the sample's quorum.
    """
    if not encoded.weighed:
        raise PlanError(
            "The server would get a sum, not a mean.",
            "Nothing in the pipe says how much a client counts.",
            "Add Weigh('examples') or Weigh('one') to the pipe.",
        )
    if encoded.noise.least > sample.quorum:
        raise PlanError(
            f"The noise is whole with {encoded.noise.least} clients; a round may end with "
            f"{sample.quorum}.",
            "With fewer, the sum would carry too little noise for the guarantee.",
            f"Write quorum={encoded.noise.least} in the sample, or a smaller `least`.",
        )
    least = aggregator.min_clients(sample.most)
    if least > sample.quorum:
        raise PlanError(
            f"{aggregator!r} hides a client among {least} or more; a round may end with "
            f"{sample.quorum}.",
            "The sum over a single client is what that client says.",
            f"Write quorum={least} in the sample, or more, for example "
            f"sample=Everyone(quorum={least}).",
        )


def remembering(plan: Any) -> list[Any]:
    """The pieces of which a client keeps something from round to round, as far as they say so."""
    pieces = (plan.algorithm, plan.model, *plan.pipe)
    said = (plan.algorithm, plan.model.traits, *plan.pipe)
    return [
        piece for piece, says in zip(pieces, said, strict=True) if getattr(says, "remembers", False)
    ]


def check_memory(plan: Any) -> None:
    """Raise PlanError where ε would rest on a sample of fixed size, and clients remember whether
    they were in it.

    A Poisson sample is another thing: there each client's past is its own alone.
    """
    amplified = amplification(plan)
    if amplified and not amplified.rate and (found := remembering(plan)):
        raise PlanError(
            f"{found[0]!r} beside {plan.sample!r}: no ε is known.",
            "What clients remember tells whether they were asked. In a sample of fixed size that "
            "tells of another client too, whose place one of them took; so a round says something "
            "of the samples before, and ε rests on nobody knowing those.",
            "Write Poisson(…), which asks each client by itself; or a quorum in the sample, and ε "
            "takes the sample as known.",
        )


def check_private(plan: Any) -> None:
    """Raise PlanError where the model cannot hide single examples, and the training says so."""
    if plan.training.private and not plan.model.takes.private:
        raise PlanError(
            f"{type(plan.model).__name__} cannot train with {plan.training.private!r}.",
            "It does not give the gradient of each example, and its update would tell of them "
            "without noise.",
            "Take Softmax, TorchModel or JaxModel, or leave `private` out of the Training.",
        )


def check_schedule(plan: Any) -> None:
    """Raise PlanError where some round has no learning rate, or one that the model refuses."""
    training = plan.training
    if training.schedule is None:
        return
    most = check_factors(training.schedule, plan.rounds)
    plan.model.plan(replace(training, learning_rate=training.learning_rate * most, schedule=None))


def check_heard(plan: Any) -> None:
    """Raise PlanError where the aggregator cannot do with as few clients as the sample asks."""
    most = plan.sample.most
    if most and (why := plan.aggregator.shortfall(most)):
        raise PlanError(
            f"{plan.aggregator!r} hears {most} clients in a round at most.",
            why,
            "Sample more, or expect fewer attackers.",
        )
