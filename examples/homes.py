"""500 homes forecast what each will use in the next hour: one model for all, which each home then tunes to itself.

No meter's readings leave a home. The server sees the updates of fifty homes in each round, and adds them up; the tuned
model stays at home. A home's unit is its own mean load, so a score is the mean error over the mean load.

hansa run examples/homes.py
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import hansa
from hansa.datasets.swiss_meters import swiss_meters

homes = swiss_meters()

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(35, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1))

plan = hansa.Plan(
    model=hansa.TorchModel(net, F.l1_loss),
    algorithm=hansa.FineTuned(tuning=hansa.Training(epochs=5, batch=32, learning_rate=0.001, optimizer="adam")),
    pipe=(hansa.Finite(), hansa.Weigh("one")),
    training=hansa.Training(learning_rate=0.003, optimizer="adam", schedule=hansa.schedules.Cosine()),
    sample=hansa.Uniform(50),
    rounds=100,
)
app = hansa.App(plan=plan, data=homes.train, test=homes.test)

if __name__ == "__main__":
    print(homes.told)
    for state in app.run():
        print(f"{state.round:3} error {state.scores['loss']:.3f}")
    naive = np.mean([np.abs(X[:, :1] - y).mean() for X, y in homes.test.values()])
    print(f"as in the last hour: error {naive:.3f}")
    for row in app.compare(state):
        if not row.name.startswith("home "):
            print(f"{row.name:16} {row.examples:6} error {row.scores['loss']:.3f}")
