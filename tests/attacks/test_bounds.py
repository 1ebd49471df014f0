"""Side values have two bounds, and attackers prove both: a weight that is no weight would move a mean without end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pytest
from tests.attacks.attackers_verified import facts, states
from tests.contracts.asking import asked

import hansa as h
from hansa.aggregators.verified.claims import Claim, Range
from hansa.analytics import Mean, Survey, Variance, survey
from hansa.crypto.circuits import SumVec, bits
from hansa.crypto.field import Elements
from hansa.crypto.prio3 import Prio3
from hansa.explain import explain
from hansa.metrics import RATE
from hansa.spec import Interval, Spec, ends
from hansa.testing.algorithm import MODEL, federation
from hansa.transforms.compress import Quantize

CAP, SIDE, D = 200.0, 10.0, MODEL.size


def plan_of(aggregator: h.aggregators.Aggregator, *more: h.transforms.Transform, **pieces: Any) -> h.Plan:
    """Rounds in which clients weigh by their examples, and report a loss and an accuracy."""
    steps = {
        "pipe": (h.Clip(1.0, side=SIDE), h.Weigh("examples", cap=CAP), *more),
        "training": h.Training(batch=0, learning_rate=0.05, validation=0.2),
        "sample": h.Everyone(quorum=2),
        "rounds": 1,
        **pieces,
    }
    return h.Plan(MODEL, aggregator=aggregator, **steps)


# ── who says any numbers, and proves of them what can be proven ──


class Any128(SumVec):
    """Writes a number that is out of range into the place of its lowest bit."""

    def encode(self, measurement: Any) -> Elements:
        width = self.most.bit_length()
        told = [bits(x, self.most) if 0 <= x <= self.most else [x, *[0] * (width - 1)] for x in map(int, measurement)]
        return self.field.array(b for one in told for b in one)


@dataclass(frozen=True)
class Unchecked:
    """A claim on side values whose client looks at nothing."""

    claim: Claim

    @property
    def names(self) -> tuple[str, ...]:
        return self.claim.names

    @property
    def sum(self) -> Prio3:
        right = self.claim.sum
        assert isinstance(right, Prio3)
        return replace(right, statement=Any128(**facts(right.statement)))

    def round(self, v: h.Vector, key: h.Key) -> Any:
        return np.rint(v / self.claim.steps).astype(np.int64) if self.claim.real else v.view(np.int64)

    def measurement(self, x: Any) -> Any:
        return self.claim.measurement(x)


@dataclass(frozen=True)
class Lenient(h.VerifiedSum):
    """The client's half, without its own checks of side values."""

    def _claims(self, spec: Spec, binding: bytes) -> tuple[Any, ...]:
        parts = super()._claims(spec, binding)
        return tuple(Unchecked(part) if isinstance(part, Range) else part for part in parts)


@dataclass
class Says(h.Client):
    """Says these values in place of what training gives, as the plan's integers where it has such."""

    values: Mapping[str, Any] = field(default_factory=dict)

    def said(self) -> h.Vector:
        encoded = self.plan.encoded_spec
        named: dict[str, Any] = {name: np.zeros(n) for name, n in encoded.blocks.items()}
        named["weight"] = 1.0
        named = {**named, **self.values}
        if encoded.space == "real":
            return encoded.pack(named)
        exact = [np.rint(np.ravel(named[name]) / encoded.noise.step[name]) for name in encoded.blocks]
        return np.concatenate(exact).astype(np.int64).view(np.uint64)

    def reply(self, request: h.messages.Request, given: Any) -> Any:
        if isinstance(self.plan.aggregator, h.VerifiedSum):
            return (yield from super().reply(request, given))
        return self.said()

    def _converse(self, request: h.messages.Request, given: Any) -> Any:
        _, memo = self._heard(request)
        at = self._context(request, given.state, 1, memo)
        own = {each.name: getattr(self.plan.aggregator, each.name) for each in fields(h.VerifiedSum)}
        return Lenient(**own).client(asked(self.said), replace(at, spec=self.plan.encoded_spec))


def run(plan: h.Plan, *attackers: Mapping[str, Any], honest: int = 3) -> h.State:
    """The state after one round with such attackers."""
    data = federation(honest)
    clients = [h.Client(who, plan, one) for who, one in data.items()]
    clients += [Says(f"liar-{i}", plan, data["client-0"], values=values) for i, values in enumerate(attackers)]
    *_, state = states(plan, clients)
    return state


