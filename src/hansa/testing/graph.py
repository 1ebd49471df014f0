"""What a graph promises.

    among(names)  weights that are shares; what each says is divided, and nothing of it is lost
    connected     what one peer says gets to all others
    balanced      where rows add up to 1, too, peers come nearer to each other, to their mean
    a value       its repr builds it, and equal names give equal weights

What a loop does with a graph rests on these alone, so a stranger's is held to them like hansa's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graphs import CLOSE, Graph, Mixing
from .asserts import KEY, check_repr, require

PERIODS = 400  # of mixing, after which values that come nearer lie near to their mean


def check_graph(graph: Graph, peers: Sequence[str] | int = 16) -> None:
    """Hold a graph to its promises, among peers of these names, or among so many.

    AssertionError names the first promise that is broken; PlanError, where so many cannot stand
    like this, is the graph's own.
    """
    check_repr(graph)
    name = repr(graph)
    if isinstance(peers, int):
        names = tuple(f"peer-{i:04d}" for i in range(peers))
    else:
        names = tuple(peers)
    mixing = graph.among(names)
    require(
        mixing == graph.among(list(names)),
        f"{name}: the same peers get other weights the second time; draw from a seed it holds.",
    )
    for round in range(mixing.period):
        _check_matrix(name, mixing, round)
    if mixing.balanced:
        _check_mixes(name, mixing)
    require(repr(graph) == name, f"{name}: it changed while it was used; let it hold no state.")


def _check_matrix(name: str, mixing: Mixing, round: int) -> None:
    """Weights of one round: shares, each peer's own among them, and columns that add up to 1."""
    w = mixing.matrix(round)
    require(
        np.isfinite(w).all() and (w >= 0).all(),
        f"{name}: a weight of round {round} is no share; give numbers from 0 to 1.",
    )
    require(
        (abs(w.sum(axis=0) - 1) <= CLOSE).all(),
        f"{name}: in round {round} what a peer says does not add up to 1; so the mean drifts.",
    )
    require(
        all(i in row for i, row in enumerate(mixing.rows[round])),
        f"{name}: in round {round} a peer has no weight of its own; write it, if it is 0.",
    )


def _check_mixes(name: str, mixing: Mixing) -> None:
    """Values of the peers keep their mean in every round, and come to it."""
    values = KEY.child("graph").normal((len(mixing.names), 3))
    mean = values.mean(axis=0)
    x = values
    rounds = mixing.period
    if not mixing.exact:
        needed = np.log(1e-9) / np.log(min(mixing.contraction, 1 - 1e-12))
        rounds *= int(min(PERIODS, 1 + needed / mixing.period))
    for round in range(rounds):
        x = mixing.matrix(round) @ x
        require(
            np.allclose(x.mean(axis=0), mean, rtol=0, atol=1e-9),
            f"{name}: round {round} moves the mean; let rows and columns add up to 1.",
        )
    far = np.linalg.norm(x - mean)
    bound = mixing.contraction**rounds * np.linalg.norm(values - mean)
    require(
        far <= bound + 1e-8,
        f"{name}: after {rounds} rounds peers are {far:.3g} apart, and {bound:.3g} is told.",
    )
    require(
        mixing.contraction < 1,
        f"{name}: peers come no nearer to each other in a period; join them in every period.",
    )
