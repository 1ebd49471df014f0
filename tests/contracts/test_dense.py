"""Dense networks by the native program: equal to PyTorch's own training up to rounding, and only where it must be."""

from __future__ import annotations

import copy
import logging
import pickle
import stat
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.contracts.dense_nets import FLAT, FUNCTIONS, OTHERS, SKIPS, Own, Perhaps, layers
from torch import nn
from torch.nn import functional as F

import hansa as h
from hansa.data import Examples
from hansa.models.dense import Program, loaded
from hansa.models.torch import TorchModel
from hansa.models.torch.dense import dense

KEY, NONE = h.Key.of(1), h.models.Drift()
ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid)
LOSSES = (F.cross_entropy, F.mse_loss, F.binary_cross_entropy_with_logits, F.l1_loss, F.smooth_l1_loss)
REGRESSION = (F.mse_loss, F.l1_loss, F.smooth_l1_loss)
TRAINING = h.Training(batch=8, learning_rate=0.02)


@pytest.fixture(scope="module", autouse=True)
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of all programs that are compiled here; workers inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("programs")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        loaded.cache_clear()
        yield folder / "hansa" / "programs"
    loaded.cache_clear()


@pytest.fixture
def afresh() -> Iterator[None]:
    """The program is looked for anew, in the test and behind it."""
    loaded.cache_clear()
    yield
    loaded.cache_clear()


def points(n: int = 60, width: int = 8, outputs: int = 3, loss: Any = F.cross_entropy, seed: int = 0) -> Any:
    """Inputs [n, width], and targets as the loss takes them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, width)).astype(np.float32)
    if loss is F.cross_entropy:
        return x, rng.integers(0, outputs, n)
    y = rng.normal(size=(n, outputs)) if loss in REGRESSION else rng.integers(0, 2, (n, outputs))
    return x, y.astype(np.float32)


def drift(x: Any) -> h.models.Drift:
    """All that a drift can hold."""
    rng = np.random.default_rng(3)
    return h.models.Drift(0.3, shift=0.1 * rng.normal(size=x.size), centre=x + 0.1 * rng.normal(size=x.size))


def pair(net: nn.Module, loss: Any = F.cross_entropy) -> tuple[TorchModel, TorchModel]:
    """The model, by PyTorch's own training and natively."""
    return TorchModel(net, loss, compile=False), TorchModel(net, loss, compile=True)


def natively(model: TorchModel, data: Any, training: h.Training, moved: h.models.Drift = NONE) -> Any:
    """What the native program alone makes of it: None where it does not take it."""
    return model._natively(model.start(KEY), Examples.of(data), training, moved, KEY)


def agree(net: nn.Module, loss: Any, data: Any, training: h.Training, drifts: bool = False) -> None:
    """Parameters, loss and number of steps are those of PyTorch's own training; and it was the native program."""
    plain, model = pair(net, loss)
    x = plain.start(KEY)
    moved = drift(x) if drifts else NONE
    expected, found = (one.train(x, data, training, moved, KEY) for one in (plain, model))
    alone = natively(model, data, training, moved)
    assert alone is not None and alone.x.tobytes() == found.x.tobytes() and alone.loss == found.loss
    assert found.steps == expected.steps and abs(found.loss - expected.loss) < 2e-6 * max(1, expected.loss)
    assert np.abs(found.x - expected.x).max() < 2e-6 and np.abs(expected.x - x).max() > 1e-4


# --- the mathematics ---


@pytest.mark.promise("P52")
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("f", ACTIVATIONS)
def test_every_activation_and_loss(f: Callable[[], nn.Module], loss: Any) -> None:
    agree(layers(8, 20, 6, 3, f=f), loss, points(loss=loss), h.Training(epochs=2, batch=8, learning_rate=0.05))


