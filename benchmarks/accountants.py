"""ε of the same schedules by four libraries: hansa's ledger, dp-accounting itself, Opacus, pfl.

    python benchmarks/accountants.py

A schedule is a number of steps, each with Gaussian noise z on a Poisson sample of rate q; δ = 1e-6. What is compared
is the data with one of its parts, or with nothing in its place. RDP is an upper bound from Rényi divergences, which
depends on the orders tried; PLD and PRV compute the privacy loss itself, to an error that each states. Opacus tells the
upper end of its error, pfl the middle. What is not installed is left out.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from itertools import product
from typing import Any

import dp_accounting as dp
from common import save
from dp_accounting import pld, rdp

from hansa.privacy.ledger import Ledger
from hansa.privacy.mechanisms import Release
from hansa.transforms.curves import Gaussian

DELTA = 1e-6
NOISES = (0.6, 0.8, 1.1, 2.0, 5.0)
PLANS = ((0.001, 1000), (0.001, 10_000), (0.005, 2000), (0.01, 100), (0.01, 1000), (0.02, 500), (0.05, 20), (0.05, 200),
         (0.2, 20), (1.0, 5))  # fmt: skip

Schedule = tuple[float, float, int]  # z, q, steps


def hansa(kind: Any) -> Callable[[Schedule], float | None]:
    """The ledger of examples."""

    def epsilon(s: Schedule) -> float | None:
        release = Release(Gaussian(s[0]), "poisson", s[1])
        return Ledger(accountant=kind, unit="example").plus(release, s[2]).epsilon(DELTA)

    return epsilon


def direct(accountant: Any) -> Callable[[Schedule], float]:
    """dp-accounting, called directly."""

    def epsilon(s: Schedule) -> float:
        event = dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(s[1], dp.GaussianDpEvent(s[0])), s[2])
        return float(accountant().compose(event).get_epsilon(DELTA))

    return epsilon


def opacus(name: str) -> Callable[[Schedule], float]:
    """One of Opacus's accountants."""
    import opacus.accountants

    def epsilon(s: Schedule) -> float:
        accountant = getattr(opacus.accountants, name)()
        accountant.history = [s]
        return float(accountant.get_epsilon(DELTA))

    return epsilon


def pfl(name: str) -> Callable[[Schedule], float]:
    """One of pfl's accountants."""
    from pfl.privacy import privacy_accountant

    kind = getattr(privacy_accountant, name)
    return lambda s: float(kind(num_compositions=s[2], sampling_probability=s[1], mechanism="gaussian", delta=DELTA,
                                noise_parameter=s[0]).epsilon)  # fmt: skip


def accountants() -> dict[str, Callable[[Schedule], float | None]]:
    """Those that are installed, by the name of their column."""
    found: dict[str, Callable[[Schedule], float | None]] = {"hansa_rdp": hansa("rdp"), "hansa_pld": hansa("pld")}
    found |= {"direct_rdp": direct(rdp.RdpAccountant), "direct_pld": direct(pld.PLDAccountant)}
    if find_spec("opacus"):
        found |= {"opacus_rdp": opacus("RDPAccountant"), "opacus_prv": opacus("PRVAccountant")}
    if find_spec("pfl"):
        names = {"rdp": "RDPPrivacyAccountant", "pld": "PLDPrivacyAccountant", "prv": "PRVPrivacyAccountant"}
        found |= {f"pfl_{column}": pfl(name) for column, name in names.items()}
    return found


def main() -> None:
    """Every schedule by every accountant."""
    warnings.simplefilter("ignore")  # of orders at the end of their range
    logging.getLogger("absl").setLevel(logging.ERROR)
    rows = []
    for z, (q, steps) in product(NOISES, PLANS):
        found: dict[str, float | None] = {}
        for name, epsilon in accountants().items():
            try:
                found[name] = epsilon((z, q, steps))
            except (RuntimeError, ValueError) as error:
                print(f"{name}, z = {z}, q = {q}, {steps} steps: {error}")
                found[name] = None
        rows.append({"noise": z, "rate": q, "steps": steps, "delta": DELTA, **found})
        print(rows[-1], flush=True)
    print(save("accountants", rows))


if __name__ == "__main__":
    main()
