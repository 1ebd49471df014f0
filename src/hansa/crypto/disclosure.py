"""Disclosures: a secret that two have agreed on, shown to all by one of them, with a proof.

    s = a·E                       of keys a, A = a·B (X25519) and e, E = e·B (Ed25519); both have it
    R₁ = r·8B,  R₂ = r·8E         c = H(A ‖ E ‖ D ‖ R₁ ‖ R₂ ‖ about)         z = r + c·a   mod ℓ
    z·8B = R₁ + c·8A,  z·8E = R₂ + c·8s

so that one number a is behind A and behind s: nobody can show another secret (Chaum and Pedersen
1993; RFC 9497, §2.2). An X25519 key is the u of two points, P
and −P, and either is taken for all of them. What is shown is D = s/8, and s is taken as 8·D: so a
part of small order, by which one secret would pass for another, is nobody's to add (RFC 7748, §4.1
and 5; RFC 8032, §5.1).

Who discloses multiplies what another has said by its own a: it must know that the other has e, or
it would show what it has agreed on with a third.

It is written in Python, which promises no constant time. What is multiplied by, r and r + a, is for
one disclosure, and a client makes one where another has cheated, and nowhere else.
"""

from __future__ import annotations

import hashlib

from .keys import PrivateKey, joined

PROOF = 96  # bytes of a disclosure: D, c, z
DOMAIN = b"hansa disclosure 1"
NONCE = b"hansa disclosure: nonce 1"

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493  # ℓ
D = -121665 * pow(121666, -1, P) % P  # of the curve  −x² + y² = 1 + D·x²·y²
ROOT = pow(2, (P - 1) // 4, P)  # √−1
EIGHTH = pow(8, -1, ORDER)

Point = tuple[int, int, int, int]  # X, Y, Z, T  with  x = X/Z, y = Y/Z, x·y = T/Z

ZERO: Point = (0, 1, 1, 0)


def disclose(own: PrivateKey, other: bytes, about: bytes) -> bytes | None:
    """The secret of an X25519 key with another's public one (Ed25519), and a proof; None where
    either is no point of the curve of large order: an honest key is one.

    about: what it is shown for; it proves nothing of anything else. The same each time.
    """
    e = _multiple(_decoded(other))
    key = _multiple(_lift(own.public))
    if e is None or key is None:
        return None
    secret = _lift(own.exchange({"": agreement_of(other)})[""])
    assert secret is not None  # a multiple of a point of the curve
    a = _clamped(own.secret) % ORDER
    told = joined(NONCE, own.secret, own.public, other, about)
    r = int.from_bytes(hashlib.sha512(told).digest(), "little") % ORDER
    first = _times(r, _eight(BASE))
    second = _times(r, e)
    # of P and −P: a is never multiplied by alone, so that no time tells of it
    hidden = (r + a) % ORDER
    if not _same(_times(hidden, _eight(BASE)), _add(first, key)):
        a = -a
    if not _same(_times(hidden, e), _add(second, _eight(secret))):
        secret = _negative(secret)
    if a < 0:
        secret = _negative(secret)
    shown = _encoded(_times(EIGHTH, secret))
    c = _challenge(_statement(own.public, other, shown, about), first, second)
    z = (r + c * a) % ORDER
    return shown + c.to_bytes(32, "little") + z.to_bytes(32, "little")


def disclosed(one: bytes, other: bytes, proof: bytes, about: bytes) -> bytes | None:
    """The secret of a public key (X25519) with another (Ed25519), as the holder of the first has
    disclosed it; None where this proves nothing.
    """
    shown = proof[:32]
    c = int.from_bytes(proof[32:64], "little")
    z = int.from_bytes(proof[64:], "little")
    a = _multiple(_lift(one))
    e = _multiple(_decoded(other))
    eighth = _decoded(shown)
    if len(proof) != PROOF or z >= ORDER or a is None or e is None or eighth is None:
        return None
    secret = _eight(eighth)
    first = _difference(z, _eight(BASE), c, a)
    second = _difference(z, e, c, _eight(secret))
    if c != _challenge(_statement(one, other, shown, about), first, second):
        return None
    return _montgomery(secret)


def agreement_of(public: bytes) -> bytes:
    """The X25519 key of an Ed25519 one:  u = (1 + y)/(1 − y); any bytes for what is no key."""
    y = int.from_bytes(public, "little") % 2**255
    below = (1 - y) % P
    u = (1 + y) * pow(below, -1, P) % P if below else 0
    return u.to_bytes(32, "little")


# ── proofs ──


def _statement(one: bytes, other: bytes, shown: bytes, about: bytes) -> bytes:
    return joined(DOMAIN, one, other, shown, about)


def _challenge(statement: bytes, first: Point, second: Point) -> int:
    told = joined(statement, _encoded(first), _encoded(second))
    return int.from_bytes(hashlib.sha512(told).digest(), "little") % ORDER


def _clamped(secret: bytes) -> int:
    """The number by which X25519 multiplies (RFC 7748, §5)."""
    k = int.from_bytes(secret, "little") % 2**254
    return (k | 2**254) & ~7


def _multiple(point: Point | None) -> Point | None:
    """Eight times a point; None where there is none, or that is zero."""
    if point is None:
        return None
    found = _eight(point)
    if found[0] == 0:  # of all multiples of eight, zero alone
        return None
    return found


# ── points (RFC 8032, §5.1.4) ──


def _add(p: Point, q: Point) -> Point:
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e = b - a
    f = d - c
    g = d + c
    h = b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _double(p: Point) -> Point:
    a = p[0] * p[0] % P
    b = p[1] * p[1] % P
    c = 2 * p[2] * p[2] % P
    h = a + b
    e = h - (p[0] + p[1]) ** 2 % P
    g = a - b
    f = c + g
    return e * f % P, g * h % P, f * g % P, e * h % P


def _negative(p: Point) -> Point:
    return -p[0] % P, p[1], p[2], -p[3] % P


def _eight(p: Point) -> Point:
    return _double(_double(_double(p)))


def _times(k: int, p: Point) -> Point:
    """k·p, 0 ≤ k < 2²⁵⁶, by as many doublings and additions for each k."""
    found = ZERO
    for i in range(255, -1, -1):
        found = _double(found)
        added = _add(found, p)
        found = added if k >> i & 1 else found
    return found


def _difference(k: int, p: Point, m: int, q: Point) -> Point:
    """k·p − m·q, of numbers that everybody knows."""
    q = _negative(q)
    both = _add(p, q)
    found = ZERO
    for i in range(255, -1, -1):
        found = _double(found)
        bits = (k >> i & 1) + 2 * (m >> i & 1)
        if bits:
            found = _add(found, (p, q, both)[bits - 1])
    return found


def _same(p: Point, q: Point) -> bool:
    return (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0


def _point(y: int, odd: int) -> Point | None:
    """The point of this y on the curve, and of the x that is odd, or even."""
    u = (y * y - 1) % P
    v = (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P != u:
        x = x * ROOT % P
    if v * x * x % P != u or (x == 0 and odd):
        return None
    if x % 2 != odd:
        x = P - x
    return x, y, 1, x * y % P


def _lift(public: bytes) -> Point | None:
    """That of the two points of an X25519 key whose x is even:  y = (u − 1)/(u + 1)."""
    u = int.from_bytes(public, "little") % 2**255 % P
    if u == P - 1:
        return None
    return _point((u - 1) * pow(u + 1, -1, P) % P, 0)


def _montgomery(p: Point) -> bytes:
    """As X25519 writes it:  u = (1 + y)/(1 − y)."""
    u = (p[2] + p[1]) * pow(p[2] - p[1], -1, P) % P
    return u.to_bytes(32, "little")


def _encoded(p: Point) -> bytes:
    """y, and whether x is odd."""
    inverse = pow(p[2], -1, P)
    x = p[0] * inverse % P
    y = p[1] * inverse % P
    return (y | (x % 2) << 255).to_bytes(32, "little")


def _decoded(data: bytes) -> Point | None:
    value = int.from_bytes(data, "little")
    y = value % 2**255
    return _point(y, value >> 255) if y < P else None


def _base() -> Point:
    found = _point(4 * pow(5, -1, P) % P, 0)
    assert found is not None
    return found


BASE = _base()