@pytest.mark.promise("P52")
@pytest.mark.parametrize("drifts", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
def test_every_optimizer(optimizer: Any, decay: float, drifts: bool) -> None:
    """Adam's rate is small: where a gradient is nearly 0, its direction is one of rounding."""
    rate = 0.02 if optimizer in ("sgd", "momentum") else 1e-4
    training = h.Training(epochs=2, batch=8, learning_rate=rate, optimizer=optimizer, weight_decay=decay)
    agree(layers(8, 20, 3, f=nn.Tanh), F.cross_entropy, points(), training, drifts)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("sizes", [(1, 1), (1, 5, 1), (5, 13, 17), (33, 200, 5), (200, 33, 13, 200), (17, 1, 16, 64)])
def test_every_size(sizes: tuple[int, ...], bias: bool) -> None:
    """Those that fill whole vectors of the processor, and those that do not; and no number leaks from what fills up."""
    ways = (F.mse_loss, "sgd"), (F.binary_cross_entropy_with_logits, "momentum"), (F.smooth_l1_loss, "adamw")
    for loss, optimizer in ways:
        training = h.Training(batch=7, learning_rate=0.01, optimizer=optimizer)  # type: ignore[arg-type]
        net = layers(*sizes, f=nn.Sigmoid, bias=bias)
        agree(net, loss, points(24, sizes[0], sizes[-1], loss), training, drifts=True)


@pytest.mark.parametrize(
    ("n", "batch", "more"),
    [
        (60, 8, {}),  # seven batches and one of 4
        (60, 0, {"epochs": 3}),
        (60, 100, {"epochs": 2}),
        (60, 60, {}),
        (10, 1, {}),
        (1, 8, {"epochs": 3}),
        (61, 6, {"steps": 3}),
        (61, 6, {"steps": 25}),
        (61, 0, {"steps": 2}),
        (1300, 600, {"epochs": 2}),  # larger than what stays near the core: in blocks
    ],
)
def test_every_schedule(n: int, batch: int, more: dict[str, Any]) -> None:
    agree(layers(8, 20, 3), F.cross_entropy, points(n), h.Training(batch=batch, learning_rate=0.05, **more))


def test_blocks_of_wide_layers() -> None:
    """Both products run in several blocks, the last of them not full."""
    loss, training = F.mse_loss, h.Training(batch=600, learning_rate=0.01)
    agree(layers(300, 130, 7, f=nn.Tanh), loss, points(700, 300, 7, loss), training)


def test_small_steps_of_large_batches_are_not_lost() -> None:
    """What one example of many adds is less than half of a weight's last bit; what all add is not."""
    net = layers(1, 1)
    nn.init.constant_(net[0].weight, 1000.0)
    rng = np.random.default_rng(0)
    data = rng.normal(size=(5000, 1)).astype(np.float32), np.zeros((5000, 1), np.float32)
    agree(net, F.mse_loss, data, h.Training(batch=0, learning_rate=1e-4))


def test_a_loss_without_slope_at_its_ends() -> None:
    """Outputs so large that exp would overflow."""
    for loss in (F.cross_entropy, F.binary_cross_entropy_with_logits):
        x, y = points(loss=loss)
        agree(layers(8, 3), loss, (300 * x, y), h.Training(batch=8, learning_rate=1e-5))


@pytest.mark.parametrize("loss", [F.l1_loss, F.smooth_l1_loss])
def test_losses_with_a_kink(loss: Any) -> None:
    """Exactly at it, where l1's slope is 0, and far from it on both sides; one step, so that it is met exactly."""
    net = layers(8, 3)
    nn.init.zeros_(net[0].weight)
    nn.init.constant_(net[0].bias, 0.5)
    apart = np.float32([0, 0, 0.25, -0.25, 1, -1, 1 - 2**-24, 2**-20 - 1, 1 + 2**-20, -3])
    data = points(60)[0], 0.5 + np.resize(apart, (60, 3))
    agree(net, loss, data, h.Training(batch=0, learning_rate=0.05))
    tied = data[0], np.full((60, 3), 0.5, np.float32)
    model = TorchModel(net, loss)
    found = natively(model, tied, TRAINING)
    assert (found.x == model.start(KEY)).all() and found.loss == 0


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
@pytest.mark.parametrize("name", SKIPS)
def test_every_skip(name: str, optimizer: Any) -> None:
    """With decay and all of a drift, and batches of 8 and of 4."""
    rate = 0.02 if optimizer in ("sgd", "momentum") else 1e-4
    training = h.Training(epochs=2, batch=8, learning_rate=rate, optimizer=optimizer, weight_decay=0.05)
    torch.manual_seed(1)
    for loss in (F.cross_entropy, F.smooth_l1_loss):
        agree(SKIPS[name](), loss, points(outputs=8, loss=loss), training, drifts=True)


def test_skips_in_training_leave_nothing_to_the_next() -> None:
    """The sums of slopes begin at 0 in each step, whatever ran before."""
    model = TorchModel(SKIPS["modules"](), F.cross_entropy)
    ways = [
        h.Training(batch=b, learning_rate=0.05, optimizer=o) for b, o in ((0, "sgd"), (3, "adam"), (64, "momentum"))
    ]  # type: ignore[arg-type]
    found = [natively(model, points(outputs=8), training).x.tobytes() for training in ways]
    again = [natively(model, points(outputs=8), training).x.tobytes() for training in reversed(ways)]
    assert found == again[::-1]


# --- which nets are dense ---


@pytest.mark.parametrize("name", FLAT)
def test_layouts_that_are_dense(name: str) -> None:
    """Examples [2, 4] too, where the net lays them out flat first."""
    net = Own(lambda own, x: own.b(F.relu(own.a(FLAT[name](x)))))
    found = dense(net, F.cross_entropy)
    assert found is not None and found.flattens == (name != "as it is")
    x, y = points(outputs=8)
    agree(net, F.cross_entropy, (x, y), TRAINING)
    if found.flattens:
        agree(net, F.cross_entropy, (x.reshape(-1, 2, 4), y), TRAINING)
    else:
        assert found.examples((x.reshape(-1, 2, 4), y)) is None


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_that_are_dense(name: str) -> None:
    function, kind = FUNCTIONS[name]
    found = dense(Own(lambda own, x: own.b(function(own.a(x)))), F.cross_entropy)
    assert found is not None and [layer.activation for layer in found.layers] == [kind, "identity"]


def test_modules_that_are_dense() -> None:
    """Each trained as PyTorch trains it."""
    torch.manual_seed(0)
    nested = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(8, 5), nn.Tanh()), nn.Identity(), nn.Linear(5, 3))
    inplace = nn.Sequential(nn.Linear(8, 5, bias=False), nn.ReLU(inplace=True), nn.Linear(5, 3))
    for net in (nn.Linear(8, 3), nn.Linear(8, 3, bias=False), nested, inplace):
        for loss in (nn.CrossEntropyLoss(), F.cross_entropy):
            agree(net, loss, points(), TRAINING)
    modules = nn.MSELoss(), nn.L1Loss(), nn.SmoothL1Loss(), nn.BCEWithLogitsLoss()
    for loss, module in zip((*REGRESSION, F.binary_cross_entropy_with_logits), modules, strict=True):
        agree(nested, module, points(loss=loss), TRAINING)