HONEST = ("client-0", "client-1", "client-2")
SPACES: dict[
    str, tuple[h.aggregators.Aggregator, tuple[h.transforms.Transform, ...]]
] = {  # with noise that does not outweigh the weights
    "real": (h.VerifiedSum(), ()),
    "integer": (h.VerifiedSum(), (Quantize(24),)),
    "real, noise": (h.VerifiedSum(noise=0.001), ()),
    "integer, noise": (h.VerifiedSum(noise=0.001), (Quantize(20),)),
}
OUTSIDE = {
    "a weight of −150": {"weight": -150.0},
    "a weight of −200": {"weight": -CAP},
    "a weight of 0": {"weight": 0.0},
    "a weight of 0.9": {"weight": 0.9},
    "a weight of cap + 1": {"weight": CAP + 1},
    "a negative loss": {"loss": -1.0},
    "a loss above its cut": {"loss": SIDE * CAP + 1},
    "a negative accuracy": {"val_accuracy": -0.1},
    "an accuracy above 1": {"val_accuracy": CAP + 0.1},
}


@pytest.mark.promise("P100")
@pytest.mark.guards(
    "a side value has a low end",
    "a side value has a high end",
    "a weight is 1 at least",
    "a weighed value keeps its low end",
    "a rounded value keeps its low end",
)
@pytest.mark.parametrize("lie", OUTSIDE)
@pytest.mark.parametrize("space", SPACES)
def test_what_lies_outside_two_bounds_is_refused_by_name(space: str, lie: str) -> None:
    aggregator, more = SPACES[space]
    state = run(plan_of(aggregator, *more), OUTSIDE[lie])
    assert state.participants == HONEST and list(state.excluded) == ["liar-0"]
    assert "A proof does not hold" in state.excluded["liar-0"]


@pytest.mark.promise("P15")
@pytest.mark.control("the largest and the least value are no lie")
@pytest.mark.parametrize("space", SPACES)
def test_both_ends_of_each_interval_are_in(space: str) -> None:
    """The largest and the least values that a client may say; so nobody honest is refused."""
    aggregator, more = SPACES[space]
    low = {"loss": 0.0, "val_loss": 0.0, "val_accuracy": 0.0, "weight": 1.0}
    high = {"loss": SIDE * CAP, "val_loss": SIDE * CAP, "val_accuracy": CAP, "weight": CAP}
    state = run(plan_of(aggregator, *more), low, high)
    assert state.participants == (*HONEST, "liar-0", "liar-1") and not state.excluded


@pytest.mark.promise("P100")
@pytest.mark.guards("a side value has a low end", "a side value has a high end")
@pytest.mark.parametrize("tau", [0.0, -5.0, 1e-3, 41.0 * CAP])
def test_a_number_of_steps_is_positive_and_has_an_end(tau: float) -> None:
    state = run(plan_of(h.VerifiedSum(), algorithm=h.FedNova(most=40.0)), {"tau": tau})
    assert state.participants == HONEST and "A proof does not hold" in state.excluded["liar-0"]


@pytest.mark.promise("P100")
@pytest.mark.guards("a side value has a high end")
@pytest.mark.parametrize("bit", [0.51, -0.51])
def test_the_bit_of_an_adaptive_clip_is_one_half(bit: float) -> None:
    plan = plan_of(h.VerifiedSum(), pipe=(h.AdaptiveClip(side=SIDE), h.Weigh("examples", cap=CAP)))
    state = run(plan, {"under": bit * CAP})
    assert state.participants == HONEST and "A proof does not hold" in state.excluded["liar-0"]


@pytest.mark.promise("P100")
@pytest.mark.guards("a side value has a low end")
def test_sums_of_squares_are_not_negative() -> None:
    plan = survey({"v": Variance(-2.0, 2.0, column=0)}, most=50, columns=4)
    assert plan.encoded_spec.low("v.square.0") == 0.0 and plan.encoded_spec.low("v.sum.0") == -100.0
    clients: list[h.Client] = [h.Client(who, plan, one) for who, one in federation(2).items()]
    attacker = Says("mallory", plan, federation(1)["client-0"], values={"v.square.0": -1.0})
    (state,) = h.synchronous(plan, h.InProcess([*clients, attacker]))
    assert state.participants == ("client-0", "client-1") and "A proof does not hold" in state.excluded["mallory"]


