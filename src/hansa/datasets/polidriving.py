"""POLIDriving: five drivers in four cars, and how fast the engine turns.

Each driver is a client. The table has a line for each second of a trip, in the order of the trip:

    id_driver, id_vehicle   1 … 5, 1 … 4
    trip, time              a name; 15:16:57, the time of day
    speed                   km/h
    rpm                     turns of the engine in a minute
    acceleration            km/h in a second
    altitude                metres; it comes every few seconds, and lines are drawn between
    …                       further columns, of which `also` may name some

What is not measured is empty. (Marcillo et al. 2024, Applied Sciences 14(14):6300; MIT licence)
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..rand import Key
from . import AbsentError, Examples, Found, folder, stand_in

# a line a second, sorted by trip: id_driver, id_vehicle, trip, time, speed, rpm, acceleration, …
FILES = {  # of the file before packing
    "polidriving_5drivers.csv.gz": (
        "a73c12b81f796cef43cf912eb2010df1f8afba3ee4c3afbc651284cf53610bf3"
    )
}
BEFORE = 10  # seconds that a window looks back
HELD_OUT = 0.2  # the end of each trip
# Units, fixed and public, so that nobody needs the statistics of others: km/h, km/h in a second,
# metres of climb, turns a minute
SPEED, PUSH, CLIMB, TURNS = 50.0, 3.0, 10.0, 1000.0
NEEDED = ("id_driver", "id_vehicle", "trip", "time", "speed", "rpm", "acceleration", "altitude")
TEN = 10  # seconds over which a missing altitude is drawn as a straight line

Array = NDArray[np.float64]


def polidriving(also: Sequence[str] = ()) -> Found:
    """driver → seconds: inputs float32 [n, 7 + len(also)], targets float32 [n, 1].

        x = speed now and 1 … 4 s before / 50 km/h, acceleration / 3, climb over 10 s / 10 m
        y = engine speed / 1000 a minute

    The last fifth of each trip is held out. `also` names further columns of the file, measured now,
    such as "throttle_position". Seconds are left out where something is not measured; so is a trip
    that is shorter than a window, and a driver who is left with no second on one side. DataError
    for a column that nobody has.

    From $HANSA_DATA/driving_polidriving; else trips that are made up stand in.
    """
    try:
        place = folder("driving_polidriving", FILES, ())
    except AbsentError as absent:
        made = found_in(made_up(), also, "trips that are made up", standing=True)
        return stand_in(made, absent)
    with gzip.open(place / next(iter(FILES)), "rt", encoding="utf-8", newline="") as file:
        return found_in(list(csv.DictReader(file)), also, "drivers of POLIDriving")


def found_in(
    rows: Sequence[Mapping[str, str]], also: Sequence[str], source: str, standing: bool = False
) -> Found:
    """The examples in the lines of a table, one for each second of a trip, each column → its text;
    nothing where it is not measured.
    """
    _check_columns(rows, also)
    trips = dict[tuple[str, str], list[Mapping[str, str]]]()
    for row in rows:
        who = f"driver {row['id_driver']} in car {row['id_vehicle']}"
        trips.setdefault((who, row["trip"]), []).append(row)
    parts = dict[str, list[tuple[Examples, Examples]]]()
    left_out = dict[str, str]()
    for (who, trip), lines in trips.items():
        found = seconds(lines, also)
        if found is None:
            left_out[f"trip {trip} of {who}"] = "trips shorter than a window"
            continue
        parts.setdefault(who.split(" in ")[0], []).append(found)
    train = dict[str, Examples]()
    test = dict[str, Examples]()
    for driver, pairs in sorted(parts.items()):
        known, held = (_joined(one) for one in zip(*pairs, strict=True))
        if not (len(known[0]) and len(held[0])):
            missing = " or ".join(("a speed", *also))
            left_out[driver] = f"without {missing} on one side"
            continue
        train[driver] = known
        test[driver] = held
    if not train:
        raise DataError(
            f"No driver can be used: {', '.join(left_out)}.",
            f"An example looks back {BEFORE} seconds, and some are held out.",
            "Give trips of some minutes in which speed, rpm, acceleration and altitude are "
            "measured.",
        )
    return Found(train, test, source, standing, left_out)


def seconds(
    rows: Sequence[Mapping[str, str]], also: Sequence[str]
) -> tuple[Examples, Examples] | None:
    """(train, test) of one trip; None where it is shorter than a window, or time goes back.

    The first example is BEFORE seconds from the start; the last HELD_OUT of the trip's time is the
    test. A second counts where all of its window is measured, and the engine turns.
    """
    at = np.array([_second(row["time"]) for row in rows])
    at -= at[0]
    if at[-1] < BEFORE or (np.diff(at) <= 0).any():
        return None
    speed, rpm, push, altitude, *more = (
        _series(rows, name, at) for name in ("speed", "rpm", "acceleration", "altitude", *also)
    )
    altitude = _bridged(altitude)
    t = np.arange(BEFORE, at[-1] + 1)
    X = np.stack(
        [
            *(speed[t - lag] / SPEED for lag in range(5)),
            push[t] / PUSH,
            (altitude[t] - altitude[t - BEFORE]) / CLIMB,
            *(one[t] for one in more),
        ],
        axis=1,
    )
    y = rpm[t, None] / TURNS
    measured = np.isfinite(X).all(1) & (y[:, 0] > 0)  # an engine that stands is no measurement
    end = t >= (1 - HELD_OUT) * (at[-1] + 1)
    X = X.astype(np.float32)
    y = y.astype(np.float32)
    known = measured & ~end
    held = measured & end
    return (X[known], y[known]), (X[held], y[held])


def _check_columns(rows: Sequence[Mapping[str, str]], also: Sequence[str]) -> None:
    """DataError where a column is missing, or there is no line."""
    there = list(rows[0]) if rows else []
    missing = [name for name in (*NEEDED, *also) if name not in there]
    if missing:
        raise DataError(
            f"There is no column {', '.join(missing)}.",
            f"There is {', '.join(there) or 'no line'}.",
            "Name columns that there are, or leave `also` out.",
        )


def _second(time: str) -> int:
    """15:16:57 as seconds of the day."""
    hours, minutes, seconds = map(int, time.split(":"))
    return (hours * 60 + minutes) * 60 + seconds


def _series(rows: Iterable[Mapping[str, str]], name: str, at: NDArray[Any]) -> Array:
    """A column by the second of the trip; NaN where nothing is measured."""
    values = np.full(at[-1] + 1, np.nan)
    values[at] = [float(row[name] or "nan") for row in rows]
    return values


def _bridged(values: Array) -> Array:
    """With straight lines over gaps of TEN seconds at most."""
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return values
    t = np.arange(len(values))
    place = np.searchsorted(known, t)
    after = known[np.minimum(place, len(known) - 1)]
    before = known[np.maximum(place - 1, 0)]
    bridged = np.interp(t, known, values[known])
    near = (after - before <= TEN) & (t <= known[-1]) & (t >= known[0])
    return np.where(near | np.isfinite(values), bridged, np.nan)


def _joined(parts: Sequence[Examples]) -> Examples:
    """The examples of several trips as those of one."""
    X, y = (np.concatenate(part) for part in zip(*parts, strict=True))
    return X, y


# ── what stands in ────────────────────────────────────────────────────────────────────────────────


def made_up(drivers: int = 5, length: int = 1200, key: Key = Key.of(0)) -> list[dict[str, str]]:
    """The lines of invented trips: of each driver one, in a car with gears of its own.

    v ← v + a,   a → what the road allows;   rpm = ratio(gear)·v + noise, at least idle
    """
    return [
        line
        for driver in range(drivers)
        for line in _drive(driver, length, key.child("driver", driver).rng())
    ]


def _drive(driver: int, length: int, rng: np.random.Generator) -> list[dict[str, str]]:
    """One trip: speed in km/h, gears that change at the driver's own engine speeds.

    Each 40 seconds the road allows another speed; the gear is the lowest in which the engine turns
    slower than the driver likes, or the last.
    """
    ratios = rng.uniform(0.85, 1.15) * np.array([110.0, 62.0, 42.0, 32.0, 26.0])
    change = rng.uniform(2000, 2800)  # turns a minute at which the next gear comes
    idle = rng.uniform(700, 900)
    lines = []
    v = 0.0
    height = 100.0
    aim = 50.0
    for t in range(length):
        if t % 40 == 0:
            aim = float(rng.choice([0, 30, 50, 80, 100]))
        push = float(np.clip((aim - v) / 8, -6, 4) + rng.normal(0, 0.3))
        push = max(push, -v)
        v += push
        height += v / 3600 * 1000 * 0.02 * np.sin(t / 90)
        turning = ratios * v
        gear = int(np.argmax(turning < change + 60 * push)) if (turning < change).any() else 4
        rpm = max(idle, turning[gear]) + rng.normal(0, 30)
        numbers = {"speed": v, "rpm": rpm, "acceleration": push, "altitude": height}
        time = f"{t // 3600:02}:{t // 60 % 60:02}:{t % 60:02}"
        told = {"id_driver": str(driver + 1), "id_vehicle": str(driver + 1), "trip": "1"}
        lines.append(told | {"time": time} | {name: f"{n:.2f}" for name, n in numbers.items()})
    return lines
