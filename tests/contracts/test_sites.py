"""Data is a source: nothing is read before its client is asked, and what is asked first is a part of the app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from hansa import (
    App,
    Budget,
    Clip,
    Everyone,
    GaussianNoise,
    Key,
    Plan,
    Policy,
    Population,
    Sites,
    Softmax,
    State,
    Store,
    Sum,
    Training,
    Uniform,
    Weigh,
    planned_privacy,
    survey,
)
from hansa.analytics import Count, Mean, Variance
from hansa.app.clients import clients_of
from hansa.app.federation import delta_of
from hansa.app.load import load
from hansa.app.looking import LOOKED_AT
from hansa.cli import commands
from hansa.config.run import Config
from hansa.errors import AppError, DataError, LeftOut, PolicyError
from hansa.privacy.ledger import Ledger

Records = tuple[Any, Any]

KEY = Key.of(5)
NAMES = ("east", "north", "south", "west")
PLAN = Plan(Softmax(3, 2), training=Training(batch=0, learning_rate=0.5, report=False), rounds=3)
NOISY = replace(PLAN, pipe=(Clip(1.0), Weigh("one"), GaussianNoise(2.0)), rounds=4)
ASKED = survey({"mean": Mean(-9, 9), "variance": Variance(-9, 9)}, most=60, columns=3, aggregator=Sum())
QUIET = survey({"n": Count()}, most=60, columns=3, aggregator=Sum(), pipe=(GaussianNoise(3.0),))


def records(seed: int, n: int = 20) -> Records:
    """n examples of two classes that a line tells apart."""
    rng = Key.of(seed).rng()
    X = rng.normal(1.0, 2.0, size=(n, 3))
    return X, (X @ [1.0, -2.0, 0.5] > 0).astype(np.int64)


DATA = {who: records(i, 20 + 5 * i) for i, who in enumerate(NAMES)}
TEST = records(9, 40)


def scaled(data: Records, found: Any) -> Records:
    X, y = data
    return (X - found["mean"]) / np.sqrt(found["variance"]), y


@dataclass
class Reader:
    """Reads arrays, and notes what it was asked for."""

    read: list[str]

    def __call__(self, path: Path) -> Records:
        self.read.append(path.stem)
        with np.load(path) as file:
            return file["X"], file["y"]


@pytest.fixture
def reader() -> Reader:
    return Reader([])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file of each client, and one of the test."""
    for who, (X, y) in {**DATA, "central": TEST}.items():
        place = tmp_path / ("data" if who in DATA else "held")
        place.mkdir(exist_ok=True)
        np.savez(place / f"{who}.npz", X=X, y=y)
    return tmp_path


@pytest.fixture
def sites(reader: Reader, folder: Path) -> Sites:
    return Sites(reader, folder / "data" / "*.npz")


def last(app: App, **more: Any) -> State:
    *_, state = app.run(**more)
    return state


# ── sites ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P140")
def test_nothing_is_read_until_a_client_is_asked_and_then_once(sites: Sites, reader: Reader, folder: Path) -> None:
    app = App(PLAN, sites, test=folder / "held" / "central.npz", first=ASKED, prepare=scaled)
    assert list(sites) == list(NAMES) and len(sites) == 4
    assert repr(sites) in repr(app) and "4 clients" not in repr(app)
    assert "Mean(low=-9" in str(app.explain()) and app.known_plan.digest == PLAN.digest
    app.tests, delta_of(app), app.population
    assert reader.read == []
    state = last(app)
    assert sorted(reader.read) == ["central", *NAMES]
    assert len(list(app.compare(state))) == 6
    assert sorted(reader.read) == ["central", *NAMES], "once, by survey, rounds and comparison together"


