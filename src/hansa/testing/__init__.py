"""Checks that hold a piece to what the rest of hansa relies on, for hansa's own and a stranger's.

    check_transform(transform)      its law, its bounds, no hidden state
    check_model(model, data)        training and scores are functions of their arguments
    check_algorithm(algorithm)      it says what it declares, and learns
    check_aggregator(aggregator)    it gives the mean, and answers for everybody
    check_graph(graph)              its weights keep the mean, and peers come to it
    check_sample(sample)            whom it draws is decided by its key, and true of what it says
    check_noise(noise)              it draws from its key, and gives no more away than it states
    check_runtime(make_runtime)     the bytes of InProcess, and its memory
    check_vdaf_vector(path)         a published test vector of Prio3, PINE or an XOF

Each raises AssertionError, with one sentence on the promise that is broken. They need no test
framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .aggregator import check_aggregator
from .algorithm import check_algorithm
from .graph import check_graph
from .model import check_model
from .noise import check_noise
from .runtime import check_runtime
from .sample import check_sample
from .transform import check_transform

if TYPE_CHECKING:
    from .vdaf import check_vdaf_vector

__all__ = [
    "check_aggregator",
    "check_algorithm",
    "check_graph",
    "check_model",
    "check_noise",
    "check_runtime",
    "check_sample",
    "check_transform",
    "check_vdaf_vector",
]


def __getattr__(name: str) -> Any:
    """Import what needs the libraries of the extra `verified` when it is first asked for."""
    if name != "check_vdaf_vector":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .vdaf import check_vdaf_vector

    return check_vdaf_vector
