"""Masks: pseudorandom words that hide a vector, and that leave a sum when all of it is there.

    y_u = x_u + PRG(b_u) + Σ_{v>u} PRG(s_uv) − Σ_{v<u} PRG(s_uv)   mod 2ᵇ

s_uv: the seed of a pair, which cancels in the sum of both; b_u: the seed of a client alone, which
is taken off when it is known (Bonawitz et al. 2017, §4).

    PRG(K ‖ c) = AES-128-CTR(key K, first counter c ‖ 2) of zeros, as little-endian words

A seed has one mask: who sees two vectors under it knows their difference. The counter begins where
the seed says, so that nobody can search for the keys of many masks at once; its last four bytes
begin as those of AES-GCM do, whose stream this is (NIST SP 800-38D, §7.1), for where the processor
has AVX-512 that is made in half the time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from ..errors import PlanError, ProtocolError
from ..spec import Vector
from .keys import PrivateKey, hkdf, joined
from .xof import check_seed

try:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
except ModuleNotFoundError as missing:
    raise PlanError(
        "cryptography is not installed.",
        "Masks need its AES.",
        "Install it: pip install 'hansa[verified]'.",
    ) from missing

SECRET = 32  # bytes of what a client alone draws
KEY = 16  # bytes of an AES key
SEED = KEY + 12  # bytes of a seed: a key, and where its counter begins
CHUNK = 2**17  # bytes; vector, stream and zeros of so many stay in the second-level cache
ZEROS = memoryview(bytes(CHUNK))
FIRST = (2).to_bytes(4, "big")  # counter of the first block of a GCM's stream
TRIES = 9  # at the time that a chunk takes

PAIR = b"hansa mask of a pair 2"
OWN = b"hansa mask of one 2"


def pair_seeds(
    own: PrivateKey, me: str, others: Mapping[str, bytes], binding: bytes
) -> dict[str, bytes]:
    """The seeds s of a client with each of the others, by name, from their public keys.

    binding: all that both must agree on for their masks to cancel, such as session, plan and model.
    `own` is for one session. ProtocolError where `PrivateKey.agree` raises it.
    """
    secrets = own.agree(me, others, joined(PAIR, binding))
    return {who: secret[:SEED] for who, secret in secrets.items()}


def own_seed(secret: bytes, who: str, binding: bytes) -> bytes:
    """The seed b of a client alone, from 32 secret bytes that were drawn for one session."""
    check_seed(secret, SECRET)
    return hkdf(secret, joined(OWN, binding, who.encode()), SEED)


def sign(who: str, other: str) -> int:
    """With which sign `who` adds the mask of this pair: +1 or −1, and `other` with the opposite."""
    return 1 if who < other else -1


def add_masks(v: Vector, masks: Sequence[tuple[bytes, int]], bits: int) -> None:
    """v ← v + Σ sign · PRG(seed)  mod 2ᵇ, in place, for masks (seed, ±1).

    v: uint16, uint32 or uint64 [d], words of at least `bits` bits. It is passed once, in chunks
    that stay in the cache while all masks are added.
    """
    _check(v, masks, bits)
    streams = [(_stream(seed), np.add if sign > 0 else np.subtract) for seed, sign in masks]
    most = v.dtype.type(2**bits - 1)
    buffer = np.empty(CHUNK, np.uint8)
    words = buffer.view(v.dtype.newbyteorder("<"))
    for start in range(0, len(v), len(words)):
        part = v[start : start + len(words)]
        zeros = ZEROS[: part.nbytes]
        mask = words[: len(part)]
        for stream, add in streams:
            stream.update_into(zeros, buffer)
            add(part, mask, out=part)
        part &= most


def _stream(seed: bytes) -> Any:
    """AES in counter mode, which encrypts zeros to the mask of this seed."""
    return Cipher(algorithms.AES128(seed[:KEY]), _mode()(seed[KEY:])).encryptor()


@cache
def _mode() -> Any:
    """The faster one of two ways to the same stream, on this processor: measured once."""
    return min(_gcm, _ctr, key=_seconds)


def _gcm(begin: bytes) -> Any:
    """AES-GCM, whose tag nobody asks for; it says so where it has no more stream, after 64 GiB."""
    return modes.GCM(begin)


def _ctr(begin: bytes) -> Any:
    """Plain counter mode."""
    return modes.CTR(begin + FIRST)


def _seconds(mode: Any) -> float:
    """The least that one of several chunks takes."""
    stream = Cipher(algorithms.AES128(bytes(KEY)), mode(bytes(SEED - KEY))).encryptor()
    buffer = bytearray(CHUNK)
    found = []
    for _ in range(TRIES):
        begin = time.perf_counter()
        stream.update_into(ZEROS, buffer)
        found.append(time.perf_counter() - begin)
    return min(found)


def _check(v: Vector, masks: Sequence[tuple[bytes, int]], bits: int) -> None:
    if v.ndim != 1 or v.dtype not in (np.uint16, np.uint32, np.uint64):
        raise PlanError(
            f"A mask is to be added to {v.dtype} of shape {v.shape}.",
            "Only the sum of words that wrap around is hidden, and exact.",
            "Put Quantize(bits=16) at the end of the pipe.",
        )
    if not 1 <= bits <= 8 * v.itemsize:
        raise PlanError(
            f"Words of {8 * v.itemsize} bits are to be added mod 2^{bits}.",
            "What does not fit would be lost.",
            f"Take words of at least {bits} bits.",
        )
    for seed, _ in masks:
        check_seed(seed, SEED)
    if any(sign not in (1, -1) for _, sign in masks):
        raise ProtocolError(
            "A mask has another sign than 1 and −1.",
            "It would not cancel.",
            "Take the sign of its pair: sign(who, other).",
        )
    if len({seed for seed, _ in masks}) < len(masks):
        raise ProtocolError(
            f"Of {len(masks)} masks two have one seed.",
            "With opposite signs they would hide nothing.",
            "Draw each seed anew, and add each mask once.",
        )
