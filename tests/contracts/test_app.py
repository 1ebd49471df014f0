"""What an app promises: rounds are stored before they are told, comparisons are fair, errors name file and line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hansa
from hansa import (
    AdaptiveClip,
    App,
    Client,
    Clip,
    Ditto,
    Everyone,
    FedAvg,
    Finite,
    GaussianNoise,
    HansaError,
    InProcess,
    InTurn,
    Key,
    Network,
    Plan,
    Policy,
    Quantize,
    Scaffold,
    Softmax,
    State,
    Store,
    Training,
    Uniform,
    Weigh,
    buffered,
    synchronous,
)
from hansa.app.compare import pooled
from hansa.app.load import load
from hansa.config import Pieces
from hansa.data import Examples
from hansa.errors import AppError, DataError, PlanError
from hansa.explain import difference, explain, expression
from hansa.models import Drift

Records = tuple[Any, Any]


def records(n: int, seed: int) -> Records:
    """n examples of two classes that a line tells apart."""
    rng = Key.of(seed).rng()
    X = rng.normal(size=(n, 3))
    return X, (X @ [1.0, -2.0, 0.5] + 0.3 * rng.normal(size=n) > 0).astype(np.int64)


DATA = {"north": records(30, 1), "south": records(45, 2), "west": records(12, 3)}
TEST = records(40, 9)
PLAN = Plan(Softmax(3, 2), training=Training(epochs=2, batch=0, learning_rate=0.5), rounds=4)


def last(app: App, **more: Any) -> State:
    *_, state = app.run(**more)
    return state


# ── an app ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: App(None, DATA), ["App(plan=…) with a NoneType", "takes a Plan"]),
        (lambda: App(PLAN, list(DATA.values())), ["a list", "by the client's name"]),
        (lambda: App(PLAN, {}), ["App(data={})"]),
        (lambda: App(PLAN, {1: TEST, "1": TEST}), ["two clients of one name"]),
        (lambda: App(PLAN, {"north\x1b[31m": TEST}), ["north\\x1b", "one line of text"]),
        (lambda: App(PLAN, {" ": TEST}), ["one line of text"]),
        (lambda: App(replace(PLAN, sample=Everyone(quorum=4)), DATA), ["3 clients", "quorum", "Everyone(quorum=3)"]),
        (lambda: App(replace(PLAN, sample=Uniform(4)), DATA), ["3 clients", "samples more", "size 3"]),
        (lambda: App(replace(PLAN, sample=InTurn(10)), DATA), ["3 clients", "samples more", "size 3"]),
        (lambda: App(PLAN, DATA, policies={"east": Policy()}), ["A policy for east", "north, south, west"]),
        (lambda: App(PLAN, DATA, workers=-1), ["App(workers=-1)"]),
        (lambda: App(PLAN, DATA, workers=2, network=Network(1.0)), ["network", "simulated clock"]),
    ],
)
def test_an_app_that_cannot_run_says_why_when_it_is_built(build: Callable[[], App], words: list[str]) -> None:
    with pytest.raises(AppError) as error:
        build()
    assert all(word in str(error.value) for word in words), str(error.value)


def test_an_app_runs_the_loop_that_it_names_and_scores_each_round() -> None:
    app = App(PLAN, DATA, TEST)
    states = list(app.run())
    plain = list(hansa.synchronous(PLAN, hansa.InProcess([hansa.Client(who, PLAN, d) for who, d in DATA.items()])))
    assert [state.x.tobytes() for state in states] == [state.x.tobytes() for state in plain]
    for state in states:
        scores = PLAN.model.score(state.x, TEST)
        assert state.scores == scores
        assert state.metrics["loss"] > 0
    assert last(App(PLAN, DATA)).scores == {}

    fedbuff = replace(app, loop=partial(buffered, size=2, busy=3), network=Network(1.0))
    assert last(fedbuff).round == PLAN.rounds
    assert last(fedbuff).x.tobytes() != states[-1].x.tobytes()


def test_the_seed_of_the_plan_decides_what_the_network_does() -> None:
    excluded = [
        [state.excluded for state in App(replace(PLAN, seed=seed), DATA, network=Network(1.0, drop=0.4)).run()]
        for seed in (0, 0, 1)
    ]
    assert excluded[0] == excluded[1] != excluded[2]


@pytest.mark.promise("P4")
def test_policies_reach_their_clients() -> None:
    app = App(PLAN, DATA, policies={"south": Policy(max_rounds=2)})
    assert [set(state.excluded) for state in app.run()] == [{"south"}] * PLAN.rounds


@pytest.mark.promise("P60")
@pytest.mark.parametrize("algorithm", [FedAvg(), Scaffold(), Ditto()], ids=lambda one: type(one).__name__)
def test_a_round_is_stored_before_it_is_told_and_a_stopped_run_goes_on(algorithm: Any, tmp_path: Path) -> None:
    app = App(replace(PLAN, algorithm=algorithm, sample=Uniform(2)), DATA, TEST)
    run = Store(tmp_path).new("", "", "", {})
    for state in app.run(run):
        stored = Store(tmp_path).open(run.id)
        assert [one.round for one in stored.history()] == list(range(1, state.round + 1))
        assert stored.history()[-1].scores == app.tests.score(PLAN.model, state.x)
        if state.round == 2:
            break
    run.finish("stopped")
    resumed = last(app, run=Store(tmp_path).resume(run.id))
    assert resumed.round == PLAN.rounds
    assert resumed.x.tobytes() == last(app).x.tobytes()


@pytest.mark.promise("P55")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_buffered_run_that_was_stopped_goes_on_with_what_was_under_way(tmp_path: Path, workers: int) -> None:
    """In the middle of its sessions, round after round in another life, it ends with the bytes of one life."""
    loop: Any = partial(buffered, size=3, busy=5)
    data = {f"site {i}": records(20 + i, i) for i in range(7)}
    app = App(replace(PLAN, algorithm=Scaffold(), rounds=6), data, loop=loop, workers=workers)
    store = Store(tmp_path)
    runs = [store.new("", app.known_plan.digest, "", {}) for _ in range(2)]
    *_, whole = app.run(runs[0])
    for _ in range(6):
        state = next(app.run(runs[1]))
    assert state.round == 6 and runs[1].state().x.tobytes() == whole.x.tobytes()
    before, after = (run.memory() for run in runs)
    assert {who: one["c"].tobytes() for who, one in before.items()} == {
        who: one["c"].tobytes() for who, one in after.items()
    }
    assert runs[1].book.exists() and runs[1].journal.exists()
    runs[1].finish("done")
    assert not list(runs[1].folder.glob("book*")) and not list(runs[1].folder.glob("journal*"))


def test_every_problem_of_every_client_is_found() -> None:
    X, y = DATA["north"]
    bad = {
        "empty": (X[:0], y[:0]),
        "fine": (X, y),
        "labels": (X, y + 5),
        "nan": (np.where(X > 1, np.nan, X), y),
        "unreadable": lambda: [Path("there/is/no/such/file").read_bytes()],
        "wide": (X[:, :2], y),
    }
    app = App(PLAN, bad, (X[:, :1], y), policies={"fine": Policy(max_rounds=1)})
    problems = [str(problem) for problem in app.problems()]
    assert len(problems) == len(bad) + 1
    for who, problem in zip([*bad, "test"], problems, strict=True):
        assert who in problem
    assert not list(App(PLAN, DATA, TEST).problems())


def test_test_data_that_the_model_cannot_score_stops_the_run_before_it_begins() -> None:
    X, y = TEST
    with pytest.raises(DataError, match="test"):
        next(App(PLAN, DATA, (X[:, :2], y)).run())


# ── the comparison ───────────────────────────────────────────────────────────────────────────────────────────────────


def train_by_hand(data: Records, epochs: int) -> dict[str, float]:
    """Gradient descent on all examples at once."""
    training = replace(PLAN.training, epochs=epochs)
    x = PLAN.model.train(PLAN.model.start(Key.of(0)), data, training, Drift(), Key.of(0)).x
    return PLAN.model.score(x, TEST)


def test_alone_and_pooled_train_as_much_as_all_rounds_do() -> None:
    app = App(replace(PLAN, pipe=(Clip(0.001, side=1.0), Weigh("examples", cap=64))), DATA, TEST)
    state = last(app)
    rows = list(app.compare(state))
    assert [row.name for row in rows] == ["north alone", "south alone", "west alone", "federated", "all data pooled"]
    assert [row.examples for row in rows] == [30, 45, 12, 87, 87]
    epochs = PLAN.rounds * PLAN.training.epochs
    together = tuple(np.concatenate(columns) for columns in zip(*DATA.values(), strict=True))
    expected = [*(train_by_hand(data, epochs) for data in DATA.values()), app.tests.score(PLAN.model, state.x)]
    expected.append(train_by_hand((together[0], together[1]), epochs))
    for row, scores in zip(rows, expected, strict=True):
        assert row.scores == pytest.approx(scores, rel=1e-9), row.name


@pytest.mark.parametrize("sample, turns", [(Everyone(), 6), (Uniform(1), 2)], ids=["everyone", "one of three"])
@pytest.mark.parametrize("training", [{"epochs": 2, "batch": 10}, {"steps": 6, "batch": 5}], ids=["epochs", "steps"])
def test_who_trains_alone_goes_over_its_data_as_often_as_the_federation(
    sample: Any, turns: int, training: dict[str, int]
) -> None:
    """One of three is asked in a third of 6 rounds; 6 steps of 5 go twice over 15 examples."""
    data = {who: (X[:15], y[:15]) for who, (X, y) in DATA.items() if len(y) > 14}
    data["west"] = (DATA["north"][0][15:30], DATA["north"][1][15:30])
    plan = Plan(Softmax(3, 2), sample=sample, training=Training(**training), rounds=6)
    app = App(plan, data, TEST)
    rows = {row.name: row for row in app.compare(last(app))}
    assert {row.passes for row in rows.values()} == {2.0 * turns}
    one = Plan(Softmax(3, 2), pipe=(Weigh("one"),), training=Training(**training), rounds=turns)
    (*_, state) = synchronous(one, InProcess([Client("west", one, data["west"])]))
    assert rows["west alone"].scores == pytest.approx(app.tests.score(one.model, state.x), rel=1e-9)
    steps = {"epochs": None, "steps": 18}["steps" if "steps" in training else "epochs"]
    whole = tuple(np.concatenate(columns) for columns in zip(*data.values(), strict=True))
    every = replace(one, training=replace(one.training, steps=steps))
    (*_, state) = synchronous(every, InProcess([Client("pooled", every, whole)]))
    assert rows["all data pooled"].scores == pytest.approx(app.tests.score(one.model, state.x), rel=1e-9)


def test_what_clients_keep_from_training_is_kept_from_the_comparison_too() -> None:
    app = App(replace(PLAN, training=replace(PLAN.training, validation=0.5)), DATA, TEST)
    assert [row.examples for row in app.compare(last(app))] == [15, 23, 6, 44, 44]


def test_without_test_data_there_is_nothing_to_compare_on() -> None:
    app = App(PLAN, DATA)
    with pytest.raises(AppError, match="nothing to compare on"):
        list(app.compare(last(app)))


def parsed(*data: Any) -> list[Examples]:
    return list(map(Examples.of, data))


def test_data_of_every_form_can_be_pooled() -> None:
    (A, a), (B, b) = DATA["north"], DATA["west"]
    X, y = np.concatenate([A, B]), np.concatenate([a, b])
    for left, right in zip(pooled(parsed((A, a), (B, b))).given, (X, y), strict=True):
        assert (left == right).all()
    named = pooled(parsed({"x": A, "y": a}, {"x": B, "y": b})).given
    assert (named["x"] == X).all() and (named["y"] == y).all()
    stream = pooled(parsed(lambda: iter([(A, a)]), lambda: iter([(B[:5], b[:5]), (B[5:], b[5:])])))
    for _ in range(2):  # it can be read again
        assert np.concatenate([batch[1] for batch in stream.whole()]).tolist() == y.tolist()
    with pytest.raises(DataError, match="several forms"):
        pooled(parsed((A, a), {"x": B, "y": b}))


# ── app files ────────────────────────────────────────────────────────────────────────────────────────────────────────

APP = """
import numpy as np
import hansa
from neighbour import SIZE