def test_layers_that_are_kept_in_another_order() -> None:
    """The vector has them as they were named, not as they are called."""
    agree(Own(lambda own, x: own.a(torch.tanh(own.b(x)))), F.cross_entropy, points(outputs=8), TRAINING)


def test_a_module_with_two_names() -> None:
    """It is one parameter, and trained as one where it is called once."""
    part = nn.Linear(8, 8)
    once = Own(lambda own, x: own.c(torch.tanh(own.d(x))), a=None, b=None, c=part, d=nn.Linear(8, 8), e=part)
    agree(once, F.cross_entropy, points(outputs=8), TRAINING)
    assert dense(Own(lambda own, x: own.c(torch.tanh(own.a(x))), a=part, b=None, c=part), F.cross_entropy) is None


def test_what_asks_whether_it_trains() -> None:
    """It does, even where the module was given in eval mode, which stays as it was."""

    def forward(own: Own, x: Any) -> Any:
        hidden = own.a(x)
        return own.b(torch.tanh(hidden) if own.training else hidden)

    net = Own(forward).eval()
    agree(net, F.cross_entropy, points(outputs=8), TRAINING)
    assert not net.training


def test_reading_a_net_leaves_no_trace_in_it() -> None:
    """Its code runs once, on a copy; not at all where a layer tells already that it is not dense."""
    calls: list[bool] = []

    def forward(own: Own, x: Any) -> Any:
        own.seen = x
        calls.append(isinstance(x, torch.Tensor))
        return own.b(own.a(x))

    net = Own(forward)
    before = set(vars(net))
    model = TorchModel(net, F.cross_entropy)
    assert model._dense is not None and calls == [False]
    assert set(vars(net)) == before and not hasattr(model._net, "seen")
    assert dense(Own(forward, c=nn.Dropout()), F.cross_entropy) is None and len(calls) == 1


