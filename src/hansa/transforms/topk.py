"""TopK: say the largest numbers of an update now, and the others later."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, number, refuse
from ..spec import Spec, Vector
from . import Context, Transform

SLACK = 1e-12  # 0.07·100 is 7, and 7.000000000000001 in floating point


@dataclass(frozen=True)
class TopK(Transform):
    """Say the k = ⌈share·d⌉ numbers of largest magnitude of each block of d, and 0 for the others:

        u = v + e,    said = topₖ(u),    e ← u − said,    e = 0 in a client's first round

    With `feedback` each client keeps e, which it has not said yet (error feedback): over rounds
    Σ said = Σ v − e, and nothing is lost. Without, e = 0 in every round: what is left out is lost,
    and a sum has an error of √(1 − k/d)·‖v‖₂ from each client, at most. Of equal magnitudes the
    first go. Side values pass whole, and so do running statistics, whose change is measured from
    the present model and does not add up over rounds.

    It lengthens no vector; but v + e may be longer than v, so with feedback it stands before what
    bounds the update. It saves no bytes by itself: messages are dense, zeros and all, as secure
    sums and noise need them.   (Stich et al. 2018, Alg. 1; Karimireddy et al. 2019, Alg. 2)
    """

    share: float
    feedback: bool = False

    @property
    def remembers(self) -> bool:
        """Does a client keep e?"""
        return self.feedback

    def plan(self, spec: Spec) -> Spec:
        """Bounds stay; PlanError where what is left out would be noise, or would not add up."""
        bounded = [name for name in spec.trained if name not in spec.unbounded]
        wrong = [
            (
                not (number(self.share) and 0 < self.share < 1),
                f"TopK({self.share!r}) has nothing to leave out, or nothing to say.",
                "It says this share of each block's numbers.",
                "Write a number between 0 and 1, for example TopK(0.01, feedback=True).",
            ),
            (
                not isinstance(self.feedback, bool),
                f"TopK(feedback={self.feedback!r}) is neither on nor off.",
                "With feedback a client says later what it has left out.",
                "Write feedback=True or feedback=False.",
            ),
            (
                spec.space != "real",
                f"{self!r} comes after Quantize.",
                "It compares real numbers, and after Quantize the vector holds integers mod 2⁶⁴.",
                f"Put {self!r} before Quantize(…).",
            ),
            (
                bool(spec.noise.multiplier),
                f"{self!r} comes after noise.",
                "It would leave out most of what is drawn, and ε is stated of all of it.",
                f"Put {self!r} first in the pipe.",
            ),
            (
                bool(spec.rotated),
                f"{self!r} comes after Rotate.",
                "Rotate makes all numbers about as large, and those of one session are no part of "
                "the next.",
                f"Put {self!r} before Rotate().",
            ),
            (
                self.feedback and spec.weighed,
                f"{self!r} comes after Weigh.",
                "What a client owes would be added to a vector that may weigh something else.",
                f"Put {self!r} before Weigh(…).",
            ),
            (
                self.feedback and bool(bounded),
                f"{self!r} comes after a bound on: {', '.join(bounded)}.",
                "What a client owes is added to its vector, and both together may be longer.",
                f"Put {self!r} before Clip(…) or AdaptiveClip(…), which then bounds what is said.",
            ),
        ]
        refuse(wrong)
        return spec

    def encode(self, v: Vector, at: Context) -> Vector:
        """topₖ(v + e), block by block; DataError for what is no number, and has no magnitude."""
        said = v.copy()
        for name, u in self._owed(v, at).items():
            if not np.isfinite(u).all():
                raise DataError(
                    f"{at.who}'s {name} of round {at.round} holds NaN or infinity.",
                    "Nothing is larger than that, so this client stays out of the round.",
                    "Lower the learning rate, or look for extreme values in its data.",
                )
            said[..., at.spec.slice(name)] = largest(u, self._many(u.shape[-1]))
        return said

    def remember(self, v: Vector, encoded: Vector, at: Context) -> dict[str, Vector]:
        """e of each block: u − said."""
        said = at.spec.unpack(encoded)
        return {name: u - said[name] for name, u in self._owed(v, at).items()}

    def _owed(self, v: Vector, at: Context) -> dict[str, Vector]:
        """u = v + e of each block that is chosen from."""
        e: Mapping[str, Vector] = at.remembered or {}
        parts = at.spec.unpack(v)
        return {name: parts[name] + e.get(name, 0.0) for name in at.spec.trained}

    def _many(self, d: int) -> int:
        """k."""
        return math.ceil(self.share * d * (1 - SLACK))

    def explain(self, spec: Spec) -> str:
        """How many numbers are said, and what becomes of the others."""
        many = ", ".join(
            f"{self._many(spec.blocks[name])} of {spec.blocks[name]} numbers of {name}"
            for name in spec.trained
        )
        rest = "is lost"
        if self.feedback:
            # P290
            rest = "stays with the client, and is added in its next round"
        # P291
        return f"says the largest {many}, and zeros, which travel too; what it leaves out {rest}"


def largest(u: Vector, k: int) -> NDArray[np.float64]:
    """u [..., d] with its k numbers of largest magnitude, and 0 for the others; of equal ones the
    first.
    """
    size = np.abs(u)
    least = np.partition(size, -k, axis=-1)[..., -k, None]
    above = size > least
    level = size == least
    room = k - above.sum(-1, keepdims=True)
    chosen = above | (level & (np.cumsum(level, axis=-1) <= room))
    return np.where(chosen, u, 0.0)
