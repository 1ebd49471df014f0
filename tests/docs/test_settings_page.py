"""The page on settings names every key of a run's TOML file, and each of its examples sets what it says."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hansa
from hansa.app.settings import with_settings
from hansa.app.stopping import EarlyStopping
from hansa.cli.target import app_of, settings_of
from hansa.config.run import Config, read
from hansa.training import Training

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "settings.md"
APP = """
import numpy as np
import hansa

X = np.random.default_rng(0).normal(size=(60, 3))
y = (X[:, 0] > 0).astype(int)
data = {who: (X[i::3], y[i::3]) for i, who in enumerate(("north", "south", "west"))}

class Any(hansa.Softmax):  # which says nothing of how it is trained, so that each setting can be set
    def plan(self, training):
        pass

plan = hansa.Plan(Any(3, 2), pipe=(hansa.Clip(5.0), hansa.Weigh("one")), rounds=2)
app = hansa.App(plan, data, (X, y))
"""


def page() -> str:
    return PAGE.read_text("utf-8")


def rows() -> dict[str, list[str]]:
    """Key or path → the cells of its row."""
    lines = [line for line in page().splitlines() if line.startswith("| `")]
    cells = [re.split(r" \| ", line.strip("| ")) for line in lines]
    return {re.sub(r"[`\[\]]", "", one[0]): one for one in cells}


def example(cells: list[str]) -> str:
    return cells[-1].strip().strip("`")


FILE = ("app", "rounds", "seed", "name", "tags", "note", "track", "plan", "set", "stop")
PATHS = {path: example(cells) for path, cells in rows().items() if re.fullmatch(r"[\w.]+=.*", example(cells))}
TABLE = {key: example(cells) for key, cells in rows().items() if " = " in example(cells) and key not in PATHS}


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> hansa.App:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hospitals.py").write_text(APP)
    return app_of(Config("hospitals.py"))


@pytest.mark.promise("P709")
def test_every_key_stands_on_the_page() -> None:
    named = rows()
    assert set(FILE) == {f.name for f in fields(Config)} and set(FILE) <= named.keys()
    assert {f.name for f in fields(hansa.Plan)} <= named.keys()
    assert {f"training.{f.name}" for f in fields(Training)} <= named.keys()
    assert {f"stop.{f.name}" for f in fields(EarlyStopping)} <= named.keys()
    assert {f"sample.{f.name}" for f in fields(hansa.Sample)} <= named.keys()
    others = [path for path in named if path.partition(".")[0] not in {*FILE, *(f.name for f in fields(hansa.Plan))}]
    assert not others


@pytest.mark.promise("P709")
@pytest.mark.parametrize("path", PATHS)
def test_the_example_of_a_path_sets_it(app: hansa.App, path: str) -> None:
    settings = settings_of([PATHS[path]])
    assert list(settings) == [path]
    if path.startswith("stop."):
        app = with_settings(app, {"stop": {"use": "EarlyStopping", "metric": "loss"}})
    if path == "training.private":
        app = with_settings(app, {"training.report": False})
    changed = with_settings(app, settings)
    assert changed.plan != app.plan or changed.stop != app.stop
    assert at(changed, path) != at(app, path)


def at(app: Any, path: str) -> Any:
    """What stands at a path of the plan, or below `stop` of the app; nothing where its piece is not there."""
    here = app if path.startswith("stop") else app.plan
    for part in path.split("."):
        here = here[int(part)] if part.isdigit() else getattr(here, part, None)
    return here


@pytest.mark.promise("P709")
@pytest.mark.parametrize("key", [*FILE, "model", "algorithm", "pipe", "aggregator", "training", "sample"])
def test_the_example_of_a_key_is_read(app: hansa.App, tmp_path: Path, key: str) -> None:
    """Of the file itself as it stands, of [plan] below its head."""
    texts = re.findall(rf"^\| `\[?{key}\]?` \|.*\| `({key} = .+)` \|$", page(), re.M)
    for i, text in enumerate(texts):
        below = key not in FILE or i > 0
        file = tmp_path / f"{key}{i}.toml"
        file.write_text(f'app = "hospitals.py"\n[plan]\n{text}\n' if below else f"{text}\n{rest(key)}")
        built = app_of(read(file))
        assert key == "app" or built.plan != app.plan or built.stop != app.stop
    assert texts


def rest(key: str) -> str:
    return "" if key == "app" else 'app = "hospitals.py"\n'


@pytest.mark.promise("P709")
def test_the_whole_file_is_read_and_the_command_line_has_the_last_word(app: hansa.App, tmp_path: Path) -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```", page(), re.M | re.S)
    (tmp_path / "run.toml").write_text(text.replace("pipe.1.norm", "pipe.0.norm"))
    built = app_of(read(tmp_path / "run.toml"), settings_of(["training.batch=16", "rounds=4"]))
    plan = built.plan
    assert isinstance(plan, hansa.Plan) and built.stop is not None
    assert (plan.rounds, plan.seed, plan.algorithm, built.stop.patience) == (4, 7, hansa.FedProx(0.1), 5)
    assert (plan.training.learning_rate, plan.training.batch, plan.pipe[0]) == (0.02, 16, hansa.Clip(2.0))
    assert isinstance(np.float64(plan.training.learning_rate), float)


@pytest.mark.promise("P670")
def test_the_three_ways_to_write_a_piece_mean_the_same(app: hansa.App, tmp_path: Path) -> None:
    ways = re.findall(r"^\| .+ \| `(algorithm = .+)` \| `--set '?(algorithm=.+?)'?` \|$", page(), re.M)
    assert len(ways) == 3
    found = []
    for text, setting in ways:
        (tmp_path / "way.toml").write_text(f'app = "hospitals.py"\n[plan]\n{text}\n')
        found += [app_of(read(tmp_path / "way.toml")).plan.algorithm]
        found += [with_settings(app, settings_of([setting])).plan.algorithm]
    assert found[0] == found[1] and found[2] == found[3] == found[4] == found[5] != found[0]
