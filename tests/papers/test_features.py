"""MOON and FedProto, as docs/how-to/features.md writes them, against plain PyTorch loops of the papers' equations."""

from __future__ import annotations

import copy
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import hansa as h
from hansa.models.torch import TorchModel

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/features.md"
ETA, STEPS, ROUNDS = 0.1, 4, 3
HOW = h.Training(batch=0, epochs=STEPS, learning_rate=ETA)  # full batches: no order to agree on
KEY = h.Key.of(0)


@cache
def page() -> dict[str, Any]:
    """What the page defines."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), names)  # noqa: S102
    return names


def parties() -> dict[str, tuple[Any, Any]]:
    """Three clients of different sizes, whose inputs lie apart."""
    found = {}
    for i, n in enumerate((20, 31, 25)):
        rng = np.random.default_rng(i)
        y = rng.integers(0, 3, n)
        X = rng.normal(size=(n, 8)) + 2.0 * np.eye(8)[y] + 0.5 * rng.normal(size=8)
        found[f"c{i}"] = X.astype(np.float32), y
    return found


def mlp(norm: bool = False) -> nn.Sequential:
    """Features of width 6 below a head; with BatchNorm and dropout among them where `norm`."""
    torch.manual_seed(0)
    between = [nn.BatchNorm1d(16)] if norm else []
    body = nn.Sequential(nn.Linear(8, 16), *between, nn.ReLU(), nn.Linear(16, 6))
    return nn.Sequential(body, nn.ReLU(inplace=True), nn.Linear(6, 3))


def tensors(data: tuple[Any, Any]) -> tuple[Tensor, Tensor]:
    X, y = data
    return torch.tensor(X), torch.tensor(y)


def run(plan: h.Plan) -> tuple[list[h.State], dict[str, Any]]:
    with h.InProcess([h.Client(who, plan, data) for who, data in parties().items()]) as runtime:
        states = list(h.synchronous(plan, runtime))
        return states, dict(runtime.memory.of(parties()))


def moon_loss(net: nn.Module, X: Tensor, y: Tensor, others: list[nn.Module]) -> Tensor:
    """Li et al. 2021, eq. 3 and Alg. 1, with every exponential written out."""
    z = net[0](X)
    a, b = (torch.exp(F.cosine_similarity(z, other[0](X).detach()) / page()["TAU"]) for other in others)
    return F.cross_entropy(net[1:](z.clone()), y) + page()["MU"] * -torch.log(a / (a + b)).mean()


@pytest.mark.parametrize("norm", [False, True])
def test_moon_is_the_papers_loop(norm: bool) -> None:
    """Alg. 1: all nets start at the global one; z_glob and z_prev come from nets in eval mode, as in the authors' code;
    where a client has no last net it is the global one, whose contrast has no gradient.
    """
    plan = h.Plan(TorchModel(mlp(norm), page()["moon"], features="0"), training=HOW, rounds=ROUNDS)
    states, memory = run(plan)
    server, last = mlp(norm), dict[str, nn.Module]()
    total = sum(len(y) for _, y in parties().values())
    for state in states:
        trained = {}
        for who, data in parties().items():
            net = copy.deepcopy(server)
            others = [copy.deepcopy(one).eval() for one in (server, last.get(who, server))]
            sgd = torch.optim.SGD(net.parameters(), lr=ETA)
            for _ in range(STEPS):
                sgd.zero_grad()
                moon_loss(net, *tensors(data), others).backward()
                sgd.step()
            trained[who] = last[who] = net
        shares = {who: len(y) / total for who, (_, y) in parties().items()}
        mean = copy.deepcopy(server.state_dict())
        for name, value in mean.items():
            if value.is_floating_point():
                mean[name] = sum(share * trained[who].state_dict()[name] for who, share in shares.items())
        server.load_state_dict(mean)
        assert np.abs(state.x - numbers(server, plan.model)).max() < 1e-6
    for who, net in last.items():
        assert np.abs(memory[who]["model"][".last"] - numbers(net, plan.model)).max() < 1e-6
    plain = run(h.Plan(TorchModel(mlp(norm), F.cross_entropy), training=HOW, rounds=ROUNDS))[0]
    assert np.abs(states[0].x - plain[0].x).max() < 1e-6 < 1e-4 < np.abs(states[-1].x - plain[-1].x).max()


def numbers(net: nn.Module, model: Any) -> Any:
    """A net's tensors in the order of the model's vector."""
    state = net.state_dict()
    return np.concatenate([state[name].reshape(-1).double().numpy() for name in model.slices()])


def fedproto(lam: float, norm: bool = False) -> h.Plan:
    """The page's, with this λ."""

    def loss(outputs: Tensor, y: Tensor, features: Tensor, told: Any) -> Tensor:
        plain = F.cross_entropy(outputs, y)
        both = page()["prototypical"](outputs, y, features, told)
        return plain + lam * (both - plain)

    return h.Plan(TorchModel(mlp(norm), loss, features="0"), page()["FedProto"](), (h.Weigh("one"),),
                  training=HOW, rounds=ROUNDS)  # fmt: skip


