"""Four hospitals train one model that tells benign from malignant tumours, and no patient's record leaves its hospital.

Nobody sees what one hospital says, either: it splits every vector between the server and the referral centre, which
helps, and proves on the parts that the vector is within bounds. One that lies is left out, by name.

hansa run examples/hospitals.py
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import hansa
from hansa.analytics import Mean, Variance
from hansa.datasets.breast_cancer import hospitals

data, test = hospitals()
verified = hansa.VerifiedSum(helpers=("referral centre",))

# What each owner allows, of the plan and of the survey: nobody looks at what one hospital says.
owners = hansa.Policy(sees="sum")

# Asked before the first round: what the measurements of all patients are like together.
asked = {"mean": Mean(-3, 3), "variance": Variance(-3, 3)}
survey = hansa.survey(asked, most=300, columns=30, aggregator=verified, quorum=3)


def scaled(records, found):
    """All hospitals scale their measurements alike."""
    X, y = records
    return ((X - found["mean"]) / np.sqrt(found["variance"])).astype(np.float32), y


torch.manual_seed(0)
net = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 2))

plan = hansa.Plan(
    model=hansa.TorchModel(net, F.cross_entropy),
    algorithm=hansa.FedAvg(),
    pipe=(hansa.Finite(), hansa.Clip(norm=1.0, side=10.0), hansa.Weigh("examples", cap=200)),
    aggregator=verified,
    training=hansa.Training(epochs=3, batch=16, learning_rate=0.1, validation=0.2),
    sample=hansa.Everyone(quorum=3),
    rounds=30,
)

app = hansa.App(plan=plan, data=data, first=survey, prepare=scaled, test=test, policies=owners)

if __name__ == "__main__":
    for state in app.run():
        print(state.round, state.scores["accuracy"])
    for row in app.compare(state):
        print(f"{row.name:22} {row.examples:4} {row.scores['accuracy']:.3f}")
