"""Ways to deal n examples out to clients: each gives every client its rows, and every row to one
client.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError, number, refuse
from ..rand import Key
from ..spec import Vector
from .batches import Rows
from .examples import Examples

NO_CLASS = "An example without a label belongs to no class."
FEW = 20  # examples among which each may be of a class of its own


def iid(n: int, clients: int, key: Key) -> list[Rows]:
    """Equal random parts, whose sizes differ by one at most:  owner(π(j)) = j mod m,  π a random
    permutation.
    """
    _enough(n, clients)
    return _dealt(key.rng().permutation(n) % clients, clients)


def dirichlet(
    labels: ArrayLike,
    clients: int,
    alpha: float | ArrayLike,
    key: Key,
    least: int = 1,
    bins: int | ArrayLike | None = None,
) -> list[Rows]:
    """Label skew: each class k is dealt out in proportions of its own.

        p_k ~ Dir(α·1_m),   client i gets the share p_{k,i} of the examples of class k

    α → ∞ gives every client the same mix, α → 0 gives each class to one client; with one αᵢ for
    each client p_k ~ Dir(α₁, …, α_m), and it gets the share αᵢ/Σα of all examples on average.
    (Yurochkin et al. 2019, §4; the same α as in Hsu et al. 2019, who draw a mix of classes for each
    client instead, of equal sizes.) A client left with fewer than `least` examples is given random
    ones of whoever then has the most.

    p_k hangs on the key and on the class alone: with the same key a client's part of a test set has
    the mix of its part of the training set, but for what `least` moves. `labels` [n] may be numbers
    or words; a target that is measured is cut into classes by `bins`: so many of equal size, or
    those between the edges given. DataError where a label is missing, or classes are none.
    """
    y = _classes(_column(labels, "labels"), bins)
    _enough(len(y), clients, least)
    alphas = _alphas(alpha, clients)
    owner = np.empty(len(y), np.int64)
    known, of = np.unique(y, return_inverse=True)
    for k, one in enumerate(known):
        mine = key.child("class", _word(one))
        rows = mine.child("rows").rng().permutation(np.flatnonzero(of == k))
        shares = mine.child("shares").rng().dirichlet(alphas)
        ends = np.rint(np.cumsum(shares)[:-1] * len(rows))
        owner[rows] = np.searchsorted(ends, np.arange(len(rows)), side="right")
    _fill(owner, clients, least, key.child("least").rng())
    return _dealt(owner, clients)


def _fill(owner: Rows, clients: int, least: int, rng: np.random.Generator) -> None:
    """Give whoever has fewer than `least` examples random ones of whoever then has the most."""
    sizes = np.bincount(owner, minlength=clients)
    while sizes.min() < least:
        rich = sizes.argmax()
        poor = sizes.argmin()
        owner[rng.choice(np.flatnonzero(owner == rich))] = poor
        sizes[rich] -= 1
        sizes[poor] += 1


def shards(labels: ArrayLike, clients: int, per_client: int, key: Key) -> list[Rows]:
    """Few classes for each: sort by label, cut into m·s equal shards, and give every client s of
    them at random.

    With s = `per_client` = 2 most clients see two classes: some see one or three, as shards do not
    end where classes do; `pathological` gives exactly so many. Of a target that is measured each
    shard is an interval. (McMahan et al. 2017, §3: "pathological non-IID")
    """
    y = _column(labels, "labels")
    _check_missing(y, "labels", NO_CLASS)
    _enough(len(y), clients, per_client)
    if per_client < 1:
        raise DataError(
            f"per_client={per_client} shards.", "Every client needs one.", "Write per_client=2."
        )
    dealt = key.rng().permutation(clients * per_client) // per_client  # shard → client
    owner = np.empty(len(y), np.int64)
    owner[np.argsort(y, kind="stable")] = dealt[np.arange(len(y)) * len(dealt) // len(y)]
    return _dealt(owner, clients)


def pathological(labels: ArrayLike, clients: int, classes: int, key: Key) -> list[Rows]:
    """Exactly `classes` classes for each, and no example of any other.

    Each client in turn takes those that the fewest have taken, at random among equals; so a class
    goes to ⌊m·c/K⌋ or ⌈m·c/K⌉ clients, in equal random parts. With the same key a test set of the
    same K classes gives every client the same. (McMahan et al. 2017, §3: "pathological non-IID",
    without its shards)
    """
    y = _classes(_column(labels, "labels"), None)
    _enough(len(y), clients, classes)
    known, of, sizes = np.unique(y, return_inverse=True, return_counts=True)
    most = len(known)
    _check_classes(clients, classes, most)
    taken = np.zeros(most, np.int64)
    chosen = np.zeros((clients, most), bool)
    for i in range(clients):
        draws = key.child("client", i).uniform((most,))
        chosen[i, np.lexsort((draws, taken))[:classes]] = True
        taken = chosen.sum(axis=0)
    if (sizes < taken).any():
        few = int((sizes < taken).argmax())
        raise DataError(
            f"Class {known[few]} has {sizes[few]} examples for {taken[few]} clients.",
            "Every client that has a class needs an example of it.",
            "Ask for fewer clients or classes, or bring more examples.",
        )
    owner = np.empty(len(y), np.int64)
    for k in range(most):
        rows = key.child("rows", k).rng().permutation(np.flatnonzero(of == k))
        owner[rows] = np.flatnonzero(chosen[:, k])[np.arange(len(rows)) % taken[k]]
    return _dealt(owner, clients)


def _check_classes(clients: int, classes: int, known: int) -> None:
    """DataError where a client cannot have so many classes, or a class would have no client."""
    refuse(
        (
            (
                not 1 <= classes <= known,
                f"classes={classes} for each client, of {known} that there are.",
                "A client has one class at least, and none twice.",
                f"Write classes=1 … {known}.",
            ),
            (
                clients * classes < known,
                f"{clients} clients with {classes} of {known} classes each.",
                "Every example goes to one client, and some classes would have none.",
                f"Write classes={-(-known // clients)}, or ask for more clients.",
            ),
        ),
        DataError,
    )


def quantity(n: int, clients: int, alpha: float, key: Key) -> list[Rows]:
    """Quantity skew: random examples, unequal numbers of them.

        q ~ Dir(α·1_m),   nᵢ ≈ 1 + qᵢ·(n − m)

    (Li et al. 2022, "Federated learning on non-IID data silos", quantity skew)
    """
    _enough(n, clients)
    _positive(alpha)
    rng = key.rng()
    ends = np.rint(np.cumsum(rng.dirichlet(np.full(clients, float(alpha))))[:-1] * (n - clients))
    owner = np.concatenate(
        [np.arange(clients), np.searchsorted(ends, np.arange(n - clients), side="right")]
    )
    return _dealt(rng.permutation(owner), clients)


def natural(keys: ArrayLike) -> dict[str, Rows]:
    """One client for each value of a key column [n] (hospital, speaker, device), under that value
    as its name.
    """
    column = _column(keys, "keys")
    _enough(len(column), 1)
    _check_missing(column, "keys", "An example without a key belongs to nobody.")
    if column.dtype == object:
        column = column.astype(str)
    values, owner = np.unique(column, return_inverse=True)
    return dict(zip(map(str, values.tolist()), _dealt(owner, len(values)), strict=True))


def shifted(
    data: Any, clients: int, key: Key, gain: float = 0.1, offset: float = 0.5
) -> dict[str, Any]:
    """Feature shift: the data of client-0, client-1, …: equal random parts, measured with
    instruments of their own.

        x ← exp(gain·ζᵢ)·x + offset·σ·ξᵢ,    ζᵢ, ξᵢ ~ N(0, 1),    σ = standard deviation over all
        the data

    For inputs [n, f] each feature has its own ζᵢ, ξᵢ and σ; others (images, series) have one for
    the client. `data` is (inputs, …, targets) or a dict with "y"; targets and inputs that are not
    floating stay as they are. (Kairouz et al. 2021, §3.1, covariate shift; Li et al. 2021, FedBN)
    """
    _finite(gain=gain, offset=offset)
    named = isinstance(data, Mapping)
    if not named and not isinstance(data, list | tuple):
        raise DataError(
            f"The data to shift is a {type(data).__name__}.",
            "Inputs are told from targets by their place or name.",
            "Give (inputs, targets), or a dict with the targets under 'y'.",
        )
    given: dict[Any, Any] = dict(data) if named else dict(enumerate(data))
    columns = {name: np.asarray(column) for name, column in given.items()}
    target: Any = "y" if named else len(columns) - 1
    inputs = [name for name in columns if name != target]
    floating = [name for name in inputs if columns[name].dtype.kind == "f"]
    lengths = {len(column) for column in columns.values() if column.ndim}
    if not floating or len(lengths) != 1:
        raise DataError(
            f"There are {len(floating)} floating inputs to shift, in arrays of lengths "
            f"{sorted(lengths)}.",
            "A gain and an offset mean nothing for integers, and every array needs one row for "
            "each example.",
            "Give (inputs, targets) of equal length, and inputs such as x.astype(np.float32).",
        )
    parts = iid(lengths.pop(), clients, key.child("rows"))
    spread = {name: columns[name].std(0 if columns[name].ndim == 2 else None) for name in floating}
    dealt = {}
    for i, (client, rows) in enumerate(zip(numbered(clients), parts, strict=True)):
        part = {name: column[rows] for name, column in columns.items()}
        for name in floating:
            zeta, xi = key.child(i, name).normal((2, *np.shape(spread[name])))
            part[name] = (np.exp(gain * zeta) * part[name] + offset * spread[name] * xi).astype(
                part[name].dtype
            )
        dealt[client] = part if named else tuple(part.values())
    return dealt


def clients(
    data: object,
    parts: Sequence[ArrayLike] | Mapping[str, ArrayLike],
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Each client's data by name: `names`, or the names of `parts`, or client-0, client-1, …

    Of arrays they are arrays, of a dataset a `Part` each. DataError for names that are not as many
    as the parts, or not all different.
    """
    if isinstance(parts, Mapping):
        rows = list(parts.values())
        called = list(names or parts)
    else:
        rows = list(parts)
        called = list(names or numbered(len(rows)))
    if not len(called) == len(set(called)) == len(rows):
        raise DataError(
            f"{len(called)} names, {len(set(called))} of them different, for {len(rows)} clients.",
            "Every client needs a name of its own.",
            "Give as many names as parts, or none.",
        )
    examples = Examples.of(data)
    return {name: examples.take(chosen).given for name, chosen in zip(called, rows, strict=True)}


