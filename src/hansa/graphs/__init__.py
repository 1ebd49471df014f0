"""Graphs: whom each peer hears, and how much of what it hears it takes.

    graph = Ring()                      a value, without peers
    mixing = graph.among(names)         the same for these peers: `Mixing`, one matrix for a round

        xᵢ ← Σⱼ W[i, j] xⱼ,      W ≥ 0,   W[i, j] > 0 only where i hears j

W keeps the peers' mean where its columns add up to 1, and a peer's model is a mean of models where
its rows do (doubly stochastic). A graph may change from round to round; then it has a matrix for
each of `period` rounds, and begins again.

known     rings, tori, cubes, random graphs, and those that somebody writes down
finite    graphs that change, and reach the exact mean after so many rounds
pairs     graphs that change at random: two and two
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError, printable

Row = Mapping[int, float]  # whom a peer hears, itself too → how much of that it takes
Rows = tuple[Row, ...]  # of all peers, in the order of their names
Links = Sequence[set[int]]  # whom each hears, without itself
CLOSE = 1e-9  # so far sums of weights may be from 1


@dataclass(frozen=True)
class Graph:
    """Who hears whom, for any number of peers; a subclass says it by `links`, or by `rounds`."""

    def links(self, names: Sequence[str]) -> Links:
        """Whom each peer hears, by number; PlanError where so many cannot stand like this."""
        raise TypeError(f"{type(self).__name__} does not say who hears whom")

    def rounds(self, names: Sequence[str]) -> tuple[Rows, ...]:
        """The weights of each round, until they begin again: here always those of `metropolis`."""
        return (metropolis(self.links(names)),)

    def among(self, names: Sequence[str]) -> Mixing:
        """The graph of these peers.

        PlanError for a single peer, where some never hear of some others, and for weights that
        are negative or whose columns do not add up to 1.
        """
        if len(names) < 2:
            raise PlanError(
                f"{self!r} has {len(names)} peer.",
                "A peer learns from its neighbours, and there is nobody else.",
                "Bring peers.",
            )
        found = Mixing(tuple(names), self.rounds(names), repr(self))
        _check_weights(found)
        _check_connected(found)
        return found


@dataclass(frozen=True)
class Mixing:
    """The weights of peers, for each round until they begin again."""

    names: tuple[str, ...]
    rows: tuple[Rows, ...] = field(repr=False)
    graph: str  # the expression that builds it

    @property
    def period(self) -> int:
        """After so many rounds the weights begin again."""
        return len(self.rows)

    @cached_property
    def place(self) -> dict[str, int]:
        """The number of each peer."""
        return {who: i for i, who in enumerate(self.names)}

    def of(self, who: str, round: int) -> dict[str, float]:
        """Whom a peer hears in a round, itself too → how much of that it takes."""
        row = self.rows[round % self.period][self.place[who]]
        return {self.names[j]: weight for j, weight in row.items()}

    def neighbours(self, who: str) -> tuple[str, ...]:
        """Whom a peer hears in any round, but itself."""
        i = self.place[who]
        heard = {j for rows in self.rows for j in rows[i]}
        return tuple(self.names[j] for j in sorted(heard - {i}))

    def matrix(self, round: int = 0) -> NDArray[np.float64]:
        """W of a round [peers, peers]."""
        w = np.zeros((len(self.names), len(self.names)))
        for i, row in enumerate(self.rows[round % self.period]):
            w[i, list(row)] = list(row.values())
        return w

    @cached_property
    def balanced(self) -> bool:
        """Do all rows add up to 1, as all columns do, in every round (doubly stochastic)?"""
        sums = [sum(row.values()) for rows in self.rows for row in rows]
        return bool(np.allclose(sums, 1.0, rtol=0, atol=CLOSE))

    @cached_property
    def contraction(self) -> float:
        """By how much the peers come nearer to each other in a round, at least, on average.

            λ = ‖W_{p−1} … W₀ − 11ᵀ/n‖₂^(1/p),      p: `period`

        For one symmetric W this is |λ₂|, the second largest of its eigenvalues' sizes; it is 0
        where p rounds reach the exact mean.
        """
        n = len(self.names)
        product = np.eye(n)
        for round in range(self.period):
            product = self.matrix(round) @ product
        far = float(np.linalg.norm(product - 1.0 / n, 2))
        if far < CLOSE:
            return 0.0
        return float(far ** (1 / self.period))

    @property
    def gap(self) -> float:
        """1 − λ, the spectral gap: 1 where a period reaches the exact mean, 0 for no mixing."""
        return 1.0 - self.contraction

    @property
    def exact(self) -> bool:
        """Does one period reach the exact mean of any values?"""
        return self.contraction == 0.0

    @cached_property
    def degrees(self) -> tuple[int, ...]:
        """How many others each peer hears in a round, at most."""
        return tuple(
            max(len(rows[i].keys() - {i}) for rows in self.rows) for i in range(len(self.names))
        )


def metropolis(links: Links) -> Rows:
    """Metropolis–Hastings weights   (Xiao, Boyd, Lall 2006, "Time-Varying Metropolis Weights").

        W[i, j] = 1/(1 + max(dᵢ, dⱼ)),      W[i, i] = 1 − Σ_{j≠i} W[i, j]

    dᵢ is how many i hears. Doubly stochastic where everybody hears whom it is heard by.
    """
    rows = list[Row]()
    for i, heard in enumerate(links):
        row = {j: 1.0 / (1 + max(len(heard), len(links[j]))) for j in sorted(heard)}
        rows.append({i: 1.0 - sum(row.values()), **row})
    return tuple(rows)


def pushed(links: Links) -> Rows:
    """Weights by who speaks:  W[i, j] = 1/(1 + how many hear j)   (Assran et al. 2019).

    Columns add up to 1; rows need not, where the graph is directed.
    """
    ears = [1] * len(links)
    for heard in links:
        for j in heard:
            ears[j] += 1
    return tuple({j: 1.0 / ears[j] for j in (i, *sorted(heard))} for i, heard in enumerate(links))


def symmetric(links: Links) -> bool:
    """Does everybody hear whom it is heard by?"""
    return all(i in links[j] for i, heard in enumerate(links) for j in heard)


def reached(links: Links, start: int = 0) -> set[int]:
    """Whom what is said at `start` is passed on by, where each passes on to those in its set."""
    found = {start}
    edge = [start]
    while edge:
        new = {j for i in edge for j in links[i]} - found
        found |= new
        edge = sorted(new)
    return found


def drawn(mixing: Mixing, most: int = 16) -> Iterator[tuple[str, str]]:
    """Each peer, and whom it hears with which weight in the first round, as rows of text.

    Of more than `most` peers the first are drawn.
    """
    for i, who in enumerate(mixing.names[:most]):
        row = mixing.rows[0][i]
        heard = [f"{mixing.names[j]} {weight:.3g}" for j, weight in row.items() if j != i]
        yield printable(who), f"itself {row[i]:.3g}, " + ", ".join(heard[:most])
    more = len(mixing.names) - most
    if more > 0:
        yield "…", f"{more:,} more peers"


def refused(graph: Any, n: int, why: str, instead: str) -> PlanError:
    """The error for a graph that so many peers cannot make."""
    return PlanError(f"{graph!r} cannot join {n} peers.", why, instead)


def _check_weights(mixing: Mixing) -> None:
    """PlanError for weights that are negative, or whose columns do not add up to 1."""
    for rows in mixing.rows:
        columns = np.zeros(len(mixing.names))
        for row in rows:
            columns[list(row)] += list(row.values())
            if any(not 0 <= weight <= 1 + CLOSE for weight in row.values()):
                raise PlanError(
                    f"{mixing.graph} has a weight outside 0 … 1.",
                    "A peer takes a share of what it hears.",
                    "Write shares, or leave the weights out: then they are Metropolis–Hastings.",
                )
        worst = int(np.argmax(abs(columns - 1.0)))
        if abs(columns[worst] - 1.0) > CLOSE:
            raise PlanError(
                f"{mixing.graph}: the shares of what {mixing.names[worst]} says add up to "
                f"{columns[worst]:.4g}.",
                "With other sums than 1 the mean of the peers drifts, whatever they learn.",
                "Let them add up to 1, with the share that each keeps; or leave the weights out.",
            )


def _check_connected(mixing: Mixing) -> None:
    """PlanError where what one peer says never gets to some other."""
    n = len(mixing.names)
    links = [{j for rows in mixing.rows for j in rows[i]} - {i} for i in range(n)]
    back = [set[int]() for _ in range(n)]
    for i, heard in enumerate(links):
        for j in heard:
            back[j].add(i)
    for one in (links, back):
        cut = sorted(set(range(n)) - reached(one))
        if cut:
            some = ", ".join(mixing.names[j] for j in cut[:5])
            raise PlanError(
                f"{mixing.graph} falls apart: {some} and {mixing.names[0]} do not hear of each "
                "other.",
                "What is not connected never becomes one model.",
                "Add a link between the parts; Ring() joins any number of peers.",
            )
