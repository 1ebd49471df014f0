"""Pieces of strangers, tried wherever hansa's own are: each is right, or is refused with words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hansa import (
    App,
    Budget,
    Client,
    Clip,
    CorrelatedNoise,
    Everyone,
    GaussianNoise,
    InProcess,
    InTurn,
    Key,
    Plan,
    Poisson,
    Policy,
    Processes,
    Quantize,
    Sample,
    Softmax,
    Store,
    Training,
    Uniform,
    VerifiedSum,
    Weigh,
    buffered,
    synchronous,
)
from hansa.audit import audit
from hansa.errors import PlanError, PolicyError
from hansa.explain import explain
from hansa.privacy import planned_privacy, spent_privacy
from hansa.privacy.ledger import Ledger
from hansa.privacy.mechanisms import Release
from hansa.transforms import Transform
from hansa.transforms.curves import Gaussian, Mechanism
from hansa.transforms.noise import RealNoise, shares
from hansa.ui.report import ReportData, summary

RNG = np.random.default_rng(0)
DATA = {f"c{i}": (RNG.normal(size=(8, 3)), RNG.integers(0, 2, 8)) for i in range(6)}
QUIET = Training(report=False)
TIGHT = (Clip(1.0), Weigh("one"))
DELTA = 1e-5


def plan(*noise: Any, **more: Any) -> Plan:
    return Plan(**{"model": Softmax(3, 2), "pipe": (*TIGHT, *noise), "training": QUIET, "rounds": 4, **more})


def clients(plan: Plan, allow: Policy | None = None) -> list[Client]:
    more = {} if allow is None else {"allow": allow}
    return [Client(who, plan, data, secret=Key.of(i), **more) for i, (who, data) in enumerate(DATA.items())]  # type: ignore[arg-type]


def ran(plan: Plan, runtime: Any = None) -> list[Any]:
    return list(synchronous(plan, runtime or InProcess(clients(plan)), secret=Key.of(7)))


# --- a sample ---


@dataclass(frozen=True)
class Pairs(Sample):
    """Two clients, the second half a round behind the first."""

    step: int = 1

    @property
    def most(self) -> int:
        return 2

    def draw(self, roster: Any, key: Key, round: int = 0) -> list[str]:
        first = self.step * round % len(roster)
        return [roster[first], roster[(first + 1) % len(roster)]]

    def describe(self) -> str:
        return "two neighbours in the roster"


PAIRS = Pairs(2, quorum=2)


def test_a_strangers_sample_asks_whom_it_draws() -> None:
    states = ran(plan(sample=PAIRS))
    assert [sorted(state.participants) for state in states] == [["c0", "c1"], ["c2", "c3"], ["c4", "c5"], ["c0", "c1"]]
    assert plan(sample=PAIRS).digest != plan(sample=Pairs(3, quorum=2)).digest


def test_a_sample_prints_as_the_expression_that_builds_it() -> None:
    assert repr(Uniform(3)) == "Uniform(size=3)" and repr(Everyone(deadline=9.0)) == "Everyone(deadline=9.0)"
    assert repr(Poisson(0.5, quorum=2)) == "Poisson(quorum=2, rate=0.5)" and repr(InTurn()) == "InTurn()"


def test_a_strangers_sample_is_told() -> None:
    text = str(explain(plan(GaussianNoise(2.0), sample=PAIRS), 6))
    assert "two neighbours in the roster, as Pairs says, which is not hansa's own" in text


@pytest.mark.promise("P84")
@pytest.mark.parametrize(
    "noise", [GaussianNoise(2.0), CorrelatedNoise(2.0, separation=3)], ids=["rounds", "one release"]
)
def test_a_strangers_sample_is_counted_by_what_happened(noise: Any) -> None:
    """Planned is a client in every round; spent are the rounds in which a client was asked."""
    p = plan(noise, sample=PAIRS)
    assert planned_privacy(p, 6).guarantee(DELTA) == planned_privacy(plan(noise), 6).guarantee(DELTA)
    planned = planned_privacy(p, 6).epsilon(DELTA) or 0
    spent = spent_privacy(p, ran(p), 6).epsilon(DELTA) or 0
    twice = spent_privacy(plan(noise), [state for state in ran(p) if "c0" in state.participants], 6).epsilon(DELTA)
    assert 0 < spent < planned and spent == twice
    Policy(epsilon=planned * 1.01, delta=DELTA).check(p, "c0")
    assert len(list(App(p, DATA, budget=Budget(planned, DELTA)).run())) == 4


def test_a_strangers_sample_is_audited() -> None:
    rng = np.random.default_rng(5)
    data = {f"c{i}": (rng.normal(size=(5, 64)), rng.integers(0, 4, 5)) for i in range(6)}
    found = audit(App(Plan(Softmax(64, 4), training=QUIET, sample=PAIRS, rounds=2), data), m=20)
    assert found.inversion is not None and not found.missing
    assert "this plan: the mean of 2 clients that is published" in {one.name for one in found.inversion.views}


@pytest.mark.parametrize("noise", [(), (GaussianNoise(1.0),)], ids=["plain", "noise"])
def test_a_strangers_sample_survives_a_stop_and_workers(noise: Any, tmp_path: Path) -> None:
    p = plan(*noise, sample=PAIRS)
    whole = ran(p)
    again = list(synchronous(p, InProcess(clients(p)), state=whole[1], secret=Key.of(7)))
    with_workers = Processes(clients(p), workers=2)
    try:
        apart = ran(p, with_workers)
    finally:
        with_workers.close()
    for states in (again, apart):
        assert states[-1].x.tobytes() == whole[-1].x.tobytes()
    app = App(p, DATA)
    run = Store(tmp_path).new(repr(p), p.digest, "app.py", {}, 4)
    list(islice(app.run(run), 2))
    run.finish("stopped")
    run = Store(tmp_path).resume(run.id)
    assert [sorted(state.participants)[0] for state in app.run(run)] == ["c4", "c0"]
    run.finish("done")


@pytest.mark.parametrize("pipe", [TIGHT, (*TIGHT, Quantize(12, of="sum"))], ids=["real", "few bits"])
def test_a_strangers_sample_in_other_sums(pipe: Any) -> None:
    sums = [VerifiedSum()] if pipe == TIGHT else []
    for aggregator in (Plan(Softmax(3, 2)).aggregator, *sums):
        assert all(not state.skipped for state in ran(plan(sample=PAIRS, pipe=pipe, aggregator=aggregator, rounds=2)))


@dataclass(frozen=True)
class Odd(Sample):
    """Draws what it is told to."""

    gives: Any = ()
    most: int = 0

    def draw(self, roster: Any, key: Key, round: int = 0) -> Any:
        return self.gives


BAD: dict[str, tuple[Callable[[], Sample], str]] = {
    "nobody": (lambda: Odd([]), "drew nobody"),
    "nothing": (lambda: Odd(None), "drew nobody"),
    "a stranger": (lambda: Odd(["c0", "eve"]), "'eve'"),
    "a number": (lambda: Odd([0]), "No client has that name"),
    "one client twice": (lambda: Odd(["c0", "c1", "c0"]), "twice"),
    "more than it says": (lambda: Odd(["c0", "c1"], 1), "`most` says 1"),
}


@pytest.mark.guards("a stranger's draw names clients, each once")
@pytest.mark.promise("P84")
@pytest.mark.parametrize("case", BAD, ids=lambda case: case.replace(" ", "-"))
def test_a_draw_that_is_none_is_refused(case: str) -> None:
    build, words = BAD[case]
    with pytest.raises(PlanError, match=words):
        ran(plan(GaussianNoise(1.0), sample=build()))


def test_a_strangers_sample_is_not_replaced_by_whoever_is_free() -> None:
    p = plan(sample=PAIRS)
    with pytest.raises(PlanError, match="whoever is free"):
        next(buffered(p, InProcess(clients(p)), size=2, busy=2))


@dataclass(frozen=True)
class Unchecked(Pairs):
    """Leaves out what its parent checks."""

    def __post_init__(self) -> None:
        pass


def test_a_strangers_sample_is_checked_by_the_plan() -> None:
    for sample in (Unchecked(quorum=0), Unchecked(deadline=-1.0)):
        with pytest.raises(PlanError, match="cannot sample"):
            plan(sample=sample)
    with pytest.raises(PlanError, match="does not say whom it asks"):
        replace(Everyone(), quorum=1) and Sample()


# --- noise ---


@dataclass(frozen=True)
class Halves(Mechanism):
    """Half as private as Gaussian noise of that multiplier."""

    z: float

    def divergence(self, orders: Any) -> Any:
        return orders / self.z**2


@dataclass(frozen=True)
class Coins(RealNoise):
    """Sums of 64 coins: nearly Gaussian, and drawn without logarithms."""

    tail = 10.0

    def scales(self, spec: Any, bounds: Any) -> dict[str, float]:
        return {name: self.noise / share**0.5 * bounds[name] for name, share in shares(spec).items()}

    def draw(self, shape: Any, key: Key) -> Any:
        return (key.rng().binomial(64, 0.5, shape) - 32.0) / 4.0

    def privacy(self, spec: Any, n: int) -> Mechanism | None:
        return Halves(self.noise)

    def describe(self) -> str:
        return f"sums of coins, thrown by the {self.by}"


COINS = Coins(3.0)
TRUST = "as Coins states of its noise, which hansa has not checked"


@pytest.mark.guards("a ledger says whose word ε is")
@pytest.mark.promise("P160")
def test_a_strangers_noise_has_the_epsilon_that_it_states() -> None:
    """And whoever reads of it reads whose word it is."""
    p = plan(COINS)
    found = planned_privacy(p, 6).guarantee(DELTA)
    assert found.epsilon == pytest.approx(Ledger().plus(Release(Gaussian(3.0 / 2**0.5)), 4).epsilon(DELTA) or 0)
    assert found.stated == ("Coins",) and TRUST in str(found)
    spent = spent_privacy(p, ran(p), 6).guarantee(DELTA)
    assert spent == replace(found, named=True)
    text = str(explain(p, 6))
    assert "sums of coins, thrown by the server, as Coins says, which is not hansa's own" in text
    assert text.count(TRUST) == 2 and "Policy(stated=True)" in text
    survey = Ledger(stated=("Other",)).merge(planned_privacy(p, 6)).guarantee(DELTA)
    assert survey.stated == ("Other", "Coins")
    assert not planned_privacy(plan(GaussianNoise(1.0)), 6).guarantee(DELTA).stated


@pytest.mark.guards("a policy believes no stranger's statement", "a policy of noise believes no stranger's statement")
@pytest.mark.promise("P160")
def test_a_policy_believes_a_stranger_where_it_says_so() -> None:
    p = plan(COINS)
    for policy in (Policy(epsilon=1e6, delta=DELTA), Policy(min_noise=0.1)):
        with pytest.raises(PolicyError, match="as Coins states"):
            policy.check(p, "c0")
        replace(policy, stated=True).check(p, "c0")
        replace(policy, stated=True).check(plan(GaussianNoise(3.0)), "c0")
    with pytest.raises(PolicyError, match="at most ε"):
        Policy(epsilon=0.1, delta=DELTA, stated=True).check(p, "c0")


@dataclass(frozen=True)
class Fewer(Coins):
    """Throws none of them, and states nothing of that."""

    def draw(self, shape: Any, key: Key) -> Any:
        return np.zeros(shape)


@dataclass(frozen=True)
class Smaller(Coins):
    """Of a thousandth of the size."""

    def scales(self, spec: Any, bounds: Any) -> dict[str, float]:
        return {name: one / 1000 for name, one in super().scales(spec, bounds).items()}


@dataclass(frozen=True)
class Kept(Coins):
    """Leaves the sum as it is."""

    def decode(self, total: Any, at: Any) -> Any:
        return total


class Zeros(RealNoise):
    """What is put between a class and its parent."""

    def draw(self, shape: Any, key: Key) -> Any:
        return np.zeros(shape)


@dataclass(frozen=True)
class Says(RealNoise):
    """States a curve of draws that it leaves to others."""

    def privacy(self, spec: Any, n: int) -> Mechanism | None:
        return Halves(self.noise)


@dataclass(frozen=True)
class Between(Says, Zeros):
    """Draws what who states knows nothing of."""

    tail = 10.0

    def scales(self, spec: Any, bounds: Any) -> dict[str, float]:
        return Coins.scales(self, spec, bounds)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Same(Coins):
    """Changes nothing."""


@pytest.mark.guards("who states is who draws")
@pytest.mark.promise("P160")
@pytest.mark.parametrize("kind", [Fewer, Smaller, Kept, Between], ids=lambda kind: kind.__name__)
def test_a_statement_is_not_inherited_by_who_draws_otherwise(kind: Any) -> None:
    p = plan(kind(3.0))
    why = f"nobody has stated what {kind.__name__} gives away"
    assert planned_privacy(p, 6).why == why and why in str(explain(p, 6))
    with pytest.raises(PolicyError, match=why):
        Policy(epsilon=1e6, stated=True).check(p, "c0")


@pytest.mark.control("a class that changes nothing draws what its parent states")
@pytest.mark.promise("P160")
def test_a_statement_is_inherited_by_who_changes_nothing() -> None:
    found = planned_privacy(plan(Same(3.0)), 6).guarantee(DELTA)
    assert found.epsilon == planned_privacy(plan(COINS), 6).epsilon(DELTA) and found.stated == ("Coins",)


@dataclass(frozen=True)
class Odder(Coins):
    """States what it is told to."""

    gives: Any = None

    def privacy(self, spec: Any, n: int) -> Any:
        return self.gives


@dataclass(frozen=True)
class Curve(Mechanism):
    """A curve of any numbers."""

    values: Any

    def divergence(self, orders: Any) -> Any:
        return self.values if isinstance(self.values, str) else np.asarray(self.values) * np.ones_like(orders)


NO_CURVES = {
    "nothing": (None, "nobody has stated"),
    "a number": (1.0, "no Mechanism"),
    "no number": (Curve(np.nan), "no number below zero"),
    "less than nothing": (Curve(-1.0), "no number below zero"),
    "a word": (Curve("private"), "raises ValueError"),
    "a list": (Curve((1.0, 2.0, 3.0, 1.0)), "does not fall"),
    "a mechanism without a curve": (Mechanism(), "raises TypeError"),
}


@pytest.mark.guards("a statement that is no curve has no ε")
@pytest.mark.promise("P160")
@pytest.mark.parametrize("case", NO_CURVES, ids=lambda case: case.replace(" ", "-"))
def test_what_is_no_curve_has_no_epsilon(case: str) -> None:
    gives, words = NO_CURVES[case]
    found = planned_privacy(plan(Odder(3.0, gives=gives)), 6).guarantee(DELTA)
    assert found.epsilon is None and words in found.why


@pytest.mark.promise("P84")
def test_no_sample_amplifies_a_strangers_noise() -> None:
    """Not even where it states a Gaussian curve: of its draws nobody knows whether they are amplified."""
    p = plan(Odder(3.0, gives=Gaussian(3.0)), sample=Poisson(0.1))
    assert not p.encoded_spec.hidden
    assert planned_privacy(p, 6).epsilon(DELTA) == planned_privacy(plan(GaussianNoise(3.0)), 6).epsilon(DELTA)


def test_a_strangers_noise_survives_a_stop_and_workers(tmp_path: Path) -> None:
    for by in ("server", "each"):
        p = plan(Coins(3.0, by=by))  # type: ignore[arg-type]
        whole = ran(p)
        again = list(synchronous(p, InProcess(clients(p)), state=whole[1], secret=Key.of(7)))
        with_workers = Processes(clients(p), workers=2)
        try:
            apart = ran(p, with_workers)
        finally:
            with_workers.close()
        assert again[-1].x.tobytes() == apart[-1].x.tobytes() == whole[-1].x.tobytes()
    app = App(p, DATA, budget=Budget(1e3, DELTA))
    run = Store(tmp_path).new(repr(p), p.digest, "app.py", {}, 4)
    first = list(islice(app.run(run), 2))
    run.finish("stopped")
    run = Store(tmp_path).resume(run.id)
    last = list(app.run(run))
    run.finish("done")
    assert len(last) == 2
    assert last[-1].spent["client"].epsilon > first[-1].spent["client"].epsilon > 0


def test_a_report_says_whose_word_epsilon_is() -> None:
    for noise, told in ((COINS, True), (GaussianNoise(3.0), False)):
        p = plan(noise)
        (*_, state) = App(p, DATA).run()
        data = ReportData("t", "r", (state.happened,), 4, list(DATA), explain(p, 6))
        assert (TRUST in summary(data)) == told and "ε" in summary(data)


def test_a_strangers_noise_in_a_verified_sum_is_refused() -> None:
    with pytest.raises(PlanError, match="VerifiedSum comes after noise"):
        plan(COINS, aggregator=VerifiedSum(), sample=Everyone(quorum=2))


def test_a_strangers_noise_is_audited() -> None:
    rng = np.random.default_rng(5)
    data = {f"c{i}": (rng.normal(size=(5, 64)), rng.integers(0, 4, 5)) for i in range(6)}
    found = audit(App(plan(COINS, model=Softmax(64, 4), rounds=2), data), ["canary"], m=20)
    assert found.canary is not None and found.canary.promise.stated == ("Coins",)
    assert TRUST in str(found)


def test_shares_of_a_strangers_noise_that_are_rounded_have_no_epsilon() -> None:
    """As with hansa's own: a bound for the sum of rounded shares is not known."""
    p = plan(Coins(3.0, "all", 2), Quantize(16), sample=Everyone(quorum=2))
    assert "rounds its share" in planned_privacy(p, 6).why


def test_a_strangers_noise_and_anothers_behind_it_have_no_epsilon() -> None:
    class More(Transform):
        """Another stranger behind the noise."""

    why = "nobody has stated what More gives away"
    assert planned_privacy(plan(COINS, More()), 6).why == why