@pytest.mark.promise("P100")
@pytest.mark.guards("noise is sized for the farther end")
@pytest.mark.parametrize("space", ["real, noise", "integer, noise"])
def test_noise_is_sized_for_the_farther_end_and_not_for_the_width(space: str) -> None:
    """A client who is there or not changes the sum of weights by up to cap, though weights differ by less."""
    aggregator, more = SPACES[space]
    plan = plan_of(aggregator, *more)
    noise = plan.sum_spec.noise
    ratios = []
    for name, (_, bound, sigma) in zip(plan.encoded_spec.blocks, noise.parts, strict=True):
        ratios.append(bound / sigma)
        assert plan.encoded_spec.bounds[name] * (1 - 1e-9) <= bound * noise.step[name]
        assert bound * noise.step[name] <= plan.encoded_spec.bounds[name] * 1.0001 + noise.step[name]
    assert sum(ratio**2 for ratio in ratios) == pytest.approx(noise.multiplier**-2)


# ── what an attacker can do to the model ──


def along(norm: float) -> h.Vector:
    """An update of this norm, or of −norm the other way."""
    return norm * np.full(D, D**-0.5)


@pytest.mark.promise("P100")
@pytest.mark.guards("a side value has a low end", "a weight is 1 at least")
def test_a_negative_weight_does_not_take_the_others_weights_away() -> None:
    """Update 200, and a weight that leaves 0.001 of those of four hospitals: the mean would be 200,000 long."""
    plan = plan_of(h.VerifiedSum(), training=h.Training(batch=0, learning_rate=0.05))
    left = sum(len(y) for _, y in federation(4).values()) - 0.001
    state = run(plan, {"delta": along(CAP), "weight": -left}, honest=4)
    assert list(state.excluded) == ["liar-0"] and np.linalg.norm(state.x - plan.start().x) <= 1.0


@pytest.mark.promise("P100")
@pytest.mark.guards("a side value has a low end", "a weight is 1 at least")
def test_two_negative_weights_do_not_void_the_round() -> None:
    state = run(plan_of(h.VerifiedSum()), {"weight": -CAP}, {"weight": -CAP})
    assert not state.skipped and state.participants == HONEST and set(state.excluded) == {"liar-0", "liar-1"}


@pytest.mark.promise("P83")
@pytest.mark.guards("an attacker may say the least weight")
@pytest.mark.parametrize("more", [(), (Quantize(24),)], ids=["real", "integer"])
@pytest.mark.parametrize(("others", "weight"), [((1.0, 1.0), 1.0), ((CAP, CAP), CAP), ((20.0, 30.0), 1.0)])
def test_a_liar_reaches_what_is_told_and_never_passes_it(
    others: tuple[float, ...], weight: float, more: tuple[h.transforms.Transform, ...]
) -> None:
    """Honest updates all point one way with norm 1, and the attacker's the other way with norm C·cap."""
    plan = plan_of(h.VerifiedSum(), *more, training=h.Training(batch=0, report=False))
    data = federation(1)["client-0"]
    honest = [Says(f"client-{i}", plan, data, values={"delta": along(w), "weight": w}) for i, w in enumerate(others)]
    attacker = Says("mallory", plan, data, values={"delta": along(-CAP * (1 - 1e-6)), "weight": weight})
    (before,), (after,) = states(plan, honest), states(plan, [*honest, attacker])
    assert not after.excluded
    told = plan.aggregator.moved(plan.encoded_spec, sum(others))["delta"]
    assert told == pytest.approx((CAP + weight) / (sum(others) + weight), rel=1e-5)
    assert 1 - 1e-5 < np.linalg.norm(after.x - before.x) / told <= 1


@pytest.mark.promise("P83")
@pytest.mark.guards("an attacker may say the least weight")
def test_nothing_that_is_proven_moves_the_mean_farther() -> None:
    """Two of five lie, with updates and weights of any size within the bounds."""
    rng, plan = np.random.default_rng(0), plan_of(h.VerifiedSum(), training=h.Training(batch=0, report=False))
    farthest, W = 0.0, 0.0
    for _ in range(2000):
        w = np.exp(rng.uniform(0, np.log(CAP), 3))
        V = rng.normal(size=(5, D)) + rng.choice([0.0, 30.0]) * along(1.0)
        V /= np.linalg.norm(V, axis=1)[:, None]
        V[3:] *= -1
        lying = np.exp(rng.uniform(0, np.log(CAP), 2))
        m, W = w @ V[:3] / w.sum(), float(w.sum())
        moved = (w @ V[:3] + CAP * V[3:].sum(0)) / (W + lying.sum()) - m
        ratio = float(np.linalg.norm(moved)) / plan.aggregator.moved(plan.encoded_spec, W, 2)["delta"]
        farthest = max(farthest, ratio)
    assert 0.8 < farthest <= 1
    assert plan.aggregator.moved(plan.encoded_spec, 0.0)["delta"] == pytest.approx(CAP, rel=1e-5)  # where all lie


