"""Models of the clients' own: scored beside the global one, told of, exported, and started again where they diverge."""

from __future__ import annotations

import itertools
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.contracts.test_cli import call

import hansa as h
from hansa.algorithms import reports
from hansa.app.compare import trained_alone
from hansa.app.personal import model_of, own_rows
from hansa.app.scoring import of_each_metric, weighted_means
from hansa.data import Examples
from hansa.errors import Aside, Diverged
from hansa.explain import explain
from hansa.models import NO_LOCAL, Drift, ModelView, Traits
from hansa.plan import server
from hansa.plan.client import training_context
from hansa.plan.layout import reported
from hansa.store import export
from hansa.testing import check_algorithm

WHO = [f"clinic {i}" for i in range(6)]


def records(i: int) -> tuple[Any, Any]:
    """Some examples of three classes that each clinic labels in a way of its own."""
    rng = np.random.default_rng(i)
    X = rng.normal(size=(20 + 4 * i, 4))
    return X, (X @ rng.normal(size=(4, 3))).argmax(1)


DATA = {who: records(i) for i, who in enumerate(WHO)}
TRAINING = h.Training(epochs=2, batch=8, learning_rate=0.3, validation=0.25)
PLAN = h.Plan(h.Softmax(4, 3), h.Ditto(lam=0.2), training=TRAINING, rounds=4)


@dataclass(frozen=True)
class Between(h.FedAvg):
    """A stranger's: a client uses the mean of the global model and of what it has trained last."""

    def client(self, model: Any, broadcast: Any, client_state: Any, data: Any, training: Any, at: Any) -> Any:
        parts, state = yield from super().client(model, broadcast, client_state, data, training, at)
        return parts, {**state, "last": broadcast["x"] + parts["delta"]}

    def personal_model(self, broadcast: Any, client_state: Any) -> Any:
        if "last" not in client_state:
            return None
        return (broadcast["x"] + client_state["last"]) / 2


@dataclass(frozen=True)
class Astray(Between):
    """One whose clients come back with a vector of another model."""

    def personal_model(self, broadcast: Any, client_state: Any) -> Any:
        return np.zeros(3)


def clients(plan: h.Plan) -> list[h.Client]:
    return [h.Client(who, plan, data, secret=h.Key.of(5)) for who, data in DATA.items()]


def rounds(plan: h.Plan, runtime: Any = None) -> Iterator[tuple[h.State, dict[str, Any]]]:
    """Each state, and what clients remember after it."""
    runtime = runtime or h.InProcess(clients(plan), secret=h.Key.of(5))
    for state in h.synchronous(plan, runtime, None, h.Key.of(5)):
        yield state, runtime.memory.after(state.counted)


def held(plan: h.Plan, who: str) -> tuple[Examples, int]:
    """What a client has kept from training, and how many examples it trains on."""
    train, kept = Examples.of(DATA[who]).split(TRAINING.validation, plan.key.child("split", who))
    return kept, len(train)


@pytest.mark.promise("P190")
@pytest.mark.parametrize("algorithm", [PLAN.algorithm, Between()], ids=repr)
def test_both_models_are_scored_on_what_clients_have_kept(algorithm: h.FedAvg) -> None:
    """Each mean in the sum is that of model.score by hand, of the models that the round began with."""
    plan = replace(PLAN, algorithm=algorithm)
    x, memory = plan.start().x, dict[str, Any]()
    apart = 0
    for state, after in rounds(plan):
        sums: dict[str, float] = {}
        total = 0
        for who in WHO:
            kept, n = held(plan, who)
            v = {"Ditto": memory.get(who, {}).get("personal"), "Between": None}[type(algorithm).__name__]
            if "last" in memory.get(who, {}):
                v = (x + memory[who]["last"]) / 2
            for prefix, vector in (("val_", x), ("personal_", x if v is None else v)):
                for name, value in plan.model.score(vector, kept).items():
                    sums[prefix + name] = sums.get(prefix + name, 0.0) + n * value
            total += n
        for name, value in sums.items():
            assert state.metrics[name] == pytest.approx(value / total, rel=1e-9), name
        apart += state.metrics["personal_loss"] != state.metrics["val_loss"]
        x, memory = state.x, after
    assert apart == plan.rounds - 1  # in the first round they are the same