def test_prototypes_are_the_means_of_all_features_of_a_class() -> None:
    """Tan et al. 2022, Alg. 1, over the rounds: each client's own net, its loss by eq. 7 with the distance of their
    code, and then eq. 6 by numbers of examples.
    """
    plan = fedproto(1.0)
    states, memory = run(plan)
    nets = {who: mlp() for who in parties()}
    prototypes = None
    for state in states:
        z, labels = [], []
        for who, data in parties().items():
            X, y = tensors(data)
            sgd = torch.optim.SGD(nets[who].parameters(), lr=ETA)
            for _ in range(STEPS):
                sgd.zero_grad()
                features = nets[who][0](X)
                loss = F.cross_entropy(nets[who][1:](features.clone()), y)
                if prototypes is not None:
                    loss = loss + F.mse_loss(features, prototypes[y])
                loss.backward()
                sgd.step()
            z.append(nets[who][0](X).detach())
            labels.append(y)
        whole, whose = torch.cat(z), torch.cat(labels)
        prototypes = torch.stack([whole[whose == j].mean(0) for j in range(3)])
        assert np.abs(state.memo["prototypes"] - prototypes.numpy()).max() < 1e-6
        assert (state.x == plan.start().x).all()
    for who, net in nets.items():
        assert np.abs(memory[who]["own"] - numbers(net, plan.model)).max() < 1e-6


def test_a_class_of_which_nobody_has_an_example_keeps_its_prototype() -> None:
    plan = fedproto(1.0)
    at = plan.context(1, h.messages.SessionId(number=1), secret=KEY, n=2, population=3)
    before = {"prototypes": np.full((3, 6), 7.0), "known": np.array([0.0, 0.0, 1.0])}
    mean = {"sums": np.arange(18.0), "counts": np.array([2.0, 0.0, 0.0])}
    _, memo = plan.algorithm.step(plan.start().x, before, mean, at)
    assert (memo["prototypes"][0] == np.arange(6) / 2).all() and (memo["prototypes"][1:] == 7).all()
    assert memo["known"].tolist() == [1, 0, 1]


def test_the_term_pulls_features_to_the_prototypes() -> None:
    """How far a client's features lie from what it was told, after a round with λ and one without."""
    apart = {}
    for lam in (0.0, 1.0):
        plan = fedproto(lam)
        states, memory = run(plan)
        told = states[-2].memo["prototypes"]
        far = [
            np.square(plan.model.features_of(memory[who]["own"], data)[0] - told[data[1]]).mean()
            for who, data in parties().items()
        ]
        apart[lam] = np.mean(far)
    assert apart[1.0] < 0.8 * apart[0.0]