@pytest.mark.parametrize("workers", [0, 2])
def test_sites_give_the_bytes_of_arrays(folder: Path, workers: int) -> None:
    by_hand = last(App(PLAN, DATA, TEST))
    found = last(
        App(PLAN, Sites(npz, str(folder / "data" / "*.npz")), folder / "held" / "central.npz", workers=workers)
    )
    assert found.x.tobytes() == by_hand.x.tobytes() and found.metrics == by_hand.metrics


def npz(path: Path) -> Records:
    with np.load(path) as file:
        return file["X"], file["y"]


def test_names_come_from_a_list_or_are_given(reader: Reader, folder: Path) -> None:
    paths = [folder / "data" / f"{who}.npz" for who in NAMES]
    assert list(Sites(reader, paths)) == list(NAMES)
    named = Sites(reader, {"a": paths[0], "b": str(paths[1])})
    assert list(named) == ["a", "b"] and list(Sites(reader, str(folder / "**" / "*.npz"))) != list(NAMES)
    assert named["b"].data[1].tolist() == DATA["north"][1].tolist() and reader.read == ["north"]


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda at: Sites("data/*.csv", at), ["reads nothing", "function of a path"]),  # type: ignore[arg-type]
        (lambda at: Sites(print, 7), ["with a int"]),  # type: ignore[arg-type]
        (lambda at: Sites(print, [at, 7]), ["with a int"]),
        (lambda at: Sites(print, []), ["with no path"]),
        (lambda at: Sites(print, {}), ["with no path"]),
        (lambda at: list(Sites(print, at / "*.csv")), ["No path matches", "looked for from", "__file__"]),
        (
            lambda at: list(Sites(print, [at / "a" / "x.csv", at / "b" / "x.npz"])),
            ["both called 'x'", "without folder"],
        ),
    ],
)
def test_sites_that_are_none_say_so(build: Callable[[Path], Any], words: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        build(tmp_path)
    assert all(word in str(error.value) for word in words) and error.value.instead, str(error.value)


@pytest.mark.promise("P140")
@pytest.mark.parametrize(
    "error", [OSError("torn"), AppError("odd"), DataError("bad")], ids=lambda one: type(one).__name__
)
def test_what_a_reader_raises_stays_at_its_client(folder: Path, error: Exception) -> None:
    def read(path: Path) -> Records:
        if path.stem == "north":
            raise error
        return npz(path)

    app = App(PLAN, Sites(read, folder / "data" / "*.npz"))
    with pytest.warns(LeftOut, match=str(error).split("\n")[0]):
        states = list(app.run())
    assert [state.excluded for state in states] == [{"north": "data"}] * PLAN.rounds
    (problem,) = app.problems()
    assert problem.kind == "data" and "north" in str(problem)


@pytest.mark.promise("P140")
def test_a_site_builds_and_explains_an_app_whose_paths_are_elsewhere(reader: Reader, tmp_path: Path) -> None:
    sites = Sites(reader, tmp_path / "*.npz")
    app = App(PLAN, sites, test=tmp_path / "none.npz", first=ASKED, prepare=scaled, policies=Policy(max_rounds=9))
    assert app.population is None and "3 columns" not in repr(app)
    assert "Before the first round" in str(app.explain())
    np.savez(tmp_path / "mine", X=TEST[0], y=TEST[1])
    assert len(sites.at(tmp_path / "mine.npz").data[1]) == 40  # what a site does with its own path
    with pytest.raises(DataError, match="No path matches"):
        next(App(PLAN, Sites(reader, tmp_path / "*.csv")).run())


# ── what is asked first ──────────────────────────────────────────────────────────────────────────────────────────────


def by_hand() -> dict[str, Any]:
    """What a survey of all records finds."""
    X = np.concatenate([X for X, _ in DATA.values()])
    return {"mean": X.mean(0), "variance": X.var(0)}


def test_each_client_and_the_test_are_prepared_with_what_was_found() -> None:
    app = App(PLAN, DATA, TEST, first=ASKED, prepare=scaled)
    found = app.asked().found
    for name, value in by_hand().items():
        assert found[name] == pytest.approx(value, abs=1e-9)
    plain = App(PLAN, {who: scaled(data, found) for who, data in DATA.items()}, scaled(TEST, found))
    state, wanted = last(app), last(plain)
    assert state.x.tobytes() == wanted.x.tobytes() and state.scores == wanted.scores
    assert [row.scores for row in app.compare(state)] == [row.scores for row in plain.compare(wanted)]
    assert last(App(PLAN, DATA, TEST, first=ASKED, prepare=scaled, workers=2)).x.tobytes() == state.x.tobytes()


def test_an_app_asks_once_and_says_so_before() -> None:
    app = App(PLAN, DATA, first=ASKED, prepare=scaled)
    with pytest.raises(AppError, match="not been asked"):
        clients_of(app)
    with pytest.raises(AppError, match="not been asked"):
        _ = app.found
    assert app.asked() is app.asked()
    noisy = App(PLAN, DATA, first=QUIET)
    assert noisy.asked().found == noisy.asked().found
    assert replace(noisy).asked().found != noisy.asked().found  # another app asks anew, with other noise


def hinged(found: Any) -> Plan:
    """As many rounds as there are hundreds of records."""
    return replace(PLAN, rounds=round(found["n"] / 55))


COUNT = survey({"n": Count()}, most=60, columns=3, aggregator=Sum())


@pytest.mark.promise("P144")
def test_a_plan_may_hang_on_what_was_found_and_explain_says_what_it_cannot_know() -> None:
    app = App(hinged, DATA, first=COUNT)
    with pytest.raises(AppError, match="not known yet"):
        _ = app.known_plan
    told = str(app.explain())
    for words in (
        "What cannot be known yet",
        "hansa explain --ask",
        "No model is trained",
        "Who sees what",
        "Warnings",
    ):
        assert words in told
    asked = app.asked()
    assert asked.known_plan.rounds == 2 and last(app).round == 2
    assert "What cannot be known yet" not in str(asked.explain()) and "n: Count" in str(asked.explain())


@pytest.mark.promise("P141")
@pytest.mark.parametrize("plan", [PLAN, hinged], ids=["known", "hinged"])
@pytest.mark.parametrize("rounds", [0, 1])
def test_a_resumed_run_does_not_ask_again(plan: Any, rounds: int, tmp_path: Path) -> None:
    """The data has changed meanwhile, so another answer would be another."""
    store, first = Store(tmp_path), survey({"n": Count(), "mean": Mean(-9, 9)}, 60, columns=3, aggregator=Sum())
    run = store.new("", "", "", {})
    app = App(plan, DATA, TEST, first=first, prepare=shifted)
    found = app.asked(run).found
    if rounds:
        next(app.run(run))
    run.finish("stopped")
    resumed = store.resume(run.id)
    assert (resumed.digest, resumed.planned) == (app.asked().known_plan.digest, app.asked().known_plan.rounds)
    other = App(plan, {who: (X + 1, y) for who, (X, y) in DATA.items()}, TEST, first=first, prepare=shifted)
    assert other.asked(resumed).found["mean"].tolist() == found["mean"].tolist()
    again = App(plan, DATA, TEST, first=first, prepare=shifted)
    assert last(again, run=resumed).x.tobytes() == last(App(plan, DATA, TEST, first=first, prepare=shifted)).x.tobytes()


def shifted(data: Records, found: Any) -> Records:
    return data[0] - found["mean"], data[1]


@pytest.mark.parametrize("begun, later", [(ASKED, COUNT), (ASKED, None), (None, COUNT)], ids=["other", "none", "new"])
def test_a_run_does_not_go_on_with_another_survey(begun: Any, later: Any, tmp_path: Path) -> None:
    run = Store(tmp_path).new("", PLAN.digest, "", {})
    next(App(PLAN, DATA, first=begun).run(run))
    with pytest.raises(AppError, match=run.id):
        next(App(PLAN, DATA, first=later).run(run))


@pytest.mark.promise("P142")
def test_its_epsilon_adds_to_that_of_the_rounds(tmp_path: Path) -> None:
    app = App(NOISY, DATA, first=QUIET)
    both = planned_privacy(QUIET).merge(planned_privacy(NOISY)).guarantee(delta_of(app))
    assert both.epsilon is not None
    assert both.epsilon > planned_privacy(NOISY).guarantee(delta_of(app)).epsilon  # type: ignore[operator]
    state = last(app, run=Store(tmp_path).new("", "", "", {}))
    assert state.spent["client"] == (pytest.approx(both.epsilon), delta_of(app))
    told = str(app.explain())
    assert f"with the survey before them | ε = {both.epsilon:.4g}" in told


@pytest.mark.promise("P142")
def test_a_survey_without_epsilon_leaves_none_for_the_whole() -> None:
    app = App(NOISY, DATA, first=ASKED)
    assert last(app).spent == {}
    assert "There is no ε for a client: of the survey before the rounds, the plan adds no noise." in str(app.explain())


@pytest.mark.promise("P142")
def test_a_budget_counts_the_survey(sites: Sites, reader: Reader) -> None:
    def after(rounds: int) -> Any:
        return planned_privacy(QUIET).merge(planned_privacy(NOISY, rounds=rounds)).guarantee(1e-5).epsilon

    assert last(App(NOISY, DATA, first=QUIET, budget=Budget(after(2) * 1.001, 1e-5))).round == 2
    for first, budget, words in (
        (ASKED, Budget(9.0), "no ε for its survey"),
        (QUIET, Budget(0.1), "Its survey alone gives"),
    ):
        with pytest.raises(AppError, match=words):
            App(NOISY, sites, first=first, budget=budget)
    assert reader.read == []


def test_a_ledger_of_two_is_that_of_all_that_is_in_them() -> None:
    one, two = planned_privacy(QUIET), planned_privacy(NOISY)
    assert one.merge(two).secret == {**one.secret, **two.secret}
    assert one.merge(one).secret == dict.fromkeys(one.secret, 2)
    assert Ledger().merge(two) == two and one.merge(Ledger(why="so")).why == "so"
    each = Ledger().plus(next(iter(one.secret)), who=["a"])
    assert each.merge(each).clients["a"] == each.plus(next(iter(one.secret)), who=["a"]).clients["a"]


@pytest.mark.promise("P143")
def test_a_policy_counts_survey_and_rounds_together(sites: Sites) -> None:
    alone = planned_privacy(NOISY).guarantee(1e-6).epsilon
    assert alone is not None
    strict = {"north": Policy(epsilon=alone * 1.01)}
    assert not last(App(NOISY, sites, policies=strict)).excluded
    with pytest.warns(LeftOut, match="after a survey and 4 rounds"):
        state = last(App(NOISY, sites, first=QUIET, policies=strict))
    assert state.excluded == {"north": "refused"}


# ── what cannot be ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: App(PLAN, DATA, first=PLAN), ["App(first=…) with a Plan", "is a survey"]),
        (lambda: App(PLAN, DATA, prepare=scaled), ["App(prepare=…)", "without `first`"]),
        (lambda: App(hinged, DATA), ["App(plan=…) with a function", "without `first`"]),
        (lambda: App(PLAN, DATA, first=ASKED, prepare=3), ["App(prepare=…) with a int"]),  # type: ignore[arg-type]
        (lambda: App(Plan, DATA, first=ASKED), ["App(plan=…) with a type"]),  # type: ignore[arg-type]
        (lambda: App(PLAN, {"a": TEST}, first=ASKED), ["1 clients", "survey needs", "quorum"]),
        (lambda: App(PLAN, DATA, test="test.npz"), ["App(test='test.npz')", "no Sites"]),
        (lambda: App(PLAN, DATA, test={"x": TEST[0], "north": TEST}), ["arrays as x", "examples as north", "not both"]),
    ],
)
def test_an_app_whose_pieces_do_not_fit_says_why(build: Callable[[], App], words: list[str]) -> None:
    with pytest.raises(AppError) as error:
        build()
    assert all(word in str(error.value) for word in words) and error.value.instead, str(error.value)


