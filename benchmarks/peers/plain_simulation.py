"""FedAvg as a plain loop in PyTorch: what the arithmetic and Python's steps cost without any framework.

python plain_simulation.py SETTING THREADS
"""

from __future__ import annotations

import sys

import torch
from networks import network
from setting import BATCH, RATE, SCORED, SETTINGS, read, turns
from torch.nn.functional import cross_entropy

setting, generator = SETTINGS[sys.argv[1]], torch.Generator().manual_seed(0)
torch.set_num_threads(int(sys.argv[2]))
x, y = map(torch.from_numpy, read(setting))
net = network(setting.net, 0)
weights = list(net.parameters())


def loss() -> float:
    """The mean loss of the model on the first examples."""
    with torch.no_grad():
        return float(cross_entropy(net(x.flatten(0, 1)[:SCORED]), y.flatten()[:SCORED]))


def round() -> None:
    """Train a cohort, one after another, and take the mean of their weights; all have equally many examples."""
    start, total = [p.detach().clone() for p in weights], [torch.zeros_like(p) for p in weights]
    for who in torch.randperm(setting.clients, generator=generator)[: setting.cohort]:
        optimizer = torch.optim.SGD(weights, RATE)
        for rows in torch.randperm(setting.examples, generator=generator).split(BATCH):
            optimizer.zero_grad()
            cross_entropy(net(x[who, rows]), y[who, rows]).backward()
            optimizer.step()
        with torch.no_grad():
            for whole, p, first in zip(total, weights, start, strict=True):
                whole += p
                p.copy_(first)
    with torch.no_grad():
        for whole, p in zip(total, weights, strict=True):
            p.copy_(whole / setting.cohort)


for _ in turns(loss):
    round()
