"""The linear attack on gossip: whose first values can a peer solve for, of all that it hears?

Averaging is linear, and everybody knows the weights. So what curious peers hear of their neighbours
is a system of equations in the values with which all began:

    K x = what is heard,      K = e_a for each curious a, and (W_{t−1} … W_0)[j] for each that they
                              hear j in round t < T

A value is open where its unit vector lies in the row space of K, the "knowledge matrix"   (El
Mrini, Cyffers, Bellet 2024).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..app import App
from ..app.peers import office_of
from ..errors import AppError
from ..graphs import Mixing

PRECISION = 1e-7  # relative to the largest singular value: smaller ones are lost in rounding
OPEN = 1e-5  # so near to the row space a unit vector lies in it
MOST = 300  # peers whose equations are solved
PAIRS = 60  # of colluding peers that are tried
UNTIL = 30  # rounds
SOME = 6  # rounds whose updates are all unknowns


@dataclass(frozen=True)
class Opened:
    """What peers find out that put together what they hear: the worst of all that were tried."""

    colluders: int
    tried: int
    who: tuple[str, ...]  # the worst
    opened: int  # of the others, by averaging alone: those whose first values are open
    summed: int  # the same, if each heard only the sum of its neighbourhood
    trained: int  # whose first update is open, where all train on in every round


@dataclass(frozen=True)
class Linear:
    """How many first values curious peers can solve for, after so many rounds."""

    peers: int
    rounds: int
    graph: str
    found: tuple[Opened, ...]
    hidden: bool = False  # does a peer of the app hear the sum of its neighbourhood alone?


def linear(app: App, rounds: int | None = None) -> Linear:
    """The attack by one peer and by two, on the graph of an app whose loop is gossip.

    AppError for an app with a server, and for more peers than are solved for. It reads no data:
    what is open follows from the weights.
    """
    office = office_of(app)
    if office is None:
        raise AppError(
            "The linear attack solves what peers hear from their neighbours.",
            "In this app they hear the server alone.",
            "Leave `linear` out, or write App(loop=gossip(graph=…)).",
        )
    mixing = office.mixing
    n = len(mixing.names)
    if n > MOST:
        raise AppError(
            f"The equations of {n} peers are not solved.",
            f"An audit solves those of {MOST} at most.",
            "Audit a smaller federation with the same kind of graph.",
        )
    rounds = min(rounds or UNTIL, app.known_plan.rounds, UNTIL)
    hidden = office.rule.hides
    found = tuple(_worst(mixing, rounds, c, hidden) for c in (1, 2) if c < n)
    return Linear(n, rounds, mixing.graph, found, hidden)


def opened(
    mixing: Mixing, curious: Sequence[str], rounds: int, sums: bool = False
) -> tuple[str, ...]:
    """Whose first values these peers can solve for, beside their own, after so many rounds.

    sums: if each hears of its neighbours only their weighted sum.
    """
    known = _solved(knowledge(mixing, curious, rounds, sums))
    return tuple(
        who for who, open in zip(mixing.names, known, strict=True) if open and who not in curious
    )


def knowledge(
    mixing: Mixing, curious: Sequence[str], rounds: int, sums: bool = False
) -> NDArray[np.float64]:
    """K: what is heard, as rows in the first values [messages, peers]."""
    n = len(mixing.names)
    places = [mixing.place[who] for who in curious]
    rows = [np.eye(n)[a] for a in places]
    held = np.eye(n)  # what each has, in first values
    for t in range(rounds):
        w = mixing.matrix(t)
        for a in places:
            heard = [j for j in np.flatnonzero(w[a]) if j not in places]
            rows += _heard(w[a], heard, held, sums)
        held = w @ held
    return np.stack(rows)


def training(
    mixing: Mixing, curious: Sequence[str], rounds: int, sums: bool = False
) -> NDArray[np.float64]:
    """The same where all train: rows in the updates of all peers and rounds [messages, rounds · n].

    y(t) = Δ(t) + W_{t−1} y(t − 1)
    """
    n = len(mixing.names)
    places = [mixing.place[who] for who in curious]
    own = [s * n + a for s in range(rounds) for a in places]
    rows = list(np.eye(rounds * n)[own])
    held = np.zeros((n, rounds * n))
    for t in range(rounds):
        held[:, t * n : (t + 1) * n] += np.eye(n)
        w = mixing.matrix(t)
        for a in places:
            heard = [j for j in np.flatnonzero(w[a]) if j not in places]
            rows += _heard(w[a], heard, held, sums)
        held = w @ held
    return np.stack(rows)


def _heard(
    shares: NDArray[np.float64], heard: Sequence[Any], held: NDArray[np.float64], sums: bool
) -> list[NDArray[np.float64]]:
    """What one peer hears in a round: what each of these has, or the sum of its shares in them."""
    if sums:
        return [shares[heard] @ held[heard]]
    return list(held[heard])


def _worst(mixing: Mixing, rounds: int, colluders: int, hidden: bool) -> Opened:
    """Of the sets of so many peers that are tried, the one that opens most."""
    sets = list(_some(mixing.names, colluders))
    counts = [len(opened(mixing, one, rounds)) for one in sets]
    most = int(np.argmax(counts))
    worst = sets[most]
    known = training(mixing, worst, min(rounds, SOME), hidden)
    first = _solved(known)[: len(mixing.names)]
    trained = sum(first) - colluders
    summed = max(len(opened(mixing, one, rounds, sums=True)) for one in sets)
    return Opened(colluders, len(sets), worst, counts[most], summed, int(trained))


def _some(names: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    """Sets of peers: all, or of very many some that are evenly spread."""
    every = list(combinations(names, size))
    step = max(1, len(every) // PAIRS)
    yield from every[::step][:PAIRS]


def _solved(k: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which unknowns the equations with this matrix decide [unknowns]."""
    _, sizes, rows = np.linalg.svd(k, full_matrices=False)
    rows = rows[sizes > PRECISION * sizes[0]]
    left = 1.0 - (rows**2).sum(axis=0)
    decided: NDArray[np.bool_] = left < OPEN**2
    return decided
