"""The networks of McMahan et al. (2017, §3), and softmax regression, in PyTorch."""

from __future__ import annotations

import torch
from torch import nn


def network(name: str, seed: int) -> nn.Module:
    """LR: 7,850 numbers; 2NN: 199,210; CNN: 1,663,370. All take images [n, 28, 28]."""
    torch.manual_seed(seed)
    if name == "lr":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    if name == "2nn":
        return nn.Sequential(
            nn.Flatten(), nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10)
        )
    return nn.Sequential(
        nn.Unflatten(1, (1, 28)),
        nn.Conv2d(1, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(3136, 512),
        nn.ReLU(),
        nn.Linear(512, 10),
    )
