"""What whoever answers for a client's data gets: one client's statement, as a page, a PDF and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from tests.approving import hansa as call
from tests.approving import kit, packed, parties, study
from tests.contracts.test_cli import call as command

import hansa
from hansa.app.statement import added_up
from hansa.approval.packing import pack
from hansa.errors import AppError
from hansa.explain import Explanation, Section
from hansa.explain.kept import KEPT
from hansa.explain.owner import PastRun
from hansa.explain.statement import Statement, epsilon_in_words
from hansa.ui import statement

HOSTILE = "<script src=//x>alert(1)</script>\"'&\x1b[2J"
APP = """
import numpy as np
import hansa

X = np.eye(4)
data = {who: (X, np.arange(4) %% 2) for who in ("north", "south")}
plan = hansa.Plan(hansa.Softmax(4, 2), pipe=(hansa.Clip(1.0), hansa.Weigh("one"), hansa.GaussianNoise(1.0)),
                  training=hansa.Training(report=False), rounds=3)
app = hansa.App(plan, data, policies={"north": hansa.Policy(epsilon=%s), "south": hansa.Policy(max_rounds=2)})
"""


class Tags(HTMLParser):
    """Which elements and addresses a page has, and its text."""

    def __init__(self, page: str):
        super().__init__()
        self.tags = set[str]()
        self.loads = list[str]()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [name for name, _ in attrs if name in ("src", "href", "srcset", "action") or name[:2] == "on"]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(APP % "100.0")
    return tmp_path


@pytest.fixture
def writes_pdf(absent: Callable[[str], NoReturn]) -> None:
    """Skips where fpdf2 is not installed."""
    try:
        import fpdf  # noqa: F401
        import uharfbuzz  # noqa: F401
    except ModuleNotFoundError:
        absent("no fpdf2 (extra: pdf)")


def stated(who: str, *options: object) -> dict[str, Any]:
    """What the command prints for programs."""
    code, out, err = command("explain", "mine.py", "--for", who, "--json", *options)
    assert code == 0, err
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


@pytest.mark.promise("P697", "P698", "P699")
def test_one_client_is_told_all_that_concerns_it(here: Path) -> None:
    """App, plan, ε, policy and what is kept; by the same numbers on the page and for programs."""
    found = stated("north", "--html", "north.html")
    assert found["client"] == "north" and found["format"] == 1
    assert found["app"] == {"name": "mine.py", "sha256": pack(here / "mine.py").sha256}
    assert found["policy"]["kept"] is None and found["policy"]["allows"]["epsilon"] == 100
    assert "no store" in found["policy"]["why"]
    assert 0 < found["privacy"]["epsilon"] < 100 and found["privacy"]["rounds"] == 3
    titles = [one["title"] for one in found["sections"]]
    assert {"What a client sends", "Who sees what", KEPT, "What its owner allows"} <= set(titles)
    assert found["runs"]["listed"] is None and "unknown" in found["runs"]["counted"]
    _, out, _ = command("explain", "mine.py", "--for", "north", "--json")
    page = Tags((here / "north.html").read_text())
    for words in (sha256(out.encode()).hexdigest(), found["plan"], found["app"]["sha256"], "signature"):
        assert words in page.text
    assert not page.loads and not page.tags & {"script", "link", "img", "iframe", "form", "object"}
    assert "@media print" in (here / "north.html").read_text()


@pytest.mark.promise("P698")
def test_a_policy_that_refuses_is_told_with_its_reason(here: Path) -> None:
    assert "3 rounds" in stated("south")["policy"]["why"]
    (here / "mine.py").write_text(APP % "0.01")
    found = stated("north")["policy"]
    assert found["kept"] is False and "0.01" in found["why"]
    code, out, _ = command("explain", "mine.py", "--for", "north")
    assert code == 0 and "refuses this plan" in out


def test_who_is_not_there_is_named_with_who_is(here: Path) -> None:
    code, _, err = command("explain", "mine.py", "--for", "nroth")
    assert code == 2 and "no client 'nroth'" in err and "Did you mean north?" in err
    code, _, err = command("explain", "mine.py", "--font", "x.ttf")
    assert code == 2
    code, _, err = command("explain", "mine.py", "--html", "nowhere/x.html")
    assert code == 2 and "cannot be written" in err


@pytest.mark.promise("P698")
def test_stored_runs_add_up(here: Path) -> None:
    """ε of each run of the app, and the sum at the sum of δ; other apps' runs are not counted."""
    (here / "other.py").write_text(APP % "50.0")
    for app in ("mine.py", "mine.py", "other.py"):
        assert command("run", app, "--rounds", 2, "--no-compare")[0] == 0
    runs = stated("north")["runs"]
    each = [one["epsilon"] for one in runs["listed"]]
    assert len(each) == 2 and all(one > 0 for one in each)
    assert runs["all"]["epsilon"] == pytest.approx(sum(each))
    assert runs["all"]["delta"] == pytest.approx(sum(one["delta"] for one in runs["listed"]))


