"""Training by client: epochs, steps and batches of its own, by name or by how many examples it has."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np
import pytest
from sklearn.linear_model import SGDClassifier
from tests.contracts.test_backends import KEY, compiled, network, own, points
from tests.contracts.test_schedules import Whole, gradient
from torch.nn import functional as F

import hansa as h
from hansa.app.compare import Fair
from hansa.asks import perform
from hansa.data import Examples
from hansa.errors import AppError, HansaError, PlanError
from hansa.explain import explain
from hansa.models import Drift, Train
from hansa.training import Training

PARTS = {"north": points(20, 1), "south": points(30, 2)}
BY_NAME = {"north": {"epochs": 1}, "so*": {"epochs": 2, "batch": 8}}


def plan(model: Any = None, algorithm: Any = None, rounds: int = 3, **training: Any) -> h.Plan:
    how = {"epochs": 3, "batch": 16, "learning_rate": 0.5, "by_client": BY_NAME, **training}
    model = model or h.Softmax(8, 3)
    return h.Plan(model, algorithm or h.FedAvg(), (h.Weigh("one"),), training=Training(**how), rounds=rounds)


def clients(of: h.Plan) -> list[h.Client]:
    return [h.Client(who, of, one) for who, one in PARTS.items()]


def last(of: h.Plan) -> Any:
    *_, state = h.synchronous(of, h.InProcess(clients(of)))
    return state.x


def test_the_first_pattern_counts_and_what_it_leaves_out_is_that_of_all() -> None:
    everybody = Training(epochs=5, batch=16)
    named = Training(epochs=5, batch=16, by_client={**BY_NAME, "*": {"batch": 0}})
    assert named.of("north", 20) == Training(epochs=1, batch=16)
    assert named.of("south", 20) == Training(epochs=2, batch=8)
    assert named.of("west", 20) == Training(epochs=5, batch=0)
    assert Training(epochs=5, batch=16, by_client=BY_NAME).of("west", 20) == everybody
    sized = Training(epochs=5, batch=16, by_client=lambda n: {"batch": n // 2})
    assert sized.of("north", 20) == Training(epochs=5, batch=10)


def test_epochs_of_a_client_take_the_place_of_the_steps_of_all() -> None:
    training = Training(steps=9, by_client={"north": {"epochs": 2}, "south": {"steps": 3}})
    assert training.of("north", 20) == Training(epochs=2)
    assert training.of("south", 20) == Training(steps=3)


def test_a_mapping_and_its_pairs_are_one_value() -> None:
    pairs = (("north", (("epochs", 1),)), ("so*", (("epochs", 2), ("batch", 8))))
    training = Training(by_client=BY_NAME)
    assert training == Training(by_client=pairs) and hash(training) == hash(Training(by_client=pairs))
    assert training.by_client == pairs


@pytest.mark.parametrize(
    "make",
    [
        partial(h.Softmax, 8, 3),
        lambda: h.SklearnModel(SGDClassifier(loss="log_loss", alpha=0.0), 8, 3),
        lambda: h.TorchModel(network(), F.cross_entropy),
        lambda: h.TorchModel(network(), F.cross_entropy, compile=False),
        lambda: h.TorchModel(network(), F.cross_entropy, cohort=2),
        own,
        compiled,
    ],
    ids=["softmax", "sklearn", "native", "eager", "cohort", "jax", "keras"],
)
@pytest.mark.parametrize(
    "by_client",
    [{"north": {"epochs": 4}, "south": {"steps": 2}}, lambda n: {"epochs": 4} if n == 20 else {"steps": 2}],
    ids=["by name", "by size"],
)
def test_each_trains_as_long_as_it_is_told(make: Any, by_client: Any) -> None:
    """As the mean of two trainings that somebody has written down; all examples at once."""
    model = make()
    x = model.start(KEY)
    each = {
        "north": Training(batch=0, epochs=4, learning_rate=0.5),
        "south": Training(batch=0, steps=2, learning_rate=0.5),
    }
    ends = [model.train(x, PARTS[who], each[who], Drift(), KEY).x for who in PARTS]
    found = last(plan(make(), rounds=1, batch=0, by_client=by_client))
    # scikit-learn takes one example after another, in an order of each round's own
    close = 0.02 if isinstance(model, h.SklearnModel) else 1e-5
    np.testing.assert_allclose(found, sum(ends) / 2, atol=close)
    assert np.abs(ends[0] - ends[1]).max() > 0.02


def by_hand(algorithm: str, steps: dict[str, int], rounds: int) -> Any:
    """SCAFFOLD and FedNova in NumPy; client i takes K_i steps over all its examples."""
    x: Any = np.zeros(27)
    c = np.zeros(27)
    kept = {who: np.zeros(27) for who in PARTS}
    for _ in range(rounds):
        ends = {}
        for who, (A, y) in PARTS.items():
            w = x.copy()
            for _ in range(steps[who]):
                w = w - 0.5 * (gradient(w, A, y) + c - kept[who])
            ends[who] = w
        if algorithm == "FedNova":
            x = x + np.mean(list(steps.values())) * sum((ends[who] - x) / steps[who] for who in PARTS) / 2
            continue
        new = {who: kept[who] - c + (x - ends[who]) / (steps[who] * 0.5) for who in PARTS}
        c = c + sum(new[who] - kept[who] for who in PARTS) / 2
        kept, x = new, sum(ends.values()) / 2
    return x


@pytest.mark.parametrize("algorithm", [h.Scaffold(), h.FedNova()], ids=repr)
def test_scaffold_and_fednova_count_the_steps_of_each(algorithm: Any) -> None:
    of = plan(Whole(8, 3), algorithm)
    steps = {"north": 2, "south": 8}  # ⌈20/16⌉ in one epoch, ⌈2·30/8⌉ in two
    np.testing.assert_allclose(last(of), by_hand(type(algorithm).__name__, steps, 3), atol=1e-9)


def test_in_a_batch_of_clients_each_has_the_bytes_that_it_has_alone() -> None:
    model = h.TorchModel(network(), F.cross_entropy, cohort=4)
    training = plan(model).training
    x = model.start(KEY)
    asks = [
        Train(x, Examples.of(one), training.of(who, len(one[1])), Drift(), KEY.child(who))
        for who, one in PARTS.items()
        for _ in range(2)
    ]
    together = perform(model, asks)
    for ask, fit in zip(asks, together, strict=True):
        assert (perform(model, [ask])[0].x == fit.x).all()
    assert [fit.steps for fit in together] == [2, 2, 8, 8]


def test_by_workers_the_bytes_are_the_same() -> None:
    of = plan()
    with h.Processes(clients(of), workers=2) as workers:
        *_, shared = h.synchronous(of, workers)
    assert (shared.x == last(of)).all()


def test_with_a_schedule_and_a_hold_out() -> None:
    """A function gets the number of examples that are trained on; the rate is that of the round."""
    of = plan(rounds=4, schedule=h.StepDecay(1, 0.5), validation=0.25, by_client=lambda n: {"epochs": n})
    training = of.training.at(2, 4).of("north", clients(of)[0].parts[2])
    assert training == Training(epochs=15, batch=16, learning_rate=0.125, validation=0.25)
    assert np.isfinite(last(of)).all()


def test_the_comparison_goes_over_the_examples_as_often() -> None:
    training = Training(epochs=3, batch=16, by_client={"north": {"epochs": 1}, "south": {"steps": 6}})
    of = h.Plan(h.Softmax(8, 3), training=training, rounds=3)
    fair = Fair(of, {"north": 20, "south": 30}, 3)
    assert [fair.passes(fair.alone(who), fair.sizes[who]) for who in PARTS] == [3, 3 * 6 * 16 / 30]
    assert fair.mean_passes == 3 * (20 + 6 * 16) / 50
    whole = fair.all_at_once
    assert (whole.steps, whole.by_client) == (round((20 + 6 * 16) / 16), ())
    app = h.App(of, PARTS, test=points(40, 5))
    *_, state = app.run()
    rows = {row.name: row.passes for row in app.compare(state)}
    assert rows["north alone"] == 3 and rows["south alone"] == pytest.approx(9.6)
    assert rows["all data pooled"] == pytest.approx(rows["federated"], rel=0.05)


def test_it_is_told_and_in_the_digest() -> None:
    given: list[Any] = [(), BY_NAME, {"north": {"epochs": 2}}, lambda n: {"epochs": n}, lambda n: {"epochs": 2 * n}]
    plans = [plan(by_client=one) for one in given]
    assert len({one.digest for one in plans}) == len(plans)
    told = str(explain(plans[1]))
    assert "of north" in told and "of so*" in told and "epochs=2, batch=8" in told
    assert "by how many examples it has" in str(explain(plans[3]))


NOISE = h.PerExample(1.0, 1.0)


@pytest.mark.promise("P332")
@pytest.mark.guards("no epsilon is told of batches that differ", "who trains by a name of its own is there")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Training(by_client={"north": {"rounds": 1}}), "epochs, steps, batch of its own"),
        (lambda: Training(by_client={"north": {"epochs": 0}}), "counts passes"),
        (lambda: Training(by_client={"north": 3}), "says 3 of a client"),  # type: ignore[dict-item]
        (lambda: Training(by_client={3: {"epochs": 1}}), "names no clients"),  # type: ignore[dict-item]
        (lambda: Training(by_client=h.Cosine), "names no clients"),  # type: ignore[arg-type]
        (lambda: Training(by_client=lambda n: 3).of("north", 20), "says 3 of a client"),  # type: ignore
        (lambda: Training(by_client=lambda n: {"batch": -1}).of("north", 20), "counts examples"),
        (lambda: Training(by_client=BY_NAME, private=NOISE, report=False), "known of all"),
        (lambda: h.App(plan(by_client={"nord": {"epochs": 1}}), PARTS), "no client has such a name"),
    ],
)
def test_refused(make: Any, words: str) -> None:
    with pytest.raises((PlanError, AppError)) as refused:
        make()
    assert words in str(refused.value).lower() or words in str(refused.value)
    assert refused.value.instead


def test_trees_are_as_many_for_all() -> None:
    model = h.XgboostModel({"objective": "binary:logistic", "max_depth": 2}, 8)
    with pytest.raises(PlanError, match="All clients add as many trees"):
        model.plan(Training(batch=0, learning_rate=0.3, by_client=BY_NAME))


def test_a_function_that_gives_no_amounts_is_found_before_any_round() -> None:
    app = h.App(plan(by_client=lambda n: {"epochs": n - 20}), PARTS)
    (problem,) = app.problems()
    assert isinstance(problem, HansaError) and "epochs=0" in str(problem)


def test_a_population_is_asked_for_its_names() -> None:
    there = plan(by_client={"client-3": {"epochs": 1}, "client-*": {"batch": 4}})
    data = h.Population(there, 5, lambda i: points(10 + i, i))
    assert h.App(there, data)
    with pytest.raises(AppError, match="client-7"):
        h.App(plan(by_client={"client-7": {"epochs": 1}}), data)
