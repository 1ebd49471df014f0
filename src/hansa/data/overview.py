"""A look at clients' data before training: how many examples each has, of which labels, what is
missing, and how far apart they are.

    overview({"north": (X, y), "south": (X, y)})                  data that is here
    overview(clients((X, y), dirichlet(y, 10, 0.1, key)))         what a partitioner makes of it

It reads all examples, without noise. What it tells is outside every ε, and is for who may see the
data; where the data is elsewhere, a survey asks (`hansa.analytics`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, HansaError, message
from ..notebook import paragraph, table
from ..spec import Vector
from .batches import columns, length, target
from .examples import Examples
from .partition import FEW
from .sites import Sites

Kind = Literal["labels", "values", "none"]

MOST_LABELS = 100  # of more values numbers are measured, and words are no classes
MOST_PAIRS = 40  # clients between which each distance is computed
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
DISTANCE: Mapping[Kind, str] = {
    "labels": "total variation: ½ Σ |p_c − q_c| over labels c; 0 is the same mix, 1 no label in "
    "common",
    "values": "Wasserstein-1: ∫ |F(t) − G(t)| dt of the two distributions, in the target's unit",
    "none": "none: the targets are neither labels nor single numbers",
}


@dataclass(frozen=True)
class ClientData:
    """What one client has: how many examples, and in how many of them something is missing.

    counts: how many of each label of `Overview.labels`. quarters: least, quartiles and largest of
    values; empty where there are none. far: distance from all clients together; NaN where there is
    none. why: what keeps its data from being read, if anything does.
    """

    examples: int = 0
    missing: int = 0
    counts: tuple[int, ...] = ()
    quarters: tuple[float, ...] = ()
    far: float = math.nan
    why: str = ""


@dataclass(frozen=True)
class Overview:
    """All clients beside each other.

    kind: are targets labels, values, or neither? labels: their names. near: distances [m, m]
    between the clients `drawn`, who are all, or the farthest from all together where there are
    many. clients_in_all: how many there are, of whom these were looked at.
    """

    clients: Mapping[str, ClientData]
    kind: Kind = "none"
    labels: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    near: Vector = field(default_factory=lambda: np.zeros((0, 0)), repr=False, compare=False)
    clients_in_all: int = 0

    @property
    def examples(self) -> int:
        """How many there are in all."""
        return sum(one.examples for one in self.clients.values())

    def _repr_html_(self) -> str:
        """What a notebook shows: a row for each of the first clients, and the notes."""
        rows = list[tuple[str, ...]]()
        for who, one in islice(self.clients.items(), MOST_PAIRS):
            mix = zip(self.labels, one.counts, strict=False)
            told = ", ".join(f"{label}: {n}" for label, n in mix if n)
            if one.quarters:
                told = f"{one.quarters[0]:.3g} to {one.quarters[4]:.3g}"
            rows.append((who, f"{one.examples}", f"{one.missing}", f"{one.far:.3g}", told))
        head = ("client", "examples", "missing", "distance", "targets")
        said = "".join(map(paragraph, (*self.notes, f"Distance: {self.distance}.")))
        if len(self.clients) > len(rows):
            said = paragraph(f"The first {len(rows)} of {len(self.clients)} clients.") + said
        return table(rows, head) + said

    @property
    def distance(self) -> str:
        """What distances are, with the equation."""
        return DISTANCE[self.kind]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader has to know, in sentences: who cannot be read, who has one label alone, who
        is left out of a picture.
        """
        return tuple(_notes(self))

    @property
    def table(self) -> dict[str, Any]:
        """All of it as JSON can hold it; what is not known is null."""
        return {
            "format": 1,
            "kind": self.kind,
            "labels": list(self.labels),
            "distance": self.distance,
            "clients": [_row(who, one, self) for who, one in self.clients.items()],
            "clients_in_all": self.clients_in_all or len(self.clients),
            "between": {"clients": list(self.drawn), "distances": _rounded(self.near)},
            "notes": list(self.notes),
        }


def overview(data: Mapping[str, Any], clients_in_all: int = 0) -> Overview:
    """Look at each client's data, by name; all of it is read.

    clients_in_all: how many there are, where `data` is of some of them. A client whose data cannot
    be read is in it, with the reason. DataError for what is no mapping of clients, for one without
    any, and where the data is not here.
    """
    _check_given(data)
    read = {str(who): _read(data, who) for who in data}
    targets = {who: one for who, (_, one) in read.items() if one is not None and len(one)}
    kind = _kind(list(targets.values()))
    if kind == "labels":
        found = _of_labels(targets)
    elif kind == "values":
        found = _of_values(targets)
    else:
        found = Overview({who: ClientData() for who in targets})
    clients = dict[str, ClientData]()
    for who, (counted, _) in read.items():
        own = found.clients.get(who, ClientData())
        clients[who] = ClientData(
            counted.examples, counted.missing, own.counts, own.quarters, own.far, counted.why
        )
    parts = (kind, found.labels, found.drawn, found.near)
    return Overview(clients, *parts, max(clients_in_all, len(clients)))


