"""What gives away more than the ledger counts: numbers no noise hides, questions asked twice, rounds left out."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from typer.testing import CliRunner

from hansa import (
    App,
    Budget,
    Client,
    Clip,
    CorrelatedNoise,
    Everyone,
    GaussianNoise,
    InProcess,
    LaplaceNoise,
    Plan,
    Poisson,
    Policy,
    Processes,
    Softmax,
    State,
    Store,
    TorchModel,
    Training,
    Weigh,
    synchronous,
)
from hansa.cli import commands
from hansa.errors import AppError
from hansa.explain import explain
from hansa.messages import Request, SessionId
from hansa.plan import server
from hansa.privacy import planned_privacy, stop_at_budget

QUIET = Training(report=False)
RNG = np.random.default_rng(0)
DATA = {f"c{i}": (RNG.normal(size=(8, 3)), RNG.integers(0, 2, 8)) for i in range(6)}


def plan(*noise: Any, **more: Any) -> Plan:
    pipe = (Clip(1.0), Weigh("one"), *noise)
    return Plan(**{"model": Softmax(3, 2), "pipe": pipe, "training": QUIET, "rounds": 3, **more})


def clients(plan: Plan) -> list[Client]:
    return [Client(who, plan, data) for who, data in DATA.items()]


class Diverging(Softmax):
    """A model that ends at NaN with one client's data."""

    def train(self, x: Any, data: Any, *more: Any) -> Any:
        found = super().train(x, data, *more)
        return replace(found, x=found.x * np.nan) if np.array_equal(data.arrays[0], DATA["c0"][0]) else found


@pytest.mark.guards("NaN is hidden", "NaN is hidden by correlated noise")
@pytest.mark.promise("P34")
@pytest.mark.parametrize(
    "noise",
    [GaussianNoise(1.0), GaussianNoise(1.0, "all", 2), LaplaceNoise(1.0, "each"), CorrelatedNoise(1.0)],
    ids=["server", "all", "each", "correlated"],
)
def test_a_vector_that_is_not_finite_is_hidden_like_any_other(noise: Any) -> None:
    """It would end the round, for all to see: one bit about one client, without any noise."""
    p = plan(noise, model=Diverging(3, 2), sample=Everyone(quorum=2), rounds=1)
    (state,) = synchronous(p, InProcess(clients(p)))
    assert not state.skipped and len(state.participants) == len(DATA) and np.isfinite(state.x).all()


@pytest.mark.guards("side values are cut")
@pytest.mark.promise("P44")
def test_a_metric_is_cut_to_the_bound_that_it_declares() -> None:
    """Noise is sized for that bound, and nobody else looks whether it is kept."""
    torch.manual_seed(0)
    loud = (lambda outputs, y: 1000 + outputs.sum(), 1.0)
    model = TorchModel(nn.Linear(3, 2), cross_entropy, metrics={"loud": loud})
    p = Plan(model, pipe=(Clip(1.0, side=2.0), Weigh("one")), training=Training(validation=0.25), rounds=1)
    (state,) = synchronous(p, InProcess(clients(p)))
    assert state.metrics["val_loud"] == pytest.approx(1.0)


@pytest.mark.guards("a client trains once in a round")
@pytest.mark.promise("P38")
@pytest.mark.parametrize("noise", [GaussianNoise(5.0, "each"), GaussianNoise(5.0, "all", 2)], ids=["each", "all"])
def test_noise_of_one_round_is_not_drawn_again_and_again(noise: GaussianNoise) -> None:
    """A server that asks in many sessions of one round would average the client's own noise away."""
    p = plan(noise, sample=Everyone(quorum=2), rounds=1)
    runtime = InProcess([Client("c0", p, DATA["c0"], Policy(epsilon=10.0))])
    said = []
    for session in (0, 0, 1, 2):
        runtime.send(Request(p.digest, 0, SessionId(number=session), server.broadcast(p, p.start()), {"c0": None}))
        said.append(runtime.receive())
    assert np.array_equal(said[0].body, said[1].body)
    assert [one.why for one in said[2:]] == ["refused", "refused"]


@pytest.mark.guards("a client trains once in a round")
@pytest.mark.promise("P38")
def test_noise_of_one_round_is_not_drawn_by_one_worker_after_another(tmp_path: Path) -> None:
    """One of three workers is held in the training of c0 when c0 is asked again, so that another could take it up."""
    go = tmp_path / "go"
    p = plan(GaussianNoise(5.0, "each"), model=Held(3, 2, go), sample=Everyone(quorum=2), rounds=1)
    runtime = Processes([Client(who, p, data) for who, data in DATA.items()], workers=3)
    request = Request(p.digest, 0, SessionId(), server.broadcast(p, p.start()), {"c0": None})
    runtime.send(request)
    runtime.send(replace(request, session=SessionId(number=1)))
    runtime.send(replace(request, bodies={"c1": None, "c2": None}))
    replies = [runtime.receive() for _ in range(2)]
    go.touch()
    replies += [runtime.receive() for _ in range(2)]
    runtime.close()
    said = sorted((*one.who, one.why) for one in replies)
    assert said == [("c0", ""), ("c0", "refused"), ("c1", ""), ("c2", "")]


@dataclass(frozen=True)
class Held(Softmax):
    """Trains c0 as soon as a file is there."""

    file: Path = Path()

    def train(self, x: Any, data: Any, *more: Any) -> Any:
        while np.array_equal(data.arrays[0], DATA["c0"][0]) and not self.file.exists():
            time.sleep(0.01)
        return super().train(x, data, *more)


