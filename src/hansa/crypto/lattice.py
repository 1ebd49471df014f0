"""Lattice: ciphertexts that add up, under one-time keys that add up with them.

    c = a·s + e + ⌊m · p/2ᴷ⌉   in  R = Z_p[X] / (X⁴⁰⁹⁶ + 1),    p = 2⁶⁴ − 2³² + 1
    Σ cᵢ − a · Σ sᵢ = Σ eᵢ + Σ ⌊mᵢ · p/2ᴷ⌉,    which is  Σ mᵢ mod 2ᴷ  while the errors are small

    a       uniform and public: one element of R for each 4096 coefficients of a vector, from a hash
    s       the key of one client for one session, small; it encrypts one vector
    e       errors, small, drawn anew for each coefficient
    m       several numbers of the vector, side by side

(Lyubashevsky, Peikert and Regev 2010; with sums of keys that are shared among clients: Li et al.
2023, LERNA; Karthikeyan and Polychroniadou 2025, OPA; Bell-Clark et al. 2025, Willow)

s and e have centred binomial coefficients with η = 21, σ = √(η/2) = 3.24, from 42 bits each: one
count of ones less another. Which steps are taken, and which memory is read, depends on no secret;
there is no table, and nothing is drawn again. Their bits are a stream of AES-128 in counter mode
under 32 bytes that the operating system has drawn once a session: a conversation that is driven
again encrypts the same vector to the same bytes.

Two vectors under one key give their difference away, so a key is for one session, and one vector.
"""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import chain
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ProtocolError
from ..spec import Vector, word
from .field import Elements, Field64, kernels
from .packing import BYTES, CUT, DEGREE, ETA, Packing
from .xof import XofHmacSha256Aes128, check_seed, elements

SIGMA = (ETA / 2) ** 0.5
LARGEST = (Field64.p - 1) >> CUT  # what they hold at most
AT_ONCE = 3  # rows that are drawn at a time: one alone takes as long to ask for as to draw
SEED = 32  # bytes that a key is made of, and as many for the errors
SECRET = 2 * SEED

KEY = b"hansa lattice key 1"
ERRORS = b"hansa lattice errors 1"
ROWS = b"hansa lattice rows 1"

U64 = np.uint64
SIDE = 64  # transformed, an element of R is a square
NONE = U64(0), U64(0)  # the constants of another field's kernels
ONES = U64(2**ETA - 1)
HALF = U64(32)

Octets = NDArray[np.uint8]
Signed = NDArray[np.int64]


# ── the ring ──


@cache
def ring() -> ModuleType | None:
    """The compiled kernels, or None and a warning where numba is missing."""
    if kernels() is None:
        warnings.warn(
            "numba is not installed, so vectors are encrypted with NumPy, about 16 times slower. "
            "Install it: pip install 'hansa[verified]'.",
            RuntimeWarning,
            stacklevel=3,
        )
        return None
    from . import ringkernels

    return ringkernels


@cache
def _order() -> NDArray[np.int64]:
    """How transformed elements lie: in bit-reversed order, columns of a square before rows."""
    order = np.zeros(1, np.int64)
    while len(order) < DEGREE:
        order = np.concatenate([2 * order, 2 * order + 1])
    return order


@cache
def _twist(power: int) -> Elements:
    """ψʲ, or ψ⁻ʲ;  ψ² = ω, so ψ⁴⁰⁹⁶ = −1."""
    return Field64.powers(pow(Field64.root(2 * DEGREE), power, Field64.p), DEGREE)


