"""Noise for single examples: gradients, sums, batches, refusals and numbers are those of DP-SGD."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import dp_accounting as dp
import numpy as np
import pytest
import torch
from dp_accounting import rdp
from sklearn.linear_model import SGDClassifier
from torch import nn
from torch.nn import functional as F
from typer.testing import CliRunner

from hansa import (
    App,
    Client,
    FedAvg,
    FedProx,
    InProcess,
    Key,
    PerExample,
    Plan,
    Policy,
    Scaffold,
    SklearnModel,
    Softmax,
    State,
    TorchModel,
    Training,
    buffered,
    synchronous,
)
from hansa import data as local
from hansa.cli import commands
from hansa.config import build, set_, table
from hansa.errors import DataError, PlanError, PolicyError
from hansa.explain import explain
from hansa.messages import Begin, Request, SessionId
from hansa.models import Drift, Model, TrainResult
from hansa.plan import server
from hansa.privacy import examples, planned_privacy, trainings
from hansa.privacy.ledger import EXAMPLE, Ledger
from hansa.privacy.mechanisms import Release
from hansa.spec import Vector
from hansa.training import drawn_rows
from hansa.transforms.curves import Gaussian

N, CLASSES, KEY = 12, 3, Key.of(5)
QUIET = Training(batch=0, steps=1, learning_rate=1.0, report=False)
EXACT = PerExample(0.3, 1e-12)  # noise far below rounding
SEEN = Training(batch=5, learning_rate=0.1, private=PerExample(1.0, 1.1), report=False)


class Recurrent(nn.Module):
    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.inner, self.outer = kind(4, 6, batch_first=True), nn.Linear(6, CLASSES)

    def forward(self, x: torch.Tensor) -> Any:
        return self.outer(self.inner(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.outer = nn.Embedding(10, 8), nn.Linear(8, CLASSES)
        self.inner = nn.TransformerEncoderLayer(8, 2, 8, dropout=0.0, batch_first=True)

    def forward(self, x: torch.Tensor) -> Any:
        return self.outer(self.inner(self.words(x)).mean(1))


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(5, 4), nn.Linear(2, 4, bias=False)
        self.right.weight.requires_grad_(False)
        self.outer, self.gain = nn.Linear(4, CLASSES), nn.Parameter(torch.tensor(1.5))

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> Any:
        return self.outer(self.gain * torch.tanh(self.left(left) + self.right(right)))


def convolutions() -> nn.Module:
    flat = [nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 9, CLASSES)]
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), *flat)


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, CLASSES))


def case(name: str) -> tuple[Model, Any]:
    rng, y = np.random.default_rng(1), np.arange(N) % CLASSES
    torch.manual_seed(0)
    match name:
        case "softmax":
            return Softmax(5, CLASSES), (rng.normal(size=(N, 5)), y)
        case "mlp":
            return TorchModel(perceptron(), F.cross_entropy), (rng.normal(size=(N, 5)), y)
        case "cnn":
            return TorchModel(convolutions(), F.cross_entropy), (rng.normal(size=(N, 1, 8, 8)), y)
        case "lstm":
            return TorchModel(Recurrent(nn.LSTM), F.cross_entropy), (rng.normal(size=(N, 5, 4)), y)
        case "attention":
            return TorchModel(Attention(), F.cross_entropy), (rng.integers(0, 10, (N, 5)), y)
    parts = {"left": rng.normal(size=(N, 5)), "right": rng.normal(size=(N, 2)), "y": y}
    return TorchModel(Named(), F.cross_entropy), parts


def moved(model: Model, data: Any, training: Training, key: Key = KEY, drift: Drift | None = None) -> Vector:
    """How far one training moves the model, against its gradient."""
    x = model.start(KEY) + 0.1
    fit = model.train(x, data, training, drift or Drift(), key)
    return np.asarray(x - fit.x)


def clipped(model: Model, data: Any, rows: Any = range(N), clip: float = EXACT.clip) -> Vector:
    """The sum over single examples, one at a time, of their clipped gradients."""
    total = np.zeros(model.size)
    for row in rows:
        g = moved(model, local.Examples.of(data).take([row]), QUIET)
        total += g * min(1, clip / np.linalg.norm(g))
    return total


# ── gradients and sums ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.promise("P36")
@pytest.mark.parametrize("name", ["softmax", "mlp", "cnn", "lstm", "attention", "named"])
def test_gradients_are_those_of_single_examples(name: str) -> None:
    model, data = case(name)
    norms = [np.linalg.norm(moved(model, local.Examples.of(data).take([row]), QUIET)) for row in range(N)]
    clip = float(np.median(norms))  # some are clipped, and some are not
    got = N * moved(model, data, replace(QUIET, private=PerExample(clip, 1e-12)))
    np.testing.assert_allclose(got, clipped(model, data, clip=clip), atol=2e-5)


def test_gradients_in_pieces_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = case("cnn")
    whole = moved(model, data, replace(QUIET, private=EXACT))
    monkeypatch.setattr("hansa.models.torch.private.GRADIENTS", 3 * model.size)
    np.testing.assert_allclose(moved(model, data, replace(QUIET, private=EXACT)), whole, atol=1e-6)


@pytest.mark.promise("P36")
@pytest.mark.parametrize("name", ["softmax", "mlp", "cnn"])
@pytest.mark.parametrize("scale", [1.0, 1e3, 1e18, 1e30])
def test_one_example_moves_the_sum_by_the_clip_at_most(name: str, scale: float) -> None:
    model, (A, y) = case(name)
    for label in range(CLASSES):
        bad = A.copy(), np.r_[label, y[1:]]
        bad[0][0] *= -scale
        one = N * moved(model, bad, replace(QUIET, private=EXACT))
        others = (N - 1) * moved(model, (A[1:], y[1:]), replace(QUIET, private=EXACT))
        assert np.linalg.norm(one - others) <= EXACT.clip * (1 + 1e-4)


@pytest.mark.parametrize("name", ["softmax", "mlp", "named"])
@pytest.mark.parametrize("form", [lambda data: data, lambda data: local.Part(Items(data), np.arange(N))])
def test_a_mean_is_over_the_size_that_is_expected(name: str, form: Any) -> None:
    model, data = case(name)
    training = replace(QUIET, batch=4, private=EXACT)
    sizes = set()
    for seed in range(6):
        (rows,) = drawn_rows(training, N, key := Key.of(seed))
        sizes.add(len(rows))
        np.testing.assert_allclose(4 * moved(model, form(data), training, key), clipped(model, data, rows), atol=2e-5)
    assert len(sizes) > 2


@dataclass
class Items:
    data: Any

    def __len__(self) -> int:
        return N

    def __getitem__(self, i: int) -> Any:
        one: Any = local.Examples.of(self.data).take([i]).arrays
        return {name: a[0] for name, a in one.items()} if isinstance(one, dict) else tuple(a[0] for a in one)


@pytest.mark.parametrize("name", ["softmax", "mlp"])
@pytest.mark.parametrize("form", [lambda data: data, Items])
def test_an_empty_batch_is_a_step_of_noise(name: str, form: Any) -> None:
    model, data = case(name)
    training = replace(QUIET, batch=1, private=PerExample(0.5, 2.0))
    key = next(Key.of(seed) for seed in range(100) if not len(next(drawn_rows(training, N, Key.of(seed)))))
    noise = training.private.drawn((model.size,), key.child("noise", 0))  # type: ignore[union-attr]
    np.testing.assert_allclose(moved(model, form(data), training, key), noise, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "rmsprop", "adam", "adamw"])
def test_drift_and_optimizer_come_after_the_noise(optimizer: Any) -> None:
    """The steps of the plain training whose gradient is the noise: with nothing to learn, all that is left."""
    model, data = case("mlp")
    shift = np.random.default_rng(0).normal(size=model.size)
    training = Training(
        batch=0, steps=2, optimizer=optimizer, weight_decay=0.1, private=PerExample(1e-9, 1e9), report=False
    )
    x = model.start(KEY)
    got = model.train(x, data, training, Drift(0.5, shift), KEY).x

    y = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    kinds: dict[str, Any] = {"rmsprop": torch.optim.RMSprop, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    more = {"momentum": 0.9} if optimizer == "momentum" else {}
    steps = kinds.get(optimizer, torch.optim.SGD)([y], training.learning_rate, weight_decay=0.1, **more)
    for step in range(2):
        noise = KEY.child("noise", step).normal((model.size,)) / N
        y.grad = torch.tensor(noise + shift) + 0.5 * (y.detach() - torch.tensor(x))
        steps.step()
    np.testing.assert_allclose(got, y.detach().numpy(), atol=1e-4)


def test_epochs_are_steps_of_the_expected_size() -> None:
    assert Training(epochs=3, batch=10).counts(100) == (10, 30)
    assert Training(epochs=1, batch=32).counts(100) == (32, 4)
    assert Training(epochs=2, batch=32).counts(20) == (20, 2) == Training(epochs=2, batch=0).counts(20)
    assert Training(steps=7, batch=10).counts(1000) == (10, 7)
    model, data = case("softmax")
    assert model.train(model.start(KEY), data, SEEN, Drift(), KEY).steps == 3


# ── what cannot be ───────────────────────────────────────────────────────────────────────────────────────────────────


class Plain(Model):
    """A user's model that knows nothing of noise."""

    size = 2

    def start(self, key: Key) -> Vector:
        return np.zeros(2)

    def train(self, x: Vector, data: Any, training: Training, drift: Drift, key: Key, *local: Any) -> TrainResult:
        return TrainResult(x, 1, 0.0)


