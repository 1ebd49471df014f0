"""hansa: federated learning, simulated on machines of one owner, with sums that hide and prove what is in them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .aggregators import Aggregator, RobustRule, Sum
from .aggregators.trees import Ensemble
from .algorithms import Algorithm, FedAvg, FedDyn, FedNova, FedProx, Scaffold
from .algorithms.personal import Ditto
from .algorithms.trees import Boosting
from .errors import AppError, DataError, HansaError, PlanError, PolicyError, ProtocolError, RoundError, StoreError
from .loops.buffered import buffered
from .loops.channel import Runtime
from .loops.synchronous import synchronous
from .messages import Reply, Request
from .models import Drift, Model, TrainResult
from .models.softmax import Softmax
from .optim import Adagrad, Adam, Momentum, Optimizer, Sgd, Yogi
from .parties.client import Client
from .parties.helper import Helper
from .parties.policy import Policy
from .parties.population import Population
from .plan import Plan
from .privacy import planned_privacy, spent_privacy, stop_at_budget
from .privacy.calibrate import calibrate
from .privacy.ledger import Budget, Guarantee, Ledger
from .privacy.mechanisms import Release
from .rand import Key
from .runtimes.inprocess import InProcess, Network
from .sample import Everyone, InTurn, Poisson, Sample, Uniform
from .spec import Spec
from .state import State
from .sums import Total
from .training import PerExample, Training
from .transforms import Context, Pipe, Session, Transform
from .transforms.compress import Quantize
from .transforms.correlated import CorrelatedNoise
from .transforms.discrete import DiscreteGaussianNoise, SkellamNoise
from .transforms.noise import GaussianNoise, LaplaceNoise
from .transforms.rotate import Rotate
from .transforms.scale import AdaptiveClip, Clip, Finite, Weigh

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

__version__ = "0.2.0"

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
    "planned_privacy",
    "spent_privacy",
    "stop_at_budget",
    "synchronous",
]
