"""Three hospitals and an auditor, each at a place of its own, train one model that tells who has a heart disease.

Each reads its own file, and scales by what all have found together in a survey. The auditor holds shares of what they
say, so that nobody sees one hospital's update, and a false one is found.

hansa run examples/sites/app.py      all in this process, where the files are in examples/sites/data
make sites                           the same between processes, over TLS, with kits
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import hansa
from hansa.analytics import Mean, Variance

HERE = Path(__file__).parent
verified = hansa.VerifiedSum(helpers=("auditor",))


def read(path):
    """Measurements, and in the last column whether the patient is ill."""
    table = np.loadtxt(path, delimiter=",", ndmin=2)
    return table[:, :-1].astype("float32"), table[:, -1].astype(int)


def scaled(records, found):
    """All hospitals scale their measurements alike."""
    X, y = records
    return ((X - found["mean"]) / np.sqrt(found["variance"] + 1e-9)).astype("float32"), y


asked = {"mean": Mean(0, 600), "variance": Variance(0, 600)}
survey = hansa.survey(asked, most=300, columns=13, aggregator=verified, quorum=3, deadline=600)

torch.manual_seed(0)
plan = hansa.Plan(
    model=hansa.TorchModel(nn.Linear(13, 2), F.cross_entropy),
    pipe=(hansa.Finite(), hansa.Clip(norm=1.0, side=10.0), hansa.Weigh("examples", cap=200)),
    aggregator=verified,
    training=hansa.Training(epochs=2, batch=16, learning_rate=0.05),
    sample=hansa.Everyone(quorum=3, deadline=600),
    rounds=20,
)
app = hansa.App(
    plan,
    hansa.Sites(read, str(HERE / "data" / "*.csv")),
    test=HERE / "test.csv",
    first=survey,
    prepare=scaled,
    # So that this demonstration repeats, with `hansa join --repeats`. Leave it out: then each party's secret is the one
    # in its kit.
    secret=hansa.Key.of(7),
)
