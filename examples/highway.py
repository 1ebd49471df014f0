"""Makers of cars of four styles teach one driver together, in a simulator: from what their cars saw and did.

No trip leaves a maker, and the server sees the sum of their updates alone. Each maker's own driver is pulled to the
common one. What counts is where they get to: each drives, in traffic that nobody has trained on.

pip install 'hansa[driving]'
hansa run examples/highway.py
"""

from copy import deepcopy

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import hansa
from hansa.datasets.highway import drive, highway
from hansa.metrics import Mean
from hansa.models.torch import accuracy
from hansa.rand import Key

makers = highway()

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(18, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 5))

plan = hansa.Plan(
    model=hansa.TorchModel(net, F.cross_entropy, metrics={"accuracy": Mean(accuracy, 1.0)}),
    algorithm=hansa.Ditto(lam=0.03),
    pipe=(hansa.Finite(), hansa.Clip(norm=10.0, side=100.0), hansa.Weigh("one"), hansa.Quantize(24)),
    aggregator=hansa.MaskedSum(),
    training=hansa.Training(
        epochs=2, batch=32, learning_rate=0.003, optimizer="adam", schedule=hansa.schedules.Cosine()
    ),
    sample=hansa.Everyone(quorum=3),
    rounds=40,
)
app = hansa.App(plan=plan, data=makers.train, test=makers.test, policies=hansa.Policy(sees="sum"))


def driver(x):  # what is seen → the action that a model takes
    net = deepcopy(plan.model.load(x))
    return lambda seen: int(net(torch.tensor(seen[None], dtype=torch.float32)).argmax())


if __name__ == "__main__":
    print(makers.told)
    for state in app.run():
        print(f"{state.round:2} accuracy {state.scores['accuracy']:.3f}")
    trips = [drive(driver(state.x), Key.of(1).child("trip", i)) for i in range(5)]
    print(f"federated: {sum(trip.crashed for trip in trips)} crashes in 5 trips of 30 s,", end=" ")
    print(f"{np.mean([trip.speed for trip in trips]):.1f} m/s")
    for row in app.compare(state):
        print(f"{row.name:24} {row.examples:6} accuracy {row.scores['accuracy']:.3f}")
