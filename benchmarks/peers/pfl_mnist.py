"""One run of dp_mnist.py by pfl-research, in an environment of its own: python pfl_mnist.py WORK.npz EPSILON

WORK.npz holds what dp_mnist.py trains on, clients and parameters and all settings; EPSILON may be inf. It prints one
line of JSON: the noise multipliers that pfl's accountants find, and the test accuracy.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from importlib import metadata
from typing import Any

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByUser
from pfl.algorithm import FederatedAveraging, NNAlgorithmParams
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.hyperparam import HyperParam, NNTrainHyperParams
from pfl.model.pytorch import PyTorchModel
from pfl.privacy import (
    CentrallyAppliedPrivacyMechanism,
    GaussianMechanism,
    NormClippingOnly,
    PLDPrivacyAccountant,
    RDPPrivacyAccountant,
)

torch.set_num_threads(1)
logging.getLogger("absl").setLevel(logging.ERROR)  # of orders that do not converge; the others count


class Poisson(HyperParam[int]):
    """Cohorts that each client is in with probability `rate`; pfl itself has none of this kind."""

    def __init__(self, rate: float, clients: int, seed: int):
        self.rate, self.clients, self.rng, self.left = rate, clients, np.random.default_rng(seed), list[int]()

    def value(self) -> int:
        """How many are in the next cohort: pfl asks for as many users after that."""
        while not self.left:
            self.left = np.flatnonzero(self.rng.random(self.clients) < self.rate).tolist()
        return len(self.left)

    def __call__(self) -> int:
        """The next user."""
        return self.left.pop()


class Network(torch.nn.Module):
    """2NN, with the loss and the metrics that pfl asks of a module."""

    def __init__(self, arrays: list[Any]):
        super().__init__()
        layers: list[torch.nn.Module] = [torch.nn.Flatten()]
        for W, b in zip(arrays[::2], arrays[1::2], strict=True):
            layer = torch.nn.Linear(*W.shape)
            layer.weight.data, layer.bias.data = torch.tensor(W.T.copy()), torch.tensor(b)
            layers += [layer, torch.nn.ReLU()]
        self.layers = torch.nn.Sequential(*layers[:-1])

    def forward(self, X: Any) -> Any:
        return self.layers(X)

    def loss(self, X: Any, y: Any) -> Any:
        """The mean loss of a batch."""
        return torch.nn.functional.cross_entropy(self(X), y.long())

    def metrics(self, X: Any, y: Any) -> dict[str, Any]:
        """None: scores of the clients are not asked for."""
        return {}


def mechanism(work: Any, epsilon: float) -> tuple[Any, dict[str, float]]:
    """Clip and noise, and the multipliers by two of pfl's accountants; the noise is that of PLD."""
    clip, rounds = float(work["clip"]), int(work["rounds"])
    if math.isinf(epsilon):
        return NormClippingOnly(2, clip), {"pfl_rdp": 0.0, "pfl_pld": 0.0}
    rdp, pld = (
        kind(
            num_compositions=rounds,
            sampling_probability=float(work["rate"]),
            mechanism="gaussian",
            epsilon=epsilon,
            delta=float(work["delta"]),
        )
        for kind in (RDPPrivacyAccountant, PLDPrivacyAccountant)
    )
    noises = {"pfl_rdp": float(rdp.cohort_noise_parameter), "pfl_pld": float(pld.cohort_noise_parameter)}
    return GaussianMechanism.from_privacy_accountant(accountant=pld, clipping_bound=clip), noises


def main(path: str, epsilon: float) -> None:
    """Train, score, print."""
    work = np.load(path)
    seed, X, y = int(work["seed"]), work["X"], work["y"]
    np.random.seed(seed)  # noqa: NPY002 - pfl draws from NumPy's global state
    torch.manual_seed(seed)
    private, noises = mechanism(work, epsilon)
    cohort = Poisson(float(work["rate"]), len(X), seed)
    users = FederatedDataset(lambda i: _shuffled(X[i], y[i], i), cohort)
    net = Network([work[f"params{i}"] for i in range(6)])
    model = PyTorchModel(net, torch.optim.SGD, torch.optim.SGD(net.parameters(), float(work["server"])))
    training = NNTrainHyperParams(
        local_num_epochs=1, local_learning_rate=float(work["learning_rate"]), local_batch_size=int(work["batch"])
    )
    whole = NNAlgorithmParams(
        central_num_iterations=int(work["rounds"]),
        evaluation_frequency=10**9,
        train_cohort_size=cohort,
        val_cohort_size=None,
    )
    backend = SimulatedBackend(users, None, [WeightByUser(), CentrallyAppliedPrivacyMechanism(private)])
    FederatedAveraging().run(whole, backend, model, training, send_metrics_to_platform=False)
    with torch.no_grad():
        found = net(torch.tensor(work["X_test"])).argmax(1).numpy()
    accuracy = float((found == work["y_test"]).mean())
    print(json.dumps(noises | {"pfl_accuracy": accuracy, "pfl": metadata.version("pfl")}))


def _shuffled(X: Any, y: Any, who: int) -> Dataset:
    """The client's data in a new order, as pfl takes batches in the order that it is given."""
    order = np.random.permutation(len(y))  # noqa: NPY002
    return Dataset((X[order], y[order]), user_id=str(who))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
