"""What is promised to a client, and to each of its examples."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..plan import Plan
from ..privacy import examples, planned_privacy
from ..privacy.ledger import Guarantee, Ledger, default_delta, taken_on_trust
from ..privacy.planned import noise_piece
from .words import Section, count, many, whose

SIZES = (100, 1_000, 10_000)  # of clients, whose examples ε is told for


def of_clients(plan: Plan, population: int | None, delta: float, first: Plan | None) -> Section:
    """ε of all rounds for one client, or why there is none."""
    alone = planned_privacy(plan, population)
    before = Ledger() if first is None else planned_privacy(first, population)
    promise = before.merge(alone).guarantee(delta)
    if promise.epsilon is None:
        whose = "of the survey before the rounds, " if before.why and not alone.why else ""
        # P29
        text = f"There is no ε for a client: {whose}{promise.why}."
        return Section("Differential privacy", text, ("", ""), ())
    noise = plan.sum_spec.noise
    odds = math.exp(promise.epsilon)
    text = (
        # P26
        f"What the models of all rounds{' and the survey before them' if first else ''} tell of "
        "one client, whether it "
        "took part or what it holds, is bounded: any "
        f"conclusion about it is at most e^ε = {odds:.3g} times as likely as "
        f"{promise.neighbours.split(' or ')[-1]}, "
        f"but for a chance of δ = {promise.delta:.2g}."
    )
    rows = (
        (f"after {count(plan.rounds, 'round', 'rounds')}", _epsilon(alone.guarantee(delta))),
        *([("with the survey before them", _epsilon(promise))] if first else []),
        ("unit of privacy", f"one {promise.unit}, and all it says in all rounds"),
        ("what is compared", f"the federation {promise.neighbours}"),
        ("noise", f"multiplier {noise.multiplier:g}; {_drawn(plan)}"),
    )
    return Section("Differential privacy", text, ("", ""), rows)


def of_examples(plan: Plan, first: Plan | None) -> Iterator[Section]:
    """ε of all rounds for one example of a client, where its training draws noise."""
    if private := plan.training.private:
        text = (
            # P36
            f"Each example's gradient is clipped to norm {private.clip:g}, and each local step "
            "draws noise of "
            f"multiplier {private.noise:g}. So what a client says hides each of its examples, from "
            "the server too; it "
            "does not hide the client. Compared are its data with the example, or with nothing in "
            "its place: how many "
            "examples it has is no secret."
        )
        if first is not None:
            # P142
            text += (
                " This does not count the survey before the first round, which has no ε for an "
                "example."
            )
        rows = []
        for n in SIZES:
            promise = examples(plan, n).guarantee(default_delta(n))
            batch, steps = plan.training.schedule(n)
            epsilon = (
                f"at δ = {promise.delta:.2g}: ε = {promise.epsilon:.4g}"
                if promise.epsilon
                else promise.why
            )
            rows.append(
                (
                    f"{many(n)} examples",
                    f"{steps} steps a round, on {batch} examples on average",
                    epsilon,
                )
            )
        head = (
            "a client of",
            "trains",
            f"for each example, after {count(plan.rounds, 'round', 'rounds')}",
        )
        yield Section("Differential privacy of an example", text, head, tuple(rows))


def _epsilon(promise: Guarantee) -> str:
    if promise.epsilon is None:
        return f"no ε: {promise.why}"
    trust = f", {taken_on_trust(promise.stated)}" if promise.stated else ""
    return f"ε = {promise.epsilon:.4g} at δ = {promise.delta:.2g}{trust}"


def _drawn(plan: Plan) -> str:
    noise = noise_piece(plan)
    return "" if noise is None else noise.describe() + whose(noise)
