"""Losses that see features and what is told: right wherever a loss of outputs stands, or refused with words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import hansa as h
from hansa.audit.inversion import inversion
from hansa.data import Examples
from hansa.digest import digest_of
from hansa.errors import AppError, DataError, PlanError
from hansa.explain import explain
from hansa.models import LAST, Drift, Features, Train
from hansa.models.torch import TorchModel
from hansa.testing import check_model
from hansa.testing.algorithm import federation

KEY, NONE = h.Key.of(4), Drift()
DATA = {who: (X.astype(np.float32), y) for who, (X, y) in federation(3).items()}
ONE = DATA["client-1"]
ONCE = h.Training(batch=0, steps=1, learning_rate=0.2)
HOW = h.Training(batch=10, learning_rate=0.1)


def moon(outputs: Tensor, y: Tensor, features: Tensor, global_features: Tensor, last_features: Tensor) -> Tensor:
    near, far = (F.cosine_similarity(features, other) / 0.5 for other in (global_features, last_features))
    return F.cross_entropy(outputs, y) + F.cross_entropy(torch.stack([near, far], 1), torch.zeros_like(y))


def silent(outputs: Tensor, y: Tensor, features: Tensor, global_features: Tensor, last_features: Tensor) -> Tensor:
    """Looks at everything, and makes nothing of it."""
    return F.cross_entropy(outputs, y) + 0 * (features + global_features + last_features).sum()


def heard(outputs: Tensor, y: Tensor, told: Any) -> Tensor:
    return F.cross_entropy(outputs, y) + told.get("more", torch.zeros(())).sum()


class Module(nn.CrossEntropyLoss):
    """PyTorch's own, with a name more."""

    def forward(self, outputs: Tensor, y: Tensor, features: Tensor) -> Tensor:
        return super().forward(outputs, y) + features.square().mean()


def net(*between: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(4, 8), *between, nn.ReLU())
    return nn.Sequential(*[body, nn.Linear(8, 3)])


def model(*between: nn.Module, loss: Any = moon, **more: Any) -> TorchModel:
    return TorchModel(net(*between), loss, features="0", **more)


def run(plan: h.Plan, runtime: Any = h.InProcess, **more: Any) -> tuple[h.State, dict[str, Any]]:
    """The last state, and what the clients remember."""
    clients = [h.Client(who, plan, one, secret=KEY) for who, one in DATA.items()]
    with runtime(clients, secret=KEY, **more) as there:
        *_, state = h.synchronous(plan, there, secret=KEY)
        return state, dict(there.memory.of(DATA))