def test_the_model_of_ditto_is_trained_from_itself_towards_the_global_one() -> None:
    """The vector that is scored is v ← train(v, pull λ to x), by the algorithm's own draws."""
    (state, memory), _ = list(rounds(replace(PLAN, rounds=2)))
    who = WHO[2]
    data, _ = Examples.of(DATA[who]).split(TRAINING.validation, PLAN.key.child("split", who))
    start = PLAN.start().x
    at = PLAN.context(0, h.messages.SessionId(number=0), who, secret=h.Key.of(5))
    key = training_context(PLAN, at).key.child("personal")
    wanted = PLAN.model.train(start, data, TRAINING, Drift(0.2, centre=start), key).x
    broadcast, _ = server.broadcast(PLAN, state)
    own, local = reports.personal_model(PLAN.algorithm, broadcast, memory[who])
    assert own.tobytes() == wanted.tobytes() and local == NO_LOCAL


def test_an_algorithm_without_one_reports_the_global_model_alone() -> None:
    plan = replace(PLAN, algorithm=h.FedAvg())
    assert list(reported(plan)) == ["loss", "val_defined", "val_loss", "val_accuracy"]
    assert not any(name.startswith("personal") for name in plan.spec.blocks)
    scores = ["val_loss", "val_accuracy", "personal_loss", "personal_accuracy"]
    assert list(reported(PLAN)) == ["loss", "val_defined", *scores]
    quiet = replace(PLAN, training=replace(TRAINING, report=False, validation=0.0))
    assert not reported(quiet) and "personal_loss" not in quiet.spec.blocks
    unheld = replace(PLAN, training=replace(TRAINING, validation=0.0))
    assert list(reported(unheld)) == ["loss"]


VERIFIED = replace(
    PLAN,
    pipe=(h.Clip(1.0, side=16.0), h.Weigh("examples", cap=32)),
    aggregator=h.VerifiedSum(helpers=1),
    sample=h.Everyone(quorum=2),
    rounds=2,
)


@pytest.mark.promise("P190")
def test_both_travel_through_a_verified_sum_with_their_bounds() -> None:
    """Proven like all others, and the means of the sum in the clear."""
    plain = replace(VERIFIED, aggregator=h.Sum())
    proven, open = ([state for state, _ in rounds(plan)] for plan in (VERIFIED, plain))
    for one, other in zip(proven, open, strict=True):
        assert one.participants == tuple(WHO) and one.metrics.keys() <= reported(VERIFIED).keys()
        assert {**one.metrics, "val_defined": 1.0} == pytest.approx({**other.metrics, "val_defined": 1.0}, abs=1e-3)
    assert proven[-1].metrics["personal_loss"] != proven[-1].metrics["val_loss"]
    spec = VERIFIED.encoded_spec
    assert spec.bounds["personal_accuracy"] == spec.bounds["val_accuracy"] == 32.0
    assert spec.lows["personal_accuracy"] == 0.0 and spec.bounds["personal_loss"] == spec.bounds["val_loss"]


def test_an_explanation_says_whose_score_it_is() -> None:
    words = str(explain(PLAN))
    assert "accuracy of the global model on" in words and "accuracy of the client's own model, which stays" in words


# ── what leaves the range of numbers ─────────────────────────────────────────────────────────────────────────────────

WILD = replace(PLAN, algorithm=h.Ditto(lam=50.0), rounds=6)  # η λ = 15: each step throws v to the other side of x


@pytest.mark.promise("P191")
def test_a_model_that_diverges_is_told_and_starts_again() -> None:
    x = WILD.start().x
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = list(rounds(WILD))
    words = [str(one.message) for one in told if one.category is Diverged]
    assert {word.split(":")[0] for word in words} == set(WHO)
    assert all("left the range of numbers" in word and "starts again from the global one" in word for word in words)
    for state, memory in found:
        assert state.participants == tuple(WHO) and not state.excluded  # nothing of it is recorded
        for who in WHO:
            own, _ = reports.personal_model(WILD.algorithm, server.broadcast(WILD, state)[0], memory.get(who, {}))
            assert np.linalg.norm(own - x) <= reports.FURTHEST * (1 + np.linalg.norm(x))
        x = state.x
        assert np.isfinite(list(state.metrics.values())).all()
    quiet = [state for state, _ in rounds(replace(WILD, algorithm=h.FedAvg()))]
    assert quiet[-1].x.tobytes() == found[-1][0].x.tobytes()  # the global model is as good as without