@pytest.mark.guards("a share of the noise is told")
@pytest.mark.promise("P9")
def test_a_share_of_the_noise_is_told_to_hide_no_single_vector() -> None:
    shared = explain(plan(GaussianNoise(1.0, "all", 2), sample=Everyone(quorum=2))).warnings
    whole = explain(plan(GaussianNoise(1.0, "each"), sample=Everyone(quorum=2))).warnings
    assert any("a share of the noise" in warning for warning in shared)
    assert not any("a share of the noise" in warning for warning in whole)


@pytest.mark.guards("too few hands leave no ε")
@pytest.mark.promise("P31")
def test_a_budget_ends_with_a_round_of_which_nobody_knows_what_it_gave_away() -> None:
    p = plan(LaplaceNoise(8.0, "all", 4), sample=Everyone(quorum=4), rounds=30)

    def rounds() -> Iterator[State]:
        for r in range(1, 31):
            yield replace(p.start(), round=r, participants=("c0", "c1") if r == 2 else tuple(DATA))

    assert [state.round for state in stop_at_budget(rounds(), p, Budget(1e3, 1e-6), len(DATA))] == [1, 2]


@pytest.mark.guards("lost history is noticed")
@pytest.mark.promise("P31")
def test_a_budget_is_not_begun_anew_from_a_state_whose_history_is_gone() -> None:
    p = plan(GaussianNoise(4.0), sample=Poisson(0.5))
    app = App(p, DATA, budget=Budget(4.0, 1e-5))
    first, *_ = app.run()
    with pytest.raises(AppError, match="ounds before the first are not known"):
        next(app.run(state=first))


@pytest.mark.guards("another past is noticed")
@pytest.mark.promise("P31")
@pytest.mark.parametrize("more", [{}, {"budget": Budget(100.0, 1e-5)}], ids=["told", "with a budget"])
def test_rounds_of_another_plan_are_not_counted_as_if_they_were_of_this_one(more: Any, tmp_path: Path) -> None:
    """Four rounds with little noise, and four with a hundred times as much."""
    loud, quiet = (App(plan(GaussianNoise(z), rounds=8), DATA, **more) for z in (0.5, 50.0))
    run = Store(tmp_path).new(repr(loud.plan), loud.plan.digest, "app/__init__.py", {}, 8)
    before = list(islice(loud.run(run), 4))[-1].spent
    assert before["client"].epsilon > 20
    run.finish("stopped")
    run = Store(tmp_path).resume(run.id)
    if quiet.budget:
        with pytest.raises(AppError, match="another plan"):
            next(quiet.run(run))
    else:
        assert not any(state.spent for state in quiet.run(run))
    run.finish("stopped")


CORRELATED = """
import numpy as np
import hansa

rng = np.random.default_rng(0)
data = {f"c{i}": (rng.normal(size=(8, 3)), rng.integers(0, 2, 8)) for i in range(6)}
pipe = (hansa.Clip(1.0), hansa.Weigh("one"), hansa.CorrelatedNoise(2.0, separation=2))
quiet = hansa.Training(report=False)
app = hansa.App(hansa.Plan(hansa.Softmax(3, 2), pipe=pipe, training=quiet, sample=hansa.InTurn(3), rounds=2), data)
"""


@pytest.mark.guards("correlated noise is not stretched")
@pytest.mark.promise("P40")
def test_noise_that_is_one_release_over_a_run_is_not_stretched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """σ of two rounds is a sixth of what it is for forty, and the ledger would charge the first as the last."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("turns.py").write_text(CORRELATED)
    noise = CorrelatedNoise(2.0, separation=2)
    assert noise.whole(2) < noise.whole(40) / 5

    def call(*arguments: str) -> Any:
        return CliRunner().invoke(commands, [*arguments, "--no-compare"], prog_name="hansa")

    done = call("run", "turns.py")
    run = re.findall(r"run (\S+)  ", done.stdout)[0]
    refused = call("run", "--resume", run, "--rounds", "40")
    assert refused.exit_code == 2 and "one release over all its rounds" in re.sub(r"\s+", " ", refused.stderr)
    assert call("run", "--resume", run, "--rounds", "2").exit_code == 0


@pytest.mark.guards("a small sample does not show")
@pytest.mark.promise("P32")
def test_a_poisson_round_steps_whoever_came() -> None:
    """A round without effect would show that few were sampled, and no noise hides that."""
    p = plan(GaussianNoise(1.0), sample=Poisson(0.02), rounds=60)
    states = list(synchronous(p, InProcess(clients(p))))
    empty = [i for i, state in enumerate(states) if not state.participants]
    assert len(empty) > 30 and not any(state.skipped for state in states)
    assert all((states[i].x != states[i - 1].x).all() for i in empty if i)


@pytest.mark.guards("a quorum shows the sample")
@pytest.mark.promise("P32")
def test_a_poisson_sample_that_a_quorum_shows_is_counted_as_known() -> None:
    secret, shown = (
        planned_privacy(plan(GaussianNoise(1.0), sample=Poisson(0.1, quorum=q))).guarantee(1e-5) for q in (1, 2)
    )
    known = planned_privacy(plan(GaussianNoise(1.0))).guarantee(1e-5)
    assert shown.epsilon == known.epsilon and secret.epsilon is not None and secret.epsilon < 0.5 * known.epsilon
    text = str(explain(plan(GaussianNoise(1.0), sample=Poisson(0.1, quorum=2))))
    assert "misses its quorum shows" in text