class Half(hansa.transforms.Transform):
    def encode(self, v, at):
        return v / 2

rng = np.random.default_rng(0)
data = {who: (rng.normal(size=(SIZE, 3)), rng.integers(0, 2, SIZE)) for who in "abc"}
plan = hansa.Plan(hansa.Softmax(3, 2), pipe=(Half(), hansa.Weigh("one")), rounds=2)
app = hansa.App(plan, data)
"""


@pytest.fixture
def app_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "neighbour.py").write_text("SIZE = 8\n")
    (tmp_path / "mine.py").write_text(APP)
    yield tmp_path / "mine.py"  # type: ignore[misc]
    sys.modules.pop("neighbour", None)


def test_an_app_file_imports_its_neighbours_and_its_classes_travel_to_workers(app_file: Path) -> None:
    app = load(app_file)
    assert last(replace(app, workers=2)).x.tobytes() == last(app).x.tobytes()


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("x = 1\napp = 3\n", AppError, ["defines an `app` of type int"]),
        ("x = 1\n", AppError, ["defines no `app`"]),
        ("x = 1\ny = (\n", AppError, ["line 2", "SyntaxError"]),
        ("x = 1\n\ny = x / 0\n", AppError, ["line 3", "ZeroDivisionError: division by zero."]),
        ("def f():\n    return {}['a']\nf()\n", AppError, ["line 2", "KeyError: 'a'."]),
        ("import sys\nsys.exit('no data')\n", AppError, ["line 2", "SystemExit: no data."]),
        ("import no_such_thing.inner\n", AppError, ["line 1", "pip install 'no_such_thing'"]),
        (
            "import hansa\n\nplan = hansa.Plan(hansa.Softmax(3, 2), pipe=())\n",
            PlanError,
            ["line 3", "not a mean", "Weigh"],
        ),
        ("import hansa\nhansa.App(None, {})\n", AppError, ["line 2", "App(plan=…) with a NoneType"]),
        ("raise ValueError\n", AppError, ["line 1", "ValueError: (no message)."]),
    ],
)
def test_an_app_file_that_cannot_be_used_says_where(
    tmp_path: Path, text: str, kind: type[HansaError], words: list[str]
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(kind) as error:
        load(path)
    assert all(word in str(error.value) for word in [*words, "mine.py"]), str(error.value)
    assert len(str(error.value).split("\n")) <= 3


def test_an_app_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(AppError, match="There is no file"):
        load(tmp_path / "none.py")
    (tmp_path / "app.txt").write_text("app = 1")
    with pytest.raises(AppError, match="no Python file"):
        load(tmp_path / "app.txt")


# ── the plan in words ────────────────────────────────────────────────────────────────────────────────────────────────


def words_of(plan: Plan) -> str:
    return str(explain(plan)).replace("\u00a0", " ")


@pytest.mark.promise("P2")
def test_an_explanation_names_all_that_a_client_says_with_its_bounds() -> None:
    plan = replace(
        PLAN,
        pipe=(Finite(), AdaptiveClip(side=10.0), Weigh("examples", cap=64), Quantize(24)),
        training=replace(PLAN.training, validation=0.2),
        sample=Uniform(2, quorum=2, deadline=9.0),
    )
    sections = {section.title: section for section in explain(plan).sections}
    reply = {row[0]: (row[1], row[3].replace("\u00a0", " ")) for row in sections["What a client sends"].rows}
    assert reply == {
        "delta": ("8", "norm ≤ 64"),
        "loss": ("1", "0 … 640"),
        "val_defined": ("1", "0 … 64"),
        "val_loss": ("1", "0 … 640"),
        "val_accuracy": ("1", "0 … 64"),
        "under": ("1", "± 32"),
        "weight": ("1", "1 … 64"),
    }
    assert [row[1] for row in sections["What is done to it"].rows] == [repr(step) for step in plan.pipe]
    assert sections["Who sees what"].rows == tuple(plan.aggregator.visibility())
    text = words_of(plan)
    for fact in ("2 clients, drawn anew", "9 seconds", "20% of its examples", "integers of 64 bits", plan.digest):
        assert fact in text


SERVER, NO_NOISE, EPSILON, REAL, CENTRAL, MOVE, TOLD, REPORT, ONE, EACH, SHARE, WEIGHTS = (
    "server can see every client's update", "no differential privacy", "sample that stays secret",
    "real numbers; one who",
    "sees the sum without it", "could move the model as far", "what is reported meaningless", "Clients report",
    "end with one client", "looks at each update by itself", "a share of the noise", "no good mean",
)  # fmt: skip
TIGHT = (Clip(1.0, side=5.0), Weigh("examples", cap=64))


@pytest.mark.promise("P9", "P39", "P74")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {SERVER, NO_NOISE, MOVE, TOLD, REPORT, ONE}),
        ({"pipe": TIGHT, "sample": Everyone(quorum=2)}, {SERVER, NO_NOISE, REPORT}),
        (
            {"pipe": (*TIGHT, GaussianNoise(1.0)), "sample": hansa.Poisson(0.5)},
            {SERVER, EPSILON, REAL, CENTRAL, ONE, WEIGHTS},
        ),
        (
            {"pipe": (*TIGHT, GaussianNoise(1.0, by="all", least=2)), "sample": Everyone(quorum=2)},
            {SERVER, REAL, SHARE, WEIGHTS},
        ),
        (
            {"aggregator": hansa.Median(), "pipe": (Weigh("one"),), "training": Training(report=False)},
            {EACH, NO_NOISE, MOVE, ONE},
        ),
    ],
)
def test_an_explanation_warns_of_what_the_plan_does_not_protect(change: dict[str, Any], expected: set[str]) -> None:
    told = explain(replace(PLAN, **change)).warnings
    found = {
        one
        for one in (SERVER, NO_NOISE, EPSILON, REAL, CENTRAL, MOVE, TOLD, REPORT, ONE, EACH, SHARE, WEIGHTS)
        if one in " ".join(told)
    }
    assert found == expected
    assert len(told) == len(expected)


def test_the_expression_builds_the_plan_and_tells_plans_apart() -> None:
    plan = replace(PLAN, pipe=TIGHT, rounds=9)
    built = eval(expression(plan), {"inf": float("inf")}, Pieces())  # noqa: S307
    assert built == plan
    other = expression(replace(PLAN, rounds=9))
    assert difference(expression(PLAN), other) == "It had rounds=4 where the file has rounds=9."


def test_a_run_does_not_go_on_with_other_clients(tmp_path: Path) -> None:
    run = Store(tmp_path).new("", PLAN.digest, "", {})
    next(App(PLAN, DATA, TEST).run(run))
    others = {"north": DATA["north"], "east": DATA["south"]}
    with pytest.raises(AppError, match="asked south, west in its last round"):
        next(App(PLAN, others, TEST).run(run))