def net(*layers: nn.Module) -> TorchModel:
    return TorchModel(nn.Sequential(*layers), F.cross_entropy)


WRONG: dict[str, Callable[[], object]] = {
    "losses told": lambda: replace(SEEN, report=True),
    "scores told": lambda: replace(SEEN, report=True, validation=0.2),
    "held out": lambda: replace(SEEN, validation=0.2),
    "no noise": lambda: PerExample(1.0, 0.0),
    "no clip": lambda: PerExample(float("inf"), 1.0),
    "no number": lambda: PerExample("1", 1.0),  # type: ignore[arg-type]
    "no PerExample": lambda: replace(SEEN, private=1.0),  # type: ignore[arg-type]
    "a user's model": lambda: Plan(Plain(), training=SEEN),
    "scikit-learn": lambda: Plan(SklearnModel(SGDClassifier(loss="log_loss"), 5, 2), training=SEEN),
    "BatchNorm": lambda: Plan(net(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)), training=SEEN),
    "BatchNorm without statistics": lambda: Plan(
        net(nn.Linear(5, 4), nn.BatchNorm1d(4, track_running_stats=False)), training=SEEN
    ),
    "InstanceNorm with statistics": lambda: Plan(
        net(nn.InstanceNorm1d(4, track_running_stats=True), nn.Linear(4, 3)), training=SEEN
    ),
}