@pytest.mark.promise("P698")
@pytest.mark.guards("stored runs count beside a plan")
def test_a_plan_is_held_against_a_policy_with_all_runs_before_it(here: Path) -> None:
    """ε of the stored runs and of this plan; it is not known where the store has runs that were not counted."""
    (here / "mine.py").write_text(APP % "100.0, delta=0.5")
    assert command("run", "mine.py", "--no-compare")[0] == 0
    found = stated("north")
    assert found["policy"]["kept"] is True, found["policy"]["why"]
    (here / "mine.py").write_text(APP % f"{1.5 * found['privacy']['epsilon']}, delta=0.001")
    kept = stated("north")["policy"]
    assert kept["kept"] is None and "with the stored runs" in kept["why"]
    (here / "mine.py").write_text(APP % "100.0")
    kept = stated("north")["policy"]
    assert kept["kept"] is None and "δ of the stored runs" in kept["why"]
    (here / "other.py").write_text((APP % "100.0").replace("rounds=3", "rounds=2"))
    code, out, _ = command("explain", "other.py", "--for", "north", "--json")
    other = json.loads(out)
    assert code == 0 and other["policy"]["kept"] is None and "not counted" in other["policy"]["why"]


@pytest.mark.promise("P698")
def test_runs_of_a_moved_app_are_counted(here: Path) -> None:
    """By the name of its file, or by its plan; and of others it is never said that there are none."""
    assert command("run", "mine.py", "--no-compare")[0] == 0
    (here / "moved").mkdir()
    (here / "mine.py").rename(here / "moved" / "mine.py")
    (here / "same.py").write_text(APP % "100.0")
    (here / "other.py").write_text((APP % "100.0").replace("rounds=3", "rounds=2"))
    for app, counted in (("moved/mine.py", 1), ("same.py", 1), ("other.py", 0)):
        code, out, err = command("explain", app, "--for", "north", "--json")
        assert code == 0, err
        runs = json.loads(out)["runs"]
        assert len(runs["listed"]) == counted and runs["others"] == 1 - counted
    assert runs["all"]["epsilon"] is None and "1 other run of this store" in runs["counted"]
    assert "There are none yet" not in out


@pytest.mark.promise("P698")
def test_epsilon_is_told_with_what_it_rests_on(here: Path) -> None:
    """A secret that is named, and a stranger's word, stand beside each ε, in words and for programs."""
    text = (APP % "100.0").replace("App(plan, data", "App(plan, data, secret=hansa.Key.of(1)")
    (here / "mine.py").write_text(text)
    assert command("run", "mine.py", "--no-compare")[0] == 0
    found = stated("north")
    assert found["privacy"]["named"] and found["runs"]["all"]["named"] and found["runs"]["listed"][0]["named"]
    _, out, _ = command("explain", "mine.py", "--for", "north")
    assert " ".join(out.split()).count("not against who knows the secret") >= 3
    (run,) = hansa.Store().runs()
    assert run.last is not None and "not against who knows" in run.last._repr_html_()
    told = {"unit": "client", "epsilon": 1.0, "delta": 1e-5, "named": False, "stated": ["Mine"]}
    assert "as Mine states" in epsilon_in_words(told)
    total = added_up((PastRun("a", epsilon=1.0, delta=0.1, stated=("Mine",)),))
    assert total["stated"] == ["Mine"] and not total["named"]
    assert epsilon_in_words({"unit": "client", "why": "no noise"}) == "none for a client: no noise"


def test_an_epsilon_beyond_words_is_told_without_a_figure(here: Path) -> None:
    """e^ε of it is no number that a machine has."""
    (here / "mine.py").write_text((APP % "1e9").replace("Noise(1.0)", "Noise(0.001)"))
    code, out, err = command("explain", "mine.py")
    assert code == 0 and "no bound worth the name" in " ".join(out.split()), err


@pytest.mark.promise("P698")
def test_a_run_without_epsilon_leaves_none_for_all(here: Path) -> None:
    (here / "mine.py").write_text((APP % "float('inf')").replace(", hansa.GaussianNoise(1.0)", ""))
    assert command("run", "mine.py", "--rounds", 2, "--no-compare")[0] == 0
    runs = stated("north")["runs"]
    assert runs["all"]["epsilon"] is None and "of run" in runs["all"]["why"]


def hostile() -> Statement:
    """A statement in which every word is an attack."""
    section = Section(HOSTILE, HOSTILE, ("", HOSTILE), ((HOSTILE, HOSTILE),))
    return Statement(Explanation((section,), (HOSTILE,)), HOSTILE, HOSTILE, HOSTILE, HOSTILE)


