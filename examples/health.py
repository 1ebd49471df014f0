"""Four hospitals find out who has a heart disease: together one model, and beside it one of each hospital's own.

No record leaves a hospital, and nobody sees what one says: it is split between the server and the hospital that helps,
and proven to be within bounds. The model that a hospital uses itself is pulled to the common one, and stays there.

hansa run examples/health.py
"""

import torch
from torch import nn
from torch.nn import functional as F

import hansa
from hansa.datasets.heart_disease import heart_centres
from hansa.metrics import AUC, CalibrationError, Mean
from hansa.models.torch import accuracy

hospitals = heart_centres()
features = next(iter(hospitals.train.values()))[0].shape[1]
helper = next(iter(hospitals.train))

torch.manual_seed(0)
net = nn.Linear(features, 2)
metrics = {"accuracy": Mean(accuracy, 1.0), "auc": AUC(), "calibration": CalibrationError()}

plan = hansa.Plan(
    model=hansa.TorchModel(net, F.cross_entropy, metrics=metrics),
    algorithm=hansa.Ditto(lam=0.03),
    pipe=(hansa.Finite(), hansa.Clip(norm=1.0, side=10.0), hansa.Weigh("examples", cap=200)),
    aggregator=hansa.VerifiedSum(helpers=(helper,)),
    training=hansa.Training(epochs=2, batch=16, learning_rate=0.1),
    sample=hansa.Everyone(quorum=3),
    rounds=20,
)
app = hansa.App(plan=plan, data=hospitals.train, test=hospitals.test, policies=hansa.Policy(sees="sum"))

if __name__ == "__main__":
    print(hospitals.told)
    for state in app.run():
        print(f"{state.round:2} AUC {state.scores['auc']:.3f}")
    for row in app.compare(state):
        print(f"{row.name:18} {row.examples:4} AUC {row.scores['auc']:.3f} accuracy {row.scores['accuracy']:.3f}")