def same(a: Any, b: Any) -> bool:
    """Equal to the last byte."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return np.asarray(a).tobytes() == np.asarray(b).tobytes()


# ── what a loss sees ──


@pytest.mark.guards("a net of its own has tensors of its own", "the global net computes in eval mode")
@pytest.mark.parametrize("between", [(), (nn.BatchNorm1d(8), nn.Dropout(0.5))], ids=["plain", "norm"])
def test_a_loss_gets_the_features_of_each_net(between: Any) -> None:
    """Of the others in eval mode, as they are told by `features_of`; of its own as it trains."""
    seen = dict[str, Any]()

    def spy(outputs: Any, y: Any, features: Any, global_features: Any, last_features: Any, told: Any) -> Tensor:
        seen.update(own=features.detach(), globally=global_features, last=last_features, told=told, y=y)
        assert features.requires_grad and not global_features.requires_grad and not last_features.requires_grad
        return moon(outputs, y, features, global_features, last_features)

    one = model(*between, loss=spy)
    x = one.start(KEY)
    far, before = 0.5 * x, (2 * x).astype(np.float32)
    told = {"means": np.arange(6.0).reshape(2, 3)}
    one.train(x, ONE, ONCE, Drift(centre=far), KEY, {LAST: before}, told)
    for name, v in (("own", x), ("globally", far), ("last", before)):
        expected, _ = one.features_of(v, ONE)
        found = seen[name].double().numpy()
        alike = np.allclose(np.sort(found, 0), np.sort(expected, 0), atol=1e-6)
        assert expected.shape == found.shape == (25, 8) and alike == (not between or name != "own")
    assert seen["told"]["means"].dtype == torch.float32 and seen["told"]["means"].tolist() == [[0, 1, 2], [3, 4, 5]]
    one.train(x, ONE, ONCE, NONE, KEY)
    assert torch.equal(seen["last"], seen["globally"]) and not seen["told"]


def test_features_are_what_the_module_gives_and_not_what_is_made_of_it() -> None:
    """Also where the next module writes over it."""
    torch.manual_seed(0)
    layer = nn.Linear(4, 8)
    one = TorchModel(nn.Sequential(layer, nn.ReLU(inplace=True), nn.Linear(8, 3)), F.cross_entropy, features="0")
    with torch.no_grad():
        assert np.allclose(one.features_of(one.start(KEY), ONE)[0], layer(torch.tensor(ONE[0])), atol=1e-6)


def test_features_come_with_the_targets_of_their_examples() -> None:
    """Also where a loader gives them in another order each time."""
    X, y = ONE[0].copy(), torch.tensor(ONE[1])
    X[:, 0] = ONE[1]
    one = TorchModel(nn.Sequential(nn.Identity(), nn.Linear(4, 3)), F.cross_entropy, features="0")
    loader = DataLoader(TensorDataset(torch.tensor(X), y), batch_size=10, shuffle=True)
    features, targets = one.features_of(one.start(KEY), loader)
    assert (features[:, 0] == targets).all() and sorted(targets) == sorted(ONE[1]) and (targets != ONE[1]).any()


@pytest.mark.parametrize("between", [(nn.BatchNorm1d(8),), (nn.Dropout(0.3),)])
@pytest.mark.parametrize("buffers", ["average", "local"])
def test_other_nets_touch_neither_statistics_nor_draws(between: Any, buffers: Any) -> None:
    """A loss that looks at all of them and makes nothing of it trains what a plain one does, byte for byte."""
    plain, looking = (model(*between, loss=loss, buffers=buffers) for loss in (F.cross_entropy, silent))
    x = plain.start(KEY)
    first, second = plain.train(x, ONE, HOW, NONE, KEY), looking.train(x, ONE, HOW, NONE, KEY)
    later = looking.train(first.x, ONE, HOW, Drift(centre=x), KEY, second.local)
    assert same(first.x, second.x) and same(dict(first.local), {k: v for k, v in second.local.items() if k != LAST})
    assert same(plain.train(first.x, ONE, HOW, NONE, KEY, first.local).x, later.x)


def test_only_what_a_loss_names_is_computed() -> None:
    passes = []
    counted = net()
    counted[0].register_forward_hook(lambda *_: passes.append(1))

    def counts(loss: Any, local: Any) -> int:
        one = TorchModel(counted, loss, features="0")
        passes.clear()
        one.train(one.start(KEY), ONE, ONCE, NONE, KEY, local)
        return len(passes)

    def last_alone(outputs: Tensor, y: Tensor, features: Tensor, last_features: Tensor) -> Tensor:
        return F.cross_entropy(outputs, y) + (features - last_features).square().mean()

    before = {LAST: model().start(KEY)}
    assert [counts(loss, before) for loss in (F.cross_entropy, heard, last_alone, moon)] == [1, 1, 2, 3]
    assert counts(moon, {}) == 2  # in a first training the last net is the global one


def test_a_name_that_a_partial_has_fixed_is_not_given() -> None:
    one = TorchModel(net(), partial(heard, told={"more": torch.ones(())}))
    assert not one.takes.told and one.score(one.start(KEY), ONE)["loss"] > 1.5


# ── the client's last net ──


def test_a_client_remembers_its_last_net_and_only_where_a_loss_looks_at_it() -> None:
    plan = h.Plan(model(), training=HOW, rounds=2)
    state, memory = run(plan)
    assert all(one["model"].keys() == {LAST} for one in memory.values())
    assert all(one["model"][LAST].dtype == np.float32 for one in memory.values())
    assert not same(memory["client-0"]["model"][LAST], memory["client-1"]["model"][LAST])
    assert np.allclose(np.average([one["model"][LAST] for one in memory.values()], 0, [20, 25, 30]), state.x, atol=1e-6)
    assert not run(h.Plan(model(loss=F.cross_entropy), training=HOW, rounds=2))[1]


def test_a_net_that_has_left_the_range_of_numbers_is_not_remembered() -> None:
    one = model()
    with np.errstate(over="ignore", invalid="ignore"):
        fit = one.train(one.start(KEY), ONE, replace(HOW, learning_rate=1e30), NONE, KEY)
    assert not np.isfinite(fit.x).all() and not fit.local


@pytest.mark.promise("P210")
def test_it_is_said_what_a_client_remembers() -> None:
    plain, moons = (h.Plan(model(loss=loss)) for loss in (F.cross_entropy, moon))
    told = "remembered by each client | the net that its last training ended with, for the loss: 67 numbers, in nothing"
    assert told in str(explain(moons)) and "remembered" not in str(explain(plain))
    assert told.split(" | ")[0] in str(explain(h.Plan(h.Personal(model(), ("1.*",)))))
    assert moons.spec.blocks == plain.spec.blocks and moons.broadcast_shapes == plain.broadcast_shapes


@pytest.mark.promise("P211")
@pytest.mark.guards("a second training says which net was the last")
def test_an_algorithm_that_trains_twice_is_refused() -> None:
    words = r"(?s)trains twice in a round.*client's last training"
    with pytest.raises(h.errors.RoundError), pytest.warns(match=words):
        run(h.Plan(model(), h.Ditto(), training=HOW, rounds=1))
    run(h.Plan(model(loss=heard), h.Ditto(), training=HOW, rounds=1))


def test_workers_and_a_resumed_run_have_the_same_bytes() -> None:
    plan = h.Plan(model(nn.BatchNorm1d(8), buffers="local"), training=HOW, rounds=3)
    here, there = run(plan), run(plan, h.Processes, workers=2)
    assert same(here[0].x, there[0].x) and same(here[1], there[1])
    clients = [h.Client(who, plan, one, secret=KEY) for who, one in DATA.items()]
    with h.InProcess(clients, secret=KEY) as first:
        state = next(h.synchronous(plan, first, secret=KEY))
        memory = first.memory.after(state.counted)
    with h.InProcess(clients, secret=KEY) as again:
        again.memory.load(memory)
        *_, last = h.synchronous(plan, again, state, secret=KEY)
    assert same(last.x, here[0].x)


# ── with all else that a model does ──


@pytest.mark.parametrize("loss", [moon, Module(), heard], ids=["moon", "module", "heard"])
@pytest.mark.parametrize("between", [(), (nn.BatchNorm1d(8),)], ids=["plain", "norm"])
def test_models_with_such_losses_keep_their_promises(loss: Any, between: Any) -> None:
    data = DATA["client-0"]
    bad = [(data[0][:, 1:], data[1])]
    check_model(model(*between, loss=loss), data, bad=bad)
    check_model(cloudpickle.loads(cloudpickle.dumps(model(*between, loss=loss))), data, bad=bad)
    check_model(h.Personal(model(*between, loss=loss), ("1.*",)), data, bad=bad)


def test_a_score_is_the_loss_that_a_training_begins_with() -> None:
    """log 2 above that of the outputs, where no last net is known; with the client's own, by its features."""
    one = model()
    x, far = one.start(KEY), 3 * one.start(KEY)[::-1]
    plain = model(loss=F.cross_entropy).score(x, ONE)["loss"]
    assert np.isclose(one.score(x, ONE)["loss"], plain + np.log(2), atol=1e-6)
    z, before = one.features_of(x, ONE)[0], one.features_of(far, ONE)[0]
    b = (z * before).sum(1) / np.maximum(np.linalg.norm(z, axis=1) * np.linalg.norm(before, axis=1), 1e-8) / 0.5
    expected = plain + np.log1p(np.exp(b - 2.0)).mean()
    assert np.isclose(one.score(x, ONE, {LAST: far})["loss"], expected, atol=1e-5)
    fit = one.train(x, ONE, ONCE, NONE, KEY, {LAST: far})
    assert np.isclose(fit.loss, expected, atol=1e-5)


