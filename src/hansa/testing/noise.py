"""What noise promises.

    its key       equal keys and sums give equal draws; beside another sum it draws others
    its scales    it is as large in each block as plan() declares, and no draw goes beyond its reach
    its curve     non-negative, rising with the order, and falling with the noise
    no more       two sums that one client tells apart are no farther apart than the curve says
    in words      describe() is one clause on who draws it

The last but one is tried as an attacker would: many draws of both sums, and events that the one
makes likelier than the other. It shows that a curve is wrong, and never that one is right: with N
draws and a multiplier of about 1, a curve that says a tenth of what there is is found.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..errors import PlanError
from ..spec import Spec, SumFacts, Vector
from ..transforms import Pipe, Transform
from ..transforms.compress import Quantize
from ..transforms.curves import Mechanism, Orders, fault, stating
from .asserts import check_clause, require
from .transform import check_transform, decoded_sum

N = 2000  # sums that are drawn of each kind
DOUBT = 5.0  # standard errors that a frequency is given on either side
LIKE = 0.2  # how far the sizes of two blocks' noise may be from what is declared of them
ORDERS = np.array([1.25, 1.5, 2.0, 3.0, 4.0, 8.0, 16.0, 32.0, 64.0])
QUANTILES = np.linspace(0.005, 0.995, 67)
STEPS = Quantize(16)  # before noise in whole numbers
BOUNDS = {"delta": 1.0, "control": 4.0, "second": 0.5, "third": 2.0}
FACTS: dict[str, Any] = {"weighed": True, "sum_facts": SumFacts(rounds=1)}
SPECS = (  # where noise is at its tightest, and where blocks share what is given away
    Spec({"delta": 1}, bounds={"delta": 1.0}, **FACTS),
    Spec(dict.fromkeys(BOUNDS, 9), bounds=BOUNDS, **FACTS),
)
NEARLY = 0.98765  # of the most that a client may change: on no grid that its bounds are on


class Tried(NamedTuple):
    """Noise behind what it needs, and what it states of a sum of n vectors."""

    noise: Transform
    pipe: Pipe
    n: int
    mechanism: Mechanism


def check_noise(noise: Transform, specs: Iterable[Spec] = SPECS) -> None:
    """Hold noise to its draws, and to the curve that its `privacy` states.

        D_α(P(E) ‖ Q(E)) ≤ D_α(P ‖ Q) ≤ divergence(α)    for every event E, and both ways round

    specs: the vectors that it is tried on, bounded and weighed; behind Quantize where it wants
    whole numbers. It is a transform as well, so `check_transform` holds. Noise that states no curve
    has no ε, and is held by that alone. AssertionError names the first promise that is broken.

    (Mironov 2017, Prop. 3: data processing; van Erven and Harremoës 2014, Thm 9)
    """
    check_clause(noise, noise.describe(), "describe()")
    for spec in specs:
        tried = _tried(noise, spec)
        if len(tried.pipe.transforms) == 1:  # whole numbers mean nothing without what made them
            check_transform(noise, tried.pipe.specs[0])
        _drawn_beside(tried)
        _curve(tried)
        near = _sums(tried, np.zeros(spec.size), "without")
        _scales(tried, near)
        for direction in _directions(spec):
            far = _sums(tried, direction, "with")
            _no_more(tried, near, far, direction)


def _tried(noise: Transform, spec: Spec) -> Tried:
    """The noise in a pipe that it accepts, in a sum of as many vectors as make it whole."""
    for before in ((), (STEPS,)):
        try:
            pipe = Pipe.of((*before, noise), spec)
        except PlanError as error:
            refused = error
            continue
        declared = pipe.specs[-1].noise
        require(declared.multiplier > 0, f"{noise!r}: plan() declares no noise; give spec.noise.")
        require(
            stating(noise) is not None,
            f"{noise!r}: nobody has stated what it gives away; write privacy() in the class that "
            "draws. Without one there is no ε, and check_transform is all that holds it.",
        )
        n = declared.least
        stated: Any = noise.privacy(pipe.specs[-1], n)
        why = fault(stated)
        require(not why, f"{noise!r}: what privacy() states is no curve: {why}.")
        return Tried(noise, pipe, n, stated.during(0))
    raise AssertionError(
        f"{noise!r}: plan() accepts none of the specs tried; give one by specs=…\n  {refused}"
    )


def _divergence(mechanism: Mechanism) -> Orders:
    """What counts: that of the Gaussian where it says it is one, and else its own."""
    if mechanism.gaussian:
        return ORDERS / (2 * mechanism.gaussian**2)
    return np.asarray(mechanism.divergence(ORDERS), np.float64)


def _sum(tried: Tried, v: Vector, *path: object) -> Vector:
    """The decoded sum [size] of v and n − 1 zeros, with all noise that is drawn on the way."""
    rows = np.zeros((tried.n, len(v)))
    rows[0] = v
    return decoded_sum(tried.pipe, tried.pipe.start(), rows, "noise", *path)


def _sums(tried: Tried, v: Vector, name: str) -> Vector:
    """N sums [N, size] with v in them, each with draws of its own."""
    return np.stack([_sum(tried, v, name, i) for i in range(N)])


def _drawn_beside(tried: Tried) -> None:
    """Draws are those of the key and the sum: who sees two sums cannot subtract the noise."""
    zeros = np.zeros(tried.pipe.specs[0].size)
    v = zeros.copy()
    v[0] = next(iter(tried.pipe.specs[0].bounds.values())) / 2
    noise = _sum(tried, zeros, 0)
    require(
        (noise == _sum(tried, zeros, 0)).all(),
        f"{tried.noise!r}: equal keys and sums must give equal draws; draw from `key` alone.",
    )
    size = float(np.sqrt(np.mean(noise**2)))
    apart = [_sum(tried, zeros, 1) - noise, _sum(tried, v, 0) - v - noise]
    alike = [np.abs(one).max() <= 1e-3 * size for one in apart]
    require(not alike[0], f"{tried.noise!r}: another key must give other draws.")
    require(
        not alike[1],
        f"{tried.noise!r}: the same noise is drawn beside two sums, so their difference shows what "
        "it hides; draw from at.key.beside(v).",
    )


def _curve(tried: Tried) -> None:
    """More noise gives less away."""
    found = _divergence(tried.mechanism)
    require(
        (np.diff(found[np.isfinite(found)]) >= 0).all(),
        f"{tried.noise!r}: the divergence that it states falls with its order.",
    )
    louder: Any = tried.noise
    if not hasattr(louder, "noise"):
        return
    louder = replace(louder, noise=2 * louder.noise)
    quieter = _divergence(_tried(louder, tried.pipe.specs[0]).mechanism)
    require(
        (quieter <= found).all(),
        f"{louder!r}: it states a larger divergence than {tried.noise!r}; more noise hides more.",
    )


def _scales(tried: Tried, noise: Vector) -> None:
    """In each block it is as large as declared, beside the others, and within its reach."""
    declared = tried.pipe.specs[-1].noise
    spec = tried.pipe.specs[-2]
    sizes = {
        name: float(noise[:, spec.slice(name)].std()) / (scale * spec.sum_facts.bounds[name])
        for name, scale in declared.scales.items()
    }
    first = next(iter(sizes.values()), 1.0)
    for name, size in sizes.items():
        require(
            abs(size / first - 1) <= LIKE,
            f"{tried.noise!r}: its noise on {name!r} is {size / first:.3g} times as large as "
            "plan() declares, beside the other blocks.",
        )
    for name, reach in declared.reach.items():
        most = float(np.abs(noise[:, spec.slice(name)]).max())
        require(
            most <= tried.n * reach * (1 + 1e-9),
            f"{tried.noise!r}: a draw of {most:.3g} on {name!r} goes beyond its reach, "
            f"{reach:.3g} for each of {tried.n} clients; declare a larger `tail`.",
        )


def _directions(spec: Spec) -> list[Vector]:
    """What one client may change, nearly at most: in one number of each block, or in all."""
    one = np.zeros(spec.size)
    spread = np.zeros(spec.size)
    for name, bound in spec.bounds.items():
        place = spec.slice(name)
        one[place.start] = NEARLY * bound
        spread[place] = NEARLY * bound / spec.blocks[name] ** 0.5
    if spec.size == 1:
        return [one]
    return [one, spread]


def _no_more(tried: Tried, near: Vector, far: Vector, v: Vector) -> None:
    """No event shows that the sums are farther apart than is stated.

    T = Σ vⱼ·outⱼ / σⱼ² is what tells Gaussian sums apart best; events are T ≥ t, and that T is a
    number which was seen before: noise on a grid hides nothing that is not on it.
    """
    variance = near.var(0)
    require((variance[v != 0] > 0).all(), f"{tried.noise!r}: it draws nothing for some numbers.")
    weights = np.divide(v, variance, out=np.zeros_like(v), where=v != 0)
    T = [sums @ weights for sums in (near, far)]
    half = N // 2
    cuts = np.quantile(np.concatenate(T), QUANTILES)
    events = [[(t >= cut).mean() for cut in cuts] for t in T]
    for seen in (near[:half] @ weights, far[:half] @ weights):
        for rates, t in zip(events, T, strict=True):
            rates.append(np.isin(t[half:], seen).mean())
    p, q = (np.array(rates) for rates in events)
    stated = _divergence(tried.mechanism)
    found = np.maximum(_shown(p, q), _shown(q, p))
    worst = int(np.argmax(found - stated))
    require(
        (found <= stated).all(),
        f"{tried.noise!r}: it states a divergence of {stated[worst]:.3g} at order "
        f"{ORDERS[worst]:g}, and {N} draws show {found[worst]:.3g} at least; state more, draw "
        "more, or, where its draws lie on a grid, add it behind Quantize.",
    )


def _shown(p: Vector, q: Vector) -> Orders:
    """The divergence at each order that the frequencies of events show, p of the one, q of the
    other.

        log(p^α·q^(1 − α) + (1 − p)^α·(1 − q)^(1 − α)) / (α − 1)

    Each is given its doubt, towards the other, so that chance shows nothing (Wilson 1927).
    """
    least = _cautious(p, -DOUBT)
    most = _cautious(q, DOUBT)
    α = ORDERS[:, None]
    with np.errstate(divide="ignore"):
        inside = α * np.log(least) + (1 - α) * np.log(most)
        outside = α * np.log(1 - least) + (1 - α) * np.log(1 - most)
    bounds = np.logaddexp(inside, outside) / (α - 1)
    return np.asarray(np.where(least > most, bounds, 0.0).max(1))


def _cautious(rate: Vector, doubt: float) -> Vector:
    """The end of Wilson's interval on this side, for a rate among N / 2 draws or more."""
    n = N / 2
    middle = rate + doubt**2 / (2 * n)
    spread = np.sqrt(rate * (1 - rate) / n + doubt**2 / (4 * n**2))
    end = (middle + doubt * spread) / (1 + doubt**2 / n)
    return np.asarray(np.clip(end, 1e-12, 1 - 1e-12))
