"""Surveys: right answers through every secure and open sum, bounds that hold, and wrong questions refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from tests.attacks.attackers_verified import Lie, facts

from hansa import (
    Client,
    EncryptedSum,
    GaussianNoise,
    InProcess,
    MaskedSum,
    Policy,
    Processes,
    Quantize,
    Sum,
    VerifiedSum,
    explain,
    synchronous,
)
from hansa.analytics import Count, Histogram, Mean, Quantiles, TopK, Variance, ask, survey
from hansa.crypto.circuits import L1BoundSum, bits
from hansa.errors import DataError, PlanError
from hansa.plan.client import aggregator_context, contribute
from hansa.privacy import planned_privacy

rng = np.random.default_rng(5)
DATA = {f"site {i}": (rng.normal(i - 1, 1, (30 + 20 * i, 3)), rng.integers(0, 4, 30 + 20 * i)) for i in range(4)}
FREE = dict.fromkeys(DATA, Policy())
X, Y = (np.concatenate(columns) for columns in zip(*DATA.values(), strict=True))
ALL: dict[str, Any] = {
    "records": Count(),
    "mean": Mean(-3, 3),
    "variance": Variance(-3, 3, column=1),
    "histogram": Histogram((-9, -1, 0, 1, 9), column=0),
    "quantiles": Quantiles(-4, 6, at=(0.1, 0.5), bins=200, column=2),
    "top": TopK(2, among=(0, 1, 2, 3), column="y"),
}


def check(answers: dict[str, Any], close: float = 1e-4) -> None:
    """Are these the answers of who sees all records?"""
    cut, counts = np.clip(X, -3, 3), np.bincount(Y)
    assert answers["records"] == len(X)
    assert np.abs(answers["mean"] - cut.mean(axis=0)).max() < close
    assert abs(answers["variance"] - cut[:, 1].var()) < close
    assert answers["histogram"].tolist() == np.histogram(X[:, 0], (-9, -1, 0, 1, 9))[0].tolist()
    assert np.abs(answers["quantiles"] - np.quantile(X[:, 2], (0.1, 0.5))).max() < 2 * 10 / 200
    assert answers["top"] == [(i, counts[i]) for i in np.argsort(-counts, kind="stable")[:2]]


@pytest.mark.promise("P69")
@pytest.mark.parametrize("aggregator", [Sum(), VerifiedSum(), VerifiedSum(("site 1", "auditor"))], ids=repr)
def test_answers_are_those_of_who_sees_all(aggregator: Any) -> None:
    check(ask(ALL, DATA, most=200, policies=FREE, aggregator=aggregator))


@pytest.mark.parametrize(
    "aggregator",
    [MaskedSum(), EncryptedSum(), EncryptedSum(holders=3, colluders=0.0)],
    ids=["masked", "encrypted", "held"],
)
def test_answers_of_sums_that_clients_open_are_those_of_who_sees_all(aggregator: Any) -> None:
    """Up to the steps in which numbers travel: without a Quantize it is said how to write one."""
    quantized = {"pipe": [Quantize(40, of="sum", clients=4)], "quorum": 3}
    found = ask(ALL, DATA, most=200, policies=FREE, aggregator=aggregator, **quantized)
    whole = {"records": round(found["records"], 6), "histogram": np.round(found["histogram"], 6)}
    top = [(value, round(count, 6)) for value, count in found["top"]]
    check({**found, **whole, "top": top})
    with pytest.raises(PlanError, match=r"Quantize\(16, of='sum'"):
        ask(ALL, DATA, most=200, policies=FREE, aggregator=aggregator, quorum=3)


def test_a_survey_runs_in_any_runtime() -> None:
    plan = survey(ALL, most=200, columns=3)
    runtime = Processes([Client(who, plan, records) for who, records in DATA.items()], workers=2)
    (state,) = synchronous(plan, runtime)
    runtime.close()
    check(plan.model.answers(state))  # type: ignore[attr-defined]


@pytest.mark.promise("P70")
def test_who_has_more_records_than_count_draws_some() -> None:
    answers = ask({"n": Count(), "mean": Mean(-3, 3, column=0)}, DATA, most=40, policies=FREE)
    assert answers["n"] == 30 + 3 * 40
    few = [ask({"mean": Mean(-3, 3, column=0)}, DATA, most=5, policies=FREE, seed=seed)["mean"] for seed in range(3)]
    assert len(set(few)) == 3  # others each time


def test_noise_is_sized_for_a_whole_client() -> None:
    """One client can change each sum by its bound, so 200 answers spread by z times that over the shares' root."""
    questions = {"h": Histogram((-9, 0, 9), column=0)}
    plan = survey(questions, most=100, columns=3, aggregator=VerifiedSum(noise=0.5))
    told = planned_privacy(plan).guarantee(1e-5)
    assert told.epsilon is not None and told.unit == "client"
    noisy = VerifiedSum(noise=0.5)
    answers = [ask(questions, DATA, most=100, policies=FREE, aggregator=noisy, seed=seed)["h"] for seed in range(100)]
    spread = (np.array(answers) - ask(questions, DATA, most=100, policies=FREE)["h"]).std()
    assert abs(spread / (0.5 * 100 * 2**0.5 * 2**0.5) - 1) < 0.2  # two blocks share it, two aggregators draw
    server = survey(questions, most=100, columns=3, aggregator=Sum(), pipe=(GaussianNoise(0.5),))
    assert planned_privacy(server).guarantee(1e-5).epsilon == pytest.approx(told.epsilon, rel=0.02)


