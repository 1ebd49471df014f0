"""What a plan does not protect.

Each warning is a sentence that a person can act on: what is open, to whom, and where there is one
the setting that closes it. They follow from the facts of the plan (noise, bounds, what is revealed,
whose word it is), so that a stranger's piece is warned of like hansa's own. How likely an attack is
no warning says; `hansa audit` tries some.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..aggregators import revealed
from ..known import own
from ..plan import Plan
from ..plan.checks import remembering
from ..plan.layout import reported
from ..privacy import stated_by, unstated
from ..privacy.ledger import taken_on_trust
from ..rounds import NAMED
from ..spec import Spec
from . import parts
from .words import count, listed


def warnings(plan: Plan, named: bool) -> Iterator[str]:
    """What the plan leaves open, a sentence each: who sees single updates, what noise leaves
    open, what nothing bounds, and how few may end a round.

    named: does noise grow from a secret that a simulation names? Then ε does not hold against who
    knows that secret.
    """
    clear = bool(revealed(plan.aggregator).beyond("sum"))
    yield from _in_the_clear(plan)
    yield from common(plan, named, clear)
    yield from _moved(plan)
    if plan.sample.quorum == 1:
        # P9
        yield (
            "A round may end with one client in it, and then the sum is that client's update; set "
            "a higher quorum."
        )


def common(plan: Plan, named: bool, clear: bool) -> Iterator[str]:
    """What is open with a server and without; clear: does anybody see more than the sum?"""
    encoded = plan.sum_spec
    if named and plan.hides:
        # P85
        yield f"ε holds {NAMED}."
    yield from _noise(plan, clear)
    yield from _unbounded(plan, set(encoded.unbounded))
    yield from parts.warnings(plan.model, plan.training)
    if reported(plan) and clear and not encoded.noise.multiplier:
        # P6
        yield (
            f"Clients report {listed(list(reported(plan)))} beside the update; "
            "Training(report=False) stops that."
        )


def _noise(plan: Plan, clear: bool) -> Iterator[str]:
    """What noise leaves open, or that there is none; clear: does anybody see more than the sum?"""
    encoded = plan.sum_spec
    yield from _promised(plan)
    if stated := stated_by(plan):
        # P160
        yield (
            f"ε is {taken_on_trust(stated)}; a policy believes it with Policy(stated=True) only."
        )
    real = bool(encoded.noise.multiplier) and not encoded.noise.parts
    if real or plan.training.private:
        # P9
        yield (
            "The noise is drawn as real numbers; one who sees every bit of a float may see through "
            "it (Mironov 2012)."
        )
    if encoded.noise.multiplier and encoded.noise.server:
        # P9
        yield (
            "The server draws the noise and sees the sum without it: this protects from others, "
            "not from the server."
        )
    if clear and encoded.noise.clients and not encoded.noise.alone:
        # P9
        yield (
            "A client adds a share of the noise, which hides the sum; the server sees each vector, "
            "and hardly hidden."
        )
    drowned = encoded.noise.scales.get("weight", 0.0)
    if drowned and "weight" in encoded.side:
        yield (
            # P35
            f"The sum of the weights has noise too, as much as {drowned:.3g} clients weigh that "
            "weigh most: with few clients there is no good mean. Weigh('one') has no weight to "
            "hide."
        )


def _promised(plan: Plan) -> Iterator[str]:
    """Why there is no ε, if so; else what it rests on beside the noise, which is the sample."""
    encoded = plan.sum_spec
    if not encoded.noise.multiplier and plan.training.private:
        # P36
        yield (
            "Single examples are hidden; what is common to a client's examples, and so says much "
            "of it, is not."
        )
    elif not encoded.noise.multiplier:
        # P9
        yield (
            "No noise is added, so there is no differential privacy: the model itself may tell of "
            "single examples."
        )
    elif why := unstated(plan):
        # P84
        yield (
            f"{why[0].upper()}{why[1:]}: there is no ε, and policies and budgets that ask for one "
            "refuse this plan."
        )
    elif encoded.hidden:
        yield (
            # P80
            "ε rests on a sample that stays secret: the server sees who took part, and history, "
            "report and terminal do not tell. No round is void and no error names a client: look "
            "at each one's data before, by hansa check."
        )
    elif plan.pipeline.amplifiable and _could_hide(plan):
        yield (
            # P32
            "A round that misses its quorum shows that few came, so the sample is no secret, and ε "
            f"takes it as known; {type(plan.sample).__name__}(…) without a quorum keeps it secret, "
            "and ε smaller."
        )


def _could_hide(plan: Plan) -> bool:
    """Would the sample amplify privacy, if it stayed a secret?

    One of fixed size would not, where clients remember whether they were in it.
    """
    found = plan.sample.amplification
    if found is None or not own(plan.sample):
        return False
    return bool(found.rate) or not remembering(plan)


def _in_the_clear(plan: Plan) -> Iterator[str]:
    """Who sees more of a client than the sum of all, and whose word it is that nobody does."""
    aggregator = plan.aggregator
    found = revealed(aggregator)
    name = type(aggregator).__name__
    if found.by == "nobody":
        # P161
        yield (
            f"Nobody has stated what {name} reveals: the server may see every client's update, by "
            "name, and what other clients see is not known."
        )
    elif words := aggregator.exposure():
        # P9
        yield words
    elif found.server == "each":
        seen = "The server can see every client's update, by name"
        if not plan.training.private:
            seen += ", and an update can reveal training examples"
        # P9
        yield f"{seen}."
    elif beyond := found.beyond("sum"):
        # P9
        yield f"By its author's word, {listed(beyond)}."
    if found.by == "stranger":
        # P161
        yield (
            f"What {name} reveals is what its author says; hansa knows nothing of it, and a policy "
            "believes it only with stated=True."
        )


def _unbounded(plan: Plan, loose: set[str]) -> Iterator[str]:
    """What a single client could write as large as it likes; loose: the blocks without a bound."""
    if update := [name for name in plan.encoded_spec.update if name in loose]:
        cause = ""
        if "weight" in loose:
            cause = " (a client may count for any number of examples)"
        # P9
        yield (
            f"Nothing bounds {listed(update)}{cause}: a single client could move the model as far "
            "as it likes."
        )
    if told := [name for name in reported(plan) if name in loose]:
        # P9
        yield (
            f"Nothing bounds {listed(told)}: a single client could make what is reported "
            "meaningless."
        )


def _moved(plan: Plan) -> Iterator[str]:
    """How far one client can move the mean of what is proven, beside as few others as a round may
    end with: the quorum, or as many as the aggregator wants.

    Told for others that weigh least and that weigh most; where nothing is proven, nothing is told.
    """
    encoded = plan.encoded_spec
    others = max(plan.sample.quorum, plan.aggregator.min_clients(plan.sample.most)) - 1
    if not all(map(own, (*plan.pipe, plan.aggregator))):
        return  # what a stranger's makes of a sum is not known
    weights = [1.0]
    where = ""
    apart = ""
    if "weight" in encoded.blocks:
        weights = [encoded.low("weight"), encoded.bounds.get("weight", math.inf)]
        where = " where they weigh {:.4g} each"
        apart = ": its update and its weight are proven, but not that they belong together"
    told = [
        listed([f"{name} by {far:.3g}" for name, far in moved.items()]) + where.format(weight)
        for weight in weights
        if (moved := plan.aggregator.moved(encoded, others * weight))
    ]
    if told:
        yield (
            # P83
            "A client that lies within its bounds stays in the sum. Beside "
            f"{count(others, 'other', 'others')} it moves the mean of {', and '.join(told)}, "
            f"at most{_unit(encoded)}{apart}."
        )


def _unit(spec: Spec) -> str:
    """In what a change of the update is measured, where that is not the number itself."""
    if not spec.learns:
        return ""
    if spec.statistics:
        return " (times the norm that AdaptiveClip has learnt; the statistics as they are)"
    return " (times the norm that AdaptiveClip has learnt)"
