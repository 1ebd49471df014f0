"""Five drivers learn how fast their engines turn, from what their cars measure: together, and each for its own car.

No trip leaves a car, and nobody sees what one car says: it is split between the server and driver 1, who helps, and
proven to be within bounds. The model that a driver uses is pulled to the common one; a new driver takes that.

hansa run examples/driving.py
"""

import torch
from torch import nn
from torch.nn import functional as F

import hansa
from hansa.datasets.polidriving import polidriving
from hansa.metrics import R2

drivers = polidriving()

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(7, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
metrics = {"r2": R2()}

plan = hansa.Plan(
    model=hansa.TorchModel(net, F.mse_loss, metrics=metrics),
    algorithm=hansa.Ditto(lam=0.01),
    pipe=(hansa.Finite(), hansa.Clip(norm=5.0, side=100.0), hansa.Weigh("one")),
    aggregator=hansa.VerifiedSum(helpers=("driver 1",)),
    training=hansa.Training(
        epochs=2, batch=32, learning_rate=0.003, optimizer="adam", schedule=hansa.schedules.Cosine()
    ),
    sample=hansa.Everyone(quorum=4),
    rounds=20,
)
app = hansa.App(plan=plan, data=drivers.train, test=drivers.test, policies=hansa.Policy(sees="sum"))

if __name__ == "__main__":
    print(drivers.told)
    for state in app.run():
        print(f"{state.round:2} R² {state.scores['r2']:.3f}")
    for row in app.compare(state):
        print(f"{row.name:16} {row.examples:6} R² {row.scores['r2']:.3f}")
