"""Smart meters of Swiss homes: what a home will use in the next hour, or in an hour of tomorrow.

Each home is a client, and counts in its own unit: its mean load. (R package
ResidentialEnergyConsumption 1.1.0: Hopf, Weigert, Weinig, Staake; CC BY-SA 4.0)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..rand import Key
from . import AbsentError, Examples, Found, folder, stand_in

# kwh float32 [537, 4704]: seven weeks of quarters of an hour from a Monday on; household [537]
FILES = {
    "swiss_15min_7weeks.npz": "44167276ed34947a581bb974e2e359047fefdd661aba882235a7301eee909e02"
}
WEEK = 7 * 24  # hours
LEAST = 0.05  # kWh: a home that uses less in a mean hour has nobody in it
MOST = 50.0  # kWh in an hour: more does not go through the fuses of a home
STAND_INS = 60  # homes that are made up

Array = NDArray[np.float64]


def swiss_meters(ahead: int = 1) -> Found:
    """home → hours: inputs float32 [n, 35], targets float32 [n, 1], in units of its own mean load.

        x = 24 loads up to `ahead` hours before, those of this hour 2 … 7 days before,
            sin and cos of one and two turns a day, weekend
        y = load of the hour / mean load of the weeks for training

    The last of seven weeks is held out, 168 hours; 840 are left to train on, for a week comes
    before the first. `ahead` is 1 for the next hour, up to 24 for this hour of the next day. Homes
    are left out that use nothing or too little to have a unit, feed in, have a gap, or a jump that
    no home can make.

    From $HANSA_DATA/swiss_smart_meters; else homes that are made up stand in.
    """
    if ahead not in range(1, 25):
        raise DataError(
            f"ahead={ahead!r}.",
            "The forecast is for an hour of the next day: 24 loads before are known.",
            "Write ahead=1 for the next hour, ahead=24 for the same hour of the next day.",
        )
    try:
        place = folder("swiss_smart_meters", FILES, ())
    except AbsentError as absent:
        made = found_in(made_up(STAND_INS), ahead, "homes that are made up", standing=True)
        return stand_in(made, absent)
    with np.load(place / "swiss_15min_7weeks.npz") as file:
        quarters = file["kwh"].astype(np.float64)
        names = [f"home {number}" for number in file["household"]]
    hours = quarters.reshape(len(names), -1, 4)
    negative = (hours < 0).any((1, 2))
    loads = hours.sum(2)
    loads[negative] = -1.0
    return found_in(dict(zip(names, loads, strict=True)), ahead, "smart meters of Swiss homes")


def found_in(homes: dict[str, Array], ahead: int, source: str, standing: bool = False) -> Found:
    """The examples of homes, whose loads are in kWh an hour [hours], whole weeks from a Monday on.

    DataError where none can be used.
    """
    train = dict[str, Examples]()
    test = dict[str, Examples]()
    left_out = dict[str, str]()
    for name, load in homes.items():
        if why := unusable(load):
            left_out[name] = why
            continue
        X, y = hourly(load / load[:-WEEK].mean(), ahead)
        train[name] = X[:-WEEK], y[:-WEEK]
        test[name] = X[-WEEK:], y[-WEEK:]
    if not train:
        raise DataError(
            f"No home can be used: {', '.join(f'{name} {why}' for name, why in left_out.items())}.",
            "Each is counted in units of its own mean load.",
            "Give hourly loads ≥ 0 without gaps.",
        )
    return Found(train, test, source, standing, left_out)


def unusable(load: Array) -> str:
    """Why a home's loads [hours] are no examples, or nothing."""
    if len(load) < 3 * WEEK or len(load) % WEEK or not np.isfinite(load).all():
        return "with a gap"
    if not load.any():
        return "that use nothing"
    if (load < 0).any():
        return "that feed in"
    if load.max() > MOST:
        return f"with more than {MOST:g} kWh in an hour"
    days = load.reshape(-1, 24)
    if (np.ptp(days, axis=1) == 0).any():
        return "without a change for a day"
    if load[:-WEEK].mean() < LEAST:
        return f"with less than {LEAST:g} kWh in a mean hour"
    return ""


def hourly(load: Array, ahead: int) -> Examples:
    """Inputs [n, 35] and targets [n, 1] of the hours of a home, from its second week on.

    load: [hours], whole weeks from a Monday on, in the home's own unit. No input is of a time later
    than `ahead` hours before its target.
    """
    t = np.arange(WEEK, len(load))
    before = [load[t - lag] for lag in range(ahead, ahead + 24)]
    days = [load[t - 24 * day] for day in range(2, 8)]
    turn = 2 * np.pi * (t % 24) / 24
    clock = [np.sin(turn), np.cos(turn), np.sin(2 * turn), np.cos(2 * turn)]
    weekend = [(t // 24 % 7 >= 5).astype(float)]
    X = np.stack([*before, *days, *clock, *weekend], axis=1)
    return X.astype(np.float32), load[t, None].astype(np.float32)


def made_up(homes: int, key: Key = Key.of(0)) -> dict[str, Array]:
    """Homes that are invented: name → loads [7 weeks] in kWh an hour.

    load = base + Σ peaks at the home's own hours, later at weekends · noise that lasts for hours
    """
    return {f"home {i}": _invented(key.child("home", i).rng()) for i in range(homes)}


def _invented(rng: np.random.Generator) -> Array:
    """Loads of one home for seven weeks, in kWh an hour.

        load = (base + Σ heightᵢ exp(−((t − hourᵢ)/widthᵢ)²)) · exp(e),     e ← 0.7 e + N(0, 1/16)

    with peaks at about 7, 12 and 19 o'clock, which come later at weekends.
    """
    t = np.arange(7 * WEEK)
    late = (t // 24 % 7 >= 5) * rng.uniform(0, 2)
    load = np.full(len(t), rng.uniform(0.1, 0.4))
    for hour in (rng.normal(7, 1), rng.normal(12, 1), rng.normal(19, 1)):
        apart = (t - hour - late + 12) % 24 - 12
        load += rng.uniform(0.2, 1.2) * np.exp(-((apart / rng.uniform(1, 2.5)) ** 2))
    drawn = rng.normal(0, 0.25, len(t))
    lasting = np.zeros(len(t))
    for i in range(1, len(t)):
        lasting[i] = 0.7 * lasting[i - 1] + drawn[i]
    return np.asarray(load * np.exp(lasting))
