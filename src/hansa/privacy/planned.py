"""What a plan will give away about a client, or about an example; and why nobody knows, if so.

An ε is a sum over releases, and each release rests on three things: what bounds the vector of one
client (a clip), which noise is drawn (its class states the curve), and who knows which clients are
in the sum (the sample). Each of them is asked of the piece itself, and believed where that piece is
hansa's own, or states it in a class that draws what it states. Whatever else there is has no ε, and
the reason in words.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from operator import gt
from typing import Any

from ..aggregators import Aggregator
from ..known import ours, own
from ..plan import Plan
from ..plan.noise import amplification
from ..rounds import Unit
from ..transforms import Transform
from ..transforms.correlated import Participation
from ..transforms.curves import Gaussian, Mechanism, fault, stating
from ..transforms.scale import AdaptiveClip, Clip
from .ledger import Ledger
from .mechanisms import Release


def planned_privacy(plan: Plan, population: int | None = None, rounds: int | None = None) -> Ledger:
    """What the plan's rounds give away about a client that is in all of them, among `population`
    clients.

    rounds: so many instead of the plan's. Of noise that hangs together over rounds (DP-FTRL) a
    client is in as many as its sample lets it be in.
    """
    ledger = begun(plan, population)
    if rounds is None:
        rounds = plan.rounds
    if ledger.why or not rounds:
        return ledger
    one = release(plan, population)
    if isinstance(one.mechanism, Participation):
        taken = range(0, rounds, apart(plan, population))
        return ledger.plus(Release(one.mechanism.during(*taken)))
    return ledger.plus(one, rounds)


def begun(plan: Plan, population: int | None) -> Ledger:
    """The ledger before the first round: why there is no ε, and whose word it rests on."""
    return Ledger(why=_unknown(plan, population), stated=stated_by(plan))


def unstated(plan: Plan, unit: Unit = "client") -> str:
    """Why nobody knows what the plan gives away, if so: ε rests on a piece that is not hansa's own.

    What stands before a clip is believed, for the clip bounds whatever comes; as long as it leaves
    the facts alone that noise is sized by. What stands behind it may lengthen a vector, and what a
    server's piece does there nobody knows; but for noise, whose class may state it. ε of an example
    rests on what trains, and on nothing that sees but the trained model.
    """
    pieces = _trained(plan) if unit == "example" else _summed(plan)
    strange = next((piece for piece in pieces if not own(piece)), None)
    if strange is not None:
        return f"nobody has stated what {type(strange).__name__} gives away"
    if unit == "example":
        return ""
    stated = mechanism(plan, plan.sum_spec.noise.least)
    if stated is None:
        return "nobody has stated what its noise gives away"
    noise = noise_piece(plan)
    why = "" if own(noise) else fault(stated)
    if why:
        return f"what {type(noise).__name__} states of its noise is no curve: {why}"
    return ""


def stated_by(plan: Plan) -> tuple[str, ...]:
    """The class outside hansa whose statement ε rests on, by name."""
    piece = noise_piece(plan)
    if piece is None:
        return ()
    stated = stating(piece)
    if stated is None or ours(stated):
        return ()
    return (stated.__name__,)


def _trained(plan: Plan) -> Iterator[Any]:
    """The pieces that ε of an example rests on: what trains, and what reads a client's data."""
    yield from (
        plan,
        plan.algorithm,
        plan.model,
        plan.training,
        *filter(None, [plan.training.private]),
        *(step for step in plan.pipe if step.reads),
    )


def _summed(plan: Plan) -> Iterator[Any]:
    """The pieces that ε of a client rests on: all behind the last clip, and of those before it the
    strangers' that change facts by which noise is sized; all that speaks, where nothing clips.
    """
    yield from (plan, plan.aggregator)
    clips = [i for i, step in enumerate(plan.pipe) if type(step) in (Clip, AdaptiveClip)]
    last = max(clips, default=0)
    specs = plan.pipeline.specs
    for step, before in zip(plan.pipe[:last], specs, strict=False):
        if not own(step) and (
            step.plan(before) != before or before.sum_facts.rounds != plan.rounds
        ):
            yield step
    stated = None
    if stated_by(plan):
        stated = noise_piece(plan)
    yield from (step for step in plan.pipe[last:] if step is not stated)
    if not clips or specs[last].counts:  # nothing cuts what they say to what they declare
        yield from (plan.algorithm, plan.model, *getattr(plan.model, "questions", {}).values())


