"""Secrets that t of n holders open together, and of which t − pack of them learn nothing.

    f(0), f(−1), …, f(1 − pack): secrets;    f(i): the share of holder i = 1 … n;    deg f < t

over the field of p = 2⁶⁴ − 2³² + 1 (Shamir 1979; several secrets on one polynomial: Franklin and
Yung 1992). Shares are linear: those of a plus those of b open a + b.

Which steps are taken depends on sizes and holders alone, but neither Python nor numba promises that
the arithmetic takes the same time for all secrets.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..errors import PlanError, ProtocolError, number
from .field import Elements, Field64
from .xof import elements

BYTES = 7  # of a secret in an element, so that every value is below p


# ── secrets as elements ──


def to_elements(values: Sequence[bytes]) -> Elements:
    """Secrets of equal length, one after another: ⌈size / 7⌉ elements for each, below 2⁵⁶.

    The last one of each is filled up with zeros.
    """
    size = len(values[0])
    if any(len(value) != size for value in values):
        raise ProtocolError(
            "Secrets of different lengths are to be shared together.",
            "Nobody could say where one ends.",
            "Share them apart.",
        )
    octets = np.zeros((len(values), -(-size // BYTES) * BYTES), np.uint8)
    octets[:, :size] = np.frombuffer(b"".join(values), np.uint8).reshape(-1, size)
    wide = np.zeros((octets.size // BYTES, 8), np.uint8)
    wide[:, :BYTES] = octets.reshape(-1, BYTES)
    return np.asarray(wide.view("<u8")[:, 0], np.uint64)


def to_bytes(a: Elements, size: int) -> list[bytes]:
    """The inverse of `to_elements`; ProtocolError for elements that no secret of `size` bytes has.

    Who shares such elements could give two encodings of one secret.
    """
    wide = np.ascontiguousarray(a, "<u8").view(np.uint8).reshape(-1, 8)
    each = -(-size // BYTES)
    octets = wide[: len(wide) // each * each, :BYTES].reshape(-1, each * BYTES)
    if len(wide) % each or wide[:, BYTES:].any() or octets[:, size:].any():
        raise ProtocolError(
            f"{len(a)} shared numbers are no secrets of {size} bytes.",
            f"A secret is {each} numbers below 2⁵⁶, filled up with zeros: it has one encoding.",
            "Leave out who has shared them.",
        )
    return [row.tobytes() for row in octets[:, :size]]


# ── shares ──


@dataclass(frozen=True)
class Sharing:
    """Shares among n holders, 1 … n: any t open, any t − pack reveal nothing.

    pack: secrets on one polynomial. A vector of m elements has ⌈m / pack⌉ columns of shares, each
    of one polynomial; zeros fill the last one up. What is to be opened apart is shared apart.
    """

    n: int
    t: int
    pack: int = 1

    def __post_init__(self) -> None:
        whole = all(number(x, whole=True) for x in (self.n, self.t, self.pack))
        if not whole or not 1 <= self.pack < self.t <= self.n < 2**32:
            raise PlanError(
                f"{self!r} hides nothing, or never opens.",
                "t of n holders open, and t − pack learn nothing:  1 ≤ pack < t ≤ n.",
                "Write for example Sharing(100, 67).",
            )

    def columns(self, m: int) -> int:
        """How many elements a holder's share of m elements has."""
        return -(-m // self.pack)

    def share(self, a: Elements) -> Elements:
        """Shares of a vector [m], in row i − 1 that of holder i: [n, columns].

        The first t − pack shares are drawn, uniform and independent; with the secrets they are t
        points of f, from which all others follow.
        """
        if a.dtype != np.uint64 or (a >= Field64.p).any():
            raise ProtocolError(
                f"A vector of {a.dtype} is to be shared that holds what is no element.",
                "Elements are uint64, and lie below p = 2⁶⁴ − 2³² + 1.",
                "Make them by `to_elements`, or by `Field64.array`.",
            )
        columns = self.columns(len(a))
        known = np.zeros((columns, self.pack), np.uint64)
        known.reshape(-1)[: len(a)] = a
        free = self.t - self.pack
        drawn = uniform(free * columns).reshape(free, columns)
        sources = (*self._places, *range(1, free + 1))
        weights = lagrange(sources, tuple(range(free + 1, self.n + 1)))
        rest = Field64.product(weights, np.concatenate([known.T, drawn]))
        return np.concatenate([drawn, rest])

    def open(self, holders: Sequence[int], shares: Elements, m: int) -> Elements:
        """The m elements of which `holders` have these shares, [holders, columns].

        ProtocolError with fewer than t, for what is no share, and where more than t do not lie on
        one polynomial; whose is wrong says `wrong`.
        """
        self._check(holders, shares, self.columns(m))
        found = self._opened(holders, shares)
        if found is None:
            raise ProtocolError(
                f"The shares of {len(holders)} holders do not lie on one polynomial.",
                f"Any {self.t} of them open, but not to the same secret: some are wrong.",
                "Leave out whose share is wrong, or else who has dealt them.",
            )
        a = found.T.reshape(-1)
        if a[m:].any():
            raise ProtocolError(
                f"More than {m} secrets were shared.",
                "Zeros fill up the last polynomial.",
                "Leave out who has dealt them.",
            )
        return np.asarray(a[:m])

    def wrong(self, holders: Sequence[int], shares: Elements) -> tuple[int, ...]:
        """Whose shares lie beside the polynomial of the others, up to (holders − t) / 2 of them.

        ProtocolError where more are wrong, and nobody can say which. A wrong share is its holder's
        lie, or its dealer's.

        e shares are wrong:  Sⱼ = Σᵢ wᵢ·xᵢʲ·yᵢ, j < holders − t, are zero without them, and with
        them follow a recurrence of length e, whose roots are their points (Massey 1969).

        A random sum of all columns stands for them: it hides a lie in one with probability 1/p.
        """
        self._check(holders, shares, shares.shape[-1])
        if self._opened(holders, shares) is not None:
            return ()
        y = Field64.product(shares, uniform(shares.shape[1])[:, None])[:, 0]
        x = Field64.array(holders)
        term = Field64.mul(Field64.inverses(_slopes(tuple(holders)).tolist()), y)
        sums = list[int]()
        for _ in range(len(holders) - self.t):
            sums.append(Field64.total(term))
            term = Field64.mul(term, x)
        recurrence = shortest_recurrence(sums)
        found = tuple(i for i in holders if _value(recurrence, i) == 0)
        right = [k for k, i in enumerate(holders) if i not in found]
        rest = [holders[k] for k in right]
        enough = len(rest) >= self.t + len(found)
        if not enough or self._opened(rest, shares[right]) is None:
            raise ProtocolError(
                f"Of the shares of {len(holders)} holders, too many are wrong to say which.",
                f"{(len(holders) - self.t) // 2} can be named where {self.t} open.",
                "Leave out who has dealt them.",
            )
        return found

    @property
    def _places(self) -> tuple[int, ...]:
        """The points of the secrets."""
        return tuple(-j for j in range(self.pack))

    def _opened(self, holders: Sequence[int], shares: Elements) -> Elements | None:
        """Secrets [pack, columns] from the first t shares; None unless all others fit them."""
        first = tuple(holders[: self.t])
        rest = tuple(holders[self.t :])
        weights = lagrange(first, (*self._places, *rest))
        values = Field64.product(weights, shares[: self.t])
        if not np.array_equal(values[self.pack :], shares[self.t :]):
            return None
        return np.asarray(values[: self.pack])

    def _check(self, holders: Sequence[int], shares: Elements, columns: int) -> None:
        known = all(number(i, whole=True) and 1 <= i <= self.n for i in holders)
        if not known or len(set(holders)) < len(holders):
            raise ProtocolError(
                "Shares come of holders that do not exist, or of one twice.",
                f"Holders are 1 … {self.n}, and each has one share.",
                "Ask each holder once.",
            )
        if len(holders) < self.t:
            raise ProtocolError(
                f"{len(holders)} holders have sent their shares.",
                f"No fewer than {self.t} can open what they hold.",
                "Wait for more of them.",
            )
        if shares.dtype != np.uint64 or shares.shape != (len(holders), columns):
            raise ProtocolError(
                f"Shares are {shares.dtype} of shape {shares.shape}.",
                f"They are uint64, {columns} for each of {len(holders)} holders.",
                "Leave out who has sent others.",
            )
        if (high := (shares >= Field64.p).any(axis=1)).any():
            raise ProtocolError(
                f"Holder {holders[int(np.argmax(high))]} has sent what is no share.",
                "Elements lie below p: each has one encoding.",
                "Leave it out.",
            )


# ── polynomials ──


@lru_cache(64)
def lagrange(sources: tuple[int, ...], targets: tuple[int, ...]) -> Elements:
    """Weights L [targets, sources] with  f(z) = Σᵢ L_zᵢ f(xᵢ)  for f of degree below `sources`.

        L_zᵢ = Πⱼ(z − xⱼ) / ((z − xᵢ) · Πⱼ≠ᵢ(xᵢ − xⱼ))       (Berrut and Trefethen 2004, eq. 3.3)

    No target is a source. All is public, so it is kept.
    """
    z = Field64.array(targets)
    differences = Field64.sub(z[:, None], Field64.array(sources)[None, :])
    below = Field64.mul(differences, _slopes(sources)[None, :])
    inverses = Field64.inverses(below.reshape(-1).tolist()).reshape(below.shape)
    weights = Field64.mul(inverses, _products(differences)[:, None])
    weights.flags.writeable = False
    return weights


def shortest_recurrence(s: Sequence[int]) -> list[int]:
    """The shortest c, c₀ = 1, with  Σₖ cₖ·sⱼ₋ₖ = 0  for all j from its length on (Massey 1969)."""
    p = Field64.p
    c = [1]
    before = [1]  # the last c that was shorter, and the error at which it failed
    error = 1
    length = 0
    gap = 1
    for j in range(len(s)):
        d = sum(c[k] * s[j - k] for k in range(min(len(c), j + 1))) % p
        if d == 0:
            gap += 1
            continue
        shifted = [0] * gap + [d * Field64.inverse(error) * b % p for b in before]
        width = max(len(c), len(shifted))
        longer = [
            (a - b) % p for a, b in zip(_padded(c, width), _padded(shifted, width), strict=True)
        ]
        if 2 * length <= j:
            before = c
            error = d
            length = j + 1 - length
            gap = 1
        else:
            gap += 1
        c = longer
    return _padded(c, length + 1)[: length + 1]


def uniform(n: int) -> Elements:
    """n elements from the operating system's generator: none is likelier than another."""
    return elements(_System(), Field64, n)


class _System:
    """The operating system's generator, as a stream."""

    def read(self, n: int) -> bytes:
        return secrets.token_bytes(n)


def _slopes(points: tuple[int, ...]) -> Elements:
    """Πⱼ≠ᵢ (xᵢ − xⱼ) for each point."""
    x = Field64.array(points)
    differences = Field64.sub(x[:, None], x[None, :])
    np.fill_diagonal(differences, 1)
    return _products(differences)


def _products(rows: Elements) -> Elements:
    """The product of each row."""
    out = np.ones(len(rows), np.uint64)
    for column in rows.T:
        out = Field64.mul(out, column)
    return out


def _value(recurrence: Sequence[int], x: int) -> int:
    """Its characteristic polynomial  Σₖ cₖ·xᴸ⁻ᵏ,  at x."""
    out = 0
    for c in recurrence:
        out = (out * x + c) % Field64.p
    return out


def _padded(a: list[int], width: int) -> list[int]:
    return a + [0] * (width - len(a))
