"""How much noise a budget takes.

No formula is inverted: the accountant that will count the run is asked for one z after another, so
that what is calibrated is what is later found spent.
"""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.util import find_spec
from typing import Literal

from ..errors import PlanError
from ..transforms.curves import Gaussian, Laplace
from .ledger import MISSING, Budget, Ledger
from .mechanisms import Release

LARGEST = 1e6  # noise multiplier that calibration tries


def calibrate(
    budget: Budget, release: Release, rounds: int, accountant: Literal["rdp", "pld"] = "rdp"
) -> float:
    """The least noise multiplier z, to four digits, with which `rounds` releases stay within the
    budget.

    `release` says the sampling and what is drawn, Gaussian or Laplace; its z does not count. ε
    falls as z grows, so halving an interval finds it. Raises PlanError for rounds and mechanisms
    that cannot be calibrated, for a budget that no z ≤ LARGEST keeps, and where dp-accounting is
    not installed.
    """
    _check(rounds)
    kind = _kind(release)

    def enough(z: float) -> bool:
        return budget.allows(
            Ledger(accountant=accountant).plus(replace(release, mechanism=kind(z)), rounds)
        )

    high = 1.0
    while not enough(high):
        high *= 2
        if high > LARGEST:
            raise PlanError(
                f"No noise keeps {rounds} rounds within ε = {budget.epsilon:g} at δ = "
                f"{budget.delta:g}.",
                f"Not even a multiplier of {LARGEST:g} does, by this accountant.",
                "Allow a larger ε or δ.",
            )
    low = high / 2
    while low > 1e-3 and enough(low):
        high = low
        low /= 2
    while high / low > 1 + 1e-5:
        middle = math.sqrt(low * high)
        if enough(middle):
            high = middle
        else:
            low = middle
    unit = 10.0 ** (math.floor(math.log10(high)) - 3)
    return float(f"{math.ceil(high / unit) * unit:.4g}")


def _check(rounds: int) -> None:
    """Refuse what cannot be computed, before anything is tried."""
    if find_spec("dp_accounting") is None:
        raise PlanError(
            "The noise cannot be calibrated.",
            f"{MISSING[0].upper()}{MISSING[1:].split(': ')[0]}.",
            "Install it: pip install 'hansa[privacy]'.",
        )
    if not isinstance(rounds, int) or rounds < 1:
        raise PlanError(
            f"{rounds!r} rounds need no noise.",
            "It counts rounds.",
            "Write for example rounds=200.",
        )


def _kind(release: Release) -> type[Gaussian | Laplace]:
    """The class of the noise whose multiplier is looked for."""
    if not isinstance(release.mechanism, Gaussian | Laplace):
        raise PlanError(
            f"{release.mechanism!r} cannot be calibrated.",
            "It has no one multiplier.",
            "Write Release(Gaussian(1.0)).",
        )
    return type(release.mechanism)
