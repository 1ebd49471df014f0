"""Trips on a simulated highway: what drivers of four styles do there, and where a policy gets to.

The simulator is highway-env (Leurent 2018; MIT), the extra `hansa[driving]`. Each maker's cars
drive in one style; what they see is in the same eighteen numbers for all, and what they do is one
of five actions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, number
from ..rand import Key
from ..spec import Vector
from . import Examples, Found

ACTIONS = ("left", "idle", "right", "faster", "slower")  # highway-env's own order
LANES = 3
HERTZ = 2  # decisions in a second
STEP = 3.0  # m/s by which "faster" and "slower" differ from the speed now
SPEEDS = np.arange(10.0, 35.0, STEP)
SLIPS = 1 / 6  # of the actions of a trip for training
FAR = 100.0  # metres: further off nobody is seen
LENGTH = 5.0  # metres of a car
OWN = 3  # numbers of the car itself, before five of each lane
SEEN = OWN + 5 * 3

Policy = Callable[[Vector], int]  # what is seen [18] → place of the action in ACTIONS


@dataclass(frozen=True)
class Style:
    """How a driver drives.

    speed: wanted, in m/s. headway: seconds behind who is ahead. gain: m/s by which another lane
    must be faster. right: back to the right wherever that costs nothing?
    """

    speed: float
    headway: float
    gain: float
    right: bool = True


STYLES = {
    "calm": Style(22.0, 2.0, 3.0),
    "normal": Style(26.0, 1.5, 2.0),
    "sporty": Style(31.0, 0.8, 0.5, right=False),
    "lorry": Style(19.0, 2.5, 6.0),
}


@dataclass(frozen=True)
class Trip:
    """What happened.

    seen [n, 18], told [n] by the policy, the mean speed in m/s, whether it ended in a crash, and
    pictures [h, w, 3] where they were asked for.
    """

    seen: Vector
    told: NDArray[np.int64]
    speed: float
    crashed: bool
    pictures: tuple[Any, ...] = ()


def by_style(style: Style, seen: Vector) -> int:
    """What a driver of a style does.

        safe(lane) = min(speed, v_ahead + (gap − 4 m − headway · v) / 2 s)

    A lane is taken that is clear and whose safe speed is higher by the gain; else the speed goes to
    what is safe.
    """
    v = 30 * seen[0]
    safe = [_safe(style, v, seen, lane) for lane in range(3)]
    wanted = safe[1]
    if abs(seen[1]) > 0.1 or seen[2] != 0:  # between two lanes
        wanted = min(wanted, safe[1 + int(seen[2])])
    elif safe[0] > safe[1] + style.gain and safe[0] >= safe[2] and _clear(v, seen, 0):
        return ACTIONS.index("left")
    elif _goes_right(style, safe) and _clear(v, seen, 2):
        return ACTIONS.index("right")
    if wanted > v + STEP / 2:
        return ACTIONS.index("faster")
    if wanted < v - STEP / 2:
        return ACTIONS.index("slower")
    return ACTIONS.index("idle")


def _goes_right(style: Style, safe: list[float]) -> bool:
    """Is the right lane faster by the gain; or no slower, where one keeps to the right?"""
    return safe[2] > safe[1] + style.gain or (style.right and safe[2] >= safe[1])


def _of_lane(seen: Vector, lane: int) -> tuple[float, float, float, float, float]:
    """Of a lane (0 left, 1 own, 2 right): is it there? Gap [m] and speed [m/s] beyond the car's own
    ahead, and behind.
    """
    there, ahead, faster, behind, follows = seen[OWN + 5 * lane : OWN + 5 * lane + 5]
    return there, FAR * ahead, 10 * faster, FAR * behind, 10 * follows


def _safe(style: Style, v: float, seen: Vector, lane: int) -> float:
    """The speed that is safe in a lane; below all others where there is none."""
    there, gap, faster, _, _ = _of_lane(seen, lane)
    if not there:
        return -1.0
    return min(style.speed, max(0.0, v + faster + (gap - 4 - style.headway * v) / 2))


def _clear(v: float, seen: Vector, lane: int) -> bool:
    """Is there room in a lane for three seconds, whoever is ahead and behind in it?"""
    there, gap, faster, behind, follows = _of_lane(seen, lane)
    ahead = gap > 5 + 0.3 * v + 3 * max(0.0, -faster)
    return bool(there and ahead and behind > 5 + 0.3 * v + 3 * max(0.0, follows))


def drive(
    policy: Policy, key: Key, seconds: int = 30, slips: float = 0.0, pictures: bool = False
) -> Trip:
    """A trip, of so many seconds unless it ends in a crash.

    With probability `slips` the car does something at random, and the trip holds what the policy
    would have done: so who learns from it sees places where somebody has erred, and the way back.
    (Laskey et al. 2017, DART) DataError where the simulator is not installed.
    """
    _check(seconds=seconds)
    world = simulator(seconds, pictures)
    rng = key.rng()
    world.reset(seed=int(rng.integers(2**31)))
    seen = list[Vector]()
    told = list[int]()
    speeds = list[float]()
    shown = list[Any]()
    ended = False
    while not ended:
        now = look(world)
        action = policy(now)
        if action not in range(len(ACTIONS)):
            raise DataError(
                f"The policy says {action!r}.",
                f"There are {len(ACTIONS)} actions: {', '.join(ACTIONS)}.",
                "Return the place of one of them, from 0.",
            )
        seen.append(now)
        told.append(action)
        if rng.random() < slips:
            action = int(rng.integers(len(ACTIONS)))
        _, _, crashed, over, _ = world.step(action)
        ended = crashed or over
        speeds.append(world.vehicle.speed)
        if pictures:
            shown.append(world.render())
    world.close()
    mean = float(np.mean(speeds))
    return Trip(np.stack(seen), np.array(told), mean, bool(crashed), tuple(shown))


def _check(**counts: int) -> None:
    """DataError for what counts nothing."""
    for name, value in counts.items():
        if not (number(value, whole=True) and value >= 1):
            raise DataError(
                f"{name}={value!r}.",
                "It counts trips, or the seconds of one.",
                f"Write a whole number from 1, such as {name}=4.",
            )


def simulator(seconds: int, pictures: bool = False) -> Any:
    """A highway of three lanes with other cars; DataError where highway-env is not installed."""
    try:
        from highway_env.envs.highway_env import HighwayEnvFast
    except ImportError as missing:
        raise DataError(
            f"{(missing.name or 'highway_env').split('.')[0]} is not installed.",
            "Trips are driven in the simulator highway-env.",
            "Install it: pip install 'hansa[driving]'.",
        ) from missing
    settings = {
        "duration": seconds,
        "lanes_count": LANES,
        "vehicles_count": 14,
        "vehicles_density": 0.7,
        "policy_frequency": HERTZ,
        "simulation_frequency": 10,
        "action": {"type": "DiscreteMetaAction", "target_speeds": SPEEDS},
    }
    return HighwayEnvFast(settings, "rgb_array" if pictures else None)


def look(world: Any) -> Vector:
    """What a car sees, [18].

    Its speed / 30 m/s, metres off the lane's middle / 4, lane that it goes to − its own. Of the
    lanes left, own and right: is it there, gap / 100 m and speed beyond its own / 10 m/s of who is
    ahead, and of who is behind.
    """
    car = world.vehicle
    start, end, place = car.lane_index
    offset = car.lane.local_coordinates(car.position)[1]
    seen = [car.speed / 30, offset / 4, float(car.target_lane_index[2] - place)]
    for beside in (place - 1, place, place + 1):
        if beside not in range(LANES):
            seen += [0.0] * 5
            continue
        ahead, behind = world.road.neighbour_vehicles(car, (start, end, beside))
        seen += [1.0, *_of(car, ahead, 1), *_of(car, behind, -1)]
    return np.array(seen)


def _of(car: Any, other: Any, side: int) -> tuple[float, float]:
    """Gap / 100 m to who is ahead (side 1) or behind (−1), 1 at most, and speed beyond / 10 m/s."""
    if other is None:
        return 1.0, 0.0
    gap = side * (other.position[0] - car.position[0]) - LENGTH
    if gap >= FAR:
        return 1.0, 0.0
    return gap / FAR, (other.speed - car.speed) / 10


def highway(trips: int = 26, held_out: int = 4, seconds: int = 30, key: Key = Key.of(0)) -> Found:
    """maker → what its drivers saw, float32 [n, 18], and did, int64 [n]; places in ACTIONS.

    Each maker's cars have a style of STYLES. So many trips are for training, with slips in a sixth
    of the places; as many as are held out have none. DataError where the simulator is not
    installed.
    """
    _check(trips=trips, held_out=held_out)
    train = dict[str, Examples]()
    test = dict[str, Examples]()
    for maker, style in STYLES.items():
        teacher = partial(by_style, style)
        every = key.child(maker)
        train[maker] = _joined(
            drive(teacher, every.child("trip", i), seconds, slips=SLIPS) for i in range(trips)
        )
        test[maker] = _joined(
            drive(teacher, every.child("test", i), seconds) for i in range(held_out)
        )
    return Found(train, test, "trips on a simulated highway")


def _joined(trips: Iterator[Trip]) -> Examples:
    """The examples of several trips."""
    every = list(trips)
    X = np.concatenate([trip.seen for trip in every]).astype(np.float32)
    return X, np.concatenate([trip.told for trip in every])