# ── test sets ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_set_of_a_name_is_scored_by_the_code_that_scores_one() -> None:
    sets = {who: records(30 + i, 10 + i) for i, who in enumerate(NAMES)}
    app = App(PLAN, DATA, test=sets)
    state = last(app)
    score = PLAN.model.score
    each = {who: score(state.x, data) for who, data in sets.items()}
    whole = tuple(np.concatenate(columns) for columns in zip(*sets.values(), strict=True))
    assert app.tests.score(PLAN.model, state.x) == score(state.x, whole)
    worst, *others = app.tests.rows(PLAN.model, state.x)
    who = max(each, key=lambda name: each[name]["loss"])
    assert worst.name == f"worst: {who}" and worst.scores == each[who] and worst.examples == len(sets[who][1])
    for row, of in zip(others, (np.median, np.mean), strict=False):
        for name in ("loss", "accuracy"):
            assert row.scores[name] == pytest.approx(of([one[name] for one in each.values()]))
    assert others[-1].scores == app.tests.score(PLAN.model, state.x) == {
        name: state.scores[name] for name in ("loss", "accuracy")
    }  # fmt: skip


@pytest.mark.parametrize(
    "test", [TEST, {"x": TEST[0], "y": TEST[1]}, lambda: iter([TEST])], ids=["pair", "dict", "stream"]
)
def test_one_set_is_what_it_was(test: Any) -> None:
    app = App(PLAN, DATA, test=test)
    state = last(app)
    assert app.tests.score(PLAN.model, state.x) == pytest.approx(PLAN.model.score(state.x, TEST))
    assert app.tests.rows(PLAN.model, state.x) == []