@pytest.mark.promise("P83")
@pytest.mark.control("what an attacker reaches within what is proven")
def test_a_liar_moves_both_means_that_fednova_multiplies() -> None:
    """Beside one honest client of weight 1 that says one step: (c·most + 1)/2 · (c·C + C)/2, where others say 1·C."""
    plan = plan_of(h.VerifiedSum(), algorithm=h.FedNova(most=40.0), training=h.Training(batch=0, report=False))
    data = federation(1)["client-0"]
    one = Says("client-0", plan, data, values={"delta": along(1.0), "tau": 1.0})
    longest = CAP * (1 - 1e-6)
    attacker = Says("mallory", plan, data, values={"delta": along(longest), "tau": 40.0 * CAP, "weight": 1.0})
    (state,) = states(plan, [one, attacker])
    told = (CAP * 40 + 1) / 2 * (longest + 1) / 2
    assert not state.excluded and np.linalg.norm(state.x - plan.start().x) == pytest.approx(told, rel=1e-5)
    assert told < CAP * 40 * CAP


@pytest.mark.promise("P83")
@pytest.mark.guards("a clip moves by its rate at most")
def test_a_liar_has_the_votes_of_cap_clients_for_the_clip() -> None:
    """And moves it by a factor of e^(rate·quantile) at most in a round."""
    clip = h.AdaptiveClip(0.5, first=1.0, rate=0.2)
    pipe = (clip, h.Weigh("examples", cap=CAP))
    plan = plan_of(h.VerifiedSum(), pipe=pipe, training=h.Training(batch=0, report=False))
    data = federation(1)["client-0"]
    others = [Says(f"client-{i}", plan, data, values={"under": 0.5}) for i in range(5)]
    (alone,) = states(plan, others)
    (state,) = states(plan, [*others, Says("mallory", plan, data, values={"under": -CAP / 2})])
    assert alone.transforms[0] == pytest.approx(np.exp(-0.1), rel=1e-4)
    assert state.transforms[0] == pytest.approx(np.exp(0.1), rel=1e-4)


@pytest.mark.promise("P83")
@pytest.mark.control("what an attacker reaches within what is proven")
def test_a_liar_moves_the_mean_of_a_survey_by_most_over_the_records_of_others() -> None:
    plan = survey({"v": Mean(-2.0, 2.0, column=0)}, most=50, columns=4)
    clients = [h.Client(who, plan, one) for who, one in federation(2).items()]
    attacker = Says("mallory", plan, federation(1)["client-0"], values={"v.sum.0": 100.0})
    (before,), (after,) = (states(plan, who) for who in (clients, [*clients, attacker]))
    model = plan.model
    assert isinstance(model, Survey) and not after.excluded
    records = sum(len(y) for _, y in federation(2).values())
    moved = model.answers(after)["v"] - model.answers(before)["v"]
    assert moved == pytest.approx(50 * 2.0 / records, rel=1e-4)


@pytest.mark.promise("P83")
@pytest.mark.guards("how far an attacker moves the mean is told")
def test_the_plan_in_words_tells_it() -> None:
    plan = plan_of(h.VerifiedSum(), training=h.Training(batch=0), sample=h.Everyone(quorum=3))
    told = str(explain(plan))
    assert "how many examples it has | 1\u00a0…\u00a0200" in told
    assert "delta by 67 where they weigh 1 each, and delta by 0.667 where they weigh 200 each" in told
    one = str(explain(replace(plan, pipe=(h.Clip(1.0, side=SIDE), h.Weigh("one")))))
    assert "Beside 2 others it moves the mean of delta by 0.667, at most." in one
    assert "the mean by the longest update over the least weight" in plan.aggregator.visibility()[-2][1]


@pytest.mark.promise("P83")
@pytest.mark.guards("of what is not hansa's no number is told")
def test_of_a_strangers_transform_no_number_is_told() -> None:
    @dataclass(frozen=True)
    class Louder(h.transforms.Transform):
        """Makes what comes out a thousand times as long."""

        def decode(self, total: h.Vector, at: h.transforms.Context) -> h.Vector:
            return 1000 * total

    plan = plan_of(h.VerifiedSum(), Louder(), training=h.Training(batch=0))
    assert "lies within its bounds" not in str(explain(plan))


# ── without proofs ──


