"""hansa: federated learning, simulated on machines of one owner, with sums that hide and prove what
is in them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .aggregators import Sum
from .aggregators.trees import Ensemble
from .algorithms import FedAvg, FedDyn, FedNova, FedProx, Scaffold
from .algorithms.adaptive import FedALA
from .algorithms.finetuning import FineTuned, PerFedAvg
from .algorithms.mime import MimeLite
from .algorithms.personal import APFL, Ditto, FedRep, PFedMe
from .algorithms.sharpness import FedSAM
from .algorithms.trees import Boosting
from .data.sites import Sites
from .errors import HansaError
from .loops.buffered import buffered
from .loops.synchronous import synchronous
from .models.parts import Personal
from .models.softmax import Softmax
from .optim import Adagrad, Adam, Momentum, Sgd, Yogi
from .parties.client import Client
from .parties.policy import Policy
from .parties.population import Population
from .plan import Plan
from .privacy import planned_privacy, spent_privacy, stop_at_budget
from .privacy.ledger import Budget
from .rand import Key
from .runtimes.inprocess import InProcess, Network
from .sample import Everyone, InTurn, Poisson, Sample, Uniform
from .schedules import Cosine, StepDecay, WarmUp
from .state import State
from .training import PerExample, Training
from .transforms.compress import Quantize
from .transforms.correlated import CorrelatedNoise
from .transforms.discrete import DiscreteGaussianNoise, SkellamNoise
from .transforms.noise import GaussianNoise, LaplaceNoise
from .transforms.rotate import Rotate
from .transforms.scale import AdaptiveClip, Clip, Finite
from .transforms.topk import TopK
from .transforms.weigh import Weigh

if TYPE_CHECKING:
    from .aggregators.arriving import Arriving
    from .aggregators.clipping import ClippedGossip, ClippedSum
    from .aggregators.encrypted import EncryptedSum
    from .aggregators.masked import MaskedSum
    from .aggregators.neighbourhoods import Neighbourhoods
    from .aggregators.passing import Passing
    from .aggregators.pushing import Choco, PushSum
    from .aggregators.robust import (
        Bulyan,
        CentredClipping,
        GeometricMedian,
        Krum,
        Median,
        MultiKrum,
        TrimmedMean,
    )
    from .aggregators.trimming import TrimmedGossip
    from .aggregators.verified import VerifiedSum
    from .analytics import survey
    from .app import App
    from .app.stopping import EarlyStopping
    from .app.sweep import sweep
    from .graphs.finite import Base, OnePeer
    from .graphs.known import Complete, Given, Hypercube, Regular, Ring, SmallWorld, Star, Torus
    from .models.jax import JaxModel
    from .models.keras import KerasModel
    from .models.sklearn import SklearnModel
    from .models.torch import TorchModel
    from .models.xgboost import XgboostModel
    from .runtimes.processes import Processes
    from .runtimes.ray import RayCluster
    from .store import Store

__version__ = "0.2.0"

LAZY = {  # what needs more than NumPy is imported when it is first asked for
    "App": "app",
    "Arriving": "aggregators.arriving",
    "Bulyan": "aggregators.robust",
    "CentredClipping": "aggregators.robust",
    "EarlyStopping": "app.stopping",
    "EncryptedSum": "aggregators.encrypted",
    "GeometricMedian": "aggregators.robust",
    "JaxModel": "models.jax",
    "KerasModel": "models.keras",
    "Krum": "aggregators.robust",
    "Median": "aggregators.robust",
    "MultiKrum": "aggregators.robust",
    "Processes": "runtimes.processes",
    "RayCluster": "runtimes.ray",
    "SklearnModel": "models.sklearn",
    "Store": "store",
    "TorchModel": "models.torch",
    "TrimmedMean": "aggregators.robust",
    "XgboostModel": "models.xgboost",
    "MaskedSum": "aggregators.masked",
    "VerifiedSum": "aggregators.verified",
    "survey": "analytics",
    "sweep": "app.sweep",
    "Base": "graphs.finite",
    "Choco": "aggregators.pushing",
    "Passing": "aggregators.passing",
    "TrimmedGossip": "aggregators.trimming",
    "Neighbourhoods": "aggregators.neighbourhoods",
    "ClippedGossip": "aggregators.clipping",
    "ClippedSum": "aggregators.clipping",
    "PushSum": "aggregators.pushing",
    "OnePeer": "graphs.finite",
    "Complete": "graphs.known",
    "Given": "graphs.known",
    "Hypercube": "graphs.known",
    "Regular": "graphs.known",
    "Ring": "graphs.known",
    "SmallWorld": "graphs.known",
    "Star": "graphs.known",
    "Torus": "graphs.known",
    "gossip": "loops.gossip",
}


def __getattr__(name: str) -> Any:
    if name not in LAZY:
        raise AttributeError(f"module 'hansa' has no attribute {name!r}")
    return getattr(import_module(f".{LAZY[name]}", __name__), name)


__all__ = [
    "APFL",
    "Adagrad",
    "Adam",
    "AdaptiveClip",
    "App",
    "Arriving",
    "Base",
    "Boosting",
    "Budget",
    "Bulyan",
    "CentredClipping",
    "Choco",
    "Client",
    "Clip",
    "ClippedGossip",
    "ClippedSum",
    "Complete",
    "CorrelatedNoise",
    "Cosine",
    "DiscreteGaussianNoise",
    "Ditto",
    "EarlyStopping",
    "EncryptedSum",
    "Ensemble",
    "Everyone",
    "FedALA",
    "FedAvg",
    "FedDyn",
    "FedNova",
    "FedProx",
    "FedRep",
    "FedSAM",
    "FineTuned",
    "Finite",
    "GaussianNoise",
    "GeometricMedian",
    "Given",
    "HansaError",
    "Hypercube",
    "InProcess",
    "InTurn",
    "JaxModel",
    "KerasModel",
    "Key",
    "Krum",
    "LaplaceNoise",
    "MaskedSum",
    "Median",
    "MimeLite",
    "Momentum",
    "MultiKrum",
    "Neighbourhoods",
    "Network",
    "OnePeer",
    "PFedMe",
    "Passing",
    "PerExample",
    "PerFedAvg",
    "Personal",
    "Plan",
    "Poisson",
    "Policy",
    "Population",
    "Processes",
    "PushSum",
    "Quantize",
    "RayCluster",
    "Regular",
    "Ring",
    "Rotate",
    "Sample",
    "Scaffold",
    "Sgd",
    "Sites",
    "SkellamNoise",
    "SklearnModel",
    "SmallWorld",
    "Softmax",
    "Star",
    "State",
    "StepDecay",
    "Store",
    "Sum",
    "TopK",
    "TorchModel",
    "Torus",
    "Training",
    "TrimmedGossip",
    "TrimmedMean",
    "Uniform",
    "VerifiedSum",
    "WarmUp",
    "Weigh",
    "XgboostModel",
    "Yogi",
    "buffered",
    "gossip",
    "planned_privacy",
    "spent_privacy",
    "stop_at_budget",
    "survey",
    "sweep",
    "synchronous",
]
