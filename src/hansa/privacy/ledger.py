"""Ledger: what has been given away about a client, as ε at δ.

    (release, times), …   →   Σ times·D_α(release) at each order α   →   ε = min over α, at δ

Rényi divergences of releases add up (Mironov 2017, Prop. 1), and the sum is made ε once, at the end
(Canonne et al. 2020, Prop. 12); or privacy losses are convolved, which is tighter (accountant
"pld"; Koskela et al. 2020). ε is that of the client for which most has been released.
dp-accounting does the computing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from typing import Literal

from ..errors import PlanError, number
from ..rounds import NAMED, Spent, Unit
from .mechanisms import NEIGHBOURS, Release, curve

# how many there are is no secret
EXAMPLE = "its client's data with the example, or with nothing in its place"
MISSING = "the library that adds up privacy is not installed: pip install 'hansa[privacy]'"


def taken_on_trust(stated: Sequence[str]) -> str:
    """Beside an ε, whose word it rests on."""
    return f"as {' and '.join(stated)} states of its noise, which hansa has not checked"


def proviso(named: bool, stated: Sequence[str]) -> str:
    """What is to be said beside an ε: against whom it does not hold, whose word it rests on."""
    but = ""
    if named:
        but = f", but {NAMED}"
    if stated:
        but += f", {taken_on_trust(stated)}"
    return but


@dataclass(frozen=True)
class Guarantee:
    """What a run promises each client: ε at δ; or no ε, and why not.

    neighbours: which two federations are compared, as words that go on after "the federation".
    """

    epsilon: float | None
    delta: float
    neighbours: str = ""
    why: str = ""
    unit: Unit = "client"
    named: bool = False  # does the noise grow from a secret that a simulation names?
    stated: tuple[str, ...] = ()  # classes outside hansa whose word on their noise it rests on

    @property
    def spent(self) -> dict[Unit, Spent]:
        """ε and δ, by whom they protect; nothing where there is no ε."""
        return {} if self.epsilon is None else {self.unit: Spent(self.epsilon, self.delta)}

    def __str__(self) -> str:
        """The promise as a clause."""
        if self.epsilon is None:
            unit = {"client": "a client", "example": "an example"}[self.unit]
            return f"no ε for {unit}: {self.why}"
        return (
            f"ε = {self.epsilon:.4g} at δ = {self.delta:.2g} for each {self.unit} "
            f"({self.neighbours}){proviso(self.named, self.stated)}"
        )


@dataclass(frozen=True)
class Ledger:
    """All releases of a run, and what they add up to for the client that has taken part most; or
    for one example.

    A release with secret sampling counts for every client. Any other counts for those whose vectors
    may be in it: the rest are known not to be, and lose nothing.
    """

    secret: Mapping[Release, int] = field(default_factory=dict)  # release → how often
    # who → the same, for it alone
    clients: Mapping[str, Mapping[Release, int]] = field(default_factory=dict)
    why: str = ""  # why nothing bounds what a client gives away, if so
    accountant: Literal["rdp", "pld"] = "rdp"
    unit: Unit = "client"
    named: bool = False  # does noise of a round grow from a secret that a simulation names?
    stated: tuple[str, ...] = ()  # classes outside hansa whose word on their noise it rests on

    def __post_init__(self) -> None:
        if self.accountant not in ("rdp", "pld"):
            raise PlanError(
                f"Ledger(accountant={self.accountant!r}) cannot add up.",
                "There are Rényi divergences and privacy loss distributions.",
                "Write 'rdp' (quick, and for every sampling) or 'pld' (tighter, and slow).",
            )

    def plus(self, release: Release, times: int = 1, who: Iterable[str] | None = None) -> Ledger:
        """This ledger with one more release, for all clients or for those named.

        `times` it happened. who: names of the clients whose vectors may be in it.
        """
        if who is None:
            return replace(self, secret=_and(self.secret, release, times))
        added = {name: _and(self.clients.get(name, {}), release, times) for name in who}
        return replace(self, clients={**self.clients, **added})

    def merge(self, other: Ledger) -> Ledger:
        """This ledger and another of the same unit, as one: what both have given away adds up."""
        stated = tuple(dict.fromkeys((*self.stated, *other.stated)))
        total = replace(
            self, why=self.why or other.why, named=self.named or other.named, stated=stated
        )
        for release, times in other.secret.items():
            total = total.plus(release, times)
        for who, own in other.clients.items():
            for release, times in own.items():
                total = total.plus(release, times, [who])
        return total

    def without(self, why: str) -> Ledger:
        """This ledger with something in it that nothing bounds."""
        return replace(self, why=self.why or why)

    def worst(self, delta: float) -> dict[Release, int]:
        """The releases that count for the client that has given away most, at δ, and how often each
        did; those of secret samples count for it as for all.
        """
        histories = list({frozenset(own.items()): own for own in self.clients.values()}.values())
        gaussian = all(release.mechanism.gaussian for own in histories for release in own)

        def cost(own: Mapping[Release, int]) -> float:
            if gaussian:  # their 1/z² add up to that of one Gaussian
                return sum(times / release.mechanism.gaussian**2 for release, times in own.items())
            return _by_divergence(own, delta)

        own: Mapping[Release, int] = {}
        if len(histories) == 1:
            own = histories[0]  # a cost takes time
        elif histories:
            own = max(histories, key=cost)
        total = dict(self.secret)
        for release, times in own.items():
            total[release] = total.get(release, 0) + times
        return total

    def epsilon(self, delta: float) -> float | None:
        """ε at δ for each unit; None where there is no bound, and `guarantee` says why."""
        return self.guarantee(delta).epsilon

    def guarantee(self, delta: float) -> Guarantee:
        """What all releases together promise each unit: ε at δ, or why there is none.

        Raises PlanError for a δ that is no probability between 0 and 1.
        """
        _check_delta(delta)
        say = partial(Guarantee, delta=delta, unit=self.unit, named=self.named, stated=self.stated)
        why = self.why
        known = bool(self.secret or self.clients)
        if not why and known and find_spec("dp_accounting") is None:
            why = MISSING
        if why:
            return say(None, why=why)
        releases = self.worst(delta)
        relations = {release.relation for release in releases}
        neighbours = NEIGHBOURS[max(relations, default="all", key=list(NEIGHBOURS).index)]
        if self.unit == "example":  # clipped to nothing, as far as sums and samples can tell
            neighbours = EXAMPLE
        if "uniform" in relations and len(relations) > 1:
            return Guarantee(
                None,
                delta,
                unit=self.unit,
                why="its rounds were sampled in ways whose guarantees do not add up",
            )
        if not releases:
            return say(0.0, neighbours=neighbours)
        gaussian = all(release.mechanism.gaussian for release in releases)
        # it knows no others
        pld = self.accountant == "pld" and "uniform" not in relations and gaussian
        found = _by_loss(releases, delta) if pld else _by_divergence(releases, delta)
        if math.isfinite(found):
            return say(found, neighbours=neighbours)
        return say(None, why="so little noise gives no finite ε")


@dataclass(frozen=True)
class Budget:
    """The most that a run may give away about a client: ε at δ. A run with a budget ends before it
    is passed.

    Raises PlanError for an ε that is no positive finite number, and for a δ outside 0 … 1.
    """

    epsilon: float
    delta: float = 1e-6

    def __post_init__(self) -> None:
        _check_delta(self.delta)
        if not number(self.epsilon) or not 0 < self.epsilon < math.inf:
            raise PlanError(
                f"Budget(epsilon={self.epsilon!r}) bounds nothing.",
                "ε is positive: at 0 nothing could be learnt, and without a bound there is no "
                "budget.",
                "Write for example Budget(epsilon=4.0, delta=1e-6).",
            )

    def allows(self, ledger: Ledger) -> bool:
        """Is ε within the budget? What has no ε is not."""
        epsilon = ledger.epsilon(self.delta)
        return epsilon is not None and epsilon <= self.epsilon


def default_delta(population: int) -> float:
    """δ where nobody names one: 1/N^1.1 for N clients (Ponomareva et al. 2023, §5.3), and at most
    10⁻⁵.
    """
    return float(min(1e-5, max(population, 1) ** -1.1))


def _and(own: Mapping[Release, int], release: Release, times: int) -> dict[Release, int]:
    """A history with one more release: parts of one release over many rounds become one, and equal
    ones are counted.
    """
    for held in own:
        if both := held.beside(release):
            return {both if one is held else one: many for one, many in own.items()}
    return {**own, release: own.get(release, 0) + times}


def _by_divergence(releases: Mapping[Release, int], delta: float) -> float:
    """ε by Rényi divergences; where noise has an ε of its own at δ = 0, those added up if less."""
    from dp_accounting.rdp import compute_epsilon
    from dp_accounting.rdp.rdp_privacy_accountant import DEFAULT_RDP_ORDERS

    divergences = sum(times * curve(release) for release, times in releases.items())
    found = float(compute_epsilon(DEFAULT_RDP_ORDERS, divergences, delta)[0])
    pure = {
        release: times
        for release, times in releases.items()
        if math.isfinite(release.mechanism.pure)
    }
    if not pure:
        return found
    rest = {release: times for release, times in releases.items() if release not in pure}
    # their ε hold at δ = 0, and add up
    added = sum(times * release.mechanism.pure for release, times in pure.items())
    if rest:
        added += _by_divergence(rest, delta)
    return min(found, added)


def _by_loss(releases: Mapping[Release, int], delta: float) -> float:
    """ε by privacy loss distributions, of Gaussian noise, on everybody or on a Poisson sample."""
    from dp_accounting.pld import PLDAccountant

    total = PLDAccountant()
    for release, times in releases.items():
        total.compose(release.event(), times)
    return float(total.get_epsilon(delta))


def _check_delta(delta: float) -> None:
    if not number(delta) or not 0 < delta < 1:
        raise PlanError(
            f"δ = {delta!r} is no probability that a guarantee may fail with.",
            "It lies between 0 and 1, well below one in the number of clients.",
            "Write for example delta=1e-6.",
        )
