"""Local training compiled: equal to the plain one up to rounding, and the same bytes wherever and whenever it runs."""

from __future__ import annotations

import logging
import stat
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import hansa as h
from hansa.models.fused.torch import STEPS, Programs, Step, advanced, traced
from hansa.models.product.torch import loaded, replaced
from hansa.models.torch import LONG, TorchModel

KEY, NONE = h.Key.of(1), h.Drift()
SHORT = h.Training(batch=8, learning_rate=0.1)  # of 40 examples and more: STEPS batches at least


@pytest.fixture(scope="module", autouse=True)
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of all programs that are compiled here; workers inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("inductor")
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
        yield folder / "hansa"


def points(n: int = 60, seed: int = 0) -> tuple[Any, Any]:
    """n points [n, 8] in three classes around corners."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    return (rng.normal(size=(n, 8)) + 2.5 * np.eye(8)[y]).astype(np.float32), y


def linear() -> nn.Module:
    """Softmax regression: the net that is compiled in most tests, once. (Without the second layer it were dense.)"""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 3), nn.LogSoftmax(1))


def layers() -> nn.Module:
    """A convolution, running statistics, a frozen layer, two linear ones."""
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Unflatten(1, (1, 2, 4)), nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
    net = nn.Sequential(conv, nn.Sequential(nn.ReLU(), nn.Flatten()), nn.Linear(32, 8), nn.Tanh(), nn.Linear(8, 3))
    net[2].requires_grad_(False)
    return net


def drift(x: Any) -> h.Drift:
    """All that a drift can hold."""
    rng = np.random.default_rng(3)
    return h.Drift(0.3, shift=rng.normal(size=x.size), centre=x + rng.normal(size=x.size))


def pair(net: nn.Module, **more: Any) -> tuple[TorchModel, TorchModel]:
    """The model, not compiled and compiled."""
    return TorchModel(net, F.cross_entropy, compile=False, **more), TorchModel(net, F.cross_entropy, compile=True)


# --- the mathematics ---


@pytest.mark.parametrize("drifts", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
def test_what_is_compiled_is_the_plain_training(optimizer: str, decay: float, drifts: bool) -> None:
    """The graph of STEPS steps, run as it is traced, moves parameters and statistics as TorchModel does uncompiled."""
    net, data = layers(), points(8 * STEPS)
    model = TorchModel(net, F.cross_entropy, compile=False)
    training = h.Training(batch=8, learning_rate=0.05, optimizer=optimizer, weight_decay=decay)
    x = model.start(KEY)
    moved = drift(x) if drifts else NONE
    expected = model.train(x, data, training, moved, KEY)

    centre, shift = (torch.tensor(v[: model.trainable], dtype=torch.float32) if drifts else None
                     for v in (moved.centre, moved.shift))  # fmt: skip
    step = Step(optimizer, 0.05, decay, moved.pull, centre, shift)
    form, tensors, given = Programs(net, F.cross_entropy, 1)._read(step, ("",))
    moments = [torch.zeros_like(p) for _ in range(2) for p in tensors[: len(form.params)]]
    moments = moments[: {"sgd": 0, "momentum": 1}.get(optimizer, 2) * len(form.params)]
    state = [*tensors, *moments, torch.zeros(()), torch.zeros((), dtype=torch.double)]
    rows = [*chain(*model._rows(data, training, KEY))]
    steps = partial(advanced, form, net, F.cross_entropy)
    graph = traced(steps, (state, given, rows)) if drifts and decay else None
    found = graph(*state, *given, *rows) if graph else steps(state, given, rows)
    floats = [t.reshape(-1) for t in found[: len(tensors)] if t.is_floating_point()]
    assert np.abs(torch.cat(floats).double().numpy() - expected.x).max() < 2e-6
    assert abs(float(found[-1]) / STEPS - expected.loss) < 1e-6 and float(found[-2]) == STEPS
    assert np.abs(expected.x - x).max() > 1e-2


@pytest.mark.promise("P52")
def test_compiled_training_is_the_plain_one(programs: Path) -> None:
    """Convolution, statistics, momentum, decay, all of a drift; 7 batches of 8 and one of 4 in each of two epochs."""
    plain, model = pair(layers())
    training = h.Training(epochs=2, batch=8, learning_rate=0.05, optimizer="momentum", weight_decay=0.05)
    x = plain.start(KEY)
    expected, found = (one.train(x, points(), training, drift(x), KEY) for one in (plain, model))
    assert model.compiled == 1 and len(list(programs.glob("*.so"))) == 1
    assert expected.steps == found.steps == 16
    assert abs(expected.loss - found.loss) < 1e-5 and np.abs(expected.x - found.x).max() < 1e-5
    again = model.train(x, points(), training, drift(x), KEY)
    assert (again.x == found.x).all() and again.loss == found.loss


def test_one_program_for_a_shape(programs: Path) -> None:
    """Rates, data and clients of other sizes share it, and another model finds it on disk."""
    plain, model = pair(linear())
    x, before = plain.start(KEY), set(programs.glob("*.so"))
    for n, eta in ((60, 0.1), (40, 0.2), (99, 0.1)):
        training = h.Training(batch=8, learning_rate=eta)
        expected, found = (one.train(x, points(n), training, NONE, KEY) for one in (plain, model))
        assert np.abs(expected.x - found.x).max() < 1e-5 and expected.steps == found.steps
    assert model.compiled == 1 and len(set(programs.glob("*.so")) - before) == 1
    other = TorchModel(linear(), F.cross_entropy, compile=True)
    assert (other.train(x, points(99), training, NONE, KEY).x == found.x).all()
    assert other.compiled == 0


def test_a_wrong_label_is_told() -> None:
    A, y = points(40)
    model = TorchModel(linear(), F.cross_entropy, compile=True)
    with pytest.raises(h.DataError, match="too large or negative"):
        model.train(model.start(KEY), (A, np.where(y == 2, 7, y)), SHORT, NONE, KEY)


# --- our own products ---


def test_our_products_train_as_the_libraries_do(programs: Path) -> None:
    """Two large layers, one without a bias; of plain descent, W − η δᵀa is one product."""
    torch.manual_seed(0)
    large = nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 512), nn.Tanh(), nn.Linear(512, 128, bias=False)
    plain, model = pair(nn.Sequential(*large, nn.Linear(128, 3), nn.LogSoftmax(1)))
    x = plain.start(KEY)
    expected, found = (one.train(x, points(), SHORT, NONE, KEY) for one in (plain, model))
    assert model.compiled == 1 and len(list(programs.glob("product-*.so"))) == 1
    assert np.abs(expected.x - found.x).max() < 1e-5 < np.abs(expected.x - x).max()
    assert (model.train(x, points(), SHORT, NONE, KEY).x == found.x).all()


def products(state: list[Any], given: list[Any], batches: list[Any]) -> list[Any]:
    """A large layer forward, backward, its step, and a gradient that is no step's; then a small layer."""
    (w,), (eta, small, bias), (x, d) = state, given, batches
    back = d.t() @ x
    return [torch.addmm(bias, x, w.t()), d @ w, w - eta * back, 2 * w - back.t().t(), x @ small.t()]