def total_variation(p: Vector, q: Vector) -> float:
    """½ Σ |p_c − q_c| of two mixes of labels [labels], each of which adds up to 1."""
    return float(np.abs(p - q).sum() / 2)


def wasserstein(a: Vector, b: Vector) -> float:
    """∫ |F(t) − G(t)| dt of two samples [n], [m], each sorted.   (Villani 2003, eq. 2.48)

    In one dimension it is the least total way from one to the other, for each unit of mass.
    """
    both = np.sort(np.concatenate([a, b]), kind="stable")  # which merges what is sorted
    widths = np.diff(both)
    F = np.searchsorted(a, both[:-1], side="right") / len(a)
    G = np.searchsorted(b, both[:-1], side="right") / len(b)
    return float((np.abs(F - G) * widths).sum())


# ── reading ──


def _check_given(data: object) -> None:
    """DataError for what holds no client's data."""
    if isinstance(data, Sites) and not data.there:
        raise DataError(
            f"The data of {data!r} is at its sites, and not here.",
            "Nobody looks at it from elsewhere: what is told of it counts in ε.",
            "Ask a survey: hansa.survey({'labels': TopK(2, among=(0, 1), column='y')}, …).",
        )
    if not isinstance(data, Mapping) or not data:
        raise DataError(
            f"There are no clients in a {type(data).__name__}.",
            "Each client's data is looked at by the client's name.",
            "Give {'north': (X, y), 'south': (X, y)}, or clients(data, parts) of a partitioner.",
        )
    names = Counter(map(str, data))
    if twice := [who for who, n in names.items() if n > 1]:
        raise DataError(
            f"Several clients have the name {twice[0]!r:.100}.",
            "A name is text, whatever it was given as: 1 and '1' are one and the same.",
            "Give each client a name of its own.",
        )


def _read(data: Mapping[str, Any], who: Any) -> tuple[ClientData, Vector | None]:
    """How much a client has, and its targets; None where they are not one for each example.

    Missing targets are counted and left out. What its reader raises is told, and ends nothing.
    """
    examples = 0
    missing = 0
    targets = list[Vector]()
    single = True
    try:
        for batch in Examples.of(data[who], str(who)).whole():
            absent = np.zeros(length(batch), bool)
            for column in columns(batch):
                absent |= _missing(np.asarray(column))
            examples += len(absent)
            missing += int(absent.sum())
            y = target(batch)
            if y.ndim == 2 and y.shape[1] == 1:
                y = y[:, 0]
            single = single and y.ndim == 1
            targets.append(_numbers(y[~_missing(y)]) if single else y[:0])
    except HansaError as error:
        return ClientData(why=f"{error.found} {error.why}".strip()), None
    except Exception as error:  # whatever the code stumbles over that reads this client's data
        return ClientData(why=f"{type(error).__name__}: {message(error)}"), None
    if not single or not targets:
        return ClientData(examples, missing), None
    return ClientData(examples, missing), np.concatenate(targets)


def _missing(column: Vector) -> NDArray[np.bool_]:
    """In which rows [n] of a column [n, …] something is missing or no finite number."""
    if column.dtype.kind == "f":
        return np.asarray(~np.isfinite(column).reshape(len(column), -1).all(axis=1))
    if column.dtype == object:
        absent = [one is None or one != one for one in column.reshape(-1)]
        return np.asarray(np.array(absent, bool).reshape(len(column), -1).any(axis=1))
    if column.dtype.kind in "mM":
        return np.asarray(np.isnat(column).reshape(len(column), -1).any(axis=1))
    return np.zeros(len(column), bool)


def _numbers(present: Vector) -> Vector:
    """Objects that are all numbers as numbers; others as they are.

    A column of numbers with None in it is one of objects. What is left of it without None is
    compared with the numbers of other clients, so that 1 here and 1.0 there are one label.
    """
    if present.dtype != object or not len(present):
        return present
    found = np.array(present.tolist())
    if found.dtype.kind in "biuf" and found.shape == present.shape:
        return found
    return present


def _kind(targets: list[Vector]) -> Kind:
    """Are these labels, values, or neither?"""
    if not targets:
        return "none"
    numbers = all(one.dtype.kind in "biuf" for one in targets)
    if not numbers:
        words = {str(value) for one in targets for value in np.unique(_words(one))}
        return "labels" if len(words) <= MOST_LABELS else "none"
    whole = np.unique(np.concatenate([np.unique(one).astype(np.float64) for one in targets]))
    count = sum(map(len, targets))
    fractions = bool((whole % 1 != 0).any())
    if fractions or len(whole) > MOST_LABELS or 2 * len(whole) > max(count, 2 * FEW):
        return "values"
    return "labels"