@pytest.mark.promise("P36")
@pytest.mark.parametrize("what", WRONG)
def test_it_is_refused_when_it_is_built(what: str) -> None:
    with pytest.raises(PlanError):
        WRONG[what]()


def test_norms_of_single_examples_are_fine() -> None:
    Plan(net(nn.Linear(5, 4), nn.LayerNorm(4), nn.Linear(4, 3)), training=SEEN)
    Plan(net(nn.InstanceNorm1d(4), nn.Linear(4, 3)), training=SEEN)


def stream() -> Iterator[Any]:
    yield np.zeros((4, 5)), np.zeros(4, int)


@pytest.mark.promise("P36")
@pytest.mark.parametrize(
    "data", [stream, lambda: [next(stream())], torch.utils.data.DataLoader(Items(case("softmax")[1]))]
)
def test_batches_that_come_as_they_are_hide_nobody(data: Any) -> None:
    with pytest.raises(DataError, match=r"c0's data is a .*, a stream of batches"):
        Client("c0", Plan(Softmax(5, CLASSES), training=SEEN), data).check()


def test_what_vmap_cannot_do_is_said() -> None:
    model = TorchModel(Recurrent(nn.GRU), F.cross_entropy)
    with pytest.raises(PlanError, match=r"nn\.LSTM"):
        model.train(model.start(KEY), case("lstm")[1], SEEN, Drift(), KEY)


