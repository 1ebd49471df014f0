"""The four uses: each example reaches its floor in a few rounds, and a template starts with or without its data."""

from __future__ import annotations

import ast
import runpy
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hansa as h
from hansa.app.personal import own_model
from hansa.app.templates import TEMPLATES, create_from_template
from hansa.datasets import StandIn, highway, shakespeare

ROOT = Path(__file__).resolve().parents[2]
USES = ("health", "driving", "homes", "keyboard")


@pytest.fixture
def public(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANSA_DATA", str(shared_data))


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder of data, an empty cache, and nothing at any address."""
    monkeypatch.delenv("HANSA_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(shakespeare, "URLS", ("http://127.0.0.1:9/",))
    monkeypatch.setattr("hansa.datasets.heart_disease.URLS", ("http://127.0.0.1:9/",))


def app_of(use: str, **plan: Any) -> h.App:
    """The app of an example, with another plan."""
    app = runpy.run_path(str(ROOT / "examples" / f"{use}.py"))["app"]
    return replace(app, plan=replace(app.plan, **plan), policies={})  # owners refuse a plain sum, which is faster


def last(app: h.App) -> h.State:
    *_, state = app.run()
    return state


def own_scores(app: h.App, state: h.State, metric: str) -> list[float]:
    """Each client's own model on its own test set."""
    memory = vars(app)["_remembered"]
    models = {who: own_model(app, state, who, memory.get(who, {})) for who in app.data}
    return [app.plan.model.score(x, app.test[who], local)[metric] for who, (x, local) in models.items()]


def test_health_reaches_its_floor(public: None) -> None:
    """FedAvg's accuracy ≥ .79 and AUC ≥ .86 on 254 patients of four centres; own models above those trained alone."""
    app = app_of("health", aggregator=h.Sum())
    state = last(app)
    assert state.scores["accuracy"] >= 0.79 and state.scores["auc"] >= 0.86
    sizes = [len(y) for _, y in app.test.values()]
    assert np.average(own_scores(app, state, "accuracy"), weights=sizes) >= 0.76
    rows = {row.name: row.scores for row in app.compare(state)}
    assert rows["own models"]["auc"] > rows["each alone, on its own"]["auc"]
    assert all(np.isfinite([*scores.values()]).all() for scores in rows.values())


def test_health_has_the_same_scores_by_a_verified_sum(public: None) -> None:
    """Within .005, after three rounds."""
    plain, verified = (last(app_of("health", rounds=3, **how)).scores for how in ({"aggregator": h.Sum()}, {}))
    assert plain == pytest.approx(verified, abs=0.005)


def test_driving_reaches_its_floor(public: None) -> None:
    """The mean of the drivers' R² ≥ .71, and ≥ .55 for a driver who was never there."""
    app = app_of("driving", aggregator=h.Sum(), rounds=10)
    assert np.mean(own_scores(app, last(app), "r2")) >= 0.80
    others = {who: trips for who, trips in app.data.items() if who != "driver 1"}
    left = replace(app, plan=replace(app.plan, algorithm=h.FedAvg()), data=others, test=app.test["driver 1"])
    assert last(left).scores["r2"] >= 0.55


def test_homes_reach_their_floor(public: None) -> None:
    """A mean error ≤ .57 of the mean load over 517 homes, where that of the last hour is .73."""
    app = app_of("homes", algorithm=h.FedAvg(), rounds=25)
    few = dict(list(app.test.items())[::5])
    assert last(replace(app, test=few)).scores["loss"] <= 0.57
    assert np.mean([np.abs(X[:, :1] - y).mean() for X, y in few.values()]) >= 0.65


def test_a_keyboard_learns_and_completes(public: None) -> None:
    """In two rounds more than order 0 (.163) and near order 1 (.277) of n-grams; three words, whatever is typed."""
    found = runpy.run_path(str(ROOT / "examples" / "keyboard.py"))
    app = replace(found["app"], plan=replace(found["plan"], rounds=2, sample=h.Uniform(8)))
    X, y = app.test
    state = last(replace(app, test=(X[::10], y[::10])))
    assert state.scores["accuracy"] >= 0.22
    net = app.plan.model.load(state.x)
    for typed in ("", "To be or not to", "€"):
        assert len(list(found["completed"](net, typed))) == 3


def test_makers_teach_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """One short trip each: the plan runs under masks, and whoever was trained can drive, each by its own model."""
    monkeypatch.setattr("hansa.datasets.highway.highway", partial(highway.highway, trips=1, held_out=1, seconds=3))
    example = ROOT / "examples" / "highway.py"
    found = runpy.run_path(str(example))
    app = replace(found["app"], plan=replace(found["plan"], rounds=1))
    state = last(app)
    one, other = found["driver"](state.x), found["driver"](-state.x)
    trip = highway.drive(one, h.Key.of(0), seconds=2)
    assert not trip.crashed and len(trip.seen) == 4 and 15 < trip.speed < 35
    assert [one(seen) for seen in trip.seen] == trip.told.tolist() != [other(seen) for seen in trip.seen]
    assert len(example.read_text("utf-8").splitlines()) <= 60


@pytest.mark.promise("P645")
@pytest.mark.parametrize("use", USES)
def test_a_template_runs_without_its_data(use: str, offline: None, tmp_path: Path) -> None:
    """From an empty folder: other data stands in, says so, and a round is trained; the program is the example's."""
    app_file, _ = create_from_template(use, tmp_path / "app")
    with pytest.warns(StandIn, match="no score is that of the pages"):
        app = runpy.run_path(str(app_file))["app"]
    test = app.test if isinstance(app.test, dict) else tuple(part[:20] for part in app.test)
    sample = h.Uniform(4) if len(app.data) > 5 else app.plan.sample
    plan = replace(app.plan, rounds=1, sample=sample)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StandIn)
        assert np.isfinite(last(replace(app, plan=plan, test=test)).scores["loss"])


@pytest.mark.parametrize("use", USES)
def test_a_template_is_its_example(use: str) -> None:
    """But for comments, and where it lies."""
    example = ast.parse((ROOT / "examples" / f"{use}.py").read_text("utf-8"))
    template = ast.parse((TEMPLATES / use / f"{use}.py.template").read_text("utf-8"))
    assert [ast.dump(node) for node in example.body[1:]] == [ast.dump(node) for node in template.body[1:]]
    assert len((ROOT / "examples" / f"{use}.py").read_text("utf-8").splitlines()) <= 60


def test_pages_hold_what_was_measured() -> None:
    """Their tables are written from the results: python benchmarks/_uses.py."""
    tables = runpy.run_path(str(ROOT / "benchmarks" / "_uses.py"))
    assert tables["uses"]() == ["health", "driving", "homes", "keyboard"]
    for use in tables["uses"]():
        page = (tables["PAGES"] / f"{use}.md").read_text("utf-8")
        assert tables["with_tables"](page, use) == page
        assert (tables["PAGES"] / f"{use}.svg").is_file()
    page = tables["PERSONAL"].read_text("utf-8")
    assert tables["with_tables"](page) == page
    assert (tables["PAGES"] / "forecasts.svg").is_file()
    assert (tables["PAGES"] / "highway.gif").stat().st_size <= 200_000
