"""FedAvg in pfl-research, as its own benchmarks set it up; in one process, or in several that ranks.py has started.

python pfl_simulation.py SETTING THREADS

It is spared what it could do more slowly: no evaluation, and batches that it cuts once for each client and keeps, in
the order of the examples.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Any

import numpy as np
import torch
from networks import network
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from setting import BATCH, RATE, SCORED, SETTINGS, read, turns
from torch import nn
from torch.nn.functional import cross_entropy

setting = SETTINGS[sys.argv[1]]
torch.set_num_threads(int(sys.argv[2]))
x, y = map(torch.from_numpy, read(setting))


class Net(nn.Module):
    """A network with the two functions that pfl asks of it."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return cross_entropy(self.net(inputs), targets)

    def metrics(self, inputs: torch.Tensor, targets: torch.Tensor) -> dict[str, Any]:
        return {}


net = Net(network(setting.net, 0))


def loss() -> float:
    """The mean loss of the model on the first examples."""
    with torch.no_grad():
        return float(net.loss(x.flatten(0, 1)[:SCORED], y.flatten()[:SCORED]))


class Turns(TrainingProcessCallback):
    """Ends a round, in the first process; the others wait for it when they add up."""

    def __init__(self) -> None:
        self.turns = turns(loss) if os.environ.get("RANK", "0") == "0" else None

    def on_train_begin(self, *, model: Any) -> Metrics:
        self._next()
        return Metrics()

    def after_central_iteration(self, *_: Any, **__: Any) -> tuple[bool, Metrics]:
        self._next()
        return False, Metrics()

    def _next(self) -> None:
        if self.turns is not None:
            next(self.turns)
        if torch.distributed.is_initialized():
            torch.distributed.barrier()  # else the others would work on the next round while this program must wait


@cache
def user(who: int) -> Dataset:
    """One client's data, with its batches."""
    return Dataset((x[who], y[who]))


np.random.seed(0)  # noqa: NPY002  (pfl draws cohorts from it)
model = PyTorchModel(net, torch.optim.SGD, torch.optim.SGD(net.parameters(), 1.0))
data = FederatedDataset(user, get_user_sampler("random", list(range(setting.clients))))
FederatedAveraging().run(
    NNAlgorithmParams(
        central_num_iterations=10**9, evaluation_frequency=10**9, train_cohort_size=setting.cohort, val_cohort_size=0
    ),
    SimulatedBackend(training_data=data, val_data=data),
    model,
    NNTrainHyperParams(local_num_epochs=1, local_learning_rate=RATE, local_batch_size=BATCH),
    callbacks=[Turns()],
    send_metrics_to_platform=False,
)
