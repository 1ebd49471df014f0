"""A look at clients' data: what it counts, how far it says clients are apart, and where it refuses."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.contracts.test_cli import call

import hansa
from hansa.app.looking import overview_of
from hansa.data import clients, dirichlet
from hansa.data.overview import total_variation, wasserstein
from hansa.errors import DataError
from hansa.ui import mixes
from hansa.ui.overview import notes, terminal

X = np.random.default_rng(0).normal(size=(60, 3))
HOSTILE = "<img src=x onerror=alert(1)>"


class Tags(HTMLParser):
    def __init__(self, page: str):
        super().__init__()
        self.tags = set[str]()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.promise("P703")
def test_distances_are_those_of_their_equations() -> None:
    """Mixes with nothing in common are 1 apart; a shift of all values by c is c apart; and both are metrics."""
    assert total_variation(np.array([1.0, 0]), np.array([0, 1.0])) == 1
    assert total_variation(np.array([0.5, 0.5]), np.array([0.25, 0.75])) == 0.25
    rng = np.random.default_rng(1)
    a, b, c = (np.sort(rng.normal(size=n)) for n in (7, 12, 30))
    assert wasserstein(a, a + 2.5) == pytest.approx(2.5)
    assert wasserstein(a, b) == pytest.approx(wasserstein(b, a))
    assert wasserstein(a, c) <= wasserstein(a, b) + wasserstein(b, c)
    same = np.sort(rng.normal(size=12))
    assert wasserstein(b, same) == pytest.approx(np.abs(b - same).mean())  # of equally many, in order


@pytest.mark.promise("P703")
def test_labels_are_counted_for_each_client() -> None:
    found = hansa.overview({"north": (X[:4], np.array([0, 0, 1, 2.0])), "south": (X[:2], np.array([True, True]))})
    assert found.kind == "labels" and found.labels == ("0", "1", "2")
    assert found.clients["north"].counts == (2, 1, 1) and found.clients["south"].counts == (0, 2, 0)
    assert found.near[0, 1] == 0.75 and found.clients["north"].far == pytest.approx(0.25)
    assert any("one label alone: south" in one for one in found.notes)
    words = hansa.overview({"a": (X[:2], np.array(["cat", "dog"])), "b": (X[:2], np.array(["dog", "dog"]))})
    assert words.labels == ("cat", "dog") and words.clients["b"].counts == (0, 2)


@pytest.mark.promise("P703")
def test_values_have_quartiles_and_are_counted_without_what_is_missing() -> None:
    y = np.linspace(0, 1, 60)
    holes = np.where(np.arange(60) < 6, np.nan, y + 1)
    found = hansa.overview({"a": (X, y), "b": (np.where(X > 2, np.nan, X), holes)})
    assert found.kind == "values" and found.clients["a"].quarters == pytest.approx((0, 0.25, 0.5, 0.75, 1))
    gone = int((np.isnan(holes) | (X > 2).any(axis=1)).sum())
    assert found.clients["b"].missing == gone and found.clients["b"].quarters[4] == 2
    assert 0.9 < found.near[0, 1] < 1.2


@pytest.mark.promise("P703")
def test_what_is_missing_makes_no_label_of_a_number() -> None:
    """Holes make objects of a column: its numbers are numbers still, beside the same ones without holes."""
    y = np.arange(6) % 2
    holes = np.array([1.0, None, 0.0], object)
    found = hansa.overview({"a": (X[:6], y), "b": (X[:3], holes)})
    assert found.labels == ("0", "1") and found.clients["b"].counts == (1, 1) and found.clients["b"].missing == 1
    assert hansa.overview({"a": (X[:3], np.array([0.3, None, 0.7], object))}).kind == "values"
    days = np.array(["2020-01-01", "NaT"], "datetime64[D]")
    assert hansa.overview({"a": (X[:2], days)}).labels == ("2020-01-01",)


@pytest.mark.promise("P703")
def test_rare_and_far_values_count_in_distances() -> None:
    """40 of 100,000 values that are a million away are 400 away, on average."""
    y = 0.25 * (np.arange(100_000) % 2)
    far = np.where(np.arange(100_000) < 40, 1e6, 0) + y
    found = hansa.overview({"a": (y[:, None], far), "b": (y[:, None], y)})
    assert found.near[0, 1] == pytest.approx(400, rel=1e-3)


def test_two_clients_of_one_name_are_refused() -> None:
    with pytest.raises(DataError, match="Several clients have the name '1'"):
        hansa.overview({1: (X, X), "1": (X, X)})  # type: ignore[dict-item]


@pytest.mark.promise("P702")
def test_bad_data_is_told_of_its_client_and_ends_nothing() -> None:
    """Nothing at all, no data, images for targets, one label, an error of the reader."""

    def broken() -> Any:
        raise OSError("the disk is gone")

    given = {"none": (X[:0], np.zeros(0, int)), "odd": 3, "broken": broken, "fine": (X[:4], np.arange(4) % 2)}
    found = hansa.overview(given)
    assert "none of the forms" in found.clients["odd"].why and "the disk is gone" in found.clients["broken"].why
    assert found.clients["none"].examples == 0 and np.isnan(found.clients["none"].far)
    assert {"2 of 4 clients cannot be read: odd, broken.", "1 of 4 clients have no examples: none."} <= set(found.notes)
    assert json.dumps(found.table, allow_nan=False)
    images = hansa.overview({"a": (X, np.zeros((60, 2, 2)))})
    assert images.kind == "none" and images.examples == 60 and list(terminal(images)) and mixes.fragment(images)
    for odd in ({}, [X], None):
        with pytest.raises(DataError, match="no clients"):
            hansa.overview(odd)  # type: ignore[arg-type]


@pytest.mark.promise("P703")
def test_of_a_thousand_clients_a_picture_shows_some_and_says_so() -> None:
    y = np.arange(6000) % 10
    parts = clients((np.zeros((6000, 1)), y), dirichlet(y, 1000, 1.0, hansa.Key.of(3), least=2))
    found = hansa.overview(parts)
    assert len(found.clients) == 1000 and found.near.shape == (40, 40)
    told = " ".join(notes(found))
    assert "the 40 that are farthest" in told and "30 of 1000 clients with the most examples" in told
    page = mixes.html(found, "many")
    assert page.count("<rect") < 40 * 40 + 30 * 10 and len(page) < 400_000
    left_out = min(found.clients[who].far for who in found.drawn)
    assert sum(one.far > left_out for one in found.clients.values()) <= 40


@pytest.mark.promise("P700")
@pytest.mark.guards("pictures escape names")
def test_hostile_names_are_text_in_pictures() -> None:
    y = np.array([HOSTILE, "b", "b", HOSTILE])
    found = hansa.overview({HOSTILE: (X[:4], y), "\x1b[2J": (X[:4], np.array(["b"] * 4))})
    page = mixes.html(found, HOSTILE, HOSTILE)
    assert "img" not in Tags(page).tags and "onerror" in Tags(page).text and "\x1b" not in page


@pytest.mark.promise("P702")
def test_data_at_sites_is_refused_with_the_way_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = """
import hansa
app = hansa.App(hansa.Plan(hansa.Softmax(3, 2)), hansa.Sites(print, "nowhere/*.csv"))
"""
    Path("far.py").write_text(text)
    code, _, err = call("data", "far.py")
    assert code == 2 and "at its sites" in err and "hansa.survey(" in err
    code, _, err = call("data", "far.bundle")
    assert code == 2 and "survey" in err


def test_the_command_shows_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where anything hides clients it says that this is outside ε."""
    monkeypatch.chdir(tmp_path)
    text = """
import numpy as np
import hansa
data = {who: (np.eye(4), np.arange(4) % 2) for who in ("north", "south")}
pipe = (hansa.Clip(1.0), hansa.Weigh("one"), hansa.GaussianNoise(1.0))
app = hansa.App(hansa.Plan(hansa.Softmax(4, 2), pipe=pipe, training=hansa.Training(report=False)), data)
"""
    Path("mine.py").write_text(text)
    code, out, err = call("data", "mine.py", "--json", "--html", "d.html")
    found = json.loads(out)
    assert code == 0 and found["kind"] == "labels" and found["clients"][0]["labels"] == {"0": 2, "1": 2}
    assert "Outside ε" in err and "Outside ε" in Path("d.html").read_text()
    code, out, _ = call("data", "mine.py")
    assert code == 0 and "north" in out and "total variation" in out
    assert "Outside ε" in found["outside"]


