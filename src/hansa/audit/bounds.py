"""What guesses prove: a lower bound on ε from how many were right, and the curve of a score.

A mechanism that is (ε, δ)-private lets nobody guess a fair coin better than e^ε to 1. So if many
guesses are right, ε is large; how large at least, at what confidence, is what is computed here.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from ..errors import AppError
from ..spec import Vector

CONFIDENCE = 0.95
# of the canaries, how many are guessed at; the others are abstained from
SHARES = (0.05, 0.1, 0.2, 0.4)
CLOSE = 1e-4  # how closely ε is found


def p_value(m: int, r: int, v: int, epsilon: float, delta: float) -> float:
    """How likely v right guesses of r about m coins are at most, where (ε, δ)-privacy holds.

        f(v) + 2mδ · max_{1≤i≤v} (f(v − i) − f(v)) / i,    f(k) = Pr[Binomial(r, q) ≥ k]
        q = e^ε / (1 + e^ε)

    AppError unless 0 ≤ v ≤ r ≤ m.   (Steinke, Nasr and Jagielski 2023, Thm 5.2 and Cor. 5.4)
    """
    if not 0 <= v <= r <= m:
        raise AppError(
            f"{v} of {r} guesses about {m} canaries cannot be right.",
            "Each canary is guessed at once at most, and a guess is right or wrong.",
            "Write 0 ≤ v ≤ r ≤ m.",
        )
    at_least = np.append(np.cumsum(_binomial(r, epsilon)[::-1])[::-1], 0.0)  # [r + 2] f
    slope = (at_least[:v][::-1] - at_least[v]) / np.arange(1, v + 1)
    return float(min(1.0, at_least[v] + 2 * m * delta * slope.max(initial=0.0)))


def lower_bound(m: int, r: int, v: int, delta: float, confidence: float = CONFIDENCE) -> float:
    """The largest ε that v right guesses of r about m coins refute, at δ and at this confidence.

        max {ε: p_value(m, r, v, ε, δ) < 1 − confidence},    to within CLOSE

    0 where they refute none.
    """
    level = 1 - confidence
    high = 1.0
    if p_value(m, r, v, 0.0, delta) >= level:
        return 0.0
    while p_value(m, r, v, high, delta) < level:
        high *= 2
    low = 0.0
    while high - low > CLOSE:
        middle = (low + high) / 2
        if p_value(m, r, v, middle, delta) < level:
            low = middle
        else:
            high = middle
    return low


def guessed(scores: Vector, truth: Vector, share: float) -> tuple[int, int]:
    """(guesses, right ones): "in" for the highest scores, "out" for as many of the lowest.

    share: of the scores that are guessed at; from what lies in between the attacker abstains.
    """
    k = max(1, int(len(scores) * share / 2))
    order = np.argsort(scores, kind="stable")
    return 2 * k, int(truth[order[-k:]].sum() + (~truth[order[:k]]).sum())


def curve(scores: Vector, truth: Vector) -> tuple[Vector, Vector]:
    """(false positive rates, true positive rates) of guessing "in" above each threshold.

    Equal scores are one threshold. Both rise from 0 to 1, [thresholds + 1].
    """
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)
    hits = np.cumsum(truth[order])[last]
    misses = np.cumsum(~truth[order])[last]
    return np.append(0.0, misses / max(1, misses[-1])), np.append(0.0, hits / max(1, hits[-1]))


def area(false: Vector, true: Vector) -> float:
    """The area under a curve, by trapezoids: ½ for a coin."""
    return float(np.sum(np.diff(false) * (true[1:] + true[:-1]) / 2))


def rate_at(false: Vector, true: Vector, limit: float) -> float:
    """The highest true positive rate with at most so many false positives."""
    return float(true[false <= limit].max())


def rate_between(rate: float, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """What a rate that was seen in n trials is at least, and at most, each at this confidence.

        (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)       z: the normal's quantile

    (Wilson 1927)
    """
    z = NormalDist().inv_cdf(confidence)
    centre = rate + z * z / (2 * n)
    half = z * math.sqrt(rate * (1 - rate) / n + (z / (2 * n)) ** 2)
    whole = 1 + z * z / n
    return (centre - half) / whole, (centre + half) / whole


def area_of_a_coin(n: int, confidence: float = CONFIDENCE) -> float:
    """Below what the area is where n scores, half of members, say nothing, at this confidence.

    ½ + z √((n + 1) / 3n²)                                     (Mann and Whitney 1947)
    """
    return 0.5 + NormalDist().inv_cdf(confidence) * math.sqrt((n + 1) / 3) / n


def _binomial(n: int, epsilon: float) -> Vector:
    """Pr[Binomial(n, q) = k] for k = 0 … n, q = e^ε / (1 + e^ε)."""
    k = np.arange(n + 1)
    factorial = np.array([math.lgamma(i + 1) for i in k])
    wrong = -math.log1p(math.exp(epsilon))  # log(1 − q)
    return np.asarray(
        np.exp(factorial[n] - factorial - factorial[::-1] + k * (wrong + epsilon) + (n - k) * wrong)
    )
