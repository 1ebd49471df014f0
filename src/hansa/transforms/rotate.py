"""Rotate: spread a vector evenly over its coordinates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..rand import Key
from ..spec import Spec, Vector
from . import Context, Transform

FACTOR = 3  # log₂ of the size of the matrices that H is put together from; 2 and 4 take longer


@dataclass(frozen=True)
class Rotate(Transform):
    """Turn each block of the update at random:  x = H·D·(v, 0),   decode  v = D·H·x.

    D flips signs, H is the Hadamard matrix over √d, and zeros pad v to d = 2ᵐ. As H·H = D·D = 1,
    lengths and sums stay what they are. Every coordinate is then about N(0, ‖v‖²/d), so that few
    bits hold all of them; put it before Quantize(…, of="sum"). All clients of a session flip the
    same signs: they are public, and hide nothing. (Ailon and Chazelle 2009; Suresh et al. 2017, §3;
    Kairouz et al. 2021, §4.1)
    """

    def plan(self, spec: Spec) -> Spec:
        """The blocks of the update are padded and spread; their bounds stay."""
        if spec.space != "real":
            raise PlanError(
                "Rotate comes after Quantize.",
                "It adds and subtracts real numbers, and after Quantize the vector holds integers "
                "mod 2⁶⁴.",
                "Put Rotate() before Quantize(…).",
            )
        if spec.rotated:
            raise PlanError(
                "The pipe holds two Rotates.",
                "One spreads a vector as evenly as two.",
                "Keep one of them.",
            )
        blocks = {
            name: 1 << (n - 1).bit_length() if name in spec.update else n
            for name, n in spec.blocks.items()
        }
        kinds = {**spec.kinds, **dict.fromkeys(spec.update, "spread")}
        kinds |= dict.fromkeys(spec.statistics, "spread statistics")
        return spec.replace(blocks=blocks, kinds=kinds)

    def encode(self, v: Vector, at: Context) -> Vector:
        """H·D·(v, 0), block by block."""
        parts = []
        for name, d in self.plan(at.spec).blocks.items():
            part = v[..., at.spec.slice(name)]
            if name in at.spec.update:
                n = part.shape[-1]
                padded = np.zeros((*part.shape[:-1], d))
                np.multiply(part, _signs(at.common, name, d)[:n], out=padded[..., :n])
                part = hadamard(padded)
            parts.append(part)
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts, axis=-1)

    def decode(self, total: Vector, at: Context) -> Vector:
        """D·H·x, without the padding."""
        parts = []
        spread = self.plan(at.spec)
        for name, n in at.spec.blocks.items():
            part = total[..., spread.slice(name)]
            if name in at.spec.update:
                part = hadamard(part)[..., :n] * _signs(at.common, name, part.shape[-1])[:n]
            parts.append(part)
        return np.concatenate(parts, axis=-1)

    def explain(self, spec: Spec) -> str:
        """What for."""
        # P45
        return (
            "turns the update at random, which spreads its length over all its numbers; anyone can "
            "turn it back"
        )


def hadamard(v: Vector) -> Vector:
    """H·v along the last axis of length d = 2ᵐ, orthonormal:  Hᵢⱼ = (−1)^(i·j) / √d, with i·j over
    the bits of i and j.

    H of 2ᵐ⁺ᵏ is the Kronecker product of those of 2ᵐ and 2ᵏ, so v is a cube of small sides that
    each is multiplied by its own matrix. One matrix product does a side and moves its axis to the
    end; after all of them every axis is home.
    """
    x = v
    m = v.shape[-1].bit_length() - 1
    sides = [FACTOR] * (m // FACTOR) + [m % FACTOR]
    for k in filter(None, sides):
        x = x.reshape(*v.shape[:-1], 2**k, -1).swapaxes(-1, -2) @ _matrix(k)
    return x.reshape(v.shape)


def _matrix(k: int) -> NDArray[np.float64]:
    H = np.ones((1, 1))
    for _ in range(k):
        H = np.block([[H, H], [H, -H]])
    return H / math.sqrt(2**k)


def _signs(common: Key, name: str, d: int) -> NDArray[np.int8]:
    """D of a block: ±1, the same for all parties of a session."""
    return 1 - 2 * common.child("rotate", name).rng().integers(0, 2, d, dtype=np.int8)
