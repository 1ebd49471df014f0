"""A driver that makers of cars of four styles have taught together, scored by where it gets to: crashes and speed.

    python benchmarks/highway.py            all, and the GIF of docs/uses/driving.md

The plan is that of examples/highway.py. Each policy drives the same trips, in traffic of another key than that of
the trips for training.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from common import ROOT, save
from PIL import Image
from uses import example, run

from hansa.app.compare import trained_alone
from hansa.data import Examples
from hansa.datasets.highway import ACTIONS, STYLES, Policy, by_style, drive
from hansa.rand import Key

TRIPS = 20
PICTURE = ROOT / "docs" / "uses" / "highway.gif"


def rows(seed: int) -> Iterator[dict[str, Any]]:
    """What each policy does in the same traffic; and how it agrees with each style on trips held out."""
    found, plan = example("highway", seed)
    train, test = found["app"].data, found["app"].test
    driver: Callable[[Any], Policy] = found["driver"]
    state, own = run(found["app"].__class__(plan, train, policies=found["app"].policies))
    policies: dict[str, tuple[Policy, str]] = {"federated": (driver(state.x), "")}
    for maker in train:
        alone = trained_alone(plan, maker, Examples.of(train[maker]), plan.rounds)
        policies[f"{maker}: own, by Ditto"] = driver(own[maker][0]), maker
        policies[f"{maker}: alone"] = driver(alone), maker
        policies[f"{maker}: whom it learns from"] = partial(by_style, STYLES[maker]), maker
    policies["idle at all times"] = (lambda _: ACTIONS.index("idle")), ""
    for name, (policy, maker) in policies.items():
        begun = time.perf_counter()
        trips = [drive(policy, Key.of(1).child("trip", i)) for i in range(TRIPS)]
        agrees = [agreement(policy, *test[one]) for one in ([maker] if maker else test)]
        row = {
            "row": name,
            "seed": seed,
            "trips": TRIPS,
            "crashes": sum(trip.crashed for trip in trips),
            "speed": float(np.mean([trip.speed for trip in trips])),
            "accuracy": float(np.mean([one[0] for one in agrees])),
            "balanced": float(np.mean([one[1] for one in agrees])),
            "seconds": time.perf_counter() - begun,
        }
        print(row, flush=True)
        yield row
    film(driver(state.x))


def agreement(policy: Policy, X: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The share of places [n] where a policy does the same, and the mean of the shares of each action."""
    told = np.array([policy(seen) for seen in X])
    each = [float((told[y == action] == action).mean()) for action in np.unique(y)]
    return float((told == y).mean()), float(np.mean(each))


def film(policy: Policy) -> None:
    """Fifteen seconds of a trip, as a GIF of at most 200 kB."""
    trip = drive(policy, Key.of(1).child("trip", 0), seconds=15, pictures=True)
    colours = {"colors": 64, "method": Image.Quantize.FASTOCTREE, "dither": Image.Dither.NONE}
    shown = [Image.fromarray(one).resize((420, 105)).quantize(**colours) for one in trip.pictures]
    if np.ptp(trip.pictures[0]) == 0:
        raise SystemExit("The pictures are black. Unset SDL_VIDEODRIVER, and run it again.")
    shown[0].save(PICTURE, save_all=True, append_images=shown[1:], duration=250, loop=0, optimize=True)
    if PICTURE.stat().st_size > 200_000:
        raise SystemExit(f"{PICTURE} has {PICTURE.stat().st_size:,} bytes.")


def main() -> None:
    """Run the seeds that are named, or the first, and save them."""
    save("highway", [row for seed in map(int, sys.argv[1:] or ["0"]) for row in rows(seed)])


if __name__ == "__main__":
    main()