@pytest.mark.promise("P36")
def test_buffered_is_refused() -> None:
    plan = Plan(Softmax(5, CLASSES), training=SEEN)
    with pytest.raises(PlanError, match="single examples"):
        next(buffered(plan, InProcess(clients(plan)), size=2, busy=3))


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def records(n: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 5))
    return X, (X @ np.array([1.0, -2.0, 0.5, 0.0, 1.0]) > 0).astype(int)


def federation(n: int = 6, size: int = 60) -> dict[str, Any]:
    return {f"c{i}": records(size + i, i) for i in range(n)}


SECRET = Key.fresh()  # of all parties


def clients(plan: Plan, allow: Policy | None = None, **secret: Key) -> list[Client]:
    return [Client(who, plan, data, allow or Policy(), **secret) for who, data in federation().items()]


def two(rounds: int = 4, algorithm: Any = None, training: Training = SEEN) -> Plan:
    return Plan(Softmax(5, 2), algorithm or FedAvg(), training=training, rounds=rounds)


@pytest.mark.parametrize("algorithm", [FedAvg(), Scaffold(), FedProx(0.1)])
def test_it_learns(algorithm: Any) -> None:
    training = Training(epochs=2, batch=20, learning_rate=0.5, private=PerExample(1.0, 1.0), report=False)
    plan = two(15, algorithm, training)
    state = last(synchronous(plan, InProcess(clients(plan))))
    assert plan.model.score(state.x, records(2000, 99))["accuracy"] > 0.9
    assert state.metrics == {}


def last(states: Iterator[State]) -> State:
    *_, state = states
    return state


def test_workers_and_a_restart_change_no_byte() -> None:
    plan = two(algorithm=Scaffold())
    want = last(synchronous(plan, InProcess(clients(plan, secret=SECRET)), secret=SECRET))
    assert last(App(plan, federation(), workers=2, secret=SECRET).run()).x.tobytes() == want.x.tobytes()

    first, again = InProcess(clients(plan, secret=SECRET)), InProcess(clients(plan, secret=SECRET))
    states = synchronous(plan, first, secret=SECRET)
    state = [next(states), next(states)][-1]
    again.memory.load(first.memory.after(state.counted))
    assert last(synchronous(plan, again, state, SECRET)).x.tobytes() == want.x.tobytes()


@pytest.mark.promise("P36")
def test_a_client_trains_once_in_each_round() -> None:
    plan = two()
    runtime = InProcess(clients(plan))

    def ask(round: int, session: int, run: str = "") -> str:
        at = SessionId(run, number=session)
        runtime.send(Request(plan.digest, round, at, server.broadcast(plan, plan.start()), {"c0": None}))
        return runtime.receive().why

    for round in (0, 1):
        assert ask(round, round) == ""
        assert ask(round, 7 + round) == "refused"
    runtime.send(Begin(""))
    assert ask(0, 0) == "refused"  # whoever says that the run begins
    runtime.send(Begin("another"))
    assert ask(0, 0, "another") == ""
    assert ask(0, 0, "a third") == "refused"  # which never began


# ── the numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────

GRID = [
    (n, batch, epochs, z, rounds)
    for n, batch, epochs in ((60, 10, 1), (1000, 32, 2), (50_000, 256, 1), (20, 32, 3), (100, 0, 1))
    for z, rounds in ((0.7, 1), (1.1, 20), (4.0, 300))
]


@pytest.mark.parametrize("n, batch, epochs, z, rounds", GRID)
def test_it_is_the_number_of_dp_accounting(n: int, batch: int, epochs: int, z: float, rounds: int) -> None:
    plan = two(rounds, training=replace(SEEN, batch=batch, epochs=epochs, private=PerExample(0.1, z)))
    q = min(1.0, (batch or n) / n)
    steps = rounds * int(np.ceil(epochs / q - 1e-9))
    event = dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(q, dp.GaussianDpEvent(z)), steps)
    want = rdp.RdpAccountant().compose(event).get_epsilon(1e-6)
    found = examples(plan, n).guarantee(1e-6)
    assert found.epsilon == pytest.approx(want, rel=1e-6, abs=1e-6)
    assert (found.unit, found.neighbours) == ("example", EXAMPLE) and "for each example" in str(found)