@pytest.mark.parametrize("v", [np.nan, np.inf, 1e22, -1e300])
def test_numbers_out_of_range_are_found(v: float) -> None:
    broadcast = {"x": np.zeros(15)}
    assert "left the range" in reports.diverged(PLAN.model, PLAN.algorithm, broadcast, {"personal": np.full(15, v)})
    assert not reports.diverged(PLAN.model, PLAN.algorithm, broadcast, {"personal": np.full(15, 1e6)})
    assert not reports.diverged(PLAN.model, h.FedAvg(), broadcast, {"personal": np.full(15, v)})


def test_what_is_said_aside_is_no_reason_to_be_left_out() -> None:
    assert issubclass(Diverged, Aside) and not issubclass(Diverged, h.errors.LeftOut)


# ── strangers ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_strangers_personal_model_is_held_to_what_it_promises() -> None:
    check_algorithm(Between())
    with pytest.raises(TypeError, match="personal_model"):
        check_algorithm(Astray())


@dataclass(frozen=True)
class Elsewhere(Between):
    """One whose clients begin with nothing, and not with the global model."""

    def personal_model(self, broadcast: Any, client_state: Any) -> Any:
        return client_state.get("last", np.ones(15))


def test_a_model_of_ones_own_begins_with_the_global_one() -> None:
    with pytest.raises(AssertionError, match="remembers nothing must be the global model"):
        check_algorithm(Elsewhere())


@dataclass(frozen=True)
class Offset(ModelView):
    """A stranger's model: each client adds a bias of its own, which its `local` holds."""

    model: h.Softmax
    traits = Traits(personal=True)  # type: ignore[assignment]

    def _whole(self, x: Any, local: Any) -> Any:
        whole = x.copy()
        whole[-3:] += local.get("bias", 0.0)
        return whole

    def train(self, x: Any, data: Any, training: Any, drift: Any, key: Any, local: Any = NO_LOCAL) -> Any:
        fit = self.model.train(self._whole(x, local), data, training, drift, key)
        bias = fit.x[-3:] - x[-3:]
        return replace(fit, x=np.concatenate([fit.x[:-3], x[-3:]]), local={"bias": bias})

    def score(self, x: Any, data: Any, local: Any = NO_LOCAL) -> Any:
        return self.model.score(self._whole(x, local), data)

    def check(self, data: Any, who: str, training: Any = None) -> None:
        self.model.check(data, who, training)


def test_a_model_that_keeps_parts_is_scored_with_them_beside_the_shared_one() -> None:
    plan = replace(PLAN, model=Offset(h.Softmax(4, 3)), algorithm=h.FedAvg(), rounds=2)
    (first, memory), (second, _) = list(rounds(plan))
    total = np.zeros(2)
    for who in WHO:
        kept, n = held(plan, who)
        local = memory[who]["model"]
        scores = (plan.model.score(first.x, kept)["loss"], plan.model.score(first.x, kept, local)["loss"])
        total += n * np.array([*scores])
    n = sum(held(plan, who)[1] for who in WHO)
    means = total / n
    assert second.metrics["val_loss"] == pytest.approx(means[0], rel=1e-9)
    assert second.metrics["personal_loss"] == pytest.approx(means[1], rel=1e-9)
    assert means[0] != means[1]


# ── wherever clients live ────────────────────────────────────────────────────────────────────────────────────────────


def test_workers_keep_it_to_the_byte() -> None:
    with h.Processes(clients(PLAN), 2, h.Key.of(5)) as runtime:
        there = list(rounds(PLAN, runtime))
    for (one, mine), (other, theirs) in zip(rounds(PLAN), there, strict=True):
        assert one.x.tobytes() == other.x.tobytes() and one.metrics == other.metrics
        assert {who: state["personal"].tobytes() for who, state in mine.items()} == {
            who: state["personal"].tobytes() for who, state in theirs.items()
        }