# --- which are not ---


@pytest.mark.promise("P52")
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("name", OTHERS)
def test_nets_that_are_not_dense(name: str) -> None:
    """Nor does looking at them draw from the caller's generator."""
    net = OTHERS[name]()
    before = torch.get_rng_state()
    assert dense(net, F.cross_entropy) is None and torch.equal(before, torch.get_rng_state())


def test_layers_whose_tensors_were_exchanged() -> None:
    """Their own shapes count, not what the layer was made with."""
    net = layers(8, 5, 8)
    net[0].weight = nn.Parameter(net[0].weight[:, :4].detach().clone())
    agree(net, F.cross_entropy, points(width=4, outputs=8), TRAINING)
    net[2].weight = nn.Parameter(torch.ones(8, 4))
    assert dense(net, F.cross_entropy) is None


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(label_smoothing=0.1),
        nn.CrossEntropyLoss(weight=torch.ones(8)),
        nn.CrossEntropyLoss(ignore_index=1),
        nn.CrossEntropyLoss(reduction="sum"),
        nn.MSELoss(reduction="sum"),
        nn.BCEWithLogitsLoss(pos_weight=torch.ones(8)),
        nn.BCEWithLogitsLoss(weight=torch.ones(8)),
        nn.L1Loss(reduction="sum"),
        nn.SmoothL1Loss(beta=0.5),
        nn.HuberLoss(),
        F.nll_loss,
        partial(F.cross_entropy, label_smoothing=0.1),
        lambda outputs, y: F.cross_entropy(outputs, y),
    ],
)
def test_losses_that_are_not_plain(loss: Any) -> None:
    assert dense(layers(8, 8), loss) is None


def test_a_hook_at_the_loss() -> None:
    loss = nn.CrossEntropyLoss()
    loss.register_forward_hook(lambda module, inputs, value: 2 * value)
    assert dense(layers(8, 8), loss) is None and dense(layers(8, 8), nn.CrossEntropyLoss()) is not None


# --- data ---


def tried(model: TorchModel, data: Any, training: h.Training = TRAINING, moved: h.models.Drift = NONE) -> Any:
    """What comes of it, errors too."""
    try:
        found = model.train(model.start(KEY), data, training, moved, KEY)
    except Exception as error:
        return type(error), str(error).split("\n")[0]
    return found.x.tobytes(), found.steps, found.loss


X, Y = points()
REFUSED: dict[str, tuple[Any, Any]] = {
    "labels too large": ((X, np.where(Y == 2, 3, Y)), F.cross_entropy),
    "labels below 0": ((X, np.where(Y == 2, -1, Y)), F.cross_entropy),
    "ignored labels": ((X, np.where(Y == 2, -100, Y)), F.cross_entropy),
    "soft labels": ((X, np.eye(3, dtype=np.float32)[Y]), F.cross_entropy),
    "labels [n, 1]": ((X, Y[:, None]), F.cross_entropy),
    "labels of float": ((X, Y.astype(float)), F.cross_entropy),
    "labels of bool": ((X, Y > 0), F.cross_entropy),
    "inputs of uint8": ((X.astype(np.uint8), Y), F.cross_entropy),
    "inputs of int": ((X.astype(int), Y), F.cross_entropy),
    "too wide": ((np.ones((60, 9), np.float32), Y), F.cross_entropy),
    "too narrow": ((X[:, :7], Y), F.cross_entropy),
    "images": ((X.reshape(60, 2, 4), Y), F.cross_entropy),
    "numbers": ((X[:, 0], Y), F.cross_entropy),
    "two inputs": ((X, X, Y), F.cross_entropy),
    "another target": ({"x": X, "y.a": Y}, F.cross_entropy),
    "too many targets": ((X, np.ones((60, 4), np.float32)), F.binary_cross_entropy_with_logits),
    "two inputs by name": ({"x": X, "z": X, "y": Y}, F.cross_entropy),
    "other lengths": ((X[:30], Y), F.cross_entropy),
    "no examples": ((X[:0], Y[:0]), F.cross_entropy),
}


