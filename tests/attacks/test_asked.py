"""What a client is asked, and when: its data after its owner's policy, and a survey that is told before it is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import hansa as h
from hansa.analytics import Count, ask, survey
from hansa.app.federation import delta_of
from hansa.app.load import load
from hansa.cli import commands
from hansa.errors import AppError, LeftOut, PolicyError
from hansa.store import Store
from hansa.testing.algorithm import MODEL, federation

DATA = federation()
PLAN = h.Plan(MODEL, training=h.Training(batch=8, report=False), rounds=3)
ONLY = h.Policy(sees="sum")
LOUD = survey({"n": Count()}, most=50, aggregator=h.Sum())
QUIET = survey({"n": Count()}, most=50, aggregator=h.Sum(), pipe=(h.GaussianNoise(3.0),))
NOISY = replace(PLAN, pipe=(h.Clip(1.0), h.Weigh("one"), h.GaussianNoise(2.0)))


def call(*words: Any) -> Any:
    return CliRunner().invoke(commands, [str(word) for word in words])


class Watched:
    """Reads what a client has, and notes whose."""

    def __init__(self) -> None:
        self.read = list[str]()

    def __call__(self, path: Path) -> Any:
        self.read.append(path.stem)
        return DATA[path.stem]


def watched() -> tuple[Watched, h.Sites]:
    reader = Watched()
    return reader, h.Sites(reader, {who: f"{who}.csv" for who in DATA})


# ── sources ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P140")
@pytest.mark.guards("a policy comes before the data")
@pytest.mark.parametrize("way", ["sites", "population"])
def test_nothing_is_read_of_an_owner_who_forbids_the_plan(way: str) -> None:
    reader, sites = watched()
    if way == "sites":
        app = h.App(PLAN, sites, policies={"client-0": ONLY})
        mine = {"client-0"}
    else:
        people = h.Population(PLAN, len(DATA), lambda i: reader(Path(f"client-{i}.csv")), allow=ONLY)
        app, mine = h.App(PLAN, people), set(DATA)
    with pytest.warns(LeftOut, match="the server may see each client"):
        try:
            states = [*app.run()]
        except h.errors.RoundError:  # nobody takes part
            states = []
    assert not mine & set(reader.read)
    assert all(set(state.excluded) == mine for state in states)


@pytest.mark.promise("P140")
@pytest.mark.guards("a source is read once")
def test_a_source_is_read_once_and_by_nobody_else() -> None:
    reader, sites = watched()
    app = h.App(PLAN, sites)
    assert reader.read == [] and "client-0" not in repr(app)
    *_, state = app.run()
    assert sorted(reader.read) == sorted(DATA) and not state.excluded


@pytest.mark.promise("P140")
@pytest.mark.guards("a reader's words stay where they are said")
def test_what_a_reader_says_of_a_record_reaches_no_server() -> None:
    def read(path: Path) -> Any:
        if path.stem == "client-0":
            raise KeyError("no diagnosis of Anna Meier")
        return DATA[path.stem]

    app = h.App(PLAN, h.Sites(read, {who: f"{who}.csv" for who in DATA}))
    with pytest.warns(LeftOut, match="Anna Meier"):
        states = list(app.run())
    assert len(states) == 3 and all(state.excluded == {"client-0": "data"} for state in states)
    assert "Anna" not in repr(states)


# ── surveys that are asked by hand ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P103")
@pytest.mark.guards("an owner who has said nothing is not asked")
def test_no_survey_without_a_policy_of_each_owner() -> None:
    for given in (None, {}, dict.fromkeys(list(DATA)[1:], h.Policy()), dict.fromkeys(DATA)):
        with pytest.raises(PolicyError, match="client-0") as caught:
            ask({"n": Count()}, DATA, most=50, policies=given, aggregator=h.Sum())
        assert "policies=" in caught.value.instead
    assert ask({"n": Count()}, DATA, most=50, policies=dict.fromkeys(DATA, h.Policy()), aggregator=h.Sum())["n"] > 0


@pytest.mark.promise("P103")
@pytest.mark.guards("an owner decides on a survey")
@pytest.mark.parametrize(
    "policy, found",
    [
        (ONLY, "the server may see each client"),
        (h.Policy(min_cohort=3), "a quorum of 2"),
        (h.Policy(epsilon=1.0), "no ε"),
    ],
    ids=["aggregator", "cohort", "epsilon"],
)
def test_a_policy_stops_a_survey(policy: h.Policy, found: str) -> None:
    """One owner who forbids it is enough, and nobody has been asked then."""
    owners = dict.fromkeys(DATA, h.Policy()) | {"client-3": policy}
    with pytest.raises(PolicyError, match=found):
        ask({"n": Count()}, DATA, most=50, policies=owners, aggregator=h.Sum())


AT_IMPORT = """
import hansa
from hansa.analytics import Count, ask
from hansa.testing.algorithm import MODEL, federation
DATA = federation()
found = ask({"n": Count()}, DATA, most=50, policies=dict.fromkeys(DATA, hansa.Policy()), aggregator=hansa.Sum())
app = hansa.App(hansa.Plan(MODEL, rounds=1), DATA)
"""


@pytest.mark.promise("P78")
@pytest.mark.guards("nobody is asked while an app file is read")
def test_an_app_file_asks_nobody_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(AT_IMPORT)
    with pytest.raises(AppError, match="line 6: ask"):
        load(path)
    owners = dict.fromkeys(DATA, h.Policy())
    assert ask({"n": Count()}, DATA, most=50, policies=owners, aggregator=h.Sum())["n"] > 0  # and later it may be


# ── the survey of an app ─────────────────────────────────────────────────────────────────────────────────────────────

ASKS = """
import hansa
from hansa.analytics import Count, Mean
from hansa.testing.algorithm import MODEL, federation
asked = {"age": Mean(0, 120, column=0), "[many]": Count()}
first = hansa.survey(asked, most=50, aggregator=hansa.Sum(), pipe=(hansa.GaussianNoise(0.5),))
plan = hansa.Plan(MODEL, rounds=1)
app = hansa.App(PLAN, federation(), first=first, policies=POLICIES)
"""


@pytest.mark.promise("P78")
@pytest.mark.guards(
    "a survey is explained", "an explanation knows of the survey", "a survey is checked", "no name is markup"
)
def test_the_survey_of_an_app_is_told_before_it_is_asked(tmp_path: Path) -> None:
    """`explain`, `check` and the report name it, with questions, aggregator, who sees what, and ε."""
    path = tmp_path / "mine.py"
    path.write_text(ASKS.replace("PLAN", "plan").replace("POLICIES", "{}"))
    told = str(load(path).explain())
    for words in ("What is asked before the first round", "question | age: Mean(low=0, high=120, column=0)",
                  "question | [many]: Count(column=None)", "aggregator | Sum()",
                  "server | each client's encoded vector, by name", "ε | ε = "):  # fmt: skip
        assert words in told, words
    assert "Before the first round it has said more" in told
    assert "before the first round" not in str(h.App(PLAN, DATA).explain()).lower()
    checked, explained = call("check", path).stdout, call("explain", path).stdout
    assert "age: Mean" in checked and "[many]: Count" in checked and "Sum()" in checked
    assert "What is asked before the first round" in explained and "[many]: Count" in explained
    assert call("run", path, "--folder", tmp_path / "runs", "--no-compare").exit_code == 0
    (report,) = (tmp_path / "runs").rglob("report.html")
    assert "What is asked before the first round" in report.read_text() and "age: Mean" in report.read_text()


@pytest.mark.promise("P103")
@pytest.mark.guards("an owner decides on the survey of an app")
@pytest.mark.parametrize("plan", ["plan", "lambda found: plan"], ids=["known", "hinged"])
def test_an_owner_who_forbids_the_survey_stops_the_app_and_nobody_is_asked(tmp_path: Path, plan: str) -> None:
    path = tmp_path / "mine.py"
    verified = "{'client-0': hansa.Policy(sees='sum')}"
    path.write_text(ASKS.replace("PLAN", plan).replace("POLICIES", verified))
    for command in ("run", "check", "explain"):
        done = call(command, path)
        assert (
            done.exit_code == 3
            and "client-0 does not take part" in done.stderr
            and "the server may see each client" in done.stderr
        )
    reader, sites = watched()
    for policies in ({"client-0": ONLY}, ONLY):
        with pytest.raises(PolicyError):
            h.App(PLAN, sites, policies=policies, first=LOUD)
    assert reader.read == []


@pytest.mark.promise("P141")
@pytest.mark.guards("a resumed run keeps what was found")
def test_a_run_that_is_killed_after_its_survey_asks_nobody_again(tmp_path: Path) -> None:
    """Two answers about two states of the data would tell who came between them."""
    run = Store(tmp_path).new("", "", "", {})
    found = h.App(PLAN, DATA, first=LOUD).asked(run).found
    run.finish("stopped")
    fewer = {who: (X[1:], y[1:]) for who, (X, y) in DATA.items()}
    again = h.App(PLAN, fewer, first=LOUD).asked(Store(tmp_path).resume(run.id)).found
    assert again == found


@pytest.mark.promise("P141")
@pytest.mark.guards("a run goes on with its own survey")
@pytest.mark.parametrize("later", [None, QUIET], ids=["none", "another"])
def test_a_run_does_not_forget_that_it_has_asked(tmp_path: Path, later: Any) -> None:
    """Its ε would be that of the rounds alone."""
    run = Store(tmp_path).new("", PLAN.digest, "", {})
    next(h.App(PLAN, DATA, first=LOUD).run(run))
    with pytest.raises(AppError, match="asks first"):
        next(h.App(PLAN, DATA, first=later).run(run))


@pytest.mark.promise("P142")
@pytest.mark.guards("the rounds' ε counts the survey", "an explained ε counts the survey")
def test_epsilon_counts_what_was_asked_first() -> None:
    alone, both = h.App(NOISY, DATA), h.App(NOISY, DATA, first=QUIET)
    (_, *_, before), (_, *_, after) = alone.run(), both.run()
    epsilon, delta = after.spent["client"]
    assert delta == delta_of(alone) and epsilon > 1.05 * before.spent["client"].epsilon
    assert f"with the survey before them | ε = {epsilon:.4g}" in str(both.explain())
    (*_, loud) = h.App(NOISY, DATA, first=LOUD).run()
    assert not loud.spent


@pytest.mark.promise("P142")
@pytest.mark.guards("a budget counts the survey")
def test_a_run_ends_before_survey_and_rounds_pass_the_budget() -> None:
    first = survey({"n": Count()}, most=50, aggregator=h.Sum(), pipe=(h.GaussianNoise(1.0),))
    spent = h.planned_privacy(first).merge(h.planned_privacy(NOISY, rounds=2)).guarantee(1e-5).epsilon
    assert spent is not None
    app = h.App(NOISY, DATA, first=first, budget=h.Budget(spent * 1.001, 1e-5))
    assert len(list(app.run())) == 2


@pytest.mark.promise("P143")
@pytest.mark.guards("a policy counts the survey")
def test_an_owner_whose_bound_both_pass_together_refuses_the_rounds() -> None:
    bound = h.planned_privacy(NOISY).guarantee(1e-6).epsilon
    assert bound is not None and h.planned_privacy(QUIET).guarantee(1e-6).epsilon < bound  # type: ignore[operator]
    app = h.App(NOISY, DATA, first=QUIET, policies={"client-1": h.Policy(epsilon=bound * 1.01)})
    with pytest.warns(LeftOut, match="survey"):
        states = list(app.run())
    assert all(set(state.excluded) == {"client-1"} for state in states)
