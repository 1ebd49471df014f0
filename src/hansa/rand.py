"""Randomness as a value: a Key makes streams and child keys, and nothing else is random.

What other code draws, from generators that all of a process share, is seeded by a Key.
"""

from __future__ import annotations

import hashlib
import random
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.random import mtrand
from numpy.typing import NDArray
from randomgen import AESCounter

from .spec import Vector


@dataclass(frozen=True)
class Key:
    """A node of a tree of keys; equal paths give equal draws.

        child = BLAKE2b(label, key=secret)

    What is public grows from `Key.of(seed)`, what hides from `Key.fresh()`:

        public draws = Philox(secret)                (Salmon et al. 2011)
        hidden draws = AES-128(secret, 0, 1, 2, …)   (FIPS 197)

    The first is made for simulation: who sees enough of its draws computes all others. Of the
    second, which the operating system has drawn, nobody can without the secret.
    """

    secret: bytes = field(repr=False)
    hides: bool = False  # did the operating system draw it?

    @classmethod
    def fresh(cls) -> Self:
        """A key from the operating system's generator."""
        return cls(secrets.token_bytes(32), hides=True)

    @classmethod
    def of(cls, seed: int) -> Self:
        """The root of draws that repeat, for whoever knows the seed."""
        return cls(hashlib.blake2b(str(seed).encode(), digest_size=32).digest())

    def child(self, *path: object) -> Self:
        """The key at `path` below this one; a path is a sequence of words and numbers."""
        label = "/".join(map(str, path)).encode()
        secret = hashlib.blake2b(label, key=self.secret, digest_size=32).digest()
        return type(self)(secret, self.hides)

    def beside(self, v: Vector) -> Self:
        """The key of what is shown with `v` alone: beside other data it draws something else."""
        return self.child("beside", hashlib.sha256(np.ascontiguousarray(v).data).hexdigest())

    def rng(self) -> np.random.Generator:
        """A NumPy generator, fresh at each call: two calls draw the same."""
        if self.hides:
            return np.random.Generator(AESCounter(key=int.from_bytes(self.secret[:16], "little")))
        words = np.frombuffer(self.secret[:16], ">u8")[::-1]  # the lower one first
        return np.random.Generator(np.random.Philox(key=words.astype(np.uint64)))

    def seed(self, bits: int = 63) -> int:
        """A non-negative integer, to seed the generator of another library."""
        return int.from_bytes(self.secret[16:], "big") >> (128 - bits)

    def normal(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Independent N(0, 1) draws."""
        return self.rng().standard_normal(shape)

    def uniform(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Independent U[0, 1) draws."""
        return self.rng().random(shape)

    def integers(self, n: int) -> NDArray[np.uint64]:
        """n independent integers, uniform mod 2⁶⁴."""
        return self.rng().integers(0, 2**64, n, dtype=np.uint64)


# ── generators that all of a process share ────────────────────────────────────────────────────────

SPARE = list[np.random.MT19937]()  # to stand in for NumPy's; making one takes 100 µs


@contextmanager
def seeded(key: Key) -> Iterator[None]:
    """The global generators of `numpy.random`, `random` and PyTorch's CPU, where that is there,
    seeded by the key; afterwards they are as they were.

    For code that is not hansa's, such as a data set that augments: what it draws then follows from
    the key, whatever else the process has drawn.
    """
    words = np.frombuffer(key.secret[:16], np.uint32)
    torch = sys.modules.get("torch")
    before = random.getstate()
    tensor = torch and torch.get_rng_state()
    own = mtrand.get_bit_generator()
    kept = np.random.get_state(legacy=False)  # noqa: NPY002
    if not SPARE:
        SPARE.append(np.random.MT19937(0))
    stand_in = SPARE.pop()
    mtrand.set_bit_generator(stand_in)
    try:
        np.random.seed(words)  # noqa: NPY002
        random.seed(key.secret)
        if torch:
            torch.default_generator.manual_seed(key.seed())
        yield
    finally:
        mtrand.set_bit_generator(own)
        if kept["has_gauss"]:  # the half of a pair that is left
            np.random.set_state(kept)  # noqa: NPY002
        SPARE.append(stand_in)
        random.setstate(before)
        if torch:
            torch.set_rng_state(tensor)


def shared() -> tuple[object, ...]:
    """Where the global generators of `numpy.random` and `random` stand: equal until one draws."""
    _, words, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    return random.getstate(), bytes(words), *rest  # type: ignore[arg-type]
