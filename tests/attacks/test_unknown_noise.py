"""What hansa does not know has no ε: noise, transforms, samples, sums, models of strangers, whatever they declare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from hansa import (
    AdaptiveClip,
    App,
    Budget,
    Client,
    Clip,
    CorrelatedNoise,
    DiscreteGaussianNoise,
    Everyone,
    FedAvg,
    Finite,
    GaussianNoise,
    InProcess,
    LaplaceNoise,
    PerExample,
    Plan,
    Poisson,
    Policy,
    Quantize,
    Rotate,
    SkellamNoise,
    Softmax,
    Sum,
    Training,
    VerifiedSum,
    Weigh,
    synchronous,
)
from hansa.errors import AppError, PlanError, PolicyError
from hansa.explain import explain
from hansa.messages import SessionId
from hansa.plan.noise import amplification
from hansa.privacy import examples, planned_privacy, spent_privacy, stop_at_budget
from hansa.privacy.planned import mechanism
from hansa.rand import Key
from hansa.spec import Noise
from hansa.transforms import Transform
from hansa.transforms.correlated import Participation
from hansa.transforms.curves import DiscreteGaussian, Gaussian, Laplace, Skellam
from hansa.transforms.discrete import IntegerNoise

QUIET = Training(report=False)
RNG = np.random.default_rng(0)
DATA = {f"c{i}": (RNG.normal(size=(8, 3)), RNG.integers(0, 2, 8)) for i in range(6)}
DELTA = 1e-5


@dataclass(frozen=True)
class Zeros(IntegerNoise):
    """Noise in whole numbers, all of which are zero."""

    def draw(self, sigma: float, size: int, key: Any) -> Any:
        return np.zeros(size, np.int64)


@dataclass(frozen=True)
class Quiet(GaussianNoise):
    """Gaussian noise by its name and its plan, of which nothing is drawn."""

    def draw(self, shape: tuple[int, ...], key: Any) -> Any:
        return np.zeros(shape)


@dataclass(frozen=True)
class Forgotten(LaplaceNoise):
    """Laplace noise that is taken off again where the sum is decoded."""

    def decode(self, total: Any, at: Any) -> Any:
        return total


@dataclass(frozen=True)
class Steps(SkellamNoise):
    """Skellam noise whose encode adds none."""

    def encode(self, v: Any, at: Any) -> Any:
        return v


@dataclass(frozen=True)
class Flat(CorrelatedNoise):
    """Correlated noise of a thousandth of its size."""

    def whole(self, rounds: int) -> float:
        return super().whole(rounds) / 1000


@dataclass(frozen=True)
class Claims(Transform):
    """Says that there is noise, and adds none."""

    def plan(self, spec: Any) -> Any:
        return spec.replace(noise=Noise(5.0, server=True))


@dataclass(frozen=True)
class Louder(Transform):
    """A vector a thousand times as long, and undone on the sum; its bounds stay what they are."""

    def encode(self, v: Any, at: Any) -> Any:
        return 1000 * v

    def decode(self, total: Any, at: Any) -> Any:
        return total / 1000


@dataclass(frozen=True)
class Smaller(Transform):
    """Declares that the update is short, and does nothing about it."""

    def plan(self, spec: Any) -> Any:
        return spec.replace(bounds={**spec.bounds, "delta": 1e-6})


@dataclass(frozen=True)
class Rounds(Transform):
    """Says that the run is one of a single round."""

    def plan(self, spec: Any) -> Any:
        return spec.replace(sum_facts=replace(spec.sum_facts, rounds=1))


class Same(Poisson):
    """A Poisson sample by its fields, that always draws the first."""

    def draw(self, roster: Any, key: Any, round: int = 0) -> list[str]:
        return list(roster[:1])


class Loud(Sum):
    """A sum, that declares noise of its own."""

    def plan(self, spec: Any) -> Any:
        return spec.replace(noise=Noise(9.0))


class Peeps(Sum):
    """A sum like ours, as far as its plan says."""


class Nosy(Plan):
    """A plan whose clients say what they like."""


def stranger(name: str, *kinds: type, **more: Any) -> Any:
    """An object of a class that takes hansa's name, module and all."""
    real = kinds[0]
    return type(name, kinds, {"__module__": real.__module__, "__qualname__": real.__qualname__, **more})


def plan(*pipe: Any, **more: Any) -> Plan:
    found = {"model": Softmax(3, 2), "pipe": pipe, "training": QUIET, "rounds": 3, **more}
    return Plan(**found)