def numbered(clients: int) -> list[str]:
    """client-0, client-1, …, with as many digits as the last one needs, so that they sort."""
    return [f"client-{i:0{len(str(clients - 1))}d}" for i in range(clients)]


def _dealt(owner: Rows, clients: int) -> list[Rows]:
    """owner [n] ∈ 0 … m − 1 → the rows of each client, ascending; that each row has one owner is
    seen here.
    """
    return np.split(
        np.argsort(owner, kind="stable"), np.cumsum(np.bincount(owner, minlength=clients))[:-1]
    )


def _enough(n: int, clients: int, each: int = 1) -> None:
    """DataError where these are no counts, or a client would go without an example."""
    counts = ((n, "examples"), (clients, "clients"), (each, "examples for each at least"))
    refuse(
        (
            (
                not number(value, whole=True) or value < 0,
                f"{value!r} {what}.",
                "They are counted.",
                "Write a whole number, such as iid(1000, clients=10, key=key).",
            )
            for value, what in counts
        ),
        DataError,
    )
    if clients < 1 or n < clients * max(each, 1):
        instead = f"Ask for 1 to {n // max(each, 1)} clients."
        if n < each:
            instead = "Bring more examples."
        raise DataError(
            f"{n} examples for {clients} clients, {each} for each at least.",
            "Every client needs an example of its own, and there must be a client.",
            instead,
        )