@dataclass(frozen=True)
class Stuffed(L1BoundSum):
    """Counts that add up to anything, said to add up to the bound."""

    def encode(self, measurement: Any) -> Any:
        return self.field.array(b for value in (*measurement, self.most) for b in bits(int(value), self.most))


@dataclass(frozen=True)
class Stuffing(VerifiedSum):
    """The half of a client that says 50 in each bucket, each within the bound, and the sum not."""

    def _claims(self, spec: Any, binding: bytes) -> Any:
        counts, *others = super()._claims(spec, binding)
        return Lie(counts, (50, 50), replace(counts.sum, statement=Stuffed(**facts(counts.sum.statement)))), *others


@dataclass
class Liar(Client):
    """Answers honestly, but for its half of the sum."""

    def _converse(self, request: Any, given: Any) -> Any:
        broadcast, memo = self._heard(request)
        train, held, examples = self.parts
        at = self._context(request, given.state, examples, memo)

        def vector() -> Any:
            v, _ = yield from contribute(self.plan, broadcast, {}, train, held, at)
            return v

        return Stuffing().client(vector, aggregator_context(self.plan, at))


@pytest.mark.promise("P13")
@pytest.mark.parametrize("checked", [True, False])
def test_counts_that_add_up_to_more_than_the_bound_are_refused(checked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the proof alone: without the one equation that looks at their sum they would be counted."""
    if not checked:
        monkeypatch.setattr(L1BoundSum, "also", lambda self, x, one: [0])
    questions = {"h": Histogram((-9, 0, 9), column=0)}
    plan = survey(questions, most=50, columns=3)
    people = [Client(who, plan, records) for who, records in list(DATA.items())[:3]]
    attacker = Liar("mallory", replace(plan), DATA["site 0"])
    (state,) = synchronous(plan, InProcess([*people, attacker]))
    assert ("A proof does not hold" in state.excluded.get("mallory", "")) == checked
    assert plan.model.answers(state)["h"].sum() == 30 + 50 + 50 + (0 if checked else 100)  # type: ignore[attr-defined]


def test_dicts_can_be_asked() -> None:
    data = {
        "a": {"age": np.array([30.0, 40.0]), "colour": np.array([1, 0]), "y": np.zeros(2)},
        "b": {"age": np.array([50.0]), "colour": np.array([1]), "y": np.zeros(1)},
    }
    asked = {"age": Mean(0, 100, column="age"), "top": TopK(1, among=(0, 1), column="colour")}
    answers = ask(asked, data, most=10, policies=dict.fromkeys(data, Policy()), aggregator=Sum())
    assert answers["age"] == pytest.approx(40) and answers["top"] == [(1, 2.0)]


def test_it_explains_itself() -> None:
    text = str(explain.explain(survey(ALL, most=200, columns=3)))
    assert "helper 1" in text and "histogram.counts" in text
    assert "No model is trained" in text and "local training" not in text


WRONG: dict[str, Any] = {
    "no questions": lambda: ask({}, DATA, 10, policies=FREE),
    "a class": lambda: ask({"n": Count}, DATA, 10, policies=FREE),
    "no range": lambda: Mean(3, 3),
    "an infinite range": lambda: Mean(0, np.inf),
    "falling edges": lambda: Histogram((1, 0)),
    "one edge": lambda: Histogram((1,)),
    "a histogram of all columns": lambda: ask({"h": Histogram((0, 1))}, DATA, 10, policies=FREE),
    "a share above one": lambda: Quantiles(0, 1, at=(1.5,)),
    "no bins": lambda: Quantiles(0, 1, bins=0),
    "too many of the top": lambda: TopK(3, among=("a", "b")),
    "a value twice": lambda: TopK(1, among=("a", "a")),
    "no records count": lambda: ask({"n": Count()}, DATA, 0, policies=FREE),
    "one client is enough": lambda: survey({"n": Count()}, 10, quorum=1),
}


@pytest.mark.promise("P70")
@pytest.mark.parametrize("name", WRONG)
def test_wrong_questions_are_refused_before_they_are_asked(name: str) -> None:
    with pytest.raises(PlanError) as error:
        WRONG[name]()
    assert error.value.instead


def test_data_without_the_column_stays_out() -> None:
    with pytest.raises(DataError, match="nobody"):
        ask({"n": Count()}, {}, 10)
    asked = {"m": Mean(0, 1, column=7)}
    client = Client("a", survey(asked, 10, columns=3), DATA["site 0"])
    with pytest.raises(DataError, match="no column 7"):
        client.check()