def test_a_loss_that_is_a_mean_is_scored_in_pieces() -> None:
    """hansa.metrics.Mean says so; else it is that of all examples at once."""
    from hansa.metrics import Mean

    whole, pieces = model(), model(loss=Mean(moon))
    x, local = whole.start(KEY), {LAST: 3 * whole.start(KEY)[::-1]}
    many = Examples.of((np.tile(ONE[0], (30, 1)), np.tile(ONE[1], 30)))  # more than go through at once
    assert pieces.traits.remembers and np.isclose(
        whole.score(x, many, local)["loss"], pieces.score(x, many, local)["loss"]
    )
    assert same(whole.train(x, ONE, HOW, NONE, KEY, local).x, pieces.train(x, ONE, HOW, NONE, KEY, local).x)


def test_gradients_of_single_examples_are_those_of_the_whole_loss() -> None:
    """With a clip that binds nothing and no noise to speak of, a step is the plain one."""
    one = model()
    x = one.start(KEY)
    quiet = replace(ONCE, report=False, private=h.PerExample(1e6, 1e-12))
    local = {LAST: 3 * x[::-1]}
    plain, private = (one.train(x, ONE, how, Drift(centre=0.5 * x), KEY, local) for how in (ONCE, quiet))
    assert np.allclose(plain.x, private.x, atol=1e-6) and np.isclose(plain.loss, private.loss, atol=1e-5)