TIGHT = (Clip(1.0), Weigh("one"))
WHOLE = (*TIGHT, Quantize(16))
UNKNOWN: dict[str, tuple[Callable[[], Plan], str]] = {
    "zeros for whole numbers": (lambda: plan(*WHOLE, Zeros(3.0)), "Zeros"),
    "zeros for normals": (lambda: plan(*TIGHT, Quiet(3.0)), "Quiet"),
    "noise that is undone": (lambda: plan(*TIGHT, Forgotten(8.0)), "Forgotten"),
    "noise that is not added": (lambda: plan(*WHOLE, Steps(3.0, by="each")), "Steps"),
    "less than it says over a run": (lambda: plan(*TIGHT, Flat(3.0)), "Flat"),
    "noise that is only declared": (lambda: plan(*TIGHT, Claims()), "Claims"),
    "noise declared before the clip": (lambda: plan(Claims(), *TIGHT), "Claims"),
    "a longer vector behind the clip": (lambda: plan(Clip(1.0), Louder(), Weigh("one"), GaussianNoise(3.0)), "Louder"),
    "a longer vector behind the noise": (lambda: plan(*TIGHT, GaussianNoise(3.0), Louder()), "Louder"),
    "a bound before the clip that nothing keeps": (lambda: plan(Smaller(), *TIGHT, GaussianNoise(3.0)), "Smaller"),
    "a run told to be shorter": (lambda: plan(Rounds(), *TIGHT, CorrelatedNoise(3.0), rounds=9), "Rounds"),
    "an aggregator's own noise": (lambda: plan(*TIGHT, aggregator=Loud()), "Loud"),
    "a sum of a stranger": (lambda: plan(*TIGHT, GaussianNoise(3.0), aggregator=Peeps()), "Peeps"),
    "a plan of a stranger": (
        lambda: Nosy(Softmax(3, 2), pipe=(*TIGHT, GaussianNoise(3.0)), training=QUIET), "Nosy",
    ),
    "a class that says it is ours": (
        lambda: plan(*TIGHT, stranger("GaussianNoise", GaussianNoise)(3.0)), "GaussianNoise",
    ),
    "a verified sum of a stranger": (
        lambda: plan(*TIGHT, aggregator=stranger("VerifiedSum", VerifiedSum)(noise=3.0), sample=Everyone(quorum=2)),
        "VerifiedSum",
    ),
    "an integer noise without a draw": (lambda: plan(*WHOLE, IntegerNoise(3.0)), "its noise"),
}  # fmt: skip


@pytest.mark.guards(
    "hansa's own is the class itself",
    "unknown noise has no ε",
    "a stranger's plan has no ε",
    "a stranger's aggregator has no ε",
    "what stands behind the clip is hansa's own",
    "what stands before the clip states no bounds",
    "what stands before the clip states no rounds",
    "noise of no kind has no ε",
)
@pytest.mark.promise("P84")
@pytest.mark.parametrize("case", UNKNOWN, ids=lambda case: case.replace(" ", "-"))
def test_what_hansa_does_not_know_has_no_epsilon(case: str) -> None:
    build, name = UNKNOWN[case]
    p = build()
    for ledger in (planned_privacy(p, 6), spent_privacy(p, [replace(p.start(), round=1, participants=tuple(DATA))], 6)):
        promise = ledger.guarantee(DELTA)
        assert promise.epsilon is None and promise.why == f"nobody has stated what {name} gives away"
    told = str(explain(p, 6))
    assert f"There is no ε for a client: nobody has stated what {name} gives away." in told


@pytest.mark.guards(
    "unknown noise has no ε",
    "a policy takes no stranger's noise",
    "a budget needs an ε",
    "a loop with a budget needs an ε",
)
@pytest.mark.promise("P84")
@pytest.mark.parametrize("case", UNKNOWN, ids=lambda case: case.replace(" ", "-"))
def test_a_policy_and_a_budget_refuse_what_hansa_does_not_know(case: str) -> None:
    p = UNKNOWN[case][0]()
    for policy in (Policy(epsilon=1e6), Policy(min_noise=0.1)):
        with pytest.raises(PolicyError, match="nobody has stated"):
            policy.check(p, "c0")
    with pytest.raises(AppError, match="nobody has stated"):
        App(p, DATA, budget=Budget(1e6, DELTA))
    with pytest.raises(PlanError, match="nobody has stated"):
        next(stop_at_budget(iter(()), p, Budget(1e6, DELTA), 6))


