"""Graphs that stay as they are: rings, tori, cubes, random ones, and what somebody writes down.

Numbers of peers are those of their names, sorted. All weights are Metropolis–Hastings, where
nothing else is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import PlanError, number
from ..rand import Key
from . import Graph, Links, Rows, metropolis, pushed, reached, refused, symmetric

TRIES = 1000  # of a random graph, until one is connected


@dataclass(frozen=True)
class Ring(Graph):
    """Each hears the two beside it:  |λ₂| = (1 + 2 cos 2π/n)/3."""

    def links(self, names: Sequence[str]) -> Links:
        """i − 1 and i + 1."""
        n = len(names)
        return [{(i - 1) % n, (i + 1) % n} - {i} for i in range(n)]


@dataclass(frozen=True)
class Torus(Graph):
    """A grid whose ends are joined: each hears the four beside it.

    rows: how many there are; 0 for as near to a square as the number of peers allows.
    """

    rows: int = 0

    def links(self, names: Sequence[str]) -> Links:
        """Up, down, left and right."""
        n = len(names)
        rows = self.rows or max(r for r in range(1, int(n**0.5) + 1) if n % r == 0)
        if not number(rows, whole=True) or rows < 2 or n % rows or n // rows < 2:
            raise refused(
                self,
                n,
                "A torus has two rows of two or more, all of the same length.",
                "Write Ring(), or Torus(rows=…) with a number that divides the peers.",
            )
        columns = n // int(rows)
        found = list[set[int]]()
        for i in range(n):
            row, column = divmod(i, columns)
            beside = {row * columns + (column + step) % columns for step in (-1, 1)}
            above = {(row + step) % int(rows) * columns + column for step in (-1, 1)}
            found.append((beside | above) - {i})
        return found


@dataclass(frozen=True)
class Star(Graph):
    """One peer hears all others, and each of them hears it alone:  |λ₂| = 1 − 1/n.

    centre: its name; the first by name where none is written. It has a model like the others.
    """

    centre: str = ""

    def links(self, names: Sequence[str]) -> Links:
        """The centre, or all but the centre."""
        _check_known(self, [self.centre] if self.centre else [], names)
        middle = names.index(self.centre) if self.centre else 0
        others = set(range(len(names))) - {middle}
        return [others if i == middle else {middle} for i in range(len(names))]


@dataclass(frozen=True)
class Complete(Graph):
    """Everybody hears everybody: one round reaches the mean."""

    def links(self, names: Sequence[str]) -> Links:
        """All but itself."""
        every = set(range(len(names)))
        return [every - {i} for i in range(len(names))]


@dataclass(frozen=True)
class Hypercube(Graph):
    """2ᵏ peers, each hears the k whose number differs from its own in one bit."""

    def links(self, names: Sequence[str]) -> Links:
        """i with one bit turned."""
        n = len(names)
        if n & (n - 1):
            raise refused(
                self,
                n,
                "A cube has a power of two as corners.",
                "Write Torus(), Regular(4), or Base(1), which takes any number.",
            )
        return [{i ^ (1 << bit) for bit in range(n.bit_length() - 1)} for i in range(n)]


@dataclass(frozen=True)
class Regular(Graph):
    """A random graph in which each hears `degree` others, drawn once from `seed`.

    Stubs are paired at random, and pairs that would join a peer with itself or twice are drawn
    again   (Steger, Wormald 1999).
    """

    degree: int = 4
    seed: int = 0

    def links(self, names: Sequence[str]) -> Links:
        """The first draw that is connected."""
        n = len(names)
        if not number(self.degree, whole=True) or not 1 <= self.degree < n or n * self.degree % 2:
            raise refused(
                self,
                n,
                "Each hears as many others as there are, at most, and links have two ends.",
                "Write a degree below the number of peers, and an even one for an odd number.",
            )
        rng = Key.of(self.seed).child("regular", n, self.degree).rng()
        for _ in range(TRIES):
            found = _paired(n, int(self.degree), rng)
            if found and len(reached(found)) == n:
                return found
        raise refused(self, n, "No draw was connected.", "Write a larger degree, or another seed.")


@dataclass(frozen=True)
class SmallWorld(Graph):
    """A ring in which each hears the `degree` nearest, and a share `rewired` of links lead
    anywhere   (Watts, Strogatz 1998).
    """

    degree: int = 4
    rewired: float = 0.1
    seed: int = 0

    def links(self, names: Sequence[str]) -> Links:
        """The first draw that is connected."""
        n = len(names)
        even = number(self.degree, whole=True) and self.degree >= 2 and self.degree % 2 == 0
        if not even or self.degree >= n or not number(self.rewired) or not 0 <= self.rewired <= 1:
            raise refused(
                self,
                n,
                "Each hears as many on its left as on its right, and a share lies in 0 … 1.",
                "Write an even degree below the number of peers: SmallWorld(4, rewired=0.1).",
            )
        rng = Key.of(self.seed).child("small world", n, self.degree).rng()
        for _ in range(TRIES):
            found = _rewired(n, self.degree, self.rewired, rng)
            if len(reached(found)) == n:
                return found
        raise refused(self, n, "No draw was connected.", "Write a larger degree.")


@dataclass(frozen=True)
class Given(Graph):
    """A graph that is written down: each peer's name → whom it hears.

        Given({"north": ["south", "east"], "south": ["north"], "east": ["north"]})
        Given({"north": {"south": 0.3}, "south": {"north": 0.3}})          with shares

    Of shares the rest to 1 is the peer's own. Where somebody is heard whom it does not hear, the
    graph is directed: without shares a speaker then divides what it says evenly among its hearers
    and itself. PlanError for a peer that nobody knows, or that is left out.
    """

    heard: Mapping[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        """Of the same graph the same; a dict has none."""
        return hash(repr(self))

    def links(self, names: Sequence[str]) -> Links:
        """As written."""
        named = [*self.heard, *(who for heard in self.heard.values() for who in heard)]
        _check_known(self, named, names)
        if left := [who for who in names if who not in self.heard]:
            raise PlanError(
                f"Given(…) does not say whom {left[0]} hears.",
                "Each peer has a place in the graph.",
                f"Write its neighbours: Given({{{left[0]!r}: [{names[0]!r}], …}}).",
            )
        place = {who: i for i, who in enumerate(names)}
        return [{place[who] for who in self.heard[me]} - {place[me]} for me in names]

    def rounds(self, names: Sequence[str]) -> tuple[Rows, ...]:
        """The shares that are written; else Metropolis–Hastings, or by who speaks."""
        links = self.links(names)
        if any(isinstance(heard, Mapping) for heard in self.heard.values()):
            return (self._shares(names),)
        if symmetric(links):
            return (metropolis(links),)
        return (pushed(links),)

    def _shares(self, names: Sequence[str]) -> Rows:
        """What is written, and what is left for the peer itself."""
        place = {who: i for i, who in enumerate(names)}
        rows = []
        for i, me in enumerate(names):
            heard = self.heard[me]
            if not isinstance(heard, Mapping) or not all(map(number, heard.values())):
                raise PlanError(
                    f"Given(…) has shares for some, and none for whom {me} hears.",
                    "Shares add up to 1 only where all are written.",
                    "Write a share for each link, or for none.",
                )
            row = {place[who]: float(share) for who, share in heard.items() if who != me}
            rows.append({i: 1.0 - sum(row.values()), **row})
        return tuple(rows)


def _check_known(graph: Graph, named: Sequence[str], names: Sequence[str]) -> None:
    """PlanError for a name that no peer has."""
    there = set(names)
    if strange := [who for who in named if who not in there]:
        raise PlanError(
            f"{type(graph).__name__}(…) names {strange[0]}, and no peer is called so.",
            "A link joins two peers.",
            f"Write names among {', '.join(names[:8])}.",
        )


def _paired(n: int, degree: int, rng: np.random.Generator) -> list[set[int]]:
    """One draw of a regular graph; nothing where the last stubs cannot be paired."""
    links = [set[int]() for _ in range(n)]
    stubs = [i for i in range(n) for _ in range(degree)]
    while stubs:
        order = rng.permutation(len(stubs))
        left = list[int]()
        for a, b in zip(order[::2], order[1::2], strict=True):
            i = stubs[a]
            j = stubs[b]
            if i == j or j in links[i]:
                left += [i, j]
            else:
                links[i].add(j)
                links[j].add(i)
        if len(left) == len(stubs):
            return []
        stubs = left
    return links


def _rewired(n: int, degree: int, share: float, rng: np.random.Generator) -> list[set[int]]:
    """One draw of a small world: each link to the right is turned elsewhere by chance."""
    links = [set[int]() for _ in range(n)]
    for step in range(1, degree // 2 + 1):
        for i in range(n):
            links[i].add((i + step) % n)
            links[(i + step) % n].add(i)
    for step in range(1, degree // 2 + 1):
        for i in range(n):
            j = (i + step) % n
            free = sorted(set(range(n)) - links[i] - {i})
            if rng.random() >= share or not free or j not in links[i]:
                continue
            new = int(rng.choice(free))
            links[i].remove(j)
            links[j].remove(i)
            links[i].add(new)
            links[new].add(i)
    return links
