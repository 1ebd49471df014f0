"""What is shown of a run: what is done right now, to whoever looks on and nobody else; scores that are defined."""

from __future__ import annotations

import io
import re
import time
from contextvars import copy_context
from threading import Thread
from typing import Any

import jax
import numpy as np
import pytest
import torch
from rich.console import Console
from torch.nn import functional as F

import hansa as h
from hansa import progress
from hansa.models.jax import cross_entropy
from hansa.progress import Watch, tell, watching
from hansa.rounds import Round
from hansa.ui import curves, figure, scores, waiting
from hansa.ui.terminal import Progress

RNG = np.random.default_rng(0)
KEY, STILL = h.Key.of(0), h.models.Drift()
SIZES = {"north": 10, "south": 25, "west": 5}
DATA = {who: (RNG.normal(size=(n, 3)), RNG.integers(0, 2, n)) for who, n in SIZES.items()}


def told(plan: h.Plan, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All that is told in a run, in order."""
    found = list[str]()
    of = Watch.tell

    def heard(self: Watch, *given: Any) -> None:
        of(self, *given)
        found.append(str(self))

    monkeypatch.setattr(Watch, "tell", heard)
    with watching():
        list(h.synchronous(plan, h.InProcess([h.Client(who, plan, one) for who, one in DATA.items()])))
    return found


@pytest.mark.parametrize("aggregator", [h.Sum(), h.Median()], ids=["a sum", "one by one"])
def test_clients_and_their_steps_are_counted(aggregator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """25 examples in batches of 10, twice, are 6 steps; the second of three clients trains when one is done."""
    training = h.Training(batch=10, epochs=2)
    pipe = (h.Weigh("one"),)
    plan = h.Plan(h.Softmax(3, 2), pipe=pipe, aggregator=aggregator, training=training, rounds=1)
    found = told(plan, monkeypatch)
    assert "0 of 3 clients, north: step 2 of 2" in found
    assert "1 of 3 clients, south: step 6 of 6" in found


def test_a_number_of_steps_is_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = h.Plan(h.Softmax(3, 2), training=h.Training(batch=10, steps=4), rounds=1)
    assert "1 of 3 clients, south: step 4 of 4" in told(plan, monkeypatch)


def native_model() -> h.models.Model:
    torch.manual_seed(0)
    return h.TorchModel(torch.nn.Linear(3, 2), F.cross_entropy)


def test_a_native_training_says_its_steps_while_it_runs() -> None:
    """The program counts in memory that another thread reads: some step between the first and the last is seen."""
    n = 20_000
    data = h.data.Examples.of((RNG.normal(size=(n, 3)).astype(np.float32), RNG.integers(0, 2, n)))
    model = native_model()
    training = h.Training(batch=1, epochs=5, learning_rate=0.01)
    seen = list[str]()
    with watching() as watch:
        work = Thread(target=copy_context().run, args=(model.train, model.start(KEY), data, training, STILL, KEY))
        work.start()
        while work.is_alive():
            seen.append(str(watch))
        work.join()
    assert str(watch) == "step 100000 of 100000"
    between = {one for one in seen if one.startswith("step ")} - {"step 0 of 100000", "step 100000 of 100000"}
    assert len(between) > 1


def jax_model(convolution: bool) -> Any:
    """Of 3 numbers; with a convolution its steps are taken one by one."""

    def apply(params: Any, x: Any) -> Any:
        if convolution:
            x = jax.lax.conv_general_dilated(x[:, None], params["k"], (1,), "SAME")[:, 0]
        return x @ params["w"]

    params = {"w": np.zeros((3, 2), np.float32), "k": np.ones((1, 1, 1), np.float32)}
    return h.JaxModel(params, apply, cross_entropy)


@pytest.mark.parametrize("convolution", [False, True], ids=["one loop", "one by one"])
@pytest.mark.parametrize("form", ["arrays", "items"])
def test_a_jax_training_says_its_steps_and_gives_the_same_bytes(
    convolution: bool, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cut where somebody looks on, and nobody sees that from the model; 25 examples are 3 · 3 steps."""
    monkeypatch.setattr(progress, "SPAN", 0.0)  # one step at a time
    model = jax_model(convolution)
    monkeypatch.setattr(model, "_pace", progress.Pace(2))
    X, y = DATA["south"]
    data: Any = (X.astype(np.float32), y)
    if form == "items":
        data = list(zip(*data, strict=True))
    given = h.data.Examples.of(data), h.Training(batch=10, epochs=3, learning_rate=0.1, optimizer="adam"), STILL, KEY
    alone = model.train(model.start(KEY), *given)
    found = list[str]()
    of = Watch.tell

    def heard(self: Watch, *told: Any) -> None:
        of(self, *told)
        found.append(str(self))

    monkeypatch.setattr(Watch, "tell", heard)
    with watching():
        seen = model.train(model.start(KEY), *given)
    assert seen.x.tobytes() == alone.x.tobytes() and (seen.steps, seen.loss) == (alone.steps, alone.loss)
    assert {"step 0 of 9", "step 2 of 9", "step 8 of 9"} <= set(found)


def test_a_pace_is_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of 10 ms: after the first 64 come 25 at a time, a quarter of a second; alone all at once."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    pace = progress.Pace()
    assert list(pace.parts(200, 0, 200)) == [(0, 200)]
    found = []
    with watching():
        for start, end in pace.parts(120, 5, 500):
            found.append((start, end))
            now[0] += 0.01 * (end - start)
    assert found == [(0, 64), (64, 89), (89, 114), (114, 120)] and pace.steps == 25


def test_without_anybody_who_looks_on_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watch, "tell", None)
    tell("client", "north")
    plan = h.Plan(h.Softmax(3, 2), rounds=1)
    list(h.synchronous(plan, h.InProcess([h.Client(who, plan, one) for who, one in DATA.items()])))


