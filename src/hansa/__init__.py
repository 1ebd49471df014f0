"""hansa: federated learning, simulated on machines of one owner, with sums that hide and prove what
is in them.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .errors import HansaError

if TYPE_CHECKING:
    from .aggregators import Sum
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
    from .aggregators.trees import Ensemble
    from .aggregators.trimming import TrimmedGossip
    from .aggregators.verified import VerifiedSum
    from .algorithms import FedAvg, FedDyn, FedNova, FedProx, Scaffold
    from .algorithms.adaptive import FedALA
    from .algorithms.finetuning import FineTuned, PerFedAvg
    from .algorithms.mime import MimeLite
    from .algorithms.personal import APFL, Ditto, FedRep, PFedMe
    from .algorithms.sharpness import FedSAM
    from .algorithms.trees import Boosting
    from .analytics import survey
    from .app import App
    from .app.stopping import EarlyStopping
    from .app.sweep import sweep
    from .data.overview import overview
    from .data.sites import Sites
    from .graphs.finite import Base, OnePeer
    from .graphs.known import Complete, Given, Hypercube, Regular, Ring, SmallWorld, Star, Torus
    from .graphs.pairs import Pairs
    from .loops.buffered import buffered
    from .loops.gossip import gossip
    from .loops.synchronous import synchronous
    from .models.jax import JaxModel
    from .models.keras import KerasModel
    from .models.parts import Personal
    from .models.sklearn import SklearnModel
    from .models.softmax import Softmax
    from .models.torch import TorchModel
    from .models.xgboost import XgboostModel
    from .optim import Adagrad, Adam, Momentum, Sgd, Yogi
    from .parties.client import Client
    from .parties.policy import Policy
    from .parties.population import Population
    from .plan import Plan
    from .privacy import planned_privacy, spent_privacy, stop_at_budget
    from .privacy.ledger import Budget
    from .rand import Key
    from .runtimes.inprocess import InProcess, Network
    from .runtimes.processes import Processes
    from .runtimes.ray import RayCluster
    from .sample import Everyone, InTurn, Poisson, Sample, Uniform
    from .schedules import Cosine, StepDecay, WarmUp
    from .state import State
    from .store import Store
    from .training import PerExample, Training
    from .transforms.compress import Quantize
    from .transforms.correlated import CorrelatedNoise
    from .transforms.discrete import DiscreteGaussianNoise, SkellamNoise
    from .transforms.noise import GaussianNoise, LaplaceNoise
    from .transforms.rotate import Rotate
    from .transforms.scale import AdaptiveClip, Clip, Finite
    from .transforms.topk import TopK
    from .transforms.weigh import Weigh
    from .ui.partition import plot_partition

__version__ = "0.2.0"

LAZY = {  # where each name lies; its file is imported when it is first asked for
    "APFL": "algorithms.personal",
    "Adagrad": "optim",
    "Adam": "optim",
    "AdaptiveClip": "transforms.scale",
    "App": "app",
    "Arriving": "aggregators.arriving",
    "Base": "graphs.finite",
    "Boosting": "algorithms.trees",
    "Budget": "privacy.ledger",
    "Bulyan": "aggregators.robust",
    "CentredClipping": "aggregators.robust",
    "Choco": "aggregators.pushing",
    "Client": "parties.client",
    "Clip": "transforms.scale",
    "ClippedGossip": "aggregators.clipping",
    "ClippedSum": "aggregators.clipping",
    "Complete": "graphs.known",
    "CorrelatedNoise": "transforms.correlated",
    "Cosine": "schedules",
    "DiscreteGaussianNoise": "transforms.discrete",
    "Ditto": "algorithms.personal",
    "EarlyStopping": "app.stopping",
    "EncryptedSum": "aggregators.encrypted",
    "Ensemble": "aggregators.trees",
    "Everyone": "sample",
    "FedALA": "algorithms.adaptive",
    "FedAvg": "algorithms",
    "FedDyn": "algorithms",
    "FedNova": "algorithms",
    "FedProx": "algorithms",
    "FedRep": "algorithms.personal",
    "FedSAM": "algorithms.sharpness",
    "FineTuned": "algorithms.finetuning",
    "Finite": "transforms.scale",
    "GaussianNoise": "transforms.noise",
    "GeometricMedian": "aggregators.robust",
    "Given": "graphs.known",
    "Hypercube": "graphs.known",
    "InProcess": "runtimes.inprocess",
    "InTurn": "sample",
    "JaxModel": "models.jax",
    "KerasModel": "models.keras",
    "Key": "rand",
    "Krum": "aggregators.robust",
    "LaplaceNoise": "transforms.noise",
    "MaskedSum": "aggregators.masked",
    "Median": "aggregators.robust",
    "MimeLite": "algorithms.mime",
    "Momentum": "optim",
    "MultiKrum": "aggregators.robust",
    "Neighbourhoods": "aggregators.neighbourhoods",
    "Network": "runtimes.inprocess",
    "OnePeer": "graphs.finite",
    "PFedMe": "algorithms.personal",
    "Pairs": "graphs.pairs",
    "Passing": "aggregators.passing",
    "PerExample": "training",
    "PerFedAvg": "algorithms.finetuning",
    "Personal": "models.parts",
    "Plan": "plan",
    "Poisson": "sample",
    "Policy": "parties.policy",
    "Population": "parties.population",
    "Processes": "runtimes.processes",
    "PushSum": "aggregators.pushing",
    "Quantize": "transforms.compress",
    "RayCluster": "runtimes.ray",
    "Regular": "graphs.known",
    "Ring": "graphs.known",
    "Rotate": "transforms.rotate",
    "Sample": "sample",
    "Scaffold": "algorithms",
    "Sgd": "optim",
    "Sites": "data.sites",
    "SkellamNoise": "transforms.discrete",
    "SklearnModel": "models.sklearn",
    "SmallWorld": "graphs.known",
    "Softmax": "models.softmax",
    "Star": "graphs.known",
    "State": "state",
    "StepDecay": "schedules",
    "Store": "store",
    "Sum": "aggregators",
    "TopK": "transforms.topk",
    "TorchModel": "models.torch",
    "Torus": "graphs.known",
    "Training": "training",
    "TrimmedGossip": "aggregators.trimming",
    "TrimmedMean": "aggregators.robust",
    "Uniform": "sample",
    "VerifiedSum": "aggregators.verified",
    "WarmUp": "schedules",
    "Weigh": "transforms.weigh",
    "XgboostModel": "models.xgboost",
    "Yogi": "optim",
    "buffered": "loops.buffered",
    "gossip": "loops.gossip",
    "overview": "data.overview",
    "planned_privacy": "privacy",
    "plot_partition": "ui.partition",
    "spent_privacy": "privacy",
    "stop_at_budget": "privacy",
    "survey": "analytics",
    "sweep": "app.sweep",
    "synchronous": "loops.synchronous",
}

LIBRARIES = {  # what some names cannot be without
    "JaxModel": "jax",
    "KerasModel": "keras",
    "RayCluster": "ray",
    "SklearnModel": "sklearn",
    "TorchModel": "torch",
    "XgboostModel": "xgboost",
}


def __getattr__(name: str) -> Any:
    """A name of LAZY, or a part of the package, as in `hansa.transforms.Transform`."""
    if name in LAZY:
        return getattr(import_module(f".{LAZY[name]}", __name__), name)
    if not name.isidentifier() or find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module 'hansa' has no attribute {name!r}")
    return import_module(f".{name}", __name__)


def __dir__() -> list[str]:
    """All names but those whose library is not installed, which no one can look at."""
    missing = {name for name, library in LIBRARIES.items() if not _installed(library)}
    return sorted({*globals(), *__all__} - missing)


def _installed(library: str) -> bool:
    """Is it there? It is not imported for that."""
    try:
        return find_spec(library) is not None
    except (ImportError, ValueError):
        return False


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
    "Pairs",
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
    "overview",
    "planned_privacy",
    "plot_partition",
    "spent_privacy",
    "stop_at_budget",
    "survey",
    "sweep",
    "synchronous",
]