def test_a_test_path_is_read_when_it_is_needed_and_missed_before_anybody_is_asked(
    sites: Sites, reader: Reader, folder: Path
) -> None:
    named = Sites(reader, folder / "held" / "*.npz")
    app = App(PLAN, sites, test=named)
    assert "central" not in reader.read
    assert app.tests.rows(PLAN.model, last(app).x)[0].name == "worst: central"
    assert reader.read.count("central") == 1
    both = App(PLAN, sites, test={"a": folder / "held" / "central.npz", "b": TEST})
    reader.read.clear()
    rows = both.tests.rows(PLAN.model, PLAN.start().x)
    assert reader.read == ["central"] and [row.examples for row in rows] == [40, 80, 80, 80]
    reader.read.clear()
    with pytest.raises(DataError, match="test cannot be read: FileNotFoundError"):
        next(App(PLAN, sites, test=folder / "none.npz", first=ASKED).run())
    assert reader.read == ["none"]


# ── a population ─────────────────────────────────────────────────────────────────────────────────────────────────────

SAMPLED = replace(PLAN, sample=Uniform(4))


def test_a_population_is_an_app_like_any_other() -> None:
    people = Population(PLAN, 30, records)  # the plan of the app is what counts
    state = last(App(SAMPLED, people, TEST, secret=KEY))
    listed = {name: records(i) for i, name in enumerate(people.names)}
    assert state.x.tobytes() == last(App(SAMPLED, listed, TEST, secret=KEY)).x.tobytes()
    few = Population(PLAN, 6, records)
    found = last(App(PLAN, few, first=ASKED, prepare=scaled, workers=2))
    named = {name: records(i) for i, name in enumerate(few.names)}
    assert found.x.tobytes() == last(App(PLAN, named, first=ASKED, prepare=scaled)).x.tobytes()