def test_calibrate_gives_noise_that_hides_an_example() -> None:
    words = ["calibrate", "--epsilon", "2", "--delta", "1e-6", "--rounds", "20", "--examples", "500", "--batch", "10"]
    told = CliRunner().invoke(commands, words).output
    z = float(told.split("PerExample(clip, ")[1].split(")")[0])
    plan = two(20, training=replace(SEEN, batch=10, private=PerExample(1.0, z)))
    assert 1.99 < (examples(plan, 500).epsilon(1e-6) or 0.0) <= 2.0
    assert "for each example" in told and "client (" not in told
    for more in (["--population", "9"], ["--examples", "0"]):
        assert CliRunner().invoke(commands, [*words, *more]).exit_code
    assert CliRunner().invoke(commands, words[:-4]).exit_code


@pytest.mark.promise("P30")
def test_the_rounds_that_were_are_counted() -> None:
    plan = two(10)
    one = [State(i, np.zeros(1), {}, participants=("a", "b"), excluded={"c": "late"}) for i in range(3)]
    assert [trainings(who, one) for who in "acx"] == [3, 3, 0]
    assert examples(plan, 60, 3) == examples(two(3), 60) and examples(plan, 60, 0).epsilon(1e-6) == 0.0
    assert examples(plan, 60).epsilon(1e-6) > examples(plan, 60, 3).epsilon(1e-6)  # type: ignore[operator]


@pytest.mark.promise("P37")
def test_clients_and_examples_are_not_mixed() -> None:
    plan, bare = two(), two(training=QUIET)
    assert "no ε for a client" in str(planned_privacy(plan).guarantee(1e-6))
    assert "no ε for an example" in str(examples(bare, 60).guarantee(1e-6))
    assert examples(bare, 60).epsilon(1e-6) is None and examples(plan, 0).epsilon(1e-6) is None
    release = Release(Gaussian(1.0))
    assert Ledger().plus(release).guarantee(1e-6) != Ledger(unit="example").plus(release).guarantee(1e-6)
    spent = [state.spent for state in App(plan, federation()).run()]
    assert all(list(one) == ["example"] for one in spent)
    worst = max(examples(plan, 60 + i, 4).epsilon(1e-5) or 0.0 for i in range(6))
    assert spent[-1]["example"].epsilon == pytest.approx(worst)


@pytest.mark.promise("P36")
def test_an_explanation_says_what_is_hidden() -> None:
    told, bare = str(explain(two(), 6)), str(explain(two(training=QUIET), 6))
    assert "Differential privacy of an example" in told and "for each example, after 4 rounds" in told
    assert "There is no ε for a client" in told and "No noise is added" not in told
    assert "of an example" not in bare and "No noise is added" in bare


@pytest.mark.promise("P5")
def test_an_owner_bounds_what_is_told_of_an_example() -> None:
    plan = two()
    need = examples(plan, 60).epsilon(1e-6)
    assert need is not None
    for allow in (Policy(epsilon=need + 1e-9, unit="example"), Policy(epsilon=9.0, delta=1e-3, unit="example")):
        Client("c0", plan, records(60, 0), allow).check()
    refused = [
        (plan, Policy(epsilon=need - 1e-9, unit="example")),  # a little too much
        (plan, Policy(epsilon=need, delta=1e-9, unit="example")),
        (plan, Policy(epsilon=100.0)),  # there is no ε for the client
        (two(training=QUIET), Policy(epsilon=100.0, unit="example")),  # nor for its examples
    ]
    for asked, allow in refused:
        with pytest.raises(PolicyError, match=f"{allow.unit}"):
            Client("c0", asked, records(60, 0), allow).check()
    for wrong in ({"epsilon": -1.0}, {"delta": 0.0}, {"unit": "record"}):
        with pytest.raises(PlanError):
            Policy(**wrong)


def test_it_travels_as_text() -> None:
    plan = two()
    assert build(table(plan.training)) == plan.training
    louder = set_(plan, {"training.private.noise": 2})
    assert louder.training.private == PerExample(1.0, 2.0) and louder.digest != plan.digest
