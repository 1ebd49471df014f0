"""What is promised to a client, and to each of its examples.

    Pr[conclusion | it took part] ≤ e^ε · Pr[conclusion | neighbour] + δ

ε and δ of a client come from the ledger of the whole plan (`hansa.privacy`), with those of a survey
that is asked before. An example has an ε of its own, from the noise of its client's training; it
depends on how many examples the client has, which nobody else needs to know, and so it is told for
three sizes. Where there is no ε, the reason stands in its place.   (Dwork and Roth 2014, Def. 2.4)
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..plan import Plan
from ..privacy import examples, planned_privacy
from ..privacy.ledger import Guarantee, Ledger, default_delta, taken_on_trust
from ..privacy.planned import noise_piece
from .words import Section, count, many, whose

WORTH = 20.0  # above that ε bounds nothing that anybody could mean: e^20 is 5 · 10⁸
SIZES = (100, 1_000, 10_000)  # of clients, whose examples ε is told for


def of_clients(plan: Plan, population: int | None, delta: float, first: Plan | None) -> Section:
    """ε of all rounds for one client, or why there is none.

    With a survey before the rounds, what both have given away adds up, and both figures are told.
    """
    alone = planned_privacy(plan, population)
    before = Ledger() if first is None else planned_privacy(first, population)
    promise = before.merge(alone).guarantee(delta)
    if promise.epsilon is None:
        cause = ""
        if before.why and not alone.why:
            cause = "of the survey before the rounds, "
        # P29
        text = f"There is no ε for a client: {cause}{promise.why}."
        return Section("Differential privacy", text, ("", ""), ())
    counted = "all rounds"
    rows = [(f"after {count(plan.rounds, 'round', 'rounds')}", _epsilon(alone.guarantee(delta)))]
    if first is not None:
        counted = "all rounds and the survey before them"
        rows.append(("with the survey before them", _epsilon(promise)))
    noise = plan.sum_spec.noise
    rows += [
        ("unit of privacy", f"one {promise.unit}, and all it says in all rounds"),
        ("what is compared", f"the federation {promise.neighbours}"),
        ("noise", f"multiplier {noise.multiplier:g}; {_drawn(plan)}"),
    ]
    return Section("Differential privacy", _meant(promise, counted), ("", ""), tuple(rows))


def _meant(promise: Guarantee, counted: str) -> str:
    """What ε at δ means for a client, in odds; where it is too large to mean anything, that.

        Pr[conclusion | it took part] ≤ e^ε · Pr[conclusion | neighbour] + δ

    counted: of which rounds. Of an ε above 709 e^ε is no number that a machine has.
    """
    assert promise.epsilon is not None
    told = f"What the models of {counted} tell of one client, whether it took part or what it holds"
    if promise.epsilon > WORTH:
        return f"{told}, has no bound worth the name: ε is above {WORTH:g}."
    odds = math.exp(promise.epsilon)
    # P26
    return (
        f"{told}, is bounded: any conclusion about it is at most e^ε = {odds:.3g} times as likely "
        f"as {promise.neighbours.split(' or ')[-1]}, but for a chance of δ = {promise.delta:.2g}."
    )


def of_examples(plan: Plan, first: Plan | None) -> Iterator[Section]:
    """ε of all rounds for one example of a client, where its training draws noise; else nothing.

    Yields one section at most, with a row for each of SIZES.
    """
    private = plan.training.private
    if private is None:
        return
    text = (
        # P36
        f"Each example's gradient is clipped to norm {private.clip:g}, and each local step draws "
        f"noise of multiplier {private.noise:g}. So what a client says hides each of its examples, "
        "from the server too; it does not hide the client. Compared are its data with the example, "
        "or with nothing in its place: how many examples it has is no secret."
    )
    if first is not None:
        # P142
        text += (
            " This does not count the survey before the first round, which has no ε for an example."
        )
    after = f"for each example, after {count(plan.rounds, 'round', 'rounds')}"
    rows = tuple(_of_size(plan, n) for n in SIZES)
    yield Section(
        "Differential privacy of an example", text, ("a client of", "trains", after), rows
    )


def _of_size(plan: Plan, n: int) -> tuple[str, str, str]:
    """How a client of n examples trains in a round, and ε of all rounds for each of them."""
    promise = examples(plan, n).guarantee(default_delta(n))
    batch, steps = plan.training.counts(n)
    epsilon = promise.why
    if promise.epsilon:
        epsilon = f"at δ = {promise.delta:.2g}: ε = {promise.epsilon:.4g}"
    return (
        f"{many(n)} examples",
        f"{steps} steps a round, on {batch} examples on average",
        epsilon,
    )


def _epsilon(promise: Guarantee) -> str:
    """ε at δ, and whose word on the noise it rests on; or why there is none."""
    if promise.epsilon is None:
        return f"no ε: {promise.why}"
    found = f"ε = {promise.epsilon:.4g} at δ = {promise.delta:.2g}"
    if promise.stated:
        return f"{found}, {taken_on_trust(promise.stated)}"
    return found


def _drawn(plan: Plan) -> str:
    """How the noise of the sum is drawn, in the words of the piece that draws it."""
    noise = noise_piece(plan)
    if noise is None:
        return ""
    return noise.describe() + whose(noise)