def examples(plan: Plan, n: int, rounds: int | None = None) -> Ledger:
    """What the plan's rounds, or so many, give away about one of the n examples of a client that
    trains in each once.

    It counts the noise of Training(private=PerExample(…)), which the client draws itself: every
    step of every training is one release, with each example in it with probability b/n. What the
    server's noise and its sample of clients add to the protection is not counted.
    """
    ledger = Ledger(unit="example")
    training = plan.training
    if training.private is None:
        return ledger.without("local training adds no noise")
    if why := unstated(plan, "example"):
        return ledger.without(why)
    if n < 1:
        return ledger.without("how many examples the client has is not known")
    b, steps = training.counts(n)
    if rounds is None:
        rounds = plan.rounds
    if not rounds:
        return ledger
    step = Release(Gaussian(training.private.noise), "poisson", b / n)
    return ledger.plus(step, steps * rounds)


def noise_piece(plan: Plan) -> Transform | Aggregator | None:
    """The piece that draws the noise of the sum: a transform, or the aggregator; None where no
    noise is drawn.
    """
    place = plan.pipeline.noise
    if place is not None:
        return plan.pipe[place]
    if plan.sum_spec.noise.multiplier:
        return plan.aggregator
    return None


def mechanism(plan: Plan, n: int) -> Mechanism | None:
    """What the noise in a sum of n vectors gives away, as the class that draws it states; None
    where it states nothing.
    """
    piece = noise_piece(plan)
    if piece is None or stating(piece) is None:
        return None
    place = plan.pipeline.noise
    if place is None:
        return piece.privacy(plan.sum_spec, n)
    return piece.privacy(plan.pipeline.specs[place + 1], n)


def release(plan: Plan, population: int | None, n: int | None = None) -> Release:
    """One round of the plan, with `n` clients in it, or as few as make its noise whole."""
    if n is None:
        n = plan.sum_spec.noise.least
    stated = mechanism(plan, n)
    assert stated is not None  # whoever has no ε has no release
    return amplified(plan, stated, population)


def amplified(plan: Plan, stated: Mechanism, population: int | None) -> Release:
    """What is stated, on the plan's sample: amplified where that is random and stays secret."""
    sample = amplification(plan)
    if sample is None:
        return Release(stated)
    if sample.rate:
        return Release(stated, "poisson", sample.rate)
    assert population is not None  # _unknown says so otherwise
    return Release(stated, "uniform", min(sample.size, population), population)


def apart(plan: Plan, population: int | None) -> int:
    """How many rounds lie between a client's parts, at least; of a stranger's sample it is not
    believed.
    """
    return plan.sample.apart(population) if population and own(plan.sample) else 1


def _unknown(plan: Plan, population: int | None) -> str:
    """Why nothing bounds what a round of the plan gives away, if so."""
    encoded = plan.sum_spec
    noise = encoded.noise
    if not noise.multiplier:
        return "the plan adds no noise"
    if why := unstated(plan):
        return why
    if encoded.unbounded:
        return f"nothing bounds {', '.join(encoded.unbounded)}"
    if noise.parts:
        bounds = [encoded.bounds[name] / noise.step.get(name, math.inf) for name in encoded.blocks]
        sized = [bound * (1 + 1e-9) for _, bound, _ in noise.parts]
        if len(sized) != len(bounds) or any(map(gt, bounds, sized)):
            return "a transform after the noise lets a client change more than it is sized for"
        return ""
    if noise.clients and not noise.alone and encoded.space == "integer":
        return (
            "each client rounds its share of the noise, for which no bound is known; SkellamNoise "
            "has one"
        )
    amplified = amplification(plan)
    if amplified and amplified.size and population is None:
        return "how many clients the cohorts are drawn from is not known"
    return ""
