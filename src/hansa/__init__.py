"""hansa: federated learning, simulated on machines of one owner, with sums that hide and prove what is in them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .accounting import Budget, Guarantee, Ledger, Release, calibrate
from .aggregators import Aggregator, RobustRule, Sum
from .algorithms import Algorithm, Ditto, FedAvg, FedDyn, FedNova, FedProx, Scaffold
from .client import Client, Helper, Policy, Reply, Request
from .errors import AppError, DataError, HansaError, PlanError, PolicyError, ProtocolError, RoundError, StoreError
from .loops import Runtime, buffered, synchronous
from .models import Drift, Model, PerExample, Training, TrainResult
from .models.softmax import Softmax
from .optim import Adagrad, Adam, Momentum, Optimizer, Sgd, Yogi
from .plan import Everyone, InTurn, Plan, Poisson, Sample, State, Uniform
from .population import Population
from .privacy import planned, spent, within
from .rand import Key
from .runtimes.inprocess import InProcess, Network
from .spec import Spec
from .sums import Total
from .transforms import Context, Pipe, Session, Transform
from .transforms.compress import Quantize
from .transforms.correlated import CorrelatedNoise
from .transforms.discrete import DiscreteGaussianNoise, SkellamNoise
from .transforms.noise import GaussianNoise, LaplaceNoise
from .transforms.rotate import Rotate
from .transforms.scale import AdaptiveClip, Clip, Finite, Weigh
from .trees import Boosting, Ensemble

if TYPE_CHECKING:
    from .aggregators.robust import Bulyan, CentredClipping, GeometricMedian, Krum, Median, MultiKrum, TrimmedMean
    from .aggregators.verified import VerifiedSum
    from .app import App
    from .models.jax import JaxModel
    from .models.keras import KerasModel
    from .models.sklearn import SklearnModel
    from .models.torch import TorchModel
    from .models.xgboost import XgboostModel
    from .runtimes.processes import Processes
    from .runtimes.ray import RayCluster
    from .store import Run, Store

__version__ = "0.1.0"

LAZY = {  # what needs more than NumPy is imported when it is first asked for
    "App": "app",
    "Bulyan": "aggregators.robust",
    "CentredClipping": "aggregators.robust",
    "GeometricMedian": "aggregators.robust",
    "JaxModel": "models.jax",
    "KerasModel": "models.keras",
    "Krum": "aggregators.robust",
    "Median": "aggregators.robust",
    "MultiKrum": "aggregators.robust",
    "Processes": "runtimes.processes",
    "RayCluster": "runtimes.ray",
    "Run": "store",
    "SklearnModel": "models.sklearn",
    "Store": "store",
    "TorchModel": "models.torch",
    "TrimmedMean": "aggregators.robust",
    "XgboostModel": "models.xgboost",
    "VerifiedSum": "aggregators.verified",
}


def __getattr__(name: str) -> Any:
    if name not in LAZY:
        raise AttributeError(f"module 'hansa' has no attribute {name!r}")
    return getattr(import_module(f".{LAZY[name]}", __name__), name)


__all__ = [
    "Adagrad",
    "Adam",
    "AdaptiveClip",
    "Aggregator",
    "Algorithm",
    "App",
    "AppError",
    "Boosting",
    "Budget",
    "Bulyan",
    "CentredClipping",
    "Client",
    "Clip",
    "Context",
    "CorrelatedNoise",
    "DataError",
    "DiscreteGaussianNoise",
    "Ditto",
    "Drift",
    "Ensemble",
    "Everyone",
    "FedAvg",
    "FedDyn",
    "FedNova",
    "FedProx",
    "Finite",
    "GaussianNoise",
    "GeometricMedian",
    "Guarantee",
    "HansaError",
    "Helper",
    "InProcess",
    "InTurn",
    "JaxModel",
    "KerasModel",
    "Key",
    "Krum",
    "LaplaceNoise",
    "Ledger",
    "Median",
    "Model",
    "Momentum",
    "MultiKrum",
    "Network",
    "Optimizer",
    "PerExample",
    "Pipe",
    "Plan",
    "PlanError",
    "Poisson",
    "Policy",
    "PolicyError",
    "Population",
    "Processes",
    "ProtocolError",
    "Quantize",
    "RayCluster",
    "Release",
    "Reply",
    "Request",
    "RobustRule",
    "Rotate",
    "RoundError",
    "Run",
    "Runtime",
    "Sample",
    "Scaffold",
    "Session",
    "Sgd",
    "SkellamNoise",
    "SklearnModel",
    "Softmax",
    "Spec",
    "State",
    "Store",
    "StoreError",
    "Sum",
    "TorchModel",
    "Total",
    "TrainResult",
    "Training",
    "Transform",
    "TrimmedMean",
    "Uniform",
    "VerifiedSum",
    "Weigh",
    "XgboostModel",
    "Yogi",
    "buffered",
    "calibrate",
    "planned",
    "spent",
    "synchronous",
    "within",
]