class Slow(h.Softmax):
    """A tenth of a second for each step."""

    def _gradient(self, *given: Any) -> Any:
        time.sleep(0.1)
        return super()._gradient(*given)


def test_workers_say_who_trains_and_how_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at a time; and the bytes are those of a run that nobody looks on."""
    plan = h.Plan(Slow(3, 2), training=h.Training(batch=10, steps=25), rounds=1)
    data = dict.fromkeys(("north", "south"), DATA["south"])
    found = list[str]()
    of = Watch.tell

    def heard(self: Watch, *given: Any) -> None:
        of(self, *given)
        found.append(str(self))

    monkeypatch.setattr(Watch, "tell", heard)
    with watching():
        (seen,) = h.App(plan, data, workers=2).run()
    assert any(re.fullmatch(r"0 of 2 clients, (north|south): step \d+ of 25", one) for one in found)
    assert any(re.search(r"(north|south): step \d+ of 25, (north|south): step \d+ of 25", one) for one in found)
    count = len(found)
    (alone,) = h.App(plan, data).run()
    assert seen.x.tobytes() == alone.x.tobytes() and len(found) == count


def test_what_was_within_is_over_when_something_else_begins() -> None:
    with watching() as watch:
        tell("stage", "comparing", 1, 3)
        tell("clients", done=2, total=4)
        tell("client", "north")
        tell("step", done=7)
        assert str(watch) == "comparing 1 of 3, 2 of 4 clients, north: step 7"
        tell("client", "south")
        assert str(watch) == "comparing 1 of 3, 2 of 4 clients, south"
        tell("stage", "fetching x")
        assert str(watch) == "fetching x"


def waited(seconds: float, monkeypatch: pytest.MonkeyPatch, hidden: bool = False) -> str:
    """What a log holds of a round that takes so long."""
    monkeypatch.setattr(waiting, "PAUSE", 0.05)
    log = io.StringIO()
    with Progress(Console(file=log, width=100), 3, ["north"], hidden=hidden):
        tell("client", "no\x1brth")
        tell("step", done=3, total=9)
        time.sleep(seconds)
    return log.getvalue()


def test_a_log_hears_of_a_long_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line in each pause, in which a client's name commands no terminal."""
    log = waited(0.5, monkeypatch)
    assert "round 1/3 is under way: no\\x1brth: step 3 of 9" in log and log.count("\n") > 1


def test_where_it_is_a_secret_who_takes_part_no_name_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    log = waited(0.3, monkeypatch, hidden=True)
    assert "round 1/3 is under way" in log and "rth" not in log and "step" not in log


def test_a_share_that_is_defined_is_shown_beside_its_score_and_has_no_curve() -> None:
    told = {"val_auc": 0.5, "val_auc_defined": 0.75, "val_defined": 0.99}
    assert scores(told) == {"auc": 0.5, "auc_defined": 0.75, "scored": 0.99}
    assert [figure(name, value) for name, value in scores(told).items()] == ["0.500", "75.0 %", "99.0 %"]
    assert list(curves([Round(1, metrics=told)])) == ["auc"]
    assert scores({**told, "test_auc": 0.6}) == {"auc": 0.6, "scored": 0.99}
    assert figure("auc", float("nan")) == "–"