@cache
def _factors() -> tuple[Elements, Elements]:
    """Those of ringkernels.product."""
    back = _twist(-1)[_order()]
    early = np.zeros((6, SIDE // 2, SIDE), U64)
    for step in range(6):
        pairs = SIDE >> (step + 1)
        lie = back[SIDE * pairs : 2 * SIDE * pairs].reshape(SIDE, pairs)
        early[step, :pairs] = lie.T
    return early, np.ascontiguousarray(back[:SIDE])


def transform(x: Elements) -> Elements:
    """The values of an element of R at all odd powers of ψ [64, 64]: products in R are products of
    these.

    In bit-reversed order, of a square's columns, as `product` takes them.   (Pollard 1971, §3)
    """
    values = Field64.ntt(Field64.mul(x, _twist(1)))[_order()]
    return np.ascontiguousarray(values.reshape(SIDE, SIDE).T)


def ready(x: Elements) -> Elements:
    """What `product` multiplies by x: x / 4096, transformed."""
    return Field64.mul(transform(x), Field64.inverse(DEGREE))


def product(a: Elements, b: Elements) -> Elements:
    """a · x in R [4096], for `a` transformed, and `b` ready(x)."""
    out = np.empty((SIDE, SIDE), U64)
    if fast := ring():
        fast.product(a, b, *_factors(), np.empty_like(out), out, *NONE)
        return out.reshape(-1)
    straight = out.reshape(-1)
    straight[_order()] = Field64.mul(a, b).T.reshape(-1)
    scaled = Field64.mul(Field64.inverse_ntt(straight), DEGREE)
    return Field64.mul(scaled, _twist(-1))


def rows(binding: bytes, coefficients: int) -> Iterator[Elements]:
    """The rows of a, transformed, one for each 4096 coefficients.

    They are uniform, so they are drawn as they are multiplied. Everybody can draw them: they come
    from SHA-256 of what all clients of a session agree on, so no session has those of another, and
    nobody has chosen them.
    """
    stream = XofHmacSha256Aes128(binding, ROWS)
    for size in _drawn(coefficients):
        yield from elements(stream, Field64, size).reshape(-1, SIDE, SIDE)


def _drawn(coefficients: int) -> Iterator[int]:
    """How many coefficients are drawn at a time."""
    for start in range(0, coefficients, AT_ONCE * DEGREE):
        yield min(AT_ONCE * DEGREE, coefficients - start)


def binomial(words: Elements) -> Signed:
    """Centred binomial numbers in −21 … 21, one of each 64 uniform bits, of which 42 count."""
    plus = np.bitwise_count(words & ONES)
    minus = np.bitwise_count(words >> U64(ETA) & ONES)
    return np.asarray(np.subtract(plus, minus, dtype=np.int64))


# ── keys, and what they encrypt ──


@dataclass(frozen=True, eq=False)
class Key:
    """The key of one client for one session: s, and where its errors come from. It encrypts one
    vector, and does not print.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_seed(self.secret, SECRET)

    @classmethod
    def fresh(cls) -> Key:
        """A new one, from the operating system's generator."""
        return cls(secrets.token_bytes(SECRET))

    @cached_property
    def s(self) -> Elements:
        """Its coefficients, as elements [4096]."""
        stream = XofHmacSha256Aes128(self.secret[:SEED], KEY)
        return Field64.integers(binomial(_words(stream, DEGREE)))

    def encrypt(self, v: Vector, binding: bytes, way: Packing) -> Octets:
        """The ciphertext of a vector of unsigned words mod 2^bits [d]: uint8 [7 · coefficients].

        It passes once over the vector: beside that and the ciphertext there are three rows at a
        time.
        """
        _check(v, way)
        key = ready(self.s)
        stream = XofHmacSha256Aes128(self.secret[SEED:], ERRORS)
        out = np.empty((way.coefficients // DEGREE, DEGREE * BYTES), np.uint8)
        numbers = np.empty((way.each, DEGREE), U64)
        errors = chain.from_iterable(
            _words(stream, size).reshape(-1, DEGREE) for size in _drawn(way.coefficients)
        )
        for k, (row, words) in enumerate(zip(rows(binding, way.coefficients), errors, strict=True)):
            _fill(numbers, v[k * DEGREE * way.each : (k + 1) * DEGREE * way.each])
            _seal(product(row, key), words, numbers, way, out[k])
        return out.reshape(-1)


def _fill(numbers: Elements, part: Vector) -> None:
    """Those of one row [each, 4096], with zeros behind the last, in place of those before."""
    straight = numbers.reshape(-1)
    straight[: len(part)] = part
    straight[len(part) :] = 0


def _seal(c: Elements, words: Elements, numbers: Elements, way: Packing, out: Octets) -> None:
    """c + e + ⌊m · p/2ᴷ⌉ to the nearest multiple of 2⁸, without its lowest byte, which is zero.

    p − 1 is such a multiple, so none passes it.
    """
    if fast := ring():
        fast.seal(c, words, numbers, way.places, out.view(U64), *NONE)
        return
    c = Field64.add(c, Field64.integers(binomial(words)))
    c = Field64.add(c, _scaled(numbers, way)) + U64(2 ** (CUT - 1))
    octets = np.ascontiguousarray(c, "<u8").view(np.uint8).reshape(-1, 8)
    out.reshape(-1, BYTES)[:] = octets[:, 1:]


def _words(stream: XofHmacSha256Aes128, n: int) -> Elements:
    return np.frombuffer(stream.read(8 * n), "<u8").astype(U64, copy=False)


def _scaled(numbers: Vector, way: Packing) -> Elements:
    """⌊m · p/2ᴷ⌉, but for an error below 1, of the numbers of some coefficients.

    With v = m · 2⁶⁴⁻ᴷ is m·p/2ᴷ = v − v/2³² + v/2⁶⁴; and v − ⌊v/2³²⌋ is below p for each v.
    """
    unused = U64(64 - way.bits)
    m = np.zeros(numbers.shape[1], U64)
    for j, row in enumerate(numbers):
        signed = (row << unused).view(np.int64) >> unused.view(np.int64)
        m += signed.view(U64) << U64(j * way.width)
    m <<= U64(way.shift)
    return np.asarray(m - (m >> HALF))


def _check(v: Vector, way: Packing) -> None:
    if v.shape != (way.size,) or v.dtype != word(way.bits):
        raise ProtocolError(
            f"A vector of {v.dtype}{list(v.shape)} is to be encrypted.",
            f"It has {way.size} words of {word(way.bits)}.",
            "Put Quantize(16, of='sum') at the end of the pipe.",
        )


# ── sums ──


def fits(ciphertext: Any, way: Packing) -> bool:
    """Is it a ciphertext: of so many coefficients, each an element?"""
    whole = isinstance(ciphertext, np.ndarray) and ciphertext.dtype == np.uint8
    if not whole or ciphertext.shape != (way.octets,):
        return False
    if fast := ring():
        found = np.zeros(1, U64)
        fast.count_elements(_coefficients(ciphertext), found, *NONE)
        return bool(found[0] == way.coefficients)
    return bool((_read(ciphertext) < Field64.p).all())


def add(total: Elements, ciphertext: Octets) -> None:
    """total + c, in place, for one that `fits`."""
    if fast := ring():
        fast.add(_coefficients(ciphertext), total, *NONE)
    else:
        total[:] = Field64.add(total, _read(ciphertext))


def remove(total: Elements, ciphertext: Octets) -> None:
    """total − c, in place, for one that `fits`."""
    total[:] = Field64.sub(total, _read(ciphertext))


def _coefficients(ciphertext: Octets) -> Octets:
    return np.ascontiguousarray(ciphertext).reshape(-1, BYTES)


def _read(ciphertext: Octets) -> Elements:
    """Its coefficients, as elements."""
    octets = _coefficients(ciphertext)
    wide = np.zeros((len(octets), 8), np.uint8)
    wide[:, 1:] = octets
    return np.asarray(wide.view("<u8")[:, 0], U64)


def is_short(s: Elements, clients: int) -> bool:
    """Can these elements be the sum of so many keys?"""
    most = U64(ETA * clients)
    return bool(((s <= most) | (s >= U64(Field64.p) - most)).all())


def decrypt(total: Elements, s: Elements, binding: bytes, way: Packing) -> tuple[Vector, int]:
    """Σ vᵢ mod 2^bits from Σ cᵢ and Σ sᵢ, and the largest error in it.

    An error above `way.error` says that these are not the ciphertexts of those keys; and so does
    what no zeros add up to, behind the last number, as an error of half a step.
    """
    key = ready(s)
    out = np.empty(way.size, word(way.bits))
    largest = 0
    for k, row in enumerate(rows(binding, way.coefficients)):
        part = total[k * DEGREE : (k + 1) * DEGREE]
        unpacked, error = _unseal(product(row, key), part, way)
        numbers = out[k * DEGREE * way.each : (k + 1) * DEGREE * way.each]
        numbers[:] = unpacked.reshape(-1)[: len(numbers)]
        if not _are_zeros(unpacked.reshape(-1)[len(numbers) :], way):
            error = way.half_step
        largest = max(largest, error)
    return out, largest


def _are_zeros(numbers: Elements, way: Packing) -> bool:
    """Can these be zeros, but for less than 1 of each client, carried by numbers that wrap?"""
    most = U64(way.clients)
    return bool((numbers + most & U64(2**way.bits - 1) <= most + most).all())


def _unseal(c: Elements, total: Elements, way: Packing) -> tuple[Elements, int]:
    """The numbers of coefficients [each, m], and the largest error."""
    if fast := ring():
        numbers = np.empty((way.each, len(total)), U64)
        largest = np.zeros(1, U64)
        fast.unseal(c, total, way.places, numbers, largest, *NONE)
        return numbers, int(largest[0])
    m, error = _rounded(Field64.sub(total, c), way)
    return _unpacked(m, way), error


def _rounded(y: Elements, way: Packing) -> tuple[Elements, int]:
    """⌊y · 2ᴷ/p⌉ mod 2ᴷ, and the largest distance from what it is of.

    y·2⁶⁴/p is y + ⌊y/2³²⌋, but for an error below 1.
    """
    z = y + (y >> HALF)
    m = (z + U64(way.half_step)) >> U64(way.shift)
    error = (z - (m << U64(way.shift))).view(np.int64)
    return m, int(np.abs(error).max())


def _unpacked(m: Elements, way: Packing) -> Elements:
    """The numbers of each coefficient, mod 2^bits [each, m]."""
    unused = U64(64 - way.width)
    out = np.empty((way.each, len(m)), U64)
    for j in range(way.each):
        signed = (m << unused).view(np.int64) >> unused.view(np.int64)
        out[j] = signed.view(U64) & U64(2**way.bits - 1)
        m = (m - signed.view(U64)) >> U64(way.width)
    return out