@pytest.mark.promise("P145")
def test_a_million_clients_cost_what_is_asked_of_them(tmp_path: Path) -> None:
    read: list[int] = []

    def noted(i: int) -> Records:
        read.append(i)
        return records(i)

    million = Population(SAMPLED, 1_000_000, noted)
    app = App(SAMPLED, million, TEST)
    assert repr(app) == "<App: 1000000 clients>" and app.population == 1_000_000
    assert "4 clients, drawn anew" in str(app.explain()) and read == []
    assert last(app, run=Store(tmp_path).new("", "", "", {})).round == 3
    assert len(read) == 3 * 4
    read.clear()
    assert not list(app.problems())
    assert len(read) == LOOKED_AT == len(set(read)) and read[0] == 0 and read[-1] == 990_000
    with pytest.raises(AppError, match="1000000 clients of a Population cannot be listed"):
        list(app.compare(State(0, PLAN.start().x, {}, ())))


def test_the_epsilon_of_a_population_counts_all_of_it() -> None:
    plan = replace(NOISY, sample=Uniform(4))
    app = App(plan, Population(plan, 5_000, records), budget=Budget(2.0, 1e-5))
    state = last(app)
    wanted = planned_privacy(plan, 5_000).guarantee(1e-5).epsilon
    assert state.spent["client"] == (pytest.approx(wanted), 1e-5) and wanted < 1  # type: ignore[operator]