def among(outputs: Tensor, y: Tensor, features: Tensor) -> Tensor:
    """Holds each example against the others of its batch."""
    return F.cross_entropy(outputs, y) + (features - features.mean(0)).square().mean()


def weighed(outputs: Tensor, y: Tensor, features: Tensor) -> Tensor:
    return F.cross_entropy(outputs, y, weight=torch.tensor([1.0, 5.0, 9.0])) + 0 * features.sum()


@pytest.mark.promise("P211")
@pytest.mark.guards("a loss is a mean over examples where they are hidden")
@pytest.mark.parametrize("loss", [among, weighed])
def test_a_loss_that_is_no_mean_over_examples_cannot_hide_them(loss: Any) -> None:
    one = model(loss=loss)
    one.train(one.start(KEY), ONE, ONCE, NONE, KEY)
    with pytest.raises(DataError, match=r"(?s)mean of each one's own.*clips the gradient of each example"):
        one.check(ONE, "anna", replace(ONCE, report=False, private=h.PerExample(1.0, 1.0)))
    model().check(ONE, "anna", replace(ONCE, report=False, private=h.PerExample(1.0, 1.0)))


def classes(outputs: Tensor, y: Tensor, features: Tensor, told: Any) -> Tensor:
    """The means of classes in a batch, to what they are told to be."""
    loss = F.cross_entropy(outputs, y)
    for j, aim in enumerate(told.get("means", ())):
        mine = (y == j)[:, None]
        loss = loss + ((mine * features).sum(0) / mine.sum().clamp(min=1) - aim * mine.any()).square().sum()
    return loss


def moving(outputs: Tensor, y: Tensor, features: Tensor, global_features: Tensor) -> Tensor:
    """How far the mean has moved, which is nothing at the start."""
    return F.cross_entropy(outputs, y) + (features - global_features).mean(0).square().sum()


@pytest.mark.promise("P211")
@pytest.mark.guards("a loss is a mean over examples in a training too")
@pytest.mark.parametrize("loss", [classes, moving])
def test_what_shows_in_a_training_only_is_looked_at_there(loss: Any) -> None:
    """What is told, and nets that differ."""
    one = model(loss=loss)
    x = one.start(KEY)
    private = replace(ONCE, report=False, private=h.PerExample(1.0, 1.0))
    one.check(ONE, "anna", private)
    more = {"told": {"means": np.ones((3, 8))}} if one.takes.told else {}
    with pytest.raises(DataError, match="mean of each one's own"):
        one.train(x, ONE, private, Drift(centre=x / 2), KEY, **more)
    one.train(x, ONE, ONCE, Drift(centre=x / 2), KEY, **more)


@pytest.mark.guards("a loss that sees more is trained one by one")
def test_neither_a_cohort_nor_the_native_program_trains_with_such_a_loss() -> None:
    for loss in (moon, Module(), heard):
        assert model(loss=loss, cohort=4).cohort == 1 and model(loss=loss)._dense is None
    assert model(loss=F.cross_entropy, cohort=4).cohort == 4 and model(loss=F.cross_entropy)._dense
    ends = [run(h.Plan(model(**how), training=HOW, rounds=2))[0].x for how in ({}, {"cohort": 4}, {"compile": False})]
    assert same(ends[0], ends[1]) and same(ends[0], ends[2])