@pytest.mark.parametrize("name", REFUSED)
def test_data_that_it_does_not_read(name: str) -> None:
    """The same bytes, or the same words, as PyTorch's own training."""
    data, loss = REFUSED[name]
    plain, model = TorchModel(layers(8, 5, 3), loss, compile=False), TorchModel(layers(8, 5, 3), loss)
    training = h.Training(batch=8, learning_rate=0.02, steps=9)
    assert natively(model, (X, Y) if loss is F.cross_entropy else (X, np.eye(3)[Y]), training) is not None
    assert tried(model, data, training) == tried(plain, data, training)


def test_a_second_input_that_may_be_left_out() -> None:
    """With one the net is dense, and with two it is not."""
    model = TorchModel(Perhaps(repr), F.cross_entropy, compile=True)
    assert natively(model, (X, Y), TRAINING) is not None and natively(model, (X, X, Y), TRAINING) is None


def test_labels_that_are_out_of_range_are_told() -> None:
    model = TorchModel(layers(8, 3), F.cross_entropy)
    with pytest.raises(h.errors.DataError, match="too large or negative"):
        model.train(model.start(KEY), REFUSED["labels too large"][0], TRAINING, NONE, KEY)


def test_a_column_of_targets_stays_with_pytorch() -> None:
    """[n] beside outputs [n, 1] is compared with all of them there, and so it is here."""
    model = TorchModel(layers(8, 1), F.mse_loss, compile=True)
    x, y = points(outputs=1, loss=F.mse_loss)
    assert natively(model, (x, y[:, 0]), TRAINING) is None and natively(model, (x, y), TRAINING) is not None


