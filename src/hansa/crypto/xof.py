"""Extendable output functions: a short seed, and its use, become as many bytes as are wanted.

A stream is bound to a seed, to a tag (dst) that separates its use from every other, and to a
binder: the public values that it must depend on. (draft-irtf-cfrg-vdaf, section 6.2)
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from ..errors import PlanError, ProtocolError
from .field import Elements, Field

try:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
except ModuleNotFoundError as missing:
    raise PlanError(
        "cryptography is not installed.",
        "Proofs need its AES.",
        "Install it: pip install 'hansa[verified]'.",
    ) from missing

Bytes = bytes | memoryview
ZEROS = bytes(2**16)


class Xof(Protocol):
    """A stream of pseudorandom bytes."""

    def read(self, n: int) -> bytes:
        """The next n bytes of the stream."""


class XofHmacSha256Aes128:
    """AES in counter mode, by a key that HMAC derives.

        K ‖ IV = HMAC-SHA256(seed, len₁(dst) ‖ dst ‖ binder);  stream = AES-128-CTR(K, IV) of zeros

    The fast one: 11 GB/s where the processor has AES. Seeds have 32 bytes.
    (draft-chen-cfrg-vdaf-pine, section 3.4)
    """

    seed_size = 32

    def __init__(self, seed: bytes, dst: bytes, binder: Iterable[Bytes] = ()):
        check_seed(seed, self.seed_size)
        mac = hmac.new(seed, bytes([len(dst)]) + dst, hashlib.sha256)
        for part in binder:
            mac.update(part)
        key = mac.digest()
        self._stream = Cipher(algorithms.AES(key[:16]), modes.CTR(key[16:])).encryptor()

    def read(self, n: int) -> bytes:
        zeros = memoryview(ZEROS)[:n] if n <= len(ZEROS) else bytes(n)
        data: bytes = self._stream.update(zeros)
        return data


class XofTurboShake128:
    """TurboSHAKE of seed, tag and binder, each but the last behind its length.

        stream = TurboSHAKE128(len₂(dst) ‖ dst ‖ len₁(seed) ‖ seed ‖ binder, D = 1)

    len₂ is little-endian.

    Seeds have 32 bytes.  (draft-irtf-cfrg-vdaf-18, section 6.2.1)
    """

    seed_size = 32

    def __init__(self, seed: bytes, dst: bytes, binder: Iterable[Bytes] = ()):
        check_seed(seed, self.seed_size)
        self._stream = _turboshake([self.head(seed, dst), *binder])

    def head(self, seed: bytes, dst: bytes) -> bytes:
        """What is hashed before the binder."""
        return len(dst).to_bytes(2, "little") + dst + bytes([len(seed)]) + seed

    def read(self, n: int) -> bytes:
        return self._stream.read(n)


class XofTurboShake128Draft11(XofTurboShake128):
    """stream = TurboSHAKE128(len₁(dst) ‖ dst ‖ seed ‖ binder, D = 1).

    Seeds have 16 bytes.  (draft-irtf-cfrg-vdaf-11, section 6.2.1, on which PINE's second draft is
    built)
    """

    seed_size = 16

    def head(self, seed: bytes, dst: bytes) -> bytes:
        return bytes([len(dst)]) + dst + seed


def elements(stream: Xof, field: Field, n: int) -> Elements:
    """n uniform field elements, from a stream.

    Integers of `field.size` bytes are drawn, and those that are not below p left out.

    In all four fields p fills its bytes, so nothing is masked.  (draft-irtf-cfrg-vdaf, section 6.2,
    `next_vec`)
    """
    v, good = field.read(stream.read(n * field.size))
    while not good.all():
        v = v[good]
        more, good = field.read(stream.read((n - len(v)) * field.size))
        v, good = np.concatenate([v, more]), np.concatenate([np.ones(len(v), bool), good])
    return v


def check_seed(seed: bytes, size: int) -> None:
    """ProtocolError unless the seed has as many bytes as the function takes."""
    if len(seed) != size:
        raise ProtocolError(
            f"A seed of {len(seed)} bytes.",
            f"It must have {size} bytes.",
            "It was cut short, or mixed up.",
        )


def _turboshake(parts: Iterable[Bytes]) -> Xof:
    try:
        from Crypto.Hash import TurboSHAKE128
    except ModuleNotFoundError as missing:
        raise PlanError(
            "pycryptodome is not installed.",
            "Prio3 expands its seeds with TurboSHAKE128, which no other library offers.",
            "Install it: pip install 'hansa[verified]'.",
        ) from missing
    state: Any = TurboSHAKE128.new(domain=1)
    for part in parts:
        state.update(part)
    stream: Xof = state
    return stream