# ── what is told of them ─────────────────────────────────────────────────────────────────────────────────────────────

TESTS = {who: records(i) for i, who in enumerate(WHO)}  # each clinic's own, labelled as it labels


def ended(app: h.App, store: h.Store) -> tuple[h.State, Any]:
    """The last state of an app's run, and the run."""
    plan = app.known_plan
    run = store.new(repr(plan), plan.digest, "clinics", {}, plan.rounds)
    *_, state = app.run(run)
    return state, run


@pytest.mark.promise("P192")
def test_own_models_are_compared_on_the_examples_of_the_central_test(tmp_path: Path) -> None:
    """Σₖ nₖ score(vₖ, Tₖ) / Σₖ nₖ, where the federation's row is Σₖ nₖ score(x, Tₖ) / Σₖ nₖ."""
    app = h.App(PLAN, DATA, TESTS)
    state, run = ended(app, h.Store(tmp_path))
    memory = run.memory()
    rows = {row.name: row for row in app.compare(state, memory)}
    n = np.array([len(y) for _, y in TESTS.values()])
    for name in ("loss", "accuracy"):
        own = [PLAN.model.score(memory[who]["personal"], TESTS[who])[name] for who in WHO]
        shared = [PLAN.model.score(state.x, TESTS[who])[name] for who in WHO]
        assert rows["own models"].scores[name] == pytest.approx(np.average(own, weights=n), rel=1e-9)
        assert rows["federated"].scores[name] == pytest.approx(np.average(shared, weights=n), rel=1e-9)
    assert rows["own models"].scores["accuracy"] > rows["federated"].scores["accuracy"]
    assert rows["own models"].examples == n.sum()
    alone = [trained_alone(app.plan, who, h.Client(who, app.plan, DATA[who]).parts[0], state.round) for who in WHO]
    for name in ("loss", "accuracy"):
        scores = [PLAN.model.score(x, TESTS[who])[name] for x, who in zip(alone, WHO, strict=True)]
        each = rows["each alone, on its own"].scores[name]
        assert each == pytest.approx(np.average(scores, weights=n), rel=1e-9)
        assert rows["federated, on each one's own"].scores[name] == pytest.approx(rows["federated"].scores[name])
    one_set = replace(app, test=TESTS[WHO[0]])
    assert {row.name: row.scores for row in app.compare(state)}["own models"] == rows["own models"].scores
    for other, given in ((h.App(PLAN, DATA, TESTS), None), (one_set, memory)):
        assert "own models" not in {row.name for row in other.compare(state, given)}


def test_a_score_that_one_client_has_not_is_in_no_mean() -> None:
    """A hospital without healthy patients has no AUC; the mean is over the others, and NaN over none."""
    scores = [{"auc": 0.8, "loss": 1.0}, {"auc": math.nan, "loss": 2.0}, {"auc": 0.6, "loss": 3.0}]
    assert weighted_means(scores, [1, 5, 3]) == pytest.approx({"auc": 0.65, "loss": (1 + 10 + 9) / 9})
    assert of_each_metric(median, scores) == pytest.approx({"auc": 0.7, "loss": 2.0})
    assert math.isnan(weighted_means(scores[1:2], [5])["auc"]) and math.isnan(
        of_each_metric(median, scores[1:2])["auc"]
    )


@pytest.mark.promise("P192")
@pytest.mark.parametrize("test", [TESTS, None], ids=["their tests", "their validation"])
def test_tenths_of_the_clients_and_the_worst_are_told(test: Any, tmp_path: Path) -> None:
    app = h.App(PLAN, DATA, test)
    state, run = ended(app, h.Store(tmp_path))
    memory = run.memory()
    examples = {who: TESTS[who] if test else held(PLAN, who)[0] for who in WHO}
    losses = {who: PLAN.model.score(memory[who]["personal"], examples[who])["loss"] for who in WHO}
    shared = [PLAN.model.score(state.x, examples[who])["loss"] for who in WHO]
    rows = {row.name: row.scores["loss"] for row in own_rows(app, state, memory)}
    for tenth in (10, 50, 90):
        assert rows[f"own models: {tenth} %"] == pytest.approx(np.percentile([*losses.values()], tenth))
        assert rows[f"global model: {tenth} %"] == pytest.approx(np.percentile(shared, tenth))
    worst = sorted(losses, key=losses.__getitem__, reverse=True)[:5]
    assert list(rows)[6:] == [f"worst: {who}" for who in worst]
    assert all(rows[f"worst: {who}"] == pytest.approx(losses[who]) for who in worst)


