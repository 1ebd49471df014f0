"""Four hospitals train one model that tells who has a heart disease; each scales its measurements by its own patients.

The records are those of UCI Heart Disease, split as in FLamby. A patient with a missing value is left out. To a doctor
a ranking (AUC) and honest probabilities (calibration error) say more than an accuracy, so they are what is measured.

hansa run examples/heart.py
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import hansa
from hansa.datasets.heart_disease import heart_disease
from hansa.metrics import AUC, CalibrationError

hospitals = (
    heart_disease()
)  # found in $HANSA_DATA, or fetched once: hospital → its patients, for training and for the test
data = {name: patients["train"] for name, patients in hospitals.items()}
X, y = map(np.concatenate, zip(*(patients["test"] for patients in hospitals.values()), strict=True))

torch.manual_seed(0)
metrics = {"auc": AUC(), "calibration": CalibrationError()}

plan = hansa.Plan(
    model=hansa.TorchModel(nn.Linear(13, 2), F.cross_entropy, metrics=metrics),
    training=hansa.Training(epochs=2, batch=16, learning_rate=0.05, validation=0.2),
    rounds=20,
)
app = hansa.App(plan=plan, data=data, test=(X, y))

if __name__ == "__main__":
    for state in app.run():
        print(f"{state.round:2} {state.scores['auc']:.3f} {state.scores['calibration']:.3f}")
    for row in app.compare(state):
        print(
            f"{row.name:18} {row.examples:4} calibration {row.scores['calibration']:.3f}, AUC {row.scores['auc']:.3f}"
        )