def _words(labels: Vector) -> NDArray[np.str_]:
    """Labels as words; 1, 1.0 and True are one and the same."""
    if labels.dtype.kind in "biuf" and bool((labels % 1 == 0).all()):
        labels = labels.astype(np.int64)
    return labels.astype(str)


# ── comparing ──


def _of_labels(targets: Mapping[str, Vector]) -> Overview:
    """Counts of each label, and distances of the mixes.

        p_{i,c} = n_{i,c} / Σ_c n_{i,c},    q_c = Σ_i n_{i,c} / Σ n        the mix of all together

    n_{i,c}: how many examples of label c client i has.
    """
    numbers = all(one.dtype.kind in "biuf" for one in targets.values())
    listed = {who: one if numbers else _words(one) for who, one in targets.items()}
    known = np.unique(np.concatenate([np.unique(one) for one in listed.values()]))
    labels = tuple(map(str, _words(known)))
    places = [np.searchsorted(known, one) for one in listed.values()]
    counts = np.array([np.bincount(one, minlength=len(known)) for one in places])
    mixes = counts / counts.sum(axis=1, keepdims=True)
    together = counts.sum(axis=0) / counts.sum()
    far = [total_variation(mix, together) for mix in mixes]
    clients = {
        who: ClientData(counts=tuple(map(int, row)), far=one)
        for who, row, one in zip(listed, counts, far, strict=True)
    }
    return _with_pairs(clients, "labels", labels, dict(zip(listed, mixes, strict=True)))


def _of_values(targets: Mapping[str, Vector]) -> Overview:
    """Quartiles of values, and distances of their distributions.

        F_i(t) = #{values of client i ≤ t} / n_i          far_i = ∫ |F_i(t) − F(t)| dt

    Each value counts, for the farthest ones are few and weigh most.

    All together are the values of all clients as one sample, so that a client with many examples
    counts for many.
    """
    listed = {who: np.sort(one.astype(np.float64)) for who, one in targets.items()}
    together = np.sort(np.concatenate(list(listed.values())))
    clients = {
        who: ClientData(
            quarters=tuple(map(float, np.quantile(one, QUARTERS))), far=wasserstein(one, together)
        )
        for who, one in listed.items()
    }
    return _with_pairs(clients, "values", (), listed)


def _with_pairs(
    clients: Mapping[str, ClientData],
    kind: Kind,
    labels: tuple[str, ...],
    forms: Mapping[str, Vector],
) -> Overview:
    """The overview with the distance between each two clients; of many, between the farthest from
    all together.
    """
    drawn = list(clients)
    if len(drawn) > MOST_PAIRS:
        kept = sorted(drawn, key=lambda who: -clients[who].far)[:MOST_PAIRS]
        drawn = [who for who in drawn if who in kept]
    between = total_variation if kind == "labels" else wasserstein
    near = np.zeros((len(drawn), len(drawn)))
    for i, one in enumerate(drawn):
        for j, other in enumerate(drawn[:i]):
            near[i, j] = near[j, i] = between(forms[one], forms[other])
    return Overview(clients, kind, labels, tuple(drawn), near)


# ── words ──


def _notes(found: Overview) -> Iterator[str]:
    """What a reader has to know."""
    for words, names in _remarkable(found):
        shown = ", ".join(names[:6]) + ", …" * (len(names) > 6)
        yield f"{len(names)} of {len(found.clients)} clients {words}: {shown}."
    if len(found.clients) < found.clients_in_all:
        yield (
            f"Of {found.clients_in_all} clients {len(found.clients)} were looked at, from the "
            "first to the last."
        )
    if 0 < len(found.drawn) < sum(not math.isnan(one.far) for one in found.clients.values()):
        yield (
            f"Distances between clients are those of the {len(found.drawn)} that are farthest from "
            "all together."
        )


def _remarkable(found: Overview) -> Iterable[tuple[str, list[str]]]:
    """(what is said of some clients, their names), of each that is so of any."""
    clients = found.clients.items()
    sets = {
        "cannot be read": [who for who, one in clients if one.why],
        "have no examples": [who for who, one in clients if not (one.examples or one.why)],
        "have examples of one label alone": [
            who for who, one in clients if sum(n > 0 for n in one.counts) == 1
        ],
        "have examples in which something is missing": [who for who, one in clients if one.missing],
    }
    return [(words, names) for words, names in sets.items() if names]


def _row(who: str, one: ClientData, found: Overview) -> dict[str, Any]:
    """One client for JSON."""
    return {
        "client": who,
        "examples": one.examples,
        "missing": one.missing,
        "labels": dict(zip(found.labels, one.counts, strict=False)),
        "quarters": list(one.quarters) or None,
        "distance": None if math.isnan(one.far) else one.far,
        "why": one.why or None,
    }


def _rounded(near: Vector) -> list[list[float]]:
    """Distances with six figures."""
    return [[float(f"{one:.6g}") for one in row] for row in near.tolist()]
