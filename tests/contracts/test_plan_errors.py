"""A plan that cannot mean anything is refused when it is built: what was found, why it cannot work, what to write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from hansa import (
    APFL,
    Adagrad,
    Adam,
    AdaptiveClip,
    Client,
    Clip,
    Ditto,
    Everyone,
    FedAvg,
    FedDyn,
    FedNova,
    FedProx,
    Finite,
    GaussianNoise,
    InProcess,
    Krum,
    Median,
    MimeLite,
    Momentum,
    Network,
    Plan,
    Poisson,
    Policy,
    Quantize,
    Sample,
    Scaffold,
    Sgd,
    Softmax,
    Sum,
    Training,
    Uniform,
    Weigh,
    buffered,
)
from hansa.errors import AppError, PlanError, refuse

QUIET = Training(report=False)


def plan(*pipe: Any, **more: Any) -> Plan:
    return Plan(Softmax(4, 3), **({"pipe": pipe} if pipe else {}), **more)


def train(**given: Any) -> Plan:
    return plan(training=Training(**given))


@dataclass(frozen=True)
class TakesTheWeight(FedAvg):
    """An algorithm with a side value of a name that is taken."""

    def side(self) -> Any:
        return {"weight": 1.0}


WRONG: dict[str, Callable[[], Any]] = {
    # what does not belong into a slot
    "no model": lambda: Plan("resnet"),
    "a model's class": lambda: Plan(Softmax),
    "a word for an algorithm": lambda: plan(algorithm="fedavg"),
    "an algorithm's class": lambda: plan(algorithm=FedAvg),
    "an optimizer for an algorithm": lambda: plan(algorithm=Adam()),
    "a word for an aggregator": lambda: plan(aggregator="sum"),
    "an aggregator's class": lambda: plan(aggregator=Sum),
    "a number for a training": lambda: plan(training=5),
    "a number for a sample": lambda: plan(sample=0.1),
    "a word in the pipe": lambda: plan("clip", Weigh("one")),
    "a transform's class in the pipe": lambda: plan(Clip, Weigh("one")),
    "nothing for a pipe": lambda: Plan(Softmax(4, 3), pipe=None),
    "no rounds": lambda: plan(rounds=0),
    "negative rounds": lambda: plan(rounds=-3),
    "half a round": lambda: plan(rounds=2.5),
    "rounds in words": lambda: plan(rounds="10"),
    "a seed in words": lambda: plan(seed="lucky"),
    "a model with nothing to tell apart": lambda: Softmax(4, 1),
    "a model of no features": lambda: Softmax(0, 3),
    "features in words": lambda: Softmax("4", 3),
    # pipes
    "an empty pipe": lambda: Plan(Softmax(4, 3), pipe=()),
    "no Weigh": lambda: plan(Clip(1.0)),
    "two Weighs": lambda: plan(Weigh("one"), Weigh("examples")),
    "an unknown Weigh": lambda: plan(Weigh("age")),
    "a Weigh of no cap": lambda: plan(Weigh("examples", cap=0)),
    "a cap in words": lambda: plan(Weigh("examples", cap="64")),
    "a cap on one": lambda: plan(Weigh("one", cap=5)),
    "Weigh after Quantize": lambda: plan(Clip(1.0, side=5.0), Quantize(20), Weigh("one")),
    "a clip to nothing": lambda: plan(Clip(0.0), Weigh("one")),
    "a clip to a negative norm": lambda: plan(Clip(-1.0), Weigh("one")),
    "a clip to NaN": lambda: plan(Clip(float("nan")), Weigh("one")),
    "a clip in words": lambda: plan(Clip("1"), Weigh("one")),
    "a clip of side values to nothing": lambda: plan(Clip(1.0, side=0.0), Weigh("one")),
    "Clip after Weigh": lambda: plan(Weigh("one"), Clip(1.0)),
    "Clip after Quantize": lambda: plan(Clip(1.0, side=5.0), Quantize(20), Clip(1.0), Weigh("one")),
    "AdaptiveClip after Weigh": lambda: plan(Weigh("one"), AdaptiveClip()),
    "two AdaptiveClips": lambda: plan(AdaptiveClip(), AdaptiveClip(), Weigh("one")),
    "an AdaptiveClip to no quantile": lambda: plan(AdaptiveClip(quantile=1.0), Weigh("one")),
    "an AdaptiveClip that never moves": lambda: plan(AdaptiveClip(rate=0.0), Weigh("one")),
    "an AdaptiveClip from nothing": lambda: plan(AdaptiveClip(first=0.0), Weigh("one")),
    "Finite after Quantize": lambda: plan(Clip(1.0, side=5.0), Weigh("one"), Quantize(20), Finite()),
    "Quantize without a bound": lambda: plan(Weigh("one"), Quantize(20)),
    "Quantize with an unbounded loss": lambda: plan(Clip(1.0), Weigh("one"), Quantize(20)),
    "Quantize with an unbounded weight": lambda: plan(Clip(1.0), Weigh("examples"), Quantize(20), training=QUIET),
    "Quantize to one bit": lambda: plan(Clip(1.0, side=5.0), Weigh("one"), Quantize(1)),
    "Quantize to too many bits": lambda: plan(Clip(1.0, side=5.0), Weigh("one"), Quantize(64)),
    "Quantize to half a bit": lambda: plan(Clip(1.0, side=5.0), Weigh("one"), Quantize(8.5)),
    "two Quantizes": lambda: plan(Clip(1.0, side=5.0), Weigh("one"), Quantize(20), Quantize(20)),
    # noise
    "noise without a bound": lambda: plan(Weigh("one"), GaussianNoise(1.0)),
    "noise with an unbounded loss": lambda: plan(Clip(1.0), Weigh("one"), GaussianNoise(1.0)),
    "noise with an unbounded weight": lambda: plan(Clip(1.0), Weigh("examples"), GaussianNoise(1.0), training=QUIET),
    "noise with an unbounded τ": lambda: plan(
        Clip(1.0), Weigh("one"), GaussianNoise(1.0), algorithm=FedNova(), training=QUIET
    ),
    "noise before Weigh": lambda: plan(Clip(1.0, side=5.0), GaussianNoise(1.0), Weigh("one")),
    "noise after Quantize": lambda: plan(Clip(1.0, side=5.0), Weigh("one"), Quantize(20), GaussianNoise(1.0)),
    "two noises": lambda: plan(Clip(1.0, side=5.0), Weigh("one"), GaussianNoise(1.0), GaussianNoise(1.0)),
    "no noise": lambda: plan(Clip(1.0, side=5.0), Weigh("one"), GaussianNoise(0.0)),
    "noise in words": lambda: plan(Clip(1.0, side=5.0), Weigh("one"), GaussianNoise("1")),
    "noise drawn by nobody": lambda: plan(Clip(1.0, side=5.0), Weigh("one"), GaussianNoise(1.0, by="me")),
    "shares of the server's noise": lambda: plan(Clip(1.0, side=5.0), Weigh("one"), GaussianNoise(1.0, least=5)),
    "shares of no clients": lambda: plan(Clip(1.0, side=5.0), Weigh("one"), GaussianNoise(1.0, by="all", least=0)),
    "more shares than the quorum": lambda: plan(
        Clip(1.0, side=5.0), Weigh("one"), GaussianNoise(1.0, by="all", least=9), sample=Uniform(10, quorum=8)
    ),
    "noise and a robust rule": lambda: plan(
        Clip(1.0, side=5.0), Weigh("one"), GaussianNoise(1.0), aggregator=Median(), sample=Uniform(10)
    ),
    "a learning clip and a robust rule": lambda: plan(
        AdaptiveClip(), Weigh("one"), aggregator=Median(), sample=Uniform(10)
    ),
    "a robust rule and too few clients": lambda: plan(Weigh("one"), aggregator=Krum(f=3), sample=Uniform(5)),
    # samples
    "a sample that draws nobody": lambda: plan(sample=Sample()),
    "a sample of nobody": lambda: plan(sample=Uniform(0)),
    "a sample of half a client": lambda: plan(sample=Uniform(2.5)),
    "a sample in words": lambda: plan(sample=Uniform("10")),
    "an infinite sample": lambda: plan(sample=Uniform(float("inf"))),
    "a rate above one": lambda: plan(sample=Poisson(1.5)),
    "a rate of nothing": lambda: plan(sample=Poisson(0.0)),
    "a quorum of nobody": lambda: plan(sample=Everyone(quorum=0)),
    "a quorum in words": lambda: plan(sample=Uniform(10, quorum="5")),
    "a quorum above the size": lambda: plan(sample=Uniform(10, quorum=11)),
    "no time": lambda: plan(sample=Everyone(deadline=0.0)),
    "NaN for a deadline": lambda: plan(sample=Everyone(deadline=float("nan"))),
    # training
    "no epochs": lambda: train(epochs=0),
    "half an epoch": lambda: train(epochs=0.5),
    "a negative batch": lambda: train(batch=-1),
    "a batch in words": lambda: train(batch="32"),
    "no learning rate": lambda: train(learning_rate=0.0),
    "an infinite learning rate": lambda: train(learning_rate=float("inf")),
    "an unknown local optimizer": lambda: train(optimizer="lion"),
    "a negative weight decay": lambda: train(weight_decay=-0.1),
    "no steps": lambda: train(steps=0),
    "all examples held out": lambda: train(validation=1.0),
    "a negative share held out": lambda: train(validation=-0.1),
    "held out, and not told": lambda: train(validation=0.2, report=False),
    "a report in words": lambda: train(report="yes"),
    "a local optimizer that the model lacks": lambda: train(optimizer="adam"),
    # algorithms and optimizers
    "a negative pull": lambda: plan(algorithm=FedAvg(pull=-1.0)),
    "a pull in words": lambda: plan(algorithm=FedProx("0.1")),
    "a word for a server optimizer": lambda: plan(algorithm=FedAvg("adam")),
    "a server optimizer's class": lambda: plan(algorithm=FedAvg(Adam)),
    "no server learning rate": lambda: plan(algorithm=FedAvg(Sgd(0.0))),
    "a momentum of one": lambda: plan(algorithm=FedAvg(Momentum(beta=1.0))),
    "a second decay of one": lambda: plan(algorithm=FedAvg(Adam(b2=1.0))),
    "no τ": lambda: plan(algorithm=FedAvg(Adagrad(tau=0.0))),
    "squares below 0": lambda: plan(algorithm=FedAvg(Adagrad(v0=-1.0))),
    "Scaffold with weight decay": lambda: plan(algorithm=Scaffold(), training=Training(weight_decay=0.1)),
    "FedNova with weight decay": lambda: plan(algorithm=FedNova(), training=Training(weight_decay=0.1)),
    "FedNova with a pull": lambda: plan(algorithm=FedNova(pull=0.1)),
    "FedNova of less than one step": lambda: plan(algorithm=FedNova(most=0.5)),
    "FedDyn without α": lambda: plan(algorithm=FedDyn(alpha=0.0)),
    "FedDyn with a server optimizer": lambda: plan(algorithm=FedDyn(Adam())),
    "FedDyn with half a server step": lambda: plan(algorithm=FedDyn(Sgd(0.5))),
    "FedDyn with a second pull": lambda: plan(algorithm=FedDyn(pull=0.1)),
    "Ditto with a negative λ": lambda: plan(algorithm=Ditto(lam=-1.0)),
    "MimeLite with a momentum of one": lambda: plan(algorithm=MimeLite(beta=1.0)),
    "APFL of more than its own model": lambda: plan(algorithm=APFL(alpha=1.5)),
    "APFL with weight decay": lambda: plan(algorithm=APFL(), training=Training(weight_decay=0.1)),
    "two parts of one name": lambda: plan(algorithm=TakesTheWeight()),
    # what is built around the plan
    "no clients": lambda: InProcess([]),
    "two clients of one name": lambda: InProcess([Client("anna", plan(), ()), Client("anna", plan(), ())]),
    "two plans": lambda: InProcess([Client("anna", plan(), ()), Client("bert", plan(seed=1), ())]),
    "a policy in words": lambda: Policy(max_rounds="3"),
    "a policy of no number": lambda: Policy(min_noise=float("nan")),
    "a policy with a word that is no sight": lambda: Policy(sees="VerifiedSum"),
    "a policy with nobody who colludes": lambda: Policy(sees="sum", colluding=0),
    "a policy with a word for a yes": lambda: Policy(sees="sum", stated="yes"),
    "a network that loses all": lambda: Network(drop=1.0),
    "a negative latency": lambda: Network(latency=-1.0),
    "stragglers that are faster": lambda: Network(stragglers=0.1, slowdown=0.5),
    "a network in words": lambda: Network(latency="slow"),
}
NOBODY: Any = None

STALE: dict[str, Callable[[], Any]] = {
    "a buffer of integers": lambda: buffered(plan(Clip(1.0, side=5.0), Weigh("one"), Quantize(20)), NOBODY),
    "a buffer for a robust rule": lambda: buffered(plan(aggregator=Median(), sample=Uniform(10)), NOBODY),
    "a buffer with noise": lambda: buffered(plan(Clip(1.0, side=5.0), Weigh("one"), GaussianNoise(1.0)), NOBODY),
    "a buffer of nothing": lambda: buffered(plan(), NOBODY, size=0),
    "a buffer larger than who fills it": lambda: buffered(plan(), NOBODY, size=20, busy=10),
    "a buffer with a learning clip": lambda: buffered(plan(AdaptiveClip(), Weigh("one")), NOBODY),
    "a buffer below the quorum": lambda: buffered(plan(sample=Everyone(quorum=12)), NOBODY, size=10),
}


@pytest.mark.promise("P62")
@pytest.mark.parametrize("build", WRONG.values(), ids=WRONG)
def test_a_wrong_plan_fails_when_it_is_built(build: Callable[[], Any]) -> None:
    with pytest.raises(PlanError) as caught:
        build()
    tells(caught.value)


@pytest.mark.promise("P62")
@pytest.mark.parametrize("loop", STALE.values(), ids=STALE)
def test_a_loop_that_cannot_run_a_plan_says_so_before_the_first_round(loop: Callable[[], Any]) -> None:
    with pytest.raises(PlanError) as caught:
        next(loop())
    tells(caught.value)


def tells(error: PlanError) -> None:
    """What was found, why it cannot work, and what to write instead; in sentences."""
    for part in (error.found, error.why, error.instead):
        assert part.strip() and part.endswith((".", "…")), part
    assert str(error) == f"{error.found}\n  {error.why}\n  {error.instead}"


@pytest.mark.promise("P42")
def test_the_error_names_what_is_unbounded_and_how_to_bound_it() -> None:
    with pytest.raises(PlanError) as caught:
        plan(Weigh("examples"), GaussianNoise(1.0))
    assert caught.value.found.endswith("needs a bound on: delta, loss, weight.")
    assert "Clip(norm=…)" in caught.value.instead and "Training(report=False)" in caught.value.instead


def test_there_are_many_kinds() -> None:
    found = set()
    for build in WRONG.values():
        with pytest.raises(PlanError) as caught:
            build()
        found.add(caught.value.why)
    assert len(found) > 45


RIGHT: dict[str, Callable[[], Any]] = {
    "the least": lambda: Plan(Softmax(4, 3)),
    "one transform without brackets": lambda: Plan(Softmax(4, 3), pipe=Weigh("one")),
    "a list for a pipe": lambda: Plan(Softmax(4, 3), pipe=[Clip(1.0), Weigh("one")]),
    "noise with everything bounded": lambda: plan(
        Finite(), AdaptiveClip(side=10.0), Weigh("examples", cap=64), GaussianNoise(1.0), Quantize(24)
    ),
    "noise without reports": lambda: plan(Clip(1.0), Weigh("one"), GaussianNoise(1.0), training=QUIET),
    "noise in as many shares as the quorum": lambda: plan(
        Clip(1.0, side=5.0), Weigh("one"), GaussianNoise(1.0, by="all", least=8), sample=Uniform(10, quorum=8)
    ),
    "FedNova with a bound on τ": lambda: plan(
        Clip(1.0), Weigh("one"), GaussianNoise(1.0), algorithm=FedNova(most=50), training=QUIET
    ),
    "Scaffold, quantised": lambda: plan(Clip(1.0, side=5.0), Weigh("one"), Quantize(20), algorithm=Scaffold()),
    "a robust rule": lambda: plan(Clip(1.0), Weigh("one"), aggregator=Krum(f=2), sample=Uniform(9)),
}


@pytest.mark.parametrize("build", RIGHT.values(), ids=RIGHT)
def test_a_right_plan_is_built(build: Callable[[], Any]) -> None:
    made = build()
    assert made.digest == build().digest and made.encoded_spec.weighed


def test_words_are_made_only_where_something_is_wrong() -> None:
    data: list[int] = []
    fine = (bool(data), lambda: f"It begins with {data[0]}.", "", "")
    refuse([fine])
    with pytest.raises(AppError) as error:
        refuse([fine, (not data, lambda: "It is empty.", "Nothing can be read.", lambda: "Fill it.")], AppError)
    assert str(error.value) == "It is empty.\n  Nothing can be read.\n  Fill it."