def test_what_stays_at_home_is_part_of_the_nets_that_a_loss_sees() -> None:
    """The global net of a client is the shared part with the client's own, as it uses it; so is its last one."""
    seen = dict[str, Any]()

    def spy(outputs: Any, y: Any, features: Any, global_features: Any, last_features: Any) -> Tensor:
        seen.update(globally=global_features, last=last_features)
        return moon(outputs, y, features, global_features, last_features)

    whole = model(loss=spy)
    own = h.Personal(whole, ("0.*bias",))
    x = own.start(KEY)
    kept = {"0.0.bias": np.linspace(-2, 2, 8)}
    local = {"kept": kept, LAST: 2 * whole.start(KEY)}
    fit = own.train(x, ONE, ONCE, Drift(0.1, centre=0.5 * x), KEY, local)
    expected, _ = whole.features_of(own.whole(0.5 * x, {"kept": kept}), ONE)
    assert np.allclose(np.sort(seen["globally"], 0), np.sort(expected, 0), atol=1e-6)
    assert np.allclose(own.features_of(0.5 * x, ONE, local)[0], expected, atol=1e-9)
    assert np.allclose(fit.local[LAST], own.whole(fit.x, fit.local), atol=1e-6)
    state, memory = run(h.Plan(own, training=replace(HOW, only=("0.*",)), rounds=2))
    assert np.isfinite(state.x).all() and memory["client-0"]["model"].keys() == {"kept", LAST}


def test_the_digest_covers_the_features_and_the_code_of_the_loss() -> None:
    def other(outputs: Tensor, y: Tensor, features: Tensor, global_features: Tensor, last_features: Tensor) -> Tensor:
        return 2 * moon(outputs, y, features, global_features, last_features)

    models = [model(), TorchModel(net(), moon, features="0.0"), model(loss=other), model(loss=F.cross_entropy)]
    digests = [h.Plan(one).digest for one in models]
    assert len(set(digests)) == 4 and digests[0] == h.Plan(model()).digest
    sent = cloudpickle.loads(cloudpickle.dumps(models[0]))
    assert digest_of(sent) == digest_of(models[0]) and "features='0'" in repr(sent)
    x = sent.start(KEY)
    assert same(sent.train(x, ONE, HOW, NONE, KEY).x, models[0].train(x, ONE, HOW, NONE, KEY).x)


# ── asked for ──


@dataclass(frozen=True)
class Asks(h.FedAvg):
    """Says the mean of the features, with the client's own statistics, and tells a number."""

    def side(self) -> Any:
        return {"mean": np.inf}

    def client(self, model: Any, broadcast: Any, client_state: Any, data: Any, training: Any, at: Any) -> Any:
        x = broadcast["x"]
        fit = yield Train(x, data, training, NONE, at.key, told={"more": np.float64(at.round)})
        z, _ = yield Features(fit.x, data)
        return {"delta": fit.x - x, "loss": fit.loss, "mean": z.mean()}, {"x": fit.x}

    def step(self, x: Any, memo: Any, mean: Any, at: Any) -> Any:
        return super().step(x, {**memo, "opt": memo["opt"]}, mean, at)


@pytest.mark.parametrize("cohort", [1, 3])
def test_an_algorithm_asks_for_features_and_tells_the_loss(cohort: int) -> None:
    one = model(nn.BatchNorm1d(8), loss=heard, buffers="local")
    plan = h.Plan(h.testing.algorithm.SideBySide(one, cohort), Asks(), training=HOW, rounds=3)
    clients = [h.Client(who, plan, data) for who, data in DATA.items()]
    with h.InProcess(clients) as runtime:
        states = list(h.synchronous(plan, runtime))
        memory = runtime.memory.of(DATA)
    means = [one.features_of(m["x"], DATA[who], m["model"])[0].mean() for who, m in memory.items()]
    assert len(set(means)) == 3 and states[-1].metrics["loss"] > 2.0 > states[0].metrics["loss"]
    again = run(plan)[1]
    assert same({who: m["model"] for who, m in memory.items()}, {who: m["model"] for who, m in again.items()})


@dataclass(frozen=True)
class Direct(h.FedAvg):
    """Computes features without asking."""

    def client(self, model: Any, broadcast: Any, client_state: Any, data: Any, *more: Any) -> Any:
        model.features_of(broadcast["x"], data)
        return (yield from super().client(model, broadcast, client_state, data, *more))


def test_features_that_are_not_asked_for_are_not_computed() -> None:
    with pytest.raises(TypeError, match="yield Features"):
        run(h.Plan(model(loss=heard), Direct(), rounds=1))


def test_features_pass_by_no_noise_for_single_examples() -> None:
    plan = h.Plan(model(loss=heard), Asks(), training=replace(HOW, report=False, private=h.PerExample(1.0, 1.0)))
    with pytest.raises(TypeError, match=r"(?s)yields Features\(…\).*no noise of the plan hides"):
        run(plan)