@pytest.mark.promise("P192")
def test_where_anything_hides_clients_nobody_is_named(tmp_path: Path) -> None:
    noisy = (h.Clip(1.0, side=16.0), h.Weigh("one"), h.GaussianNoise(1.0))
    app = h.App(replace(PLAN, pipe=noisy, rounds=2), DATA, TESTS)
    state, run = ended(app, h.Store(tmp_path))
    rows = own_rows(app, state, run.memory())
    assert len(rows) == 6 and all(row.outside for row in rows)
    assert not any(who in row.name for row in rows for who in WHO)


def test_without_a_model_of_their_own_or_examples_there_is_nothing_to_tell(tmp_path: Path) -> None:
    plain = h.App(replace(PLAN, algorithm=h.FedAvg(), rounds=1), DATA, TESTS)
    assert own_rows(plain, PLAN.start(), {}) == []
    unheld = h.App(replace(PLAN, training=replace(TRAINING, validation=0.0)), DATA)
    assert own_rows(unheld, PLAN.start(), {}) == []


APP = """
import numpy as np
import hansa

def records(i):
    rng = np.random.default_rng(i)
    X = rng.normal(size=(24, 4))
    return X, (X @ rng.normal(size=(4, 3))).argmax(1)

WHO = ("north", "south", "west")
data = {who: records(i) for i, who in enumerate(WHO)}
training = hansa.Training(learning_rate=0.3, validation=0.25)
plan = hansa.Plan(hansa.Softmax(4, 3), hansa.Ditto(lam=0.2), training=training, sample=hansa.Everyone(), rounds=2)
app = hansa.App(plan, data, data)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an app, to work in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(APP)
    (tmp_path / "plain.py").write_text(APP.replace("Ditto(lam=0.2)", "FedAvg()"))
    (tmp_path / "few.py").write_text(APP.replace("hansa.Everyone()", "hansa.InTurn(1)"))
    return tmp_path


def test_a_run_tells_of_them_and_exports_each(here: Path) -> None:
    code, out, err = call("run", "own.py")
    assert code == 0, err
    for words in ("own accuracy", "own models: 90 %", "global model: 10 %", "worst: ", "own models "):
        assert words in out, words
    run = re.findall(r"run (\S+)  ", out)[0]
    page = (here / "runs" / run / "report.html").read_text()
    assert "The clients' own models" in page
    assert "own models: 50 %" in page and "it is own loss" in page
    memory = h.Store("runs").open(run).memory()
    for who in ("north", "west"):
        code, out, err = call("export", run, f"{who}.safetensors", "--client", who)
        assert code == 0 and f"{who}'s own model" in out, err
        named = PLAN.model.tensors(memory[who]["personal"])
        found = load_file(f"{who}.safetensors")
        assert {name: one.tobytes() for name, one in found.items()} == {
            name: one.tobytes() for name, one in named.items()
        }
        code, out, err = call("export", run, f"{who}.safetensors", "--client", who, "--raw")
        assert code == 0 and load_file(f"{who}.safetensors")["x"].tobytes() == memory[who]["personal"].tobytes(), err
    code, out, _ = call("export", run, "x.safetensors", "--raw")
    assert code == 0 and load_file("x.safetensors")["x"].tobytes() != memory["north"]["personal"].tobytes()


@pytest.mark.parametrize(
    ("app", "who", "words"),
    [
        ("own.py", "nort", ["no client 'nort'", "north"]),
        ("plain.py", "north", ["no model of north's own", "FedAvg with Softmax", "Ditto()"]),
        ("few.py", "west", ["west has no model of its own", "never taken part"]),
    ],
)
def test_an_export_of_what_is_not_there_says_so(here: Path, app: str, who: str, words: list[str]) -> None:
    code, out, err = call("run", app, "--no-compare")
    assert code == 0, err
    run = re.findall(r"run (\S+)  ", out)[0]
    code, _, err = call("export", run, "x.safetensors", "--client", who)
    assert code == 2 and all(word in err for word in words), err
    assert not Path("x.safetensors").exists()


def test_an_export_has_the_statistics_that_a_client_keeps(tmp_path: Path) -> None:
    """Of a network whose running statistics stay with their client, its own are in the file."""
    import torch

    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    model = h.TorchModel(net, torch.nn.functional.cross_entropy, buffers="local")
    plan = replace(PLAN, model=model, rounds=1)
    ((state, memory),) = list(rounds(plan))
    own, local = model_of(plan, state, memory[WHO[0]])
    export(own, tmp_path / "own.safetensors", model, local)
    found = load_file(tmp_path / "own.safetensors")
    assert found["1.running_mean"].tobytes() == np.asarray(local["1.running_mean"]).tobytes()
    assert found["1.running_mean"].any() and not model.tensors(own)["1.running_mean"].any()


def test_a_resumed_run_has_the_same_own_models(tmp_path: Path) -> None:
    app = h.App(PLAN, DATA, secret=h.Key.of(5))
    _, whole = ended(app, h.Store(tmp_path / "whole"))
    store = h.Store(tmp_path / "cut")
    run = store.new(repr(PLAN), PLAN.digest, "clinics", {}, PLAN.rounds)
    for state in app.run(run):
        if state.round == 2:
            break
    run.finish("stopped")
    run = store.resume(run.id)
    *_, last = app.run(run)
    assert last.metrics == whole.state().metrics
    found, wanted = run.memory(), whole.memory()
    assert all(found[who]["personal"].tobytes() == wanted[who]["personal"].tobytes() for who in WHO)


# ── through a sum that hides, two workers and a pause ────────────────────────────────────────────────────────────────

HEADS = h.Personal(h.Softmax(4, 3), keep=("bias",))
PERSONAL = [
    (h.Softmax(4, 3), h.FineTuned()),
    (h.Softmax(4, 3), h.PerFedAvg(alpha=0.1)),
    (h.Softmax(4, 3), h.FedALA(rate=5.0)),
    (h.Softmax(4, 3), h.PFedMe(lam=2.0, rate=0.2)),
    (HEADS, h.FedAvg()),
    (HEADS, h.FedRep(head_epochs=2)),
]


@pytest.mark.promise("P640")
@pytest.mark.parametrize(("model", "algorithm"), PERSONAL, ids=lambda one: type(one).__name__)
def test_own_models_are_the_same_through_a_hidden_sum_two_workers_and_a_pause(model: Any, algorithm: Any) -> None:
    """Model, reports and what clients remember, to the last bit; and a plain sum gives them but for its rounding."""
    pipe = (h.Clip(2.0, side=10.0), h.Weigh("one"), h.Quantize(20, of="sum", clients=6))
    plan = h.Plan(
        model, algorithm, pipe, h.MaskedSum(), training=TRAINING, sample=h.Everyone(quorum=5), rounds=4
    )  # fmt: skip
    through = h.InProcess(clients(plan), secret=h.Key.of(5))
    want = list(h.synchronous(plan, through, None, h.Key.of(5)))
    paused = h.InProcess(clients(plan), secret=h.Key.of(5))
    *_, half = itertools.islice(h.synchronous(plan, paused, None, h.Key.of(5)), 2)
    with h.Processes(clients(plan), 2, h.Key.of(5)) as workers:
        workers.memory.load(paused.memory.after(half.counted))
        *_, found = h.synchronous(plan, workers, half, h.Key.of(5))
        assert found.round == 4 and found.x.tobytes() == want[-1].x.tobytes()
        assert found.metrics == want[-1].metrics and "personal_accuracy" in found.metrics
        before, after = (one.memory.after(found.counted) for one in (through, workers))
    assert sorted(before) == sorted(after) == WHO
    assert all(repr(memory) == repr(after[who]) for who, memory in before.items())
    plain = replace(plan, aggregator=h.Sum())
    *_, (state, _) = rounds(plain)
    np.testing.assert_allclose(found.x, state.x, atol=1e-3)
