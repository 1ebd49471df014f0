"""The data of the four uses: what each client gets, what is left out by name, and what stands in without a network."""

from __future__ import annotations

import gzip
import json
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hansa.data import check
from hansa.datasets import Found, StandIn, highway, polidriving, shakespeare, swiss_meters
from hansa.datasets.heart_disease import heart_centres
from hansa.errors import DataError
from hansa.rand import Key

HOURS = 7 * 168


@pytest.fixture
def public(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANSA_DATA", str(shared_data))


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder of data, an empty cache, and nothing at any address."""
    monkeypatch.delenv("HANSA_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(shakespeare, "URLS", ("http://127.0.0.1:9/",))
    monkeypatch.setattr("hansa.datasets.heart_disease.URLS", ("http://127.0.0.1:9/",))


SETS = {
    "shakespeare": (shakespeare.shakespeare, 58, "topics of Python's documentation"),
    "swiss_meters": (swiss_meters.swiss_meters, 60, "homes that are made up"),
    "polidriving": (polidriving.polidriving, 5, "trips that are made up"),
    "heart": (heart_centres, 4, "patients of Wisconsin breast cancer"),
}


@pytest.mark.promise("P642")
@pytest.mark.parametrize("name", SETS)
def test_without_data_and_network_other_data_stands_in_and_says_so(name: str, offline: None) -> None:
    """A warning where the program runs, and the first line; every client can be trained on."""
    read, clients, source = SETS[name]
    with pytest.warns(StandIn, match=r"(?s)stands in for data that is not here: no score is.*neither"):
        found = read()
    assert found.standing and found.told.startswith(source) and "no score is that of the pages" in found.told
    assert len(found.train) == len(found.test) == clients
    for part in (found.train, found.test):
        assert all(check(examples, who) for who, examples in part.items())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StandIn)
        again = read()
    assert all((again.train[who][0] == X).all() for who, (X, _) in found.train.items())


@pytest.mark.promise("P642")
@pytest.mark.parametrize("name", ["driving_polidriving/polidriving_5drivers.csv.gz", "shakespeare/roles.jsonl.gz"])
def test_another_file_is_an_error_and_nothing_stands_in(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has put a file there means it."""
    monkeypatch.setenv("HANSA_DATA", str(tmp_path))
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_bytes(gzip.compress(b"something else"))
    read = polidriving.polidriving if "driving" in name else shakespeare.shakespeare
    with pytest.raises(DataError, match="is not the published file"):
        read()


# ── the published data ───────────────────────────────────────────────────────────────────────────────────────────────


def test_shakespeare_has_1249_roles(public: None) -> None:
    """1,386 roles, 137 of a single line; 4,304,578 characters but for one that is not in LEAF's alphabet."""
    found = shakespeare.shakespeare()
    assert not found.standing and len(found.train) == 1249
    assert list(found.left_out.values()) == ["with a single line"] * 137
    assert "left out: 1)" in found.source
    targets = sum(int((y >= 0).sum()) for part in (found.train, found.test) for _, y in part.values())
    assert targets == 4_304_578 - 1 - 1249 * 4  # of each side the first character and the last line break
    X, y = found.train["The Tragedy of Antony and Cleopatra / PHILO"]
    assert shakespeare.decoded(X[0]).startswith("Nay, but this dotage of our general's\nO'erflows the measure")
    assert (X[0, 1:] == y[0, :-1]).all() and X.max() < len(shakespeare.ALPHABET) == 80


def test_swiss_meters_has_517_homes(public: None) -> None:
    """20 of 537 cannot be used, each for a reason; persistence has the error that the numbers by hand have."""
    found = swiss_meters.swiss_meters()
    assert not found.standing and len(found.train) == 517 and len(found.left_out) == 20
    assert sum("50 kWh" in why for why in found.left_out.values()) == 2
    errors = [np.abs(X[:, 0] - y[:, 0]).mean() for X, y in found.test.values()]
    assert np.mean(errors) == pytest.approx(0.730, abs=5e-4)
    assert {X.shape for X, _ in found.train.values()} == {(840, 35)}
    tomorrow = swiss_meters.swiss_meters(ahead=24)
    errors = [np.abs(X[:, 0] - y[:, 0]).mean() for X, y in tomorrow.test.values()]
    assert np.mean(errors) == pytest.approx(0.632, abs=2e-3)


def test_polidriving_has_five_drivers(public: None) -> None:
    """Driver 3's throttle is measured at no second that has all else: it is left out by name, if that is asked for."""
    found = polidriving.polidriving()
    assert not found.standing and list(found.train) == [f"driver {i}" for i in range(1, 6)] and not found.left_out
    with_throttle = polidriving.polidriving(("throttle_position",))
    assert with_throttle.left_out == {"driver 3": "without a speed or throttle_position on one side"}
    with pytest.raises(DataError, match=r"(?s)no column horse_power.*There is id_driver"):
        polidriving.polidriving(("horse_power",))


# ── bad input ────────────────────────────────────────────────────────────────────────────────────────────────────────


def home(place: Any = (), value: float = 0.0) -> Any:
    load = np.abs(np.random.default_rng(0).normal(1, 0.3, HOURS)) + 0.1
    load[place] = value if place != () else load
    return load


HOMES = {
    "good": (home(), ""),
    "empty": (np.zeros(HOURS), "that use nothing"),
    "constant": (np.ones(HOURS), "without a change for a day"),
    "a constant day": (home(slice(240, 264), 0.5), "without a change for a day"),
    "negative": (home(700, -0.1), "that feed in"),
    "jumps": (home(700, 457.0), "with more than 50 kWh in an hour"),
    "gap": (home(slice(300, 400), np.nan), "with a gap"),
    "short": (home()[:-5], "with a gap"),
    "nobody in": (home() / 100, "with less than 0.05 kWh in a mean hour"),
}


@pytest.mark.promise("P643")
def test_homes_that_cannot_be_used_are_left_out_by_name() -> None:
    """Counted by reason in the first line, and never a NaN."""
    found = swiss_meters.found_in({name: load for name, (load, _) in HOMES.items()}, 1, "homes")
    assert found.left_out == {name: why for name, (_, why) in HOMES.items() if why}
    assert (
        list(found.train) == ["good"] and "2 without a change for a day" in found.told and "2 with a gap" in found.told
    )
    assert all(np.isfinite(part).all() for part in (*found.train["good"], *found.test["good"]))
    assert found.train["good"][1].mean() == pytest.approx(1.0, abs=0.01)
    with pytest.raises(DataError, match=r"(?s)No home can be used: empty that use nothing.*unit"):
        swiss_meters.found_in({"empty": np.zeros(HOURS)}, 1, "homes")
    with pytest.raises(DataError, match="ahead=25"):
        swiss_meters.swiss_meters(ahead=25)


def test_an_hour_sees_nothing_of_itself_or_later() -> None:
    """Inputs of the hour t are loads before t − ahead, whatever comes after."""
    load = home()
    for ahead in (1, 24):
        X, y = swiss_meters.hourly(load, ahead)
        later = load.copy()
        later[500:] = 9.0
        changed, _ = swiss_meters.hourly(later, ahead)
        assert (changed[: 500 - 168 + ahead] == X[: 500 - 168 + ahead]).all()
        assert not (changed[500 - 168 + ahead] == X[500 - 168 + ahead]).all()
        assert y[0, 0] == np.float32(load[168]) and X[0, 0] == np.float32(load[168 - ahead])


def trip(driver: str, length: int, **column: str) -> list[dict[str, str]]:
    return [{**line, "id_driver": driver, **column} for line in polidriving.made_up(1, length)]


@pytest.mark.promise("P643")
def test_trips_and_drivers_that_cannot_be_used_are_left_out_by_name() -> None:
    """A trip shorter than a window, a driver without the column, a table without it."""
    rows = [*trip("1", 100), *trip("2", 8), *trip("3", 100, speed="")]
    found = polidriving.found_in(rows, (), "drivers")
    assert list(found.train) == ["driver 1"]
    assert found.left_out == {
        "trip 1 of driver 2 in car 1": "trips shorter than a window",
        "driver 3": "without a speed on one side",
    }
    assert all(np.isfinite(part).all() for part in (*found.train["driver 1"], *found.test["driver 1"]))
    assert len(found.train["driver 1"][1]) == 70 and len(found.test["driver 1"][1]) == 20
    with pytest.raises(DataError, match="No driver can be used: trip 1 of driver 2"):
        polidriving.found_in(trip("2", 8), (), "drivers")
    without = [{name: value for name, value in line.items() if name != "rpm"} for line in rows]
    with pytest.raises(DataError, match=r"There is no column rpm\."):
        polidriving.found_in(without, (), "drivers")


def written(place: Path, roles: dict[str, list[str]]) -> Found:
    lines = [json.dumps({"play": "play", "role": role, "lines": lines}) for role, lines in roles.items()]
    place.write_bytes(gzip.compress("\n".join(lines).encode()))
    return shakespeare._found(shakespeare._roles(place), 4, "roles")


@pytest.mark.promise("P643")
def test_roles_of_one_line_and_characters_outside_the_alphabet_are_left_out(tmp_path: Path) -> None:
    """By name and number; what lies behind the end of a text is no target."""
    roles = {"A": ["abcd", "ef€g", "hi"], "B": ["alone"], "C": ["x", "y"]}
    found = written(tmp_path / "roles.gz", roles)
    assert found.left_out == {"play / B": "with a single line", "play / C": "with no two characters on one side"}
    assert found.source == "roles (characters outside the alphabet that are left out: 1)"
    X, y = found.train["play / A"]
    assert shakespeare.decoded(X.ravel()) == "abcd\nef\n" and y.shape == (2, 4)
    assert shakespeare.decoded(y.ravel()[:-1]) == "bcd\nefg" and y[-1, -1] == shakespeare.IGNORED
    with pytest.raises(DataError, match="No text has two lines: play / B"):
        written(tmp_path / "roles.gz", {"B": ["alone"]})
    with pytest.raises(DataError, match="window=0"):
        shakespeare.shakespeare(0)


def test_headings_name_the_roles() -> None:
    """Speeches below "Name:" on a line of its own belong to that role, in order."""
    text = "First Citizen:\nBefore we proceed: hear\nme speak.\n\nAll:\nSpeak, speak.\n\nFirst Citizen:\nYou are all\n"
    assert shakespeare._headed(text) == {
        "FIRST CITIZEN": ["Before we proceed: hear", "me speak.", "You are all"],
        "ALL": ["Speak, speak."],
    }


# ── the highway ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P647")
def test_without_the_simulator_there_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highway_env.envs.highway_env", None)
    with pytest.raises(DataError, match=r"(?s)highway_env is not installed.*hansa\[driving\]"):
        highway.highway()


def test_a_trip_repeats_and_slips_are_not_what_is_told() -> None:
    """The same key is the same trip; the driver tells at each place what it would do, and something else is done."""
    calm = partial(highway.by_style, highway.STYLES["calm"])
    plain, again, slipping = (highway.drive(calm, Key.of(0), 4, slips=slips) for slips in (0.0, 0.0, 0.9))
    assert (plain.seen == again.seen).all() and plain.seen.shape == (8, highway.SEEN)
    assert not np.array_equal(plain.seen[1:], slipping.seen[1:])
    assert slipping.told.tolist() == [calm(seen) for seen in slipping.seen]


@pytest.mark.parametrize(
    "drive",
    [
        lambda: highway.highway(trips=0),
        lambda: highway.highway(held_out=1.5),  # type: ignore[arg-type]
        lambda: highway.drive(lambda seen: 0, Key.of(0), seconds=0),
        lambda: highway.drive(lambda seen: 5, Key.of(0)),
    ],
)
def test_trips_that_nobody_can_drive_are_refused(drive: Any) -> None:
    with pytest.raises(DataError, match=r"Write|Return"):
        drive()


def road(**lanes: tuple[float, float, float, float]) -> Any:
    """What a car at 24 m/s sees: gap and speed of who is ahead, and of who is behind, in the lanes that there are."""
    seen = [24 / 30, 0.0, 0.0]
    for lane in ("left", "own", "right"):
        ahead, faster, behind, follows = lanes.get(lane, (0.0, 0.0, 0.0, 0.0))
        seen += [float(lane in lanes), ahead / 100, faster / 10, behind / 100, follows / 10]
    return np.array(seen)


FREE = (100.0, 0.0, 100.0, 0.0)


@pytest.mark.parametrize(
    ("style", "seen", "action"),
    [
        ("normal", road(own=FREE, left=FREE), "faster"),
        ("lorry", road(own=FREE), "slower"),
        ("calm", road(own=(20.0, -6.0, 100.0, 0.0)), "slower"),
        ("sporty", road(own=(25.0, -4.0, 100.0, 0.0), left=FREE), "left"),
        ("sporty", road(own=(25.0, -4.0, 100.0, 0.0), left=(100.0, 0.0, 8.0, 6.0)), "slower"),
        ("calm", road(own=FREE, right=FREE), "right"),
        ("sporty", road(own=FREE, right=FREE), "faster"),
    ],
)
def test_a_style_does_what_it_says(style: str, seen: Any, action: str) -> None:
    assert highway.ACTIONS[highway.by_style(highway.STYLES[style], seen)] == action
