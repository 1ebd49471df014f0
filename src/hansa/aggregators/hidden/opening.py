"""How the server of a hidden sum opens it: of the help that t members gave it rebuilds what hides
the sum, whoever of them lies.
"""

from __future__ import annotations

import numpy as np

from ...crypto.field import Elements
from ...errors import ProtocolError, RoundError
from ...spec import Vector
from .cell import Cell, Failure, helpers_of
from .terms import holders_of


def opened(cell: Cell) -> Vector | None:
    """The sum of a cell; None where there is none, and its `failure` says why."""
    terms = cell.terms
    cell.close(len(cell.helps), "have helped to open the sum", terms.t)
    if not cell.failure:
        secrets = _secrets(cell)
    if cell.failure:
        return None
    total = cell.vectors.total.release()
    try:
        found = terms.scheme.open(total, terms, cell.view, cell.inside, secrets)
    except RoundError as error:
        cell.failure = Failure(str(error))
        return None
    if terms.scheme.rows(terms.n) == 1:  # it is of the sum alone, which it opens
        cell.vectors.keep_key(secrets[0])
    return found


def _secrets(cell: Cell) -> dict[int, bytes]:
    """Whose secret hides the sum → as much of it as was opened for this set.

    A failure where one is not what its client has said publicly. Where these are as few as may
    deal rubbish, they rest for a round; else it is rather those who help that lie.
    """
    terms = cell.terms
    failed = np.array(terms.scheme.wanted(cell.view.prepared, cell.inside))
    found = dict[int, bytes]()
    for holders, rows in _by_holders(cell, np.flatnonzero(failed).tolist()).items():
        if len(holders) < terms.t:
            hides = f"have helped with what hides {terms.names[rows[0]]}"
            cell.close(len(holders), hides, terms.t)
            return found
        shares = np.stack([cell.helps[i][rows] for i in holders])
        secrets = _rebuilt(cell, holders, rows, shares)
        for row, secret in zip(rows, secrets, strict=True):
            if secret is not None:
                found[row] = secret
                failed[row] = False
    if failed.any():
        names = terms.scheme.dealers(terms, failed)
        whose = ", ".join(names[:5]) or "all keys"
        why = (
            f"The shares of {whose} do not open to what was said of them: who dealt them, or who "
            "helps, does not keep to the protocol."
        )
        cell.failure = Failure(why, names if len(names) <= terms.n - terms.t else [])
    return found


def _by_holders(cell: Cell, rows: list[int]) -> dict[tuple[int, ...], list[int]]:
    """Whose help there is for which rows; mostly that of all for all."""
    helpers = helpers_of(cell)
    found = dict[tuple[int, ...], list[int]]()
    for row in rows:
        holders = tuple(sorted(i for i in cell.helps if helpers[i, row]))
        found.setdefault(holders, []).append(row)
    return found


def _rebuilt(
    cell: Cell, holders: tuple[int, ...], rows: list[int], shares: Elements
) -> list[bytes | None]:
    """The secrets of these rows, from their holders' shares [holders, rows, …]: from the first t
    of these; where one of them lies, or might, from those that do not. None where none opens.

    Who has lied of one row is asked last for the next: to find a lie takes longer than to open.
    """
    t = cell.terms.t
    sharing = cell.terms.sharing
    places = [i + 1 for i in holders]
    size = shares.shape[2] * sharing.pack  # of a secret, with the zeros behind it
    first = shares[:t].reshape(t, -1)
    flat = sharing.open(places[:t], first, len(rows) * size)
    secrets = list[bytes | None]()
    liars = set[int]()
    for k, (row, elements) in enumerate(zip(rows, flat.reshape(-1, size), strict=True)):
        secret = None
        if cell.terms.scheme.certain:
            secret = _checked(cell, row, elements)
        if secret is None and liars:
            elements = _opened_without(cell, liars, places, shares[:, k])
            secret = _checked(cell, row, elements)
        if secret is None:
            found = _wrong(cell, places, shares[:, k])
            if found is not None:
                elements = _opened_without(cell, found, places, shares[:, k])
                secret = _checked(cell, row, elements)
                liars |= found
        secrets.append(secret)
    cell.wrong = sorted({*cell.wrong, *(holders_of(cell.terms)[place - 1] for place in liars)})
    return secrets


def _wrong(cell: Cell, places: list[int], shares: Elements) -> set[int] | None:
    """Whose shares lie beside the others; None where some do, and nobody can say whose."""
    try:
        return set(cell.terms.sharing.wrong(places, shares))
    except ProtocolError:
        return None


def _opened_without(cell: Cell, liars: set[int], places: list[int], shares: Elements) -> Elements:
    """What t shares [holders, …] open to that are not of these; zeros where fewer are left, or they
    open to more than was shared.
    """
    t = cell.terms.t
    helped = cell.terms.scheme.helped
    nothing = np.zeros(helped, np.uint64)
    right = [j for j, place in enumerate(places) if place not in liars]
    if len(right) < t:
        return nothing
    some = right[:t]
    rest = [places[j] for j in some]
    try:
        return cell.terms.sharing.open(rest, shares[some], helped)
    except ProtocolError:
        return nothing


def _checked(cell: Cell, row: int, elements: Elements) -> bytes | None:
    """The secret in these elements, if it can be that of this row; what fills them up is zero."""
    scheme = cell.terms.scheme
    if elements[scheme.helped :].any():
        return None
    inside = bool(cell.inside[row])
    public = cell.view.public(row)[: scheme.width]
    return scheme.checked(elements[: scheme.helped], public, inside)
