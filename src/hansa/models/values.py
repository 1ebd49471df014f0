"""What a model is asked and what it gives, as values between algorithms, models and clients; and
what it says of itself.

Train, Gradient, Score and Features are asks, which hold all that their answer is made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..data import Examples
from ..rand import Key
from ..spec import Vector
from ..training import Training


@dataclass(frozen=True)
class Takes:
    """What a model takes of all that it may be asked for and given; what it does not is refused,
    since it would train otherwise than the plan says.

    private, only, clip, rates    Training(private=…), only=…, clip=…, rates=…
    told                          Train(…, told=…): what an algorithm tells the loss
    missing                       inputs that hold NaN, for a value that is missing
    endless                       targets that are infinite, as the upper end of a time is that
                                  nobody has seen
    """

    private: bool = False
    only: bool = False
    clip: bool = False
    rates: bool = False
    told: bool = False
    missing: bool = False
    endless: bool = False


@dataclass(frozen=True)
class Traits:
    """How a model is unlike most others.

    grows         training adds `size` numbers behind those of x, and leaves these as they are; see
                  `trees`
    personal      each client uses trained parts of its own, which its `local` holds; then it is
                  scored with them, beside the model that all share
    remembers     clients keep something from round to round: with it a secret sample of fixed size
                  hides nobody
    statistics    clients keep statistics of their own that the net computes with, as those of
                  BatchNorm, and remember them; without them it computes with those of its start
    looks_back    the loss looks at the net that the client's last training ended with
    draws         its code may draw from the global generators of numpy.random or random; then they
                  are seeded
    """

    grows: bool = False
    personal: bool = False
    remembers: bool = False
    statistics: bool = False
    looks_back: bool = False
    draws: bool = True


@dataclass(frozen=True)
class Drift:
    """An affine correction of every local gradient:  g(y) + pull·(y − x₀) + shift.

    pull = μ, shift = 0         FedProx    (Li et al. 2020, eq. 2)
    pull = 0, shift = c − cᵢ    SCAFFOLD   (Karimireddy et al. 2020, eq. 3)
    pull = α, shift = −gᵢ       FedDyn     (Acar et al. 2021, eq. 1)

    A pull [size] pulls each number with a strength of its own, such as Fisher's information
    (Shoham et al. 2019).
    """

    pull: float | Vector = 0.0
    shift: Vector | None = field(default=None, repr=False)  # [size]
    # [size] x₀; where not given, the start of the training
    centre: Vector | None = field(default=None, repr=False)

    @property
    def pulls(self) -> bool:
        """Is anything pulled?"""
        if isinstance(self.pull, float | int):  # at each training; NumPy takes longer to say so
            return self.pull != 0
        return bool(np.any(self.pull))

    def about(self, x: Vector) -> Vector:
        """x₀ [size] of a training from x."""
        if self.centre is None:
            return x
        return self.centre

    @property
    def alike(self) -> float:
        """The pull of all numbers; 0 where each has its own."""
        if self.apart is not None:
            return 0.0
        return float(self.pull)

    @property
    def apart(self) -> Vector | None:
        """The pull of each number [size], where each has its own."""
        if isinstance(self.pull, float | int) or np.ndim(self.pull) == 0:
            return None
        return np.asarray(self.pull)

    def vectors(self, x: Vector) -> tuple[Vector | None, Vector | None, Vector | None]:
        """x₀, the pull of each number, and the shift, of a training from x; None for what is not
        there.
        """
        if not self.pulls:
            return None, None, self.shift
        return self.about(x), self.apart, self.shift


# name → array: statistics that a client keeps to itself, from training to training
Local = Mapping[str, Any]
NO_LOCAL: Local = MappingProxyType({})  # for a client that has none, or none yet
# there, the net that the client's last training ended with [size]; no buffer has such a name
LAST = ".last"
# name → array: what an algorithm tells the loss of a training
Told = Mapping[str, Vector]
NO_TOLD: Told = MappingProxyType({})


@dataclass(frozen=True)
class TrainResult:
    """What training gave: the new vector [size], how many steps, their mean loss, and what stays
    with the client.
    """

    x: Vector = field(repr=False)
    steps: int
    loss: float
    local: Local = field(default_factory=dict, repr=False)


class Train(NamedTuple):
    """Train from x [size] on these examples, with this drift, and draws of this key.

    local: statistics that the client keeps to itself; its own, where none are given. told: arrays
    for a loss that has a parameter `told`; PlanError where the model's has none.
    """

    x: Vector
    data: Examples
    training: Training
    drift: Drift
    key: Key
    local: Local | None = None
    told: Told = NO_TOLD

    def __repr__(self) -> str:
        return "<Train>"


class Score(NamedTuple):
    """The metrics of x [size] on these examples, as means; `local` as in Train."""

    x: Vector
    data: Examples
    local: Local | None = None

    def __repr__(self) -> str:
        return "<Score>"


class Gradient(NamedTuple):
    """The gradient of the mean loss at x [size] over these examples, as one batch; 0 for numbers
    that are not trained.

    It is what one step of training takes, with draws of this key: in a net with dropout, of the
    numbers that the key leaves. `local` as in Train; it stays as it is. only: names of parts, as in
    Training, and 0 for all others; where it is None, those that the plan trains.
    """

    x: Vector
    data: Examples
    key: Key
    local: Local | None = None
    only: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return "<Gradient>"


class Features(NamedTuple):
    """The features of x [size] on these examples [n, width], and their targets [n, …].

    Both come from one reading, for a loader may give its examples in another order each time.
    `local` as in Train.
    """

    x: Vector
    data: Examples
    local: Local | None = None

    def __repr__(self) -> str:
        return "<Features>"
