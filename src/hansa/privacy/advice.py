"""In words, how much noise keeps a budget, for one who has no plan yet.

Noise is named as a multiplier z, so that it can be written into a plan as it is. Beside it stands
what it does to the mean, z/n of what one client can change in the sum of n: by that one sees
whether a model can still learn.
"""

from __future__ import annotations

from dataclasses import replace

from ..errors import AppError
from ..training import Training
from ..transforms.curves import Gaussian
from .calibrate import calibrate
from .ledger import Budget, Ledger, default_delta
from .mechanisms import Release


def advice(
    epsilon: float,
    delta: float | None,
    rounds: int,
    clients: tuple[int, int],
    uniform: bool = False,
) -> str:
    """In words, how much noise keeps so many rounds within ε at δ; `clients` are those in all, and
    in a round.

    delta: by default 1/N^1.1. uniform: exactly so many in each round, or so many on average. Raises
    AppError for a cohort that is larger than the population, PlanError where no noise is enough.
    """
    population, cohort = clients
    if cohort > population:
        raise AppError(
            f"A cohort of {cohort} cannot be drawn from {population} clients.",
            "A client is in a round once.",
            f"Write --cohort {population} or fewer.",
        )
    budget = _budget(epsilon, delta, population)
    sample = "Everyone()"
    release = Release(Gaussian(1.0))
    if cohort < population and uniform:
        sample = f"Uniform({cohort})"
        release = Release(Gaussian(1.0), "uniform", cohort, population)
    elif cohort < population:
        sample = f"Poisson({cohort / population:.6g})"
        release = Release(Gaussian(1.0), "poisson", cohort / population)
    z = calibrate(budget, release, rounds)
    found = Ledger().plus(replace(release, mechanism=Gaussian(z)), rounds).guarantee(budget.delta)
    return (
        f"GaussianNoise({z:g}) with sample={sample}: {found} after {rounds} rounds. A mean over "
        f"{cohort} clients then carries noise of {z / cohort:.3g} times what one client can change "
        "in the sum."
    )


def advice_of_examples(
    epsilon: float, delta: float | None, rounds: int, n: int, training: Training
) -> str:
    """In words, how much noise in local training keeps so many rounds within ε at δ, for each of n
    examples.

    Each local step is a release, with each example in it with probability b/n (DP-SGD; Abadi et al.
    2016). b and the number of steps follow from `training`; delta is by default 1/n^1.1.
    """
    b, steps = training.counts(n)
    budget = _budget(epsilon, delta, n)
    release = Release(Gaussian(1.0), "poisson", b / n)
    z = calibrate(budget, release, rounds * steps)
    found = (
        Ledger(unit="example")
        .plus(replace(release, mechanism=Gaussian(z)), rounds * steps)
        .guarantee(budget.delta)
    )
    return (
        f"PerExample(clip, {z:g}) in a client of {n} examples: {found} after {rounds} rounds of "
        f"{steps} steps each, on batches of {b} on average. The mean gradient of a step then "
        f"carries noise of {z / b:.3g} times the clip."
    )


def _budget(epsilon: float, delta: float | None, n: int) -> Budget:
    """ε at δ, or at the δ that n clients or examples take where none is named."""
    if delta is None:
        return Budget(epsilon, default_delta(n))
    return Budget(epsilon, delta)
