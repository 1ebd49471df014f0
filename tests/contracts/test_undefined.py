"""Metrics that some clients' data leaves undefined: in a run that is resumed, in a verified sum, and on screens."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn
from torch.nn import functional as F

import hansa as h
from hansa.explain import explain
from hansa.metrics import AUC, Mean
from hansa.ui.live import follow
from hansa.ui.terminal import Progress

RNG = np.random.default_rng(0)


def hits(outputs: Any, targets: Any) -> tuple[Any, Any]:
    """Of those who are ill, how many are told so, and how many there are."""
    ill = targets == 1
    return (ill & (outputs.argmax(1) == 1)).sum(), ill.sum()


def plan(rounds: int = 4, recall: Mean | None = None, **more: Any) -> h.Plan:
    torch.manual_seed(0)
    metrics: dict[str, Any] = {"auc": AUC()}
    if recall is not None:
        metrics = {"recall": recall, "size": Mean(lambda z, y: (z[:, 0] * 0 + 3.0).mean(), 9.0)}
    model = h.TorchModel(nn.Linear(2, 2), F.cross_entropy, metrics=metrics)
    training = h.Training(batch=8, learning_rate=0.1, validation=0.5)
    return h.Plan(model, **{"pipe": (h.Weigh("one"),), "training": training, "rounds": rounds, **more})


def patients(labels: Any) -> tuple[Any, Any]:
    return RNG.normal(size=(40, 2)).astype(np.float32), np.resize(labels, 40)


CLIENTS = {"anna": patients([0, 1]), "boris": patients([0, 1]), "clara": patients([0])}
TWO = {who: CLIENTS[who] for who in ("anna", "boris")}


def test_a_resumed_run_has_the_same_metrics(tmp_path: Path) -> None:
    """Stopped after each round: what is defined, and for how many, is in the history as in that of a whole run."""
    one = plan()
    app = h.App(one, CLIENTS, test=CLIENTS["clara"])  # of one class too
    store = h.Store(tmp_path)

    def new() -> Any:
        return store.new(repr(one), one.digest, "app.py", {}, one.rounds)

    whole = new()
    *_, last = app.run(whole)
    for state in (last, whole.state()):
        assert state.metrics["val_auc_defined"] == pytest.approx(2 / 3) and np.isnan(state.scores["auc"])
    for stopped in (1, 2, 3):
        run = new()
        for state in app.run(run):
            if state.round == stopped:
                break
        run.finish("stopped")
        run = store.resume(run.id)
        *_, state = app.run(run)
        assert state.x.tobytes() == last.x.tobytes()
        assert [one.metrics for one in run.history()] == [one.metrics for one in whole.history()]
        scores = [[one.scores for one in each.history()] for each in (run, whole)]
        np.testing.assert_equal(*scores)


def test_a_verified_sum_takes_what_is_undefined() -> None:
    """A flag is a side value like any other: within its bounds, and its client's proof is right."""
    pipe = (h.Finite(), h.Clip(5.0, side=10.0), h.Weigh("examples", cap=40))
    more: dict[str, Any] = {"pipe": pipe, "sample": h.Everyone(quorum=2), "rounds": 1}
    found = []
    for aggregator in (h.Sum(), h.VerifiedSum()):
        (state,) = h.App(plan(aggregator=aggregator, **more), CLIENTS).run()
        assert state.participants == ("anna", "boris", "clara") and not state.excluded
        found.append(state.metrics)
    assert found[1] == pytest.approx(found[0], abs=1e-3)
    assert found[1]["val_auc_defined"] == pytest.approx(2 / 3, abs=1e-3)
    assert 0 < found[1]["val_auc"] < 1


def shown(app: h.App, terminal: bool) -> str:
    """What a person sees of a run, in one line."""
    log = io.StringIO()
    console = Console(file=log, width=160, force_terminal=terminal, color_system=None)
    with Progress(console, 2, list(app.data)) as progress:
        for state in app.run():
            progress.show(state)
    return " ".join(log.getvalue().split())


def followed(app: h.App, folder: Path, compare: bool) -> tuple[Any, str]:
    """A run that was followed to its end, and its report."""
    plan = app.known_plan
    run = h.Store(folder).new(repr(plan), plan.digest, "app.py", {}, plan.rounds)
    assert follow(app, run, "a run", compare, "again") == 0
    report = (run.folder / "report.html").read_text("utf-8")
    assert "nan" not in re.sub(r"base64,[^\"']+", "", report)
    return run, report


@pytest.mark.parametrize("terminal", [False, True], ids=["a log", "live"])
def test_an_auc_that_nobody_has_is_shown_as_none(
    terminal: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the test data a dash; for clients no score, and that none has one."""
    nobody = {"clara": CLIENTS["clara"], "dora": CLIENTS["clara"]}
    tested = h.App(plan(2), nobody, test=CLIENTS["clara"])
    seen = shown(tested, terminal)
    assert re.search(r" auc +– ", seen) and "auc_defined" not in seen and "nan" not in seen
    assert "auc_defined 0.0 %" in shown(h.App(plan(2), nobody), terminal)
    run, report = followed(tested, tmp_path, compare=True)
    assert "val_auc" not in run.history()[-1].metrics and "–" in report
    table = capsys.readouterr().out
    assert "federated" in table and "nan" not in table and "●" not in table


@pytest.mark.parametrize("terminal", [False, True], ids=["a log", "live"])
def test_an_auc_that_some_have_is_shown_with_their_share(terminal: bool, tmp_path: Path) -> None:
    app = h.App(plan(2), CLIENTS)
    seen = shown(app, terminal)
    assert re.search(r" auc 0\.\d+ ", seen) and "auc_defined 66.7 %" in seen
    _, report = followed(app, tmp_path, compare=False)
    assert "66.7 %" in report
    assert 'data-plot="auc"' in report and 'data-plot="auc_defined"' not in report
    # beside the score of the test data, which clients have not seen, their share says nothing
    assert "defined" not in shown(h.App(plan(2), CLIENTS, test=CLIENTS["anna"]), terminal)


@pytest.mark.guards("a mean that may be undefined has a flag of its own")
def test_a_mean_may_be_undefined_alone() -> None:
    """Nobody of clara's is ill: her recall is in no mean, and what else she has measured is."""
    recall = Mean(hits, 1.0, everywhere=False)
    one = plan(1, recall)
    (state,) = h.App(one, CLIENTS).run()
    (two,) = h.App(one, TWO).run()
    assert state.metrics.get("val_recall_defined") == pytest.approx(2 / 3)
    assert state.metrics["val_recall"] == pytest.approx(two.metrics["val_recall"])
    assert state.metrics["val_size"] == pytest.approx(3.0) and "val_defined" not in state.metrics
    assert "val_recall_defined" in str(explain(one))
    # who does not say so has no flag, and then all of clara's scores are in no mean
    (state,) = h.App(plan(1, Mean(hits, 1.0)), CLIENTS).run()
    assert "val_recall_defined" not in state.metrics
    assert state.metrics["val_defined"] == pytest.approx(2 / 3)


def test_a_plan_tells_apart_who_says_so() -> None:
    digests = {plan(1, Mean(hits, 1.0, everywhere=so)).digest for so in (True, False)}
    assert len(digests) == 2
    xgboost = h.XgboostModel({"objective": "binary:logistic"}, 2, metrics={"r": Mean(hits, 1.0, everywhere=False)})
    assert xgboost.undefined == {"r"}
