"""The checks of samples and of noise pass what keeps its promises, and notice what does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import hansa as h
from hansa import Key
from hansa.sample import Amplification
from hansa.testing import check_noise, check_sample
from hansa.testing.noise import SPECS
from hansa.transforms.curves import Gaussian, Mechanism

ONE = SPECS[:1]


@pytest.mark.parametrize("sample", [h.Everyone(), h.Uniform(3), h.Poisson(0.3), h.InTurn(5)], ids=repr)
def test_a_sample(sample: h.Sample) -> None:
    check_sample(sample)


@dataclass(frozen=True)
class Draws(h.Sample):
    """Draws by what it is told, as many as it says."""

    how: Callable[[Any, Key, int], Any] = lambda roster, key, round: roster[:2]
    most: int = 2
    says: str = "the first two"
    amplifies: Amplification | None = None
    least: int = 1

    def __repr__(self) -> str:
        return "Draws()"

    @property
    def amplification(self) -> Amplification | None:
        return self.amplifies

    def apart(self, population: int) -> int:
        return self.least

    def draw(self, roster: Any, key: Key, round: int = 0) -> Any:
        return self.how(roster, key, round)

    def describe(self) -> str:
        return self.says


@dataclass(frozen=True, repr=False)
class Unchecked(Draws):
    """Leaves out what its parent checks."""

    def __post_init__(self) -> None:
        pass


CALLS: list[int] = []


def counted(roster: Any, key: Key, round: int) -> Any:
    CALLS.append(round)
    return [roster[len(CALLS) % len(roster)], roster[(len(CALLS) + 1) % len(roster)]]


def dice(roster: Any, key: Key, round: int) -> Any:
    return list(np.random.default_rng().choice(list(roster), 2, replace=False))


def sorts(roster: Any, key: Key, round: int) -> Any:
    if isinstance(roster, list):
        roster.sort(reverse=True)
    return roster[:2]


def pairs(roster: Any, key: Key, round: int) -> Any:
    return [who for who in roster if who in roster and who in list(roster)[:2]]


BAD_SAMPLES = {
    "a stranger": (Draws(how=lambda *_: ["eve", "eva"]), "names of the roster"),
    "twice": (Draws(how=lambda roster, *_: [roster[0], roster[0]]), "names a client twice"),
    "nobody": (Draws(how=lambda *_: []), "names nobody"),
    "more than it says": (Draws(how=lambda roster, *_: roster[:3]), "`most` says 2"),
    "fewer than it says": (Draws(how=lambda roster, *_: roster[:1]), r"expected\(\) says 2"),
    "its own count": (Draws(how=counted), "not a function of roster, key and round"),
    "its own dice": (Draws(how=dice), "not a function of roster, key and round"),
    "sorts": (Draws(how=sorts), "changes the roster"),
    "always the same": (Draws(amplifies=Amplification(size=2)), "`amplification` says"),
    "sooner": (Draws(least=3), r"apart\(\) says 3"),
    "every pair": (Draws(how=pairs), "look a name up in a set"),
    "no clause": (Draws(says="The first two."), "one clause"),
    "no quorum": (Unchecked(quorum=0), "a plan refuses it"),
}


@pytest.mark.parametrize("case", BAD_SAMPLES, ids=lambda case: case.replace(" ", "-"))
def test_a_sample_that_breaks_a_promise(case: str) -> None:
    sample, sentence = BAD_SAMPLES[case]
    with pytest.raises(AssertionError, match=sentence):
        check_sample(sample)


@pytest.mark.parametrize(
    "noise",
    [h.GaussianNoise(1.0), h.LaplaceNoise(0.5), h.GaussianNoise(1.0, by="all", least=3), h.SkellamNoise(1.0)],
    ids=repr,
)
def test_noise(noise: Any) -> None:
    check_noise(noise, ONE if noise.least > 1 else SPECS)


@dataclass(frozen=True)
class Tenth(h.GaussianNoise):
    """States a tenth of what it gives away."""

    def privacy(self, spec: Any, n: int) -> Mechanism:
        return Gaussian(10**0.5 * self.noise)


@dataclass(frozen=True)
class Shares(h.GaussianNoise):
    """Spends in each block what all of them may spend together."""

    def privacy(self, spec: Any, n: int) -> Mechanism:
        return Gaussian(self.noise)

    def scales(self, spec: Any, bounds: Any) -> dict[str, float]:
        return {name: self.noise * bounds[name] for name in spec.blocks}


@dataclass(frozen=True)
class Grid(Shares):
    """Draws sums of coins, which lie on a grid."""

    privacy = Shares.privacy

    def draw(self, shape: Any, key: Key) -> Any:
        return (key.rng().binomial(64, 0.5, shape) - 32.0) / 4


@dataclass(frozen=True)
class Again(Shares):
    """The same draws beside any sum."""

    privacy = Shares.privacy

    def decode(self, total: Any, at: Any) -> Any:
        return total + self.noise * at.key.normal(total.shape)


@dataclass(frozen=True)
class Fixed(Shares):
    """The same draws whatever the key."""

    privacy = Shares.privacy

    def draw(self, shape: Any, key: Key) -> Any:
        return np.where(np.arange(shape[-1]) % 2, 1.0, -1.0)


@dataclass(frozen=True)
class Uneven(Tenth):
    """Forgets the bound of one block."""

    privacy = Tenth.privacy

    def decode(self, total: Any, at: Any) -> Any:
        return total + self.noise * at.key.beside(total).normal(total.shape)


@dataclass(frozen=True)
class Falls(Shares):
    """States more of more noise."""

    def privacy(self, spec: Any, n: int) -> Mechanism:
        return Gaussian(1 / self.noise)


@dataclass(frozen=True)
class Unstated(Shares):
    """Draws what another class states."""

    def draw(self, shape: Any, key: Key) -> Any:
        return 2 * key.normal(shape)


@dataclass(frozen=True)
class Worded(Shares):
    """Two sentences in the place of a clause."""

    def describe(self) -> str:
        return "Noise.\nMuch of it."


BAD_NOISES = {
    "a tenth": (Tenth(1.0), ONE, "it states a divergence of"),
    "no shares": (Shares(0.5), SPECS[1:], "it states a divergence of"),
    "on a grid": (Grid(2.0), ONE, "where its draws lie on a grid"),
    "beside any sum": (Again(1.0), ONE, "drawn beside two sums"),
    "whatever the key": (Fixed(1.0), ONE, "decode.* on average|another key"),
    "another size": (Uneven(1.0), SPECS[1:], "times as large as plan"),
    "less of less": (Falls(1.0), ONE, "more noise hides more"),
    "unstated": (Unstated(1.0), ONE, "nobody has stated"),
    "no clause": (Worded(1.0), ONE, "one clause"),
}


@pytest.mark.parametrize("case", BAD_NOISES, ids=lambda case: case.replace(" ", "-"))
def test_noise_that_breaks_a_promise(case: str) -> None:
    noise, specs, sentence = BAD_NOISES[case]
    with pytest.raises(AssertionError, match=sentence):
        check_noise(noise, specs)