def test_a_population_has_one_policy_and_its_app_the_secret() -> None:
    people = Population(PLAN, 9, records, allow=Policy(sees="sum"))
    with pytest.raises(PolicyError, match="the server may see each client"):
        App(PLAN, people, first=ASKED)
    with pytest.raises(AppError, match="one policy"):
        App(PLAN, Population(PLAN, 9, records), policies=Policy())
    with pytest.raises(AppError, match="names one secret"):
        App(PLAN, Population(PLAN, 9, records, secret=KEY))


def test_what_reads_one_of_a_population_fails_at_that_client() -> None:
    def torn(i: int) -> Records:
        if i == 2:
            raise OSError("torn")
        return records(i)

    with pytest.warns(LeftOut, match="torn"):
        state = last(App(replace(PLAN, sample=Everyone()), Population(PLAN, 5, torn)))
    assert state.excluded == {"client-2": "data"}


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────

FILE = """
from dataclasses import replace
from pathlib import Path
import numpy as np
import hansa
from hansa.analytics import Count, Mean

def read(path):
    with np.load(path) as file:
        return file["X"], file["y"]

def shifted(data, found):
    return data[0] - found["mean"], data[1]

here = Path(__file__).parent
plan = hansa.Plan(hansa.Softmax(3, 2), training=hansa.Training(batch=0), rounds=3)
asked = {"n": Count(), "mean": Mean(-9, 9)}
app = hansa.App(
    plan=PLAN,
    data=hansa.Sites(read, here / "data/*.npz"),
    first=hansa.survey(asked, most=60, columns=3, aggregator=hansa.Sum()),
    prepare=shifted,
    test=hansa.Sites(read, here / "held/*.npz"),
)
"""


def call(*words: Any) -> Any:
    return CliRunner().invoke(commands, [str(word) for word in words])


