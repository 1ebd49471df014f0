"""Membership inference: was this record trained on?

It is asked of the final model. The attacker runs the plan itself, with and without the record, and
looks at which of these runs the model in question is more like.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..app import App
from ..app.clients import clients_of
from ..app.compare import pooled
from ..data import Examples
from ..errors import AppError, refuse
from ..spec import Vector
from .bounds import area, curve, rate_at

LIMIT = 0.01  # false positives
SURE = 1e-12  # a confidence closer to 1 than that is not told apart
LEAST_RUNS = 4


@dataclass(frozen=True)
class Membership:
    """What membership inference found: each run was attacked, with the others as its shadows."""

    scores: Vector  # [runs · records] log-likelihood ratios
    truth: Vector  # [runs · records] bool: was the record in that run?
    runs: int
    records: int

    @cached_property
    def curve(self) -> tuple[Vector, Vector]:
        """(false positive rates, true positive rates)."""
        return curve(self.scores, self.truth)

    @property
    def area(self) -> float:
        """Area under that curve: ½ for an attack that learns nothing."""
        return area(*self.curve)

    @property
    def rate(self) -> float:
        """True positive rate where one false alarm in a hundred is allowed."""
        return rate_at(*self.curve, LIMIT)


def membership(
    app: App, runs: int = 9, records: int = 500, rounds: int | None = None
) -> Membership:
    """Run the plan several times, each time on half of every client's records; tell halves apart.

        φ = log p − log(1 − p),    p = exp(−loss)
        score = log N(φ; μ_in, σ²_in) − log N(φ; μ_out, σ²_out)

    φ is of a record under the final model that is attacked; μ its means over the shadow runs with
    and without it; σ² is over all records, since few runs say nothing of one. The attacker knows
    all records but not the coins, and can run the plan itself. AppError where the app leaves no
    room for it: too few runs, a model without a loss, a client with one record.   (Carlini et al.
    2022, Alg. 1, with the global variance of §VI)
    """
    app = app.asked()
    _possible(app, runs)
    whole = {client.who: pooled([client.parts[0]]) for client in clients_of(app)}
    counts = {who: len(data) for who, data in whole.items()}
    key = app.known_plan.key.child("membership")
    chosen = _chosen(counts, records, key)
    inside = list[Vector]()
    values = list[Vector]()
    for run in range(runs):
        halves = {who: _half(n, key.child("half", run, who)) for who, n in counts.items()}
        data = {who: whole[who].take(half) for who, half in halves.items()}
        x = _trained(app, data, run, rounds)
        inside.append(np.array([halves[who][row] for who, row in chosen]))
        values.append(np.array([_logit(app, x, whole[who].take([row])) for who, row in chosen]))
    members = np.array(inside)  # [runs, records]
    logits = np.array(values)  # [runs, records]
    scores = [_ratio(logits, members, run) for run in range(runs)]
    return Membership(np.concatenate(scores), members.ravel(), runs, len(chosen))


def _possible(app: App, runs: int) -> None:
    """AppError where the attack cannot be made."""
    lonely = [who for who, data in app.sources.items() if len(Examples.of(data)) < 2]
    wrong = [
        (
            runs < LEAST_RUNS,
            f"{runs} runs leave too few shadows.",
            "Each record must be in some and out of others.",
            "Write 9 runs, say.",
        ),
        (
            "loss" not in app.known_plan.model.metrics,
            f"{app.known_plan.model!r} tells no loss.",
            "The attack reads off it how sure the model is of a record.",
            "Leave out the attack `membership`.",
        ),
        (
            bool(lonely),
            f"{', '.join(map(str, lonely[:3]))} has a single record.",
            "The attack runs the plan on half of every client's records.",
            "Leave out the attack `membership`.",
        ),
    ]
    refuse(wrong, AppError)


def _chosen(counts: dict[str, int], records: int, key: Any) -> list[tuple[str, int]]:
    """The records that are guessed at: all, or so many of them at random."""
    every = [(who, row) for who, n in counts.items() for row in range(n)]
    if len(every) <= records:
        return every
    drawn = key.child("records").rng().choice(len(every), records, replace=False)
    return [every[i] for i in np.sort(drawn)]


def _half(n: int, key: Any) -> Vector:
    """A random half of n records; no client is left without any."""
    return np.asarray(key.rng().permutation(n) < max(1, n // 2))


def _trained(app: App, data: dict[str, Any], run: int, rounds: int | None) -> Vector:
    """The final model of one run on these data, whose draws are those of no other run."""
    plan = app.known_plan
    training = replace(plan.training, validation=0.0)
    plan = replace(
        plan,
        training=training,
        rounds=rounds or plan.rounds,
        seed=plan.key.child("run", run).seed(),
    )
    bare: dict[str, Any] = dict.fromkeys(("test", "budget", "first", "prepare", "answer"))
    for state in replace(app, plan=plan, data=data, track=(), **bare).run():
        x = state.x
    return x


def _logit(app: App, x: Vector, record: Any) -> float:
    """φ of one record under a model, where p is kept SURE away from 0 and 1."""
    loss = min(max(app.known_plan.model.score(x, record)["loss"], SURE), -math.log(SURE))
    return -loss - math.log(-math.expm1(-loss))


def _ratio(logits: Vector, members: Vector, run: int) -> Vector:
    """The score of each record in one run, by the others, [records].

    logits, members: [runs, records] φ, and whether the record was in that run.
    """
    others = np.arange(len(logits)) != run
    value = logits[run]
    parts = []
    for side in (True, False):
        there = (members == side) & others[:, None]
        n = there.sum(0)
        total = np.where(there, logits, 0.0).sum(0)
        mean = np.where(n, total / np.maximum(n, 1), logits[others].mean(0))
        variance = (np.where(there, logits - mean, 0.0) ** 2).sum() / max(
            1, (n - 1).clip(0).sum()
        ) + 1e-12
        parts.append(-((value - mean) ** 2) / (2 * variance) - math.log(variance) / 2)
    return np.asarray(parts[0] - parts[1])