@pytest.mark.promise("P700")
@pytest.mark.guards("statements escape names")
def test_hostile_names_are_text_on_a_page() -> None:
    page = statement.html(hostile())
    found = Tags(page)
    assert "script" not in found.tags and not found.loads
    assert "alert(1)" in found.text and "\x1b" not in page


@pytest.mark.promise("P701")
@pytest.mark.usefixtures("writes_pdf")
def test_a_pdf_has_the_letters_of_the_names_or_is_not_written(here: Path) -> None:
    """Letters that DejaVu Sans has are laid out, from right to left too; of others it is refused."""
    from hansa.ui.pdf import pdf

    code, _, err = command("explain", "mine.py", "--for", "north", "--pdf", "north.pdf")
    assert code == 0 and (here / "north.pdf").read_bytes().startswith(b"%PDF-"), err
    found = hansa.App(plan(), {"Łódź Ωμέγα Москва مستشفى": (np.eye(2), np.arange(2))}).statement()
    assert pdf(replace(found, client="Łódź Ωμέγα Москва مستشفى"))
    with pytest.raises(AppError, match=r"no letter 北 \(U\+5317\)") as told:
        pdf(replace(found, client="北京"))
    assert "--font" in told.value.instead
    with pytest.raises(AppError, match="no font that can be read"):
        pdf(found, here / "mine.py")
    assert pdf(hostile()).startswith(b"%PDF-")
    with pytest.raises(AppError, match=r"DejaVuSans-Bold.ttf has no letter 𝖠"):
        pdf(replace(found, client="𝖠"))


@pytest.mark.usefixtures("writes_pdf")
def test_a_name_is_no_number_of_pages_and_a_long_cell_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands for the number of pages is on the foot of each and nowhere else, whatever a name is."""
    from fpdf.output import PDFPage

    from hansa.ui.pdf import PAGES, pdf

    placed = list[Any]()
    added = PDFPage.add_text_substitution

    def substituted(self: PDFPage, fragment: Any) -> None:
        placed.append(fragment)
        added(self, fragment)

    found = hostile()
    monkeypatch.setattr(PDFPage, "add_text_substitution", substituted)
    counts = list[int]()
    for name in ("abcd", "{nb}", PAGES):
        placed.clear()
        assert pdf(replace(found, client=name))
        counts.append(len(placed))
    assert counts[0] == counts[1] == counts[2] > 0
    for name in ("L" * 4000, "\n" * 300):
        assert pdf(replace(found, client=name))


def plan(**more: Any) -> hansa.Plan:
    return hansa.Plan(hansa.Softmax(2, 2), pipe=(hansa.Weigh("one"),), rounds=2, **more)


@pytest.mark.promise("P696")
@pytest.mark.parametrize(
    ("made", "words"),
    [
        (plan(), "each client's vector"),
        (plan(algorithm=hansa.Scaffold()), "what Scaffold remembers"),
        (plan(sample=hansa.Poisson(0.5)), "who took part in each round"),
    ],
)
def test_what_is_kept_follows_from_the_plan(made: hansa.Plan, words: str) -> None:
    found = hansa.App(made, {"north": (np.eye(2), np.arange(2))}).statement("north")
    (kept,) = [one for one in found.sections if one.title == KEPT]
    assert words in str(kept.rows)


@pytest.mark.promise("P696")
def test_a_secret_sample_is_kept_nowhere() -> None:
    pipe = (hansa.Clip(1.0), hansa.Weigh("one"), hansa.GaussianNoise(1.0))
    made = hansa.Plan(hansa.Softmax(2, 2), pipe=pipe, sample=hansa.Poisson(0.5), training=hansa.Training(report=False))
    found = hansa.App(made, {"north": (np.eye(2), np.arange(2))}).statement("north")
    (kept,) = [one for one in found.sections if one.title == KEPT]
    assert "neither who took part" in str(kept.rows)


@pytest.mark.promise("P698")
def test_a_kit_states_its_own_policy_and_runs(tmp_path: Path) -> None:
    """The app that was approved, in a worker; the owner's side is read by who holds the kit."""
    app, made = study(tmp_path / "app"), parties(tmp_path / "pki")
    home = kit(made, "north")
    approved = packed(app)
    assert call("approve", approved, "--kit", home, "--by", "us").exit_code == 0
    assert call("policy", "new", home / "policy.toml", "--epsilon", 0.5).exit_code == 0
    told = call("explain", approved, "--kit", home, "--json")
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert found["client"] == "north" and found["policy"]["kept"] is False
    assert found["app"]["sha256"] == pack(app).sha256
    assert found["runs"]["listed"] == [] and "There are none yet" in json.dumps(found["sections"])
    assert re.search("kit", json.dumps([one for one in found["sections"] if one["title"] == KEPT]))
    other = call("explain", approved, "--kit", home, "--for", "south")
    assert other.exit_code == 2 and "and not of 'south'" in other.stderr