def _alphas(alpha: float | ArrayLike, clients: int) -> Vector:
    """α of each client."""
    given = np.asarray(alpha)
    listed = given.ndim == 1 and len(given) == clients and given.dtype.kind in "iuf"
    if listed and (given > 0).all() and np.isfinite(given).all():
        return given.astype(np.float64)
    if not number(alpha):
        raise DataError(
            f"alpha={alpha!r} for {clients} clients.",
            "It is one positive number for all clients, or one for each of them.",
            f"Write alpha=0.1, or {clients} numbers, such as np.linspace(0.1, 1, {clients}).",
        )
    _positive(float(alpha))
    return np.full(clients, float(alpha))


def _positive(alpha: float) -> None:
    """DataError for what is no parameter of a symmetric Dirichlet distribution."""
    if not number(alpha) or not 0 < alpha < np.inf:
        raise DataError(
            f"alpha={alpha!r} is no parameter of a Dirichlet distribution.",
            "It must be positive and finite, one number.",
            "Write alpha=0.1 for strong skew, 1 for some, 100 for hardly any.",
        )


def _classes(column: NDArray[Any], bins: int | ArrayLike | None) -> NDArray[Any]:
    """The class of each example: its label, or where that is measured the bin that it lies in."""
    _check_missing(column, "labels", NO_CLASS)
    if bins is not None:
        return _binned(column, bins)
    if column.dtype == object:
        column = np.array(column.tolist())
    if column.dtype == object:
        column = column.astype(str)
    distinct = len(np.unique(column))
    fractions = column.dtype.kind == "f" and bool((column % 1 != 0).any())
    if fractions or 2 * distinct > max(len(column), 2 * FEW):
        raise DataError(
            f"{len(column)} labels have {distinct} values{', with fractions' * fractions}.",
            "They are measured, not classes: with each value a class of its own all clients would "
            "get the same mix.",
            "Cut them into classes: dirichlet(…, bins=10), or np.digitize(labels, edges); number "
            "those that are classes: np.unique(labels, return_inverse=True)[1].",
        )
    return column