def test_no_epsilon_rests_on_a_sample_of_which_a_last_net_tells() -> None:
    noisy = {"pipe": (h.Clip(1.0, side=1.0), h.Weigh("one"), h.GaussianNoise(1.0)), "sample": h.Uniform(2)}
    h.Plan(model(loss=heard), **noisy)
    with pytest.raises(PlanError, match="no ε is known"):
        h.Plan(model(), **noisy)


@pytest.mark.promise("P211")
@pytest.mark.guards("what is told is not passed by", "what is told is not passed by, side by side")
@pytest.mark.parametrize(
    "one", [model(), h.Softmax(4, 3), model(loss=F.cross_entropy, cohort=3)], ids=["moon", "numpy", "cohort"]
)
def test_what_a_loss_does_not_take_is_not_told_in_vain(one: Any) -> None:
    words = r"(?s)tells the loss more.*does not take it.*another than the algorithm's"
    with pytest.raises(h.errors.RoundError), pytest.warns(match=words):
        run(h.Plan(one, Asks(), training=HOW, rounds=1))


def test_a_loss_that_wants_what_nobody_told_says_so() -> None:
    def wants(outputs: Tensor, y: Tensor, told: Any) -> Tensor:
        return F.cross_entropy(outputs, y) + told["means"].sum()

    with pytest.raises(PlanError, match=r"(?s)asks for told\['means'\].*has told nothing.*told.get"):
        TorchModel(net(), wants).check(ONE, "anna")


# ── what cannot be seen is refused with words ──


@pytest.mark.promise("P211")
@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: TorchModel(net(), moon, features="boddy"), "'boddy' names no module of Seq.*are 0, 0.0, 0.1, 1"),
        (lambda: TorchModel(net(), moon, features=""), "'' names no module"),
        (lambda: TorchModel(net(), moon), "takes features, global_features, last_features, and no module"),
        (lambda: TorchModel(net(), F.cross_entropy).features_of(np.zeros(67), ONE), "gives no features.*features='n"),
        (lambda: h.Softmax(4, 3).features_of(np.zeros(15), ONE), "Softmax.* gives no features"),
    ],
)  # fmt: skip
def test_what_cannot_be_seen_is_refused(build: Callable[[], Any], words: str) -> None:
    with pytest.raises(PlanError, match=f"(?s){words}"):
        build()


class Several(nn.Module):
    """A part that gives a tuple, one with another number of rows, one that computes twice, one that never does."""

    def __init__(self) -> None:
        super().__init__()
        self.pair, self.fold, self.twice, self.never = nn.LSTM(4, 3), nn.Flatten(0), nn.Identity(), nn.Identity()
        self.list = [nn.Linear(4, 3)]
        self.own = self.list[0]

    def forward(self, x: Tensor) -> Tensor:
        y = self.pair(x)[0]
        return self.twice(self.twice(y)) + 0 * self.fold(x).sum()


@pytest.mark.parametrize(
    ("part", "gives"),
    [("pair", "tuple"), ("fold", r"\(100,\)"), ("twice", r"\(25, 3\), \(25, 3\)"), ("never", "nothing")],
)
def test_a_part_without_a_row_for_each_example_gives_no_features(part: str, gives: str) -> None:
    one = TorchModel(Several(), F.cross_entropy, features=part)
    with pytest.raises(PlanError, match=f"(?s)25 examples the module '{part}' gives {gives}.*row for each example"):
        one.features_of(one.start(KEY), ONE)


class Aside(nn.Module):
    """Reads a weight from a list, which PyTorch does not look into."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 8), nn.Linear(8, 3)
        self.weights = [self.body.weight]
        self.gives = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gives(F.linear(x, self.weights[0])))


@pytest.mark.guards("a net of its own computes with its own weights")
def test_a_net_that_reads_weights_elsewhere_is_refused() -> None:
    with pytest.raises(PlanError, match=r"(?s)weights that PyTorch does not see.*read each weight"):
        TorchModel(Aside(), moon, features="gives").check(ONE, "anna")


def test_no_attack_inverts_a_gradient_of_a_loss_that_sees_more() -> None:
    """Its descent knows losses of outputs and targets alone; where the first layer tells the record, that is told."""
    torch.manual_seed(0)
    folded = nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 2, 2), nn.Flatten(), nn.Linear(6, 3))
    plan = h.Plan(TorchModel(folded, moon, features="2"), training=HOW, rounds=1)
    with pytest.raises(AppError, match="inverts a gradient of TorchModel"):
        inversion(h.App(plan, DATA))