def drawn(rows: int) -> list[list[Any]]:
    """What `products` takes."""
    shapes = [(512, 128)], [(), (9, 128), (512,)], [(rows, 128), (rows, 512)]
    return [[torch.randn(shape) for shape in some] for some in shapes]


def test_which_products_are_ours() -> None:
    """Large ones with few rows; they are what they replace."""
    given = drawn(8)
    graph, flat = traced(products, given), [*chain(*given)]
    ours = replaced(graph)
    assert ours is not None and replaced(traced(products, drawn(65))) is None
    assert ours.graph.code.count("hansa.product") == 4 and ours.graph.code.count("aten.mm") == 1
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(graph(*flat), ours.graph(*flat), strict=True))


def test_without_our_products(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where they cannot be compiled, nothing is replaced, and one line says so."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("CXX", "false")  # a compiler that always fails
    loaded.cache_clear()
    graph = traced(products, drawn(8))
    assert replaced(graph) is None and replaced(graph) is None
    assert caplog.text.count("without our own products") == 1
    loaded.cache_clear()


# --- equal bytes ---


def states(compile: Any, runtime: Any, rounds: int, state: h.State | None = None, many: int = 3) -> list[h.State]:
    """The first states of a run of so many rounds."""
    plan = h.Plan(TorchModel(linear(), F.cross_entropy, compile=compile), h.FedAvg(h.Momentum(0.5)),
                  training=SHORT, sample=h.Uniform(2), rounds=rounds)  # fmt: skip
    clients = [h.Client(f"c{i}", plan, points(40 + 9 * i, i)) for i in range(3)]
    return list(islice(h.synchronous(plan, runtime(clients), state), many))


def same(some: list[h.State], others: list[h.State]) -> bool:
    return all((a.x == b.x).all() for a, b in zip(some, others, strict=True))


def test_the_same_bytes_with_any_number_of_workers() -> None:
    """And when a run is resumed in another process; the program comes from disk there."""
    found = states(True, h.InProcess, 3)
    assert not same(found, states(False, h.InProcess, 3))
    for workers in (1, 2):
        assert same(found, states(True, partial(h.Processes, workers=workers), 3))
    assert same(found[1:], states(True, partial(h.Processes, workers=2), 3, found[0], 2))


def test_auto_goes_by_the_plan() -> None:
    """Few steps to come, and nothing is compiled; many, and it is: a rule without a clock, the same for everyone."""
    few, enough = LONG // (8 * 2) - 1, LONG // (5 * 2)  # two clients in a round, of 5, 7 or 8 steps
    assert same(states("auto", h.InProcess, few), states(False, h.InProcess, few))
    found = states("auto", h.InProcess, enough + 1)
    assert same(found, states(True, h.InProcess, enough + 1)) and not same(
        found, states(False, h.InProcess, enough + 1)
    )
    assert same(found, states("auto", partial(h.Processes, workers=2), enough + 1))


def test_compile_is_no_part_of_the_digest() -> None:
    """As threads and device are not: it changes how, and the last bits."""
    assert len({repr(TorchModel(linear(), F.cross_entropy, compile=c)) for c in (True, False, "auto")}) == 1
    with pytest.raises(h.PlanError, match="compile='always'"):
        TorchModel(linear(), F.cross_entropy, compile="always")


# --- what cannot be compiled ---


class Branches(nn.Linear):
    """Looks at its values."""

    def forward(self, a: torch.Tensor) -> torch.Tensor:
        """Twice as much, where there is little."""
        out = super().forward(a)
        return 2 * out if float(out.detach().sum()) < 1 else out


@pytest.mark.promise("P52")
@pytest.mark.parametrize(
    ("net", "says"),
    [(nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 3)), "random numbers"), (Branches(8, 3), "cannot be traced")],
)
def test_nets_that_stay_uncompiled(net: nn.Module, says: str, caplog: pytest.LogCaptureFixture) -> None:
    """The same bytes as uncompiled, and one line that says why."""
    plain, model = pair(net)
    with caplog.at_level(logging.WARNING, "hansa"):
        for _ in range(2):
            x = plain.start(KEY)
            expected, found = (one.train(x, points(), SHORT, NONE, KEY) for one in (plain, model))
            assert (expected.x == found.x).all()
    assert [says in record.getMessage() for record in caplog.records] == [True]


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Uncompiled, even where a program lies on disk: so it does not depend on what ran here before."""
    monkeypatch.setenv("PATH", "")
    plain, model = pair(linear())
    expected, found = (one.train(one.start(KEY), points(), SHORT, NONE, KEY) for one in (plain, model))
    assert (expected.x == found.x).all() and "no C++ compiler" in caplog.text


@pytest.mark.promise("P52")
def test_a_compiler_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Uncompiled, and so for everyone who comes later, until somebody deletes the note."""
    broken = tmp_path / "g++"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(broken.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    x = TorchModel(linear(), F.cross_entropy).start(KEY)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        plain, model = pair(linear())
        expected = plain.train(x, points(), SHORT, NONE, KEY).x
        assert (model.train(x, points(), SHORT, NONE, KEY).x == expected).all()
    assert (pair(linear())[1].train(x, points(), SHORT, NONE, KEY).x == expected).all()
    assert (
        caplog.text.count("the compiler said") == 2 and len(list((tmp_path / "cache" / "hansa").glob("*.failed"))) == 1
    )