def _binned(column: NDArray[Any], bins: int | ArrayLike) -> Rows:
    """The number of the bin that each value lies in."""
    edges = np.asarray(bins)
    many = int(edges) if number(bins, whole=True) else 0
    listed = edges.ndim == 1 and edges.size > 0 and edges.dtype.kind in "iuf"
    if column.dtype.kind not in "biuf" or not (many >= 2 or listed):
        raise DataError(
            f"bins={bins!r} of labels of type {column.dtype}.",
            "They cut numbers into classes: so many of equal size, or one between two edges each.",
            "Write bins=10, or edges such as bins=[18, 40, 65].",
        )
    if many:
        edges = np.quantile(column, np.arange(1, many) / many)
    return np.searchsorted(np.sort(edges), column, side="right")


def _word(label: Any) -> str:
    """A class as a word: 1, 1.0 and True are one and the same."""
    if isinstance(label, np.number | np.bool_):
        return str(int(label))
    return str(label)


def _check_missing(column: NDArray[Any], what: str, why: str) -> None:
    """DataError where one of a column [n] is None or NaN."""
    missing = np.zeros(len(column), bool)
    if column.dtype == object:
        missing[:] = [_absent(one) for one in column]
    else:
        missing[:] = column != column
    if missing.any():
        raise DataError(
            f"{missing.sum()} of {len(column)} {what} are missing, the first in row "
            f"{int(missing.argmax())}.",
            why,
            "Leave these rows out, or fill them in.",
        )


def _absent(value: Any) -> bool:
    """Is it None, NaN, or pandas' NA, which is not even different from itself?"""
    differs = value != value
    return value is None or not isinstance(differs, bool | np.bool_) or bool(differs)


def _finite(**given: float) -> None:
    """DataError for a standard deviation that is no finite number."""
    refuse(
        (
            (
                not number(value) or not np.isfinite(value),
                f"{name}={value!r} shifts nothing.",
                "It is the standard deviation of what the instruments differ by: one finite "
                "number.",
                f"Write for example {name}=0.1.",
            )
            for name, value in given.items()
        ),
        DataError,
    )


def _column(values: ArrayLike, name: str) -> NDArray[np.generic]:
    """One value for each example [n], as an array; DataError for any other shape."""
    column = np.asarray(values)
    if column.ndim != 1:
        raise DataError(
            f"{name} have shape {column.shape}.",
            "There must be one for each example.",
            "Give one column: one-hot rows with .argmax(1).",
        )
    return column