@pytest.mark.guards("nobody inherits a statement of hansa's", "noise of a stranger goes by its own name")
@pytest.mark.promise("P84")
def test_the_noise_of_a_stranger_states_nothing_that_it_inherits() -> None:
    """It inherits no statement about draws that are no longer those; nor is it called what it inherits."""
    for p in (plan(*WHOLE, Zeros(3.0)), plan(*WHOLE, Steps(3.0)), plan(*TIGHT, Quiet(3.0)), plan(*TIGHT, Flat(3.0))):
        assert mechanism(p, 1) is None and "gaussian noise" not in str(explain(p))
    kinds = {
        SkellamNoise: Skellam, DiscreteGaussianNoise: DiscreteGaussian, GaussianNoise: Gaussian,
        LaplaceNoise: Laplace, CorrelatedNoise: Participation,
    }  # fmt: skip
    for noise, kind in kinds.items():
        pipe = WHOLE if issubclass(noise, IntegerNoise) else TIGHT
        assert type(mechanism(plan(*pipe, noise(3.0)), 1)) is kind  # type: ignore[call-arg]


@pytest.mark.guards("a stranger's sample amplifies nothing", "a stranger's sample keeps nobody apart")
@pytest.mark.promise("P84")
@pytest.mark.parametrize(
    "noise", [GaussianNoise(3.0), CorrelatedNoise(3.0, separation=3)], ids=["rounds", "one release"]
)
def test_a_sample_that_hansa_does_not_know_protects_nobody(noise: Any) -> None:
    """Whatever it declares, ε is that of a client which is in every round."""
    all_ = planned_privacy(plan(*TIGHT, noise, sample=Everyone()), 6).guarantee(DELTA)
    for sample in (Same(0.1), Rare(0.1)):
        p = plan(*TIGHT, noise, sample=sample)
        assert planned_privacy(p, 6).guarantee(DELTA) == all_ and all_.epsilon is not None
        assert not p.encoded_spec.hidden and amplification(p) is None


class Rare(Poisson):
    """A sample that says that a client is asked once in a hundred rounds, and asks all."""

    def draw(self, roster: Any, key: Any, round: int = 0) -> list[str]:
        return list(roster)

    def apart(self, population: int) -> int:
        return 100


KNOWN = {
    "ours": lambda: plan(Finite(), AdaptiveClip(), Weigh("examples", cap=9), GaussianNoise(3.0)),
    "in whole numbers": lambda: plan(Clip(1.0), Weigh("one"), Rotate(), Quantize(16), SkellamNoise(3.0)),
    "verified": lambda: plan(*TIGHT, aggregator=VerifiedSum(noise=3.0), sample=Everyone(quorum=2)),
    "sampled": lambda: plan(*TIGHT, GaussianNoise(3.0), sample=Poisson(0.2)),
    "a stranger before the clip": lambda: plan(Louder(), *TIGHT, GaussianNoise(3.0)),
    "a stranger between two clips": lambda: plan(Clip(1.0), Louder(), *TIGHT, GaussianNoise(3.0)),
    "a stranger's model and algorithm": lambda: plan(
        *TIGHT, GaussianNoise(3.0), model=Far(3, 2), algorithm=Farther()
    ),
}  # fmt: skip


class Far(Softmax):
    """A model that moves as far as it can."""

    def train(self, x: Any, *more: Any) -> Any:
        found = super().train(x, *more)
        return replace(found, x=x + 1e6)


class Farther(FedAvg):
    """An algorithm whose update is a million times as long."""

    def client(self, *more: Any) -> Any:
        parts, client_state = yield from super().client(*more)
        return {**parts, "delta": 1e6 * parts["delta"]}, client_state


@pytest.mark.control("a clip bounds whatever comes, so strangers before it are believed")
@pytest.mark.promise("P96")
@pytest.mark.parametrize("case", KNOWN, ids=lambda case: case.replace(" ", "-"))
def test_what_a_clip_bounds_may_be_a_strangers(case: str) -> None:
    p = KNOWN[case]()
    promise = planned_privacy(p, 6).guarantee(DELTA)
    assert promise.epsilon is not None and promise.epsilon > 0
    Policy(epsilon=promise.epsilon * 1.01, delta=DELTA, min_noise=3.0).check(p, "c0")


@pytest.mark.guards("a clip keeps the bound that it states")
@pytest.mark.promise("P96")
@pytest.mark.parametrize(
    "pipe",
    [(Louder(), Clip(1.0)), (Clip(1.0), Louder(), Clip(2.0)), (AdaptiveClip(), Louder(), Clip(9.0)),
     (Clip(5.0), Louder(), AdaptiveClip())],
    ids=["one", "two", "learnt and fixed", "fixed and learnt"],
)  # fmt: skip
def test_the_last_clip_keeps_the_bound_that_it_states(pipe: tuple[Transform, ...]) -> None:
    """Noise is sized by the tighter of two clips, so the looser one behind a stranger cuts to that as well."""
    p = plan(*pipe, Weigh("one"), model=Far(3, 2))
    client = Client("c0", p, DATA["c0"])
    (state,) = synchronous(replace(p, rounds=1), InProcess([replace(client, plan=replace(p, rounds=1))]))
    at = p.context(0, SessionId(), "c0", secret=Key.fresh(), examples=8, memo=p.pipeline.start())
    v, _ = p.pipeline.encode(p.spec.pack({name: np.full(n, 1e6) for name, n in p.spec.blocks.items()}), at)
    reply = np.linalg.norm(v[p.encoded_spec.slice("delta")])
    assert reply <= p.encoded_spec.bounds["delta"] * (1 + 1e-9)
    assert np.isfinite(state.x).all()