@pytest.mark.parametrize("plan", ["lambda found: plan", "plan"], ids=["hanging on it", "beside it"])
def test_a_survey_puts_a_look_outside_epsilon(plan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its noise, or a plan that nobody knows before it; where nothing has any, nothing is said."""
    monkeypatch.chdir(tmp_path)
    text = f"""
import numpy as np
import hansa
from hansa.analytics import Count
data = {{who: (np.eye(4), np.arange(4) % 2) for who in ("north", "south")}}
plan = hansa.Plan(hansa.Softmax(4, 2))
survey = hansa.survey({{"n": Count()}}, most=9, aggregator=hansa.Sum(), pipe=(hansa.GaussianNoise(1.0),))
app = hansa.App({plan}, data, first=survey)
"""
    Path("mine.py").write_text(text)
    code, out, err = call("data", "mine.py", "--json")
    assert code == 0 and "Outside ε" in json.loads(out)["outside"] and "Outside ε" in err
    Path("mine.py").write_text(text.replace(f"App({plan}, data, first=survey)", "App(plan, data)"))
    assert json.loads(call("data", "mine.py", "--json")[1])["outside"] is None


@pytest.mark.promise("P702")
def test_a_report_tells_no_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many of which label a client has nobody gets unasked, whether anything hides it or not."""
    monkeypatch.chdir(tmp_path)
    text = """
import numpy as np
import hansa
data = {who: (np.eye(4), np.arange(4) % 2) for who in ("north", "south")}
app = hansa.App(hansa.Plan(hansa.Softmax(4, 2), rounds=1), data)
"""
    Path("mine.py").write_text(text)
    assert call("run", "mine.py", "--no-compare")[0] == 0
    (report,) = Path("runs").glob("*/report.html")
    page = Tags(report.read_text()).text
    assert "Warnings" in page and "Labels of each client" not in page and "Distance between clients" not in page


def test_a_population_is_looked_at_in_part() -> None:
    plan = hansa.Plan(hansa.Softmax(3, 2))
    many = hansa.Population(plan, 1000, lambda i: (X[: 2 + i % 3], np.arange(2 + i % 3) % 2))
    found = overview_of(hansa.App(plan, many))
    assert len(found.clients) == 100 and found.clients_in_all == 1000
    assert any("Of 1000 clients 100" in one for one in found.notes)


@pytest.mark.parametrize("y", [np.arange(60) % 3, np.linspace(0, 1, 60)], ids=["labels", "values"])
def test_a_partition_is_drawn(y: np.ndarray, tmp_path: Path) -> None:
    figure = hansa.plot_partition({"cost $5 to $10": (X, y), "south": (X[:20], y[:20])})
    figure.savefig(tmp_path / "x.png", dpi=40)
    assert (tmp_path / "x.png").stat().st_size > 1000