@pytest.mark.guards("a weight alone is within its bounds")
@pytest.mark.parametrize("more", [(), (Quantize(24),)], ids=["real", "integer"])
@pytest.mark.parametrize("weight", [-150.0, 0.0, 1e-9, 0.9, CAP + 1])
def test_a_robust_rule_leaves_out_who_has_no_weight(weight: float, more: tuple[h.transforms.Transform, ...]) -> None:
    """A vector over such a weight would be of any length, or point the other way."""
    plan = plan_of(h.Median(), *more)
    state = run(plan, {"delta": along(1.0), "weight": weight})
    assert state.participants == HONEST and "cannot be decoded" in state.excluded["liar-0"]
    assert run(plan, {"delta": along(1.0), "weight": 1.0}).participants == (*HONEST, "liar-0")


@pytest.mark.promise("P9")
@pytest.mark.guards("a plain sum tells that it checks nothing")
def test_a_plain_sum_says_that_it_checks_nothing() -> None:
    plan = plan_of(h.Sum())
    assert np.linalg.norm(run(plan, {"delta": along(1e6), "weight": 1.0}).x) > 1e4
    (row,) = (row for row in plan.aggregator.visibility() if row[0] == "Byzantine clients")
    assert "as far as it likes" in row[1]


# ── bounds flow through a plan ──


@pytest.mark.promise("P100")
@pytest.mark.guards("a weighed value keeps its low end", "a rounded value keeps its low end")
def test_two_ends_flow_through_all_transforms() -> None:
    """A weighed value of a … b lies in min(a, a·cap) … b·cap, and rounding goes down by less than a step."""
    assert ends(RATE) == (0.0, 1.0) and ends(3.0) == (-3.0, 3.0) and ends(Interval(0.0)) == (0.0, np.inf)
    spec = Spec({"delta": 4}, {"delta": 1.0})
    named = {"tau": Interval(1.0, 5.0), "rate": RATE, "low": Interval(-2.0, 3.0), "both": 4.0, "open": Interval(0.0)}
    for name, bound in named.items():
        spec = spec.with_side(name, bound)
    pipe = h.transforms.Pipe.of((h.Clip(1.0, side=7.0), h.Weigh("examples", cap=8), h.Rotate(), Quantize(16)), spec)
    clipped, weighed, rotated, integer = pipe.specs[1:]
    assert (clipped.low("open"), clipped.bounds["open"]) == (0.0, 7.0)
    lows = {"tau": 1.0, "rate": 0.0, "low": -16.0, "both": -32.0, "open": 0.0, "weight": 1.0}
    assert {name: weighed.low(name) for name in lows} == {name: rotated.low(name) for name in lows} == lows
    for name, low in lows.items():
        step = integer.noise.step[name]
        assert low - step < integer.low(name) <= low or name == "both"
        assert integer.low(name) / step == pytest.approx(round(integer.low(name) / step)) or name == "both"


@pytest.mark.guards("an interval has two ends")
@pytest.mark.parametrize("low, high", [(1.0, 1.0), (2.0, 1.0), (-5.0, 2.0), (-np.inf, 1.0), (np.nan, 1.0)])
def test_an_interval_has_two_ends(low: float, high: float) -> None:
    with pytest.raises(h.errors.PlanError, match="bounds nothing"):
        Interval(low, high)


@pytest.mark.guards("a clip leaves a value its range")
def test_a_clip_below_the_least_value_is_refused() -> None:
    with pytest.raises(h.errors.PlanError, match="leaves nothing of tau"):
        plan_of(h.Sum(), algorithm=h.FedNova(), pipe=(h.Clip(1.0, side=0.5), h.Weigh("one")))


@dataclass(frozen=True)
class Density(h.Softmax):
    """A model whose loss may be anything, such as −log of a density."""

    metrics = {"loss": np.inf}  # noqa: RUF012

    def train(self, *args: Any) -> Any:
        return replace(super().train(*args), loss=-3.0)

    def score(self, x: h.Vector, data: Any, *local: Any) -> dict[str, float]:
        return {"loss": -2.0}


@pytest.mark.guards("a loss may be negative")
def test_a_loss_that_may_be_negative_is_neither_refused_nor_cut_at_0() -> None:
    """What a model does not say of its loss, a plan does not take for granted."""
    plan = replace(plan_of(h.VerifiedSum()), model=Density(MODEL.features, MODEL.classes))
    assert plan.encoded_spec.low("loss") == -SIDE * CAP and "loss to ±10" in str(explain(plan))
    state = run(plan)
    assert state.participants == HONEST and state.metrics["loss"] == pytest.approx(-3.0, rel=1e-4)
    assert state.metrics["val_loss"] == pytest.approx(-2.0, rel=1e-4)
    assert "loss to 0 … 10" in str(explain(plan_of(h.VerifiedSum())))  # of a cross-entropy it is said
