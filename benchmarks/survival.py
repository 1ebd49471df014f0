"""FLamby's Fed-TCGA-BRCA, by its own protocol on data that this file makes, beside a plain loop.

Linear(39, 1), the Cox partial likelihood of a batch as the loss, batches of 8; FedAvg, weighed by patients, of 100
steps of SGD at 0.1 in each of 5 rounds; six centres of its sizes, but the last, which has 30 patients. Scored is the
c-index of each centre on patients kept apart. (du Terrail et al. 2022; numbers from the project's
config_tcga_brca.json, and README.md and common.py of fed_tcga_brca)

    T ~ Weibull(shape, scale·exp(−w·x / shape)),   C ~ U[0, longest],   seen: min(T, C), and whether T ≤ C

x has a mean of its own in each centre. The plain loop is PyTorch alone: its own batches of hansa's order, its own SGD,
its own mean of weights.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from common import save
from lifelines.utils import concordance_index
from torch import Tensor, nn

import hansa as h
from hansa.data.examples import parsed
from hansa.metrics import CIndex

FEATURES = 39
CENTRES = {  # patients to train on, and kept apart
    "Northeast": (248, 63),
    "South": (156, 40),
    "West": (164, 42),
    "Midwest": (129, 33),
    "Europe": (129, 33),
    "Canada": (24, 6),
}
SHAPE, SCALE, LONGEST = 1.5, 6.0, 12.0
ROUNDS, UPDATES, BATCH, RATE = 5, 100, 8, 0.1
SEEDS = range(42, 47)

Patients = tuple[np.ndarray, np.ndarray]  # x [n, 39]; time and event [n, 2]


def cox(risks: Tensor, targets: Tensor) -> Tensor:
    """−1/E Σ over events of (z − log Σ exp of those still at risk): no mean over patients (Cox 1972, eq. 14)."""
    time, event = targets.unbind(1)
    order = torch.argsort(time, descending=True)
    z = risks[order, 0]
    event = event[order]
    return -((z - torch.logcumsumexp(z, 0)) * event).sum() / event.sum().clamp(min=1)


def patients(seed: int) -> tuple[dict[str, Patients], dict[str, Patients]]:
    """Of each centre those to train on, and those kept apart."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=FEATURES) / np.sqrt(FEATURES)
    train, test = {}, {}
    for who, (few, apart) in CENTRES.items():
        n = few + apart
        x = rng.normal(size=(n, FEATURES)) + 0.3 * rng.normal(size=FEATURES)
        time = SCALE * np.exp(-2 * x @ w / SHAPE) * rng.weibull(SHAPE, n)
        end = rng.uniform(0, LONGEST, n)
        y = np.stack([np.minimum(time, end), time <= end], 1)
        x, y = x.astype(np.float32), y.astype(np.float32)
        train[who], test[who] = (x[apart:], y[apart:]), (x[:apart], y[:apart])
    return train, test


def federated(net: nn.Module, seed: int, train: Mapping[str, Patients]) -> tuple[h.Plan, np.ndarray]:
    """The weights after the last round, and the plan."""
    model = h.TorchModel(net, cox, metrics={"c_index": CIndex()})
    training = h.Training(steps=UPDATES, batch=BATCH, learning_rate=RATE)
    plan = h.Plan(model, pipe=(h.Weigh("examples"),), training=training, rounds=ROUNDS, seed=seed)
    clients = [h.Client(who, plan, data) for who, data in train.items()]
    *_, end = h.synchronous(plan, h.InProcess(clients))
    return plan, end.x


def plain(net: nn.Module, plan: h.Plan, train: Mapping[str, Patients]) -> nn.Module:
    """The same by PyTorch alone, but for the order of the patients."""
    net = copy.deepcopy(net)
    n = sum(len(y) for _, y in train.values())
    for round in range(ROUNDS):
        mean = [torch.zeros_like(p) for p in net.parameters()]
        for who, (x, y) in train.items():
            local = copy.deepcopy(net)
            optimizer = torch.optim.SGD(local.parameters(), RATE)
            # the same shuffle, which grows from the plan's seed
            key = plan.key.child(round, round).child("client", who)
            for batch in parsed((x, y)).batches(plan.training, key):
                some, targets = map(torch.from_numpy, batch)
                optimizer.zero_grad()
                cox(local(some), targets).backward()
                optimizer.step()
            for total, p in zip(mean, local.parameters(), strict=True):
                total += p.detach() * (len(y) / n)
        for p, new in zip(net.parameters(), mean, strict=True):
            p.data = new
    return net


def main() -> None:
    """Run both, print the table, save it."""
    rows = []
    print(f"{'seed':6}{'centre':10}{'train':>7}{'test':>6}{'hansa':>9}{'plain':>9}{'difference':>12}")
    for seed in SEEDS:
        train, test = patients(seed)
        torch.manual_seed(seed)
        net = nn.Linear(FEATURES, 1)
        plan, x = federated(net, seed, train)
        own = plain(net, plan, train)
        weights = np.concatenate([p.detach().numpy().ravel() for p in own.parameters()])
        for who, (patient, y) in test.items():
            ours = plan.model.score(x, (patient, y))["c_index"]
            risks = own(torch.from_numpy(patient)).detach().numpy()[:, 0]
            theirs = concordance_index(y[:, 0], -risks, y[:, 1])
            found = {"seed": seed, "centre": who, "train": len(train[who][1]), "test": len(y)}
            rows.append(found | {"hansa": ours, "plain": theirs, "weights": float(abs(x - weights).max())})
            print(f"{seed:<6}{who:10}{found['train']:7}{len(y):6}{ours:9.4f}{theirs:9.4f}{abs(ours - theirs):12.1e}")
            assert abs(ours - theirs) <= 1e-6, "hansa trains another model than a plain loop"
    save("survival", rows)


if __name__ == "__main__":
    main()