def test_forms_of_the_same_data() -> None:
    """One result for all, and nothing is written to what is the client's."""
    wide = np.zeros((60, 16), np.float32)
    wide[:, ::2] = X
    still = X.copy(), Y.copy()
    for array in still:
        array.flags.writeable = False
    off = np.zeros(X.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(X.shape)
    off[:] = X
    same = [
        (X, Y), {"x": X, "y": Y}, {"image": X, "label": Y}, (X.astype(float), Y), (X.astype(">f4"), Y.astype(">i8")),
        (wide[:, ::2], np.repeat(Y, 2)[::2]), (np.asfortranarray(X), Y.astype(np.uint8)), still, (off, Y),
        (torch.tensor(X), torch.tensor(Y)), [X, Y],
    ]  # fmt: skip
    model = TorchModel(layers(8, 20, 3), F.cross_entropy, compile=True)
    found = [natively(model, data, TRAINING) for data in same]
    assert all(one is not None and one.x.tobytes() == found[0].x.tobytes() for one in found)
    assert (still[0] == X).all() and (wide[:, ::2] == X).all() and (wide[:, 1::2] == 0).all()
    agree(layers(8, 3), F.cross_entropy, same[3], TRAINING)
    half = X.astype(np.float16)
    agree(layers(8, 3), F.cross_entropy, (half, Y), TRAINING)
    for y in (Y % 2, Y % 2 == 1, (Y % 2).astype(float)):
        agree(layers(8, 1), F.binary_cross_entropy_with_logits, (X, y[:, None]), TRAINING)


def test_what_is_given_is_not_written_to() -> None:
    model = TorchModel(layers(8, 20, 3), F.cross_entropy, compile=True)
    x = model.start(KEY)
    moved = drift(x)
    assert moved.shift is not None and moved.centre is not None
    held = x, moved.shift, moved.centre
    before = [v.copy() for v in held]
    for v in held:
        v.flags.writeable = False
    model.train(x, (X, Y), TRAINING, moved, KEY)
    assert all((v == w).all() for v, w in zip(held, before, strict=True))


def test_vectors_of_another_length() -> None:
    """Nothing is read behind their ends: PyTorch's own training says what it thinks of them."""
    plain, model = pair(layers(8, 5, 3))
    for wrong in (np.ones(3), np.ones(0), np.ones((2, 3))):
        for moved in (h.models.Drift(0.1, centre=wrong), h.models.Drift(shift=wrong)):
            assert natively(model, (X, Y), TRAINING, moved) is None
            assert tried(plain, (X, Y), TRAINING, moved)[0] is RuntimeError
    with pytest.raises(h.errors.PlanError, match="is no vector"):
        model.train(np.ones(3), (X, Y), TRAINING, NONE, KEY)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("loss", LOSSES)
def test_numbers_that_are_none(value: float, optimizer: Any, loss: Any) -> None:
    """It ends; what PyTorch makes no number of is none here, too."""
    plain, model = pair(layers(8, 20, 3, f=nn.Tanh), loss)
    training = h.Training(batch=8, learning_rate=0.1, optimizer=optimizer)
    x, y = points(loss=loss)
    first = plain.start(KEY)
    for broken, data in ((np.where(np.arange(first.size) == 3, value, first), (x, y)), (first, (x.copy(), y))):
        if broken is first:
            data[0][5, 2] = value
        expected, found = (one.train(broken, data, training, NONE, KEY) for one in (plain, model))
        assert not np.isfinite(found.x)[~np.isfinite(expected.x)].any() and found.steps == expected.steps
        assert np.isfinite(expected.loss) or not np.isfinite(found.loss)
    assert np.isfinite(model.train(first, (x, y), training, NONE, KEY).x).all()  # and nothing of it is left


# --- equal bytes ---


def test_nothing_is_left_of_earlier_trainings() -> None:
    """Larger and smaller batches, other optimizers and drifts use the same memory."""
    x, y = points(200)
    model = TorchModel(layers(8, 33, 3, f=nn.Sigmoid), F.cross_entropy, compile=True)
    cases = [
        (h.Training(batch=b, learning_rate=0.05, optimizer=o), moved)  # type: ignore[arg-type]
        for b, o, moved in product((0, 3, 64), ("sgd", "adam", "momentum"), (False, True))
    ]
    start = model.start(KEY)
    found = [
        TorchModel(layers(8, 33, 3, f=nn.Sigmoid), F.cross_entropy, compile=True)
        .train(start, (x, y), training, drift(start) if moved else NONE, KEY).x.tobytes()
        for training, moved in cases
    ]  # fmt: skip
    for order in (range(len(cases)), reversed(range(len(cases)))):
        for i in order:
            training, moved = cases[i]
            one = model.train(start, (x, y), training, drift(start) if moved else NONE, KEY)
            assert one.x.tobytes() == found[i]
    assert len(set(found)) == len(found)


def test_copies_train_as_the_model_does() -> None:
    model = TorchModel(layers(8, 20, 3), F.cross_entropy, compile=True)
    expected = natively(model, (X, Y), TRAINING)
    sent = pickle.loads(pickle.dumps(model))  # noqa: S301
    for one in (sent, copy.deepcopy(model), copy.deepcopy(copy.deepcopy(model))):
        assert natively(one, (X, Y), TRAINING).x.tobytes() == expected.x.tobytes()


def states(compile: bool, runtime: Any, rounds: int = 3, sample: Any = h.Uniform(2)) -> list[bytes]:
    """The first states of a run of so many rounds."""
    plan = h.Plan(TorchModel(layers(8, 20, 3), F.cross_entropy, compile=compile), h.Scaffold(),
                  training=TRAINING, sample=sample, rounds=rounds)  # fmt: skip
    clients = [h.Client(f"c{i}", plan, points(40 + 9 * i, seed=i)) for i in range(3)]
    return [state.x.tobytes() for state in islice(h.synchronous(plan, runtime(clients)), 3)]


def test_the_same_bytes_with_any_number_of_workers() -> None:
    found = states(True, h.InProcess)
    assert found != states(False, h.InProcess)
    for workers in (1, 2):
        assert found == states(True, partial(h.Processes, workers=workers))


@pytest.mark.parametrize("sample", [h.Everyone(), h.Uniform(2), h.Poisson(0.7)], ids=repr)
def test_bytes_do_not_hang_on_how_many_rounds_are_planned(sample: Any) -> None:
    """Whoever takes part, the program trains from the first round on."""
    found = states(True, h.InProcess, 3, sample)
    assert found == states(True, h.InProcess, 10_000, sample) != states(False, h.InProcess, 3, sample)


def test_what_is_not_asked_for() -> None:
    """Not by its own choice, with threads to share the products, on another device, or with noise for examples."""
    assert natively(TorchModel(layers(8, 3), F.cross_entropy, compile=False), (X, Y), TRAINING) is None
    assert TorchModel(layers(8, 3), F.cross_entropy, compile=True, threads=2)._dense is None
    model = TorchModel(layers(8, 3), F.cross_entropy, compile=True)
    noisy = h.Training(batch=8, report=False, private=h.PerExample(1.0, 1.0))
    assert natively(model, (X, Y), noisy) is None and isinstance(model._dense, Program)


def test_it_is_no_part_of_the_digest() -> None:
    """As threads and device are not: it changes how, and the last bits."""
    assert len({repr(TorchModel(layers(8, 3), F.cross_entropy, compile=c)) for c in (True, False)}) == 1
    with pytest.raises(h.errors.PlanError, match="compile='auto'"):
        TorchModel(layers(8, 3), F.cross_entropy, compile="auto")  # type: ignore[arg-type]


# --- the compiler ---


def trained(folder: Path, patch: pytest.MonkeyPatch, **names: str) -> bool:
    """Does it train natively there? If not, its bytes are those of PyTorch's own training."""
    patch.setenv("XDG_CACHE_HOME", str(folder))
    for name, value in names.items():
        patch.setenv(name, value)
    loaded.cache_clear()
    plain, model = (
        TorchModel(layers(8, 20, 3), F.cross_entropy, compile=False),
        TorchModel(layers(8, 20, 3), F.cross_entropy),
    )
    found = natively(model, (X, Y), TRAINING)
    assert found is not None or tried(model, (X, Y)) == tried(plain, (X, Y))
    return found is not None


@pytest.mark.usefixtures("afresh")
def test_no_compiler(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch trains, even where a program lies on disk: so it does not depend on what ran here before."""
    assert trained(programs.parents[1], monkeypatch) and not trained(programs.parents[1], monkeypatch, PATH="", CXX="")


@pytest.mark.promise("P52")
@pytest.mark.usefixtures("afresh")
def test_a_compiler_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """PyTorch trains, and so for everyone who comes later, until somebody deletes the note."""
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho it is out of order >&2\nexit 1\n")
    broken.chmod(broken.stat().st_mode | stat.S_IEXEC)
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "hansa"):
        assert not trained(tmp_path, patch, CXX=str(broken))
    assert not trained(tmp_path, monkeypatch)
    (skipped,) = (tmp_path / "hansa" / "programs").glob("*.failed")
    assert (
        skipped.read_text() == "it is out of order" and caplog.text.count("the compiler said: it is out of order") == 2
    )
    skipped.unlink()
    assert trained(tmp_path, monkeypatch) and len(list((tmp_path / "hansa" / "programs").glob("*.so"))) == 1


@pytest.mark.usefixtures("afresh")
def test_a_folder_that_holds_no_programs(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It cannot be made, or what lies there cannot be loaded: PyTorch trains, and the log says why."""
    file = tmp_path / "file"
    file.write_text("")
    assert not trained(file, monkeypatch) and "train without our own program" in caplog.text
    assert loaded.cache_info().currsize == 1
    (tmp_path / "hansa" / "programs").mkdir(parents=True)
    for program in programs.glob("dense-*.so"):
        (tmp_path / "hansa" / "programs" / program.name).write_text("this is none")
    assert not trained(tmp_path, monkeypatch) and len(caplog.records) == 2