@pytest.mark.guards("a policy believes no stranger", "a stranger's aggregator is told")
@pytest.mark.promise("P94")
def test_a_policy_believes_no_stranger_that_is_called_as_hansas_own() -> None:
    """Any class may be called VerifiedSum."""
    allowed = Policy(sees="sum")
    quorum = {"sample": Everyone(quorum=2)}
    allowed.check(plan(*TIGHT, aggregator=VerifiedSum(), **quorum), "c0")
    shown = type("VerifiedSum", (Sum,), {})()
    for one in (shown, stranger("VerifiedSum", VerifiedSum)(), stranger("VerifiedSum", Sum)()):
        p = plan(*TIGHT, aggregator=one, **quorum)
        with pytest.raises(PolicyError, match="not hansa's own"):
            allowed.check(p, "c0")
        with pytest.raises(PolicyError, match="not hansa's own"):
            Client("c0", p, DATA["c0"], allowed).check()
        told = str(explain(p))
        assert "Nobody has stated what it reveals" in told or "It is not hansa's own" in told


@dataclass(frozen=True)
class Plain(Softmax):
    """Says that it hides its examples, and trains as ever."""

    def train(self, x: Any, data: Any, training: Any, *more: Any) -> Any:
        return super().train(x, data, replace(training, private=None, report=True), *more)


@dataclass(frozen=True)
class Tame(PerExample):
    """Noise for single examples, of zero."""

    def drawn(self, shape: tuple[int, ...], key: Any) -> Any:
        return np.zeros(shape)


@dataclass(frozen=True)
class All(Training):
    """A training on all examples in each step."""

    def draws(self, examples: int, key: Any) -> Any:
        yield from [np.arange(examples)] * self.counts(examples)[1]


PRIVATE = Training(report=False, private=PerExample(1.0, 2.0))


@pytest.mark.guards(
    "a stranger's training has no ε",
    "a stranger's model hides no example",
    "a stranger's algorithm hides no example",
    "a stranger's noise hides no example",
    "a stranger's batches hide no example",
)
@pytest.mark.promise("P84")
@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"model": Plain(3, 2)}, "Plain"),
        ({"algorithm": Farther()}, "Farther"),
        ({"training": Training(report=False, private=Tame(1.0, 2.0))}, "Tame"),
        ({"training": All(report=False, private=PerExample(1.0, 2.0))}, "All"),
    ],
    ids=["model", "algorithm", "noise", "batches"],
)
def test_a_strangers_training_hides_no_example_that_anybody_knows_of(more: Any, name: str) -> None:
    p = Plan(**{"model": Softmax(3, 2), "training": PRIVATE, "rounds": 3, **more})
    why = f"nobody has stated what {name} gives away"
    promise = examples(p, 100).guarantee(DELTA)
    assert promise.epsilon is None and promise.why == why and why in str(explain(p))
    with pytest.raises(PolicyError, match=why):
        Client("c0", p, DATA["c0"], Policy(epsilon=1e6, unit="example")).check()
    assert not any(state.spent for state in App(p, DATA).run())


@pytest.mark.control("a stranger's piece that sees but noise tells no more")
@pytest.mark.promise("P96")
def test_what_sees_but_the_trained_model_may_be_a_strangers() -> None:
    """A transform and an aggregator get what the noise has been added to already."""
    ours = examples(Plan(Softmax(3, 2), training=PRIVATE), 100).epsilon(DELTA)
    p = Plan(Softmax(3, 2), pipe=(Louder(), Weigh("one")), aggregator=Peeps(), training=PRIVATE)
    assert ours is not None and examples(p, 100).epsilon(DELTA) == ours


@pytest.mark.guards("a stranger's loop has no ε")
@pytest.mark.promise("P84")
def test_rounds_of_a_strangers_loop_have_no_epsilon() -> None:
    """It may hand on whatever it likes, as often as it likes."""

    def twice(plan: Plan, runtime: Any, state: Any, secret: Any) -> Any:
        yield from synchronous(plan, runtime, state, secret)

    p = plan(*TIGHT, GaussianNoise(3.0))
    assert all(state.spent for state in App(p, DATA).run())
    assert not any(state.spent for state in App(p, DATA, loop=twice).run())
    with pytest.raises(AppError, match="the loop"):
        App(p, DATA, loop=twice, budget=Budget(1e6, DELTA))