@pytest.mark.parametrize("plan", ["plan", "lambda found: replace(plan, seed=int(found['n']))"], ids=["known", "hinged"])
def test_commands_ask_when_they_are_told_to(folder: Path, plan: str) -> None:
    file, runs = folder / "mine.py", folder / "runs"
    file.write_text(FILE.replace("PLAN", plan))
    told = call("explain", file).stdout
    assert "mean: Mean" in told and ("What cannot be known yet" in told) == (plan != "plan")
    assert "What cannot be known yet" not in call("explain", file, "--ask").stdout
    checked, words = call("check", file), " ".join(call("check", file).stdout.split())  # lines break where a path ends
    assert "can be asked its survey" in words and "--ask looks" in words and not checked.exit_code
    assert "all 4 clients can take part" in " ".join(call("check", file, "--ask").stdout.split())
    done = call("run", file, "--folder", runs, "--rounds", 2, "--set", "training.learning_rate=0.2")
    assert done.exit_code == 0, done.output
    assert "On each test set" in done.stdout and "worst: central" in done.stdout
    (summary,) = Store(runs).runs()
    assert (summary.planned, summary.done, summary.status) == (2, 2, "done")
    assert "worst: central" in (runs / summary.id / "report.html").read_text()
    resumed = call("run", "--resume", summary.id, "--rounds", 3, "--folder", runs, "--no-compare")
    assert resumed.exit_code == 0 and Store(runs).runs()[0].done == 3, resumed.output
    assert call("show", summary.id, "--folder", runs).exit_code == 0
    out = folder / "x.safetensors"
    assert call("export", summary.id, out, "--folder", runs).exit_code == 0 and out.stat().st_size > 60


def test_a_run_that_ended_before_its_survey_did_asks_when_it_is_resumed(folder: Path) -> None:
    file, runs = folder / "mine.py", folder / "runs"
    file.write_text(FILE.replace("PLAN", "lambda found: plan"))
    test = folder / "held" / "central.npz"
    whole = test.read_bytes()
    test.write_text("torn")
    assert call("run", file, "--folder", runs).exit_code == 2
    assert not Store(runs).runs()  # what has failed before it began leaves no line
    test.write_bytes(whole)
    Store(runs).new("not known", "", str(file), Config(str(file)).kept()).finish("stopped")
    (summary,) = Store(runs).runs()
    assert summary.status == "stopped" and summary.planned is None
    resumed = call("run", "--resume", summary.id, "--rounds", 2, "--folder", runs, "--no-compare")
    assert resumed.exit_code == 0, resumed.output
    assert (Store(runs).runs()[0].planned, Store(runs).runs()[0].status) == (2, "done")


def test_what_was_found_is_kept_before_the_plan_is_made_of_it(tmp_path: Path) -> None:
    def torn(found: Any) -> Any:
        return None

    run = Store(tmp_path).new("", "", "", {})
    with pytest.raises(AppError, match="has given a NoneType"):
        App(torn, DATA, first=QUIET).asked(run)
    digest, state = run.survey()
    assert digest == QUIET.digest and state is not None and not run.digest
    again = App(lambda found: PLAN, dict.fromkeys(NAMES), first=QUIET).asked(run)  # nobody is asked
    assert again.found["n"] == state.x[0] and run.digest == again.known_plan.digest
    with pytest.raises(AppError, match="holds other answers"):
        App(PLAN, DATA, first=QUIET).asked().answered(run)


def test_an_app_file_reads_no_data_when_it_is_loaded(folder: Path) -> None:
    file = folder / "mine.py"
    file.write_text(FILE.replace("PLAN", "plan").replace("with np.load(path)", "raise OSError(path)\n    with 0"))
    app = load(file)
    assert len(app.data) == 4 and "mean: Mean" in str(app.explain())
    assert call("explain", file).exit_code == 0
    with pytest.raises(DataError, match="test of central cannot be read"):
        next(app.run())


def test_a_function_that_fails_on_what_was_found_is_named() -> None:
    app = App(lambda found: found["median"], {who: records(i) for i, who in enumerate(NAMES)}, first=ASKED)
    with pytest.raises(AppError, match="has failed: KeyError: 'median'") as caught:
        next(app.run())
    assert "mean, variance" in caught.value.why


def test_workers_are_counted() -> None:
    with pytest.raises(AppError, match="workers='2'"):
        App(PLAN, {who: records(i) for i, who in enumerate(NAMES)}, workers="2")  # type: ignore[arg-type]
