"""What a model says of each example: as its own library says it, from a stored run too, or a refusal in three parts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import SGDClassifier, SGDRegressor
from tests.approving import hansa, study

import hansa as h
from hansa.cli.predict import as_text
from hansa.cli.worker import Work
from hansa.data import Examples
from hansa.errors import AppError, DataError, PlanError
from hansa.explain import explain
from hansa.models import Model
from hansa.models.predictions import predicted

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4)).astype(np.float32)
Y = RNG.integers(0, 3, 300)
DATA = Examples.of((X, Y))


def softmax() -> tuple[Any, Any]:
    """The reference, and its equation."""
    model = h.Softmax(4, 3)
    x = RNG.normal(size=model.size)
    e = np.exp(X @ x[:12].reshape(4, 3) + x[12:])
    return (model, x), e / e.sum(1, keepdims=True)


def sklearn(classes: int | None, loss: str) -> tuple[Any, Any]:
    """scikit-learn's own estimator with the same weights."""
    estimator = SGDRegressor() if classes is None else SGDClassifier(loss=loss)
    more = {} if classes is None else {"classes": classes}
    model = h.SklearnModel(estimator, features=4, **more)
    x = RNG.normal(size=model.size)
    own = model.fitted(x)
    if classes is None:
        return (model, x), own.predict(X)
    return (model, x), own.predict_proba(X) if loss == "log_loss" else own.decision_function(X)


def torch() -> tuple[Any, Any]:
    """A net with a layer that is another in training."""
    from torch import from_numpy, nn, no_grad

    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.BatchNorm1d(8), nn.Linear(8, 3))
    model = h.TorchModel(net, nn.functional.cross_entropy)
    x = model.start(h.Key.of(0))
    net.load_state_dict({k: from_numpy(np.array(v)) for k, v in model.tensors(x).items()}, strict=False)
    net.eval()
    with no_grad():
        return (model, x), net(from_numpy(X)).numpy()


def jax() -> tuple[Any, Any]:
    """A linear model."""
    from hansa.models.jax import JaxModel, cross_entropy

    params = {"w": RNG.normal(size=(4, 3)).astype(np.float32)}
    model = JaxModel(params, lambda params, x: x @ params["w"], cross_entropy)
    return (model, model.start(h.Key.of(0))), X @ params["w"]


def xgboost() -> tuple[Any, Any]:
    """Trees of two rounds."""
    import xgboost as xgb

    model = h.XgboostModel({"objective": "multi:softprob", "num_class": 3, "max_depth": 2}, features=4)
    x = np.zeros(0)
    for _ in range(2):
        fit = model.train(x, DATA, h.Training(batch=0), h.models.Drift(), h.Key.of(0))
        x = fit.x
    return (model, x), model.booster(x).predict(xgb.DMatrix(X))


MODELS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "softmax": softmax,
    "probabilities": lambda: sklearn(3, "log_loss"),
    "decisions": lambda: sklearn(2, "hinge"),
    "regressor": lambda: sklearn(None, ""),
    "torch": torch,
    "jax": jax,
    "xgboost": xgboost,
}


@pytest.mark.promise("P579")
@pytest.mark.parametrize("name", MODELS)
def test_a_prediction_is_that_of_the_library(name: str) -> None:
    (model, x), wanted = MODELS[name]()
    found = predicted(model, x, Examples.of((X, Y % 2)))
    assert found.shape == wanted.shape and np.allclose(found, wanted, rtol=1e-5, atol=1e-6)
    again = predicted(model, x, Examples.of((X, np.zeros_like(Y))))
    assert np.array_equal(found, again)  # targets change nothing


@pytest.mark.promise("P579")
def test_a_model_that_does_not_predict_says_what_to_write() -> None:
    class Mine(Model):
        size = 1

    with pytest.raises(PlanError) as told:
        predicted(Mine(), np.zeros(1), DATA)
    assert "does not predict" in told.value.found and "predict(x, data, local)" in told.value.instead


def stored_run(app: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run of an app, in `runs` beside its folder, where the test goes on."""
    monkeypatch.chdir(app.parent.parent)
    told = hansa("run", app, "--folder", "runs", "--no-compare")
    assert told.exit_code == 0, told.output
    (run,) = (path.name for path in Path("runs").iterdir() if path.is_dir())
    return run


@pytest.mark.promise("P579")
def test_a_stored_run_predicts_into_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = study(tmp_path / "study")
    run = stored_run(app, monkeypatch)
    at = ("--data", app.parent / "data" / "north.csv", "--folder", "runs")
    told = hansa("predict", run, "new.json", *at)
    assert told.exit_code == 0 and "24 predictions of the model of run" in told.output, told.output
    assert len(json.loads(Path("new.json").read_text())) == 24
    assert Path("new.json").stat().st_mode & 0o077 == 0
    before = Path("new.json").read_bytes()
    told = hansa("predict", run, "new.json", *at)
    assert told.exit_code == 2 and "new.json is there already" in told.output
    assert Path("new.json").read_bytes() == before
    records = app.parent / "data" / "north.csv"
    before = records.read_bytes()
    told = hansa("predict", run, records, *at)
    assert told.exit_code == 2 and records.read_bytes() == before
    told = hansa("predict", run, records.parent / "new.csv", "--data", records.parent, "--folder", "runs")
    assert told.exit_code == 2 and "new.csv lies in the data" in " ".join(told.output.split())
    assert len(list(records.parent.iterdir())) == 2
    told = hansa("predict", run, "new.txt", *at)
    assert told.exit_code == 2 and "neither CSV nor JSON" in told.output
    images = np.zeros((2, 3, 3))
    assert np.array_equal(json.loads(as_text(images, Path("x.json"))), images)
    with pytest.raises(AppError, match="one row of numbers"):
        as_text(images, Path("x.csv"))


class Odd(Model):
    """A model that says what it is told to say."""

    size = 1

    def __init__(self, says: np.ndarray):
        self.says = says

    def predict(self, x: Any, data: Examples, local: Any) -> np.ndarray:
        return self.says


@pytest.mark.promise("P579")
@pytest.mark.parametrize(
    ("says", "words"),
    [
        (np.zeros((3, 5)), "for 300 examples"),
        (np.array(1.0), "for 300 examples"),
        (np.full(300, "a"), "in the type"),
        (np.full(300, 1j), "in the type"),
    ],
)
def test_what_is_no_number_for_each_example_is_refused(says: np.ndarray, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        predicted(Odd(says), np.zeros(1), DATA)
    whole = predicted(Odd(np.arange(300)), np.zeros(1), DATA)
    assert whole.dtype == np.float64 and np.array_equal(whole, np.arange(300))


def test_a_net_that_says_one_number_is_refused() -> None:
    from torch import nn

    class Mean(nn.Linear):
        def forward(self, x: Any) -> Any:
            return super().forward(x).mean()

    model = h.TorchModel(Mean(4, 3), lambda outputs, y: outputs.mean())
    with pytest.raises(PlanError, match="for 300 examples"):
        predicted(model, model.start(h.Key.of(0)), DATA)


@pytest.mark.promise("P579")
def test_no_nan_is_read_or_written() -> None:
    holed = X.copy()
    holed[7, 0] = np.nan
    with pytest.raises(DataError, match="in row 7"):
        predicted(h.Softmax(4, 3), np.zeros(15), Examples.of((holed, Y)))
    odd = np.array([0.0, np.inf, np.nan])
    with pytest.raises(AppError, match="2 of 3 predictions are NaN or infinite, the first of row 1"):
        as_text(odd, Path("x.json"))
    assert as_text(odd, Path("x.csv")).splitlines() == ["prediction", "0.0", "inf", "nan"]


@pytest.mark.promise("P579")
def test_parts_that_stay_at_home_are_predicted_with_by_their_client_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = h.Personal(h.Softmax(4, 3), keep=("bias",))
    own = {"kept": {"bias": np.array([5.0, 0.0, 0.0])}}
    x = RNG.normal(size=model.size)
    with pytest.raises(PlanError, match="has no bias: they stay with each client"):
        predicted(model, x, DATA)
    assert np.array_equal(
        predicted(model, x, DATA, own), predicted(model.model, np.append(x, own["kept"]["bias"]), DATA)
    )
    app = study(tmp_path / "study")
    plain = app.read_text()
    app.write_text(plain.replace("hansa.Softmax(3, 2)", "hansa.Personal(hansa.Softmax(3, 2), keep=('bias',))"))
    run = stored_run(app, monkeypatch)
    at = ("--data", app.parent / "data" / "north.csv", "--folder", "runs")
    told = hansa("predict", run, "new.json", *at)
    assert told.exit_code == 2 and "bias" in told.output and "--client" in told.output, told.output
    assert not Path("new.json").exists()
    told = hansa("predict", run, "new.json", *at, "--client", "north")
    assert told.exit_code == 0 and "24 predictions of north's own model of run" in told.output, told.output
    assert "Outside ε" in told.output
    stored = h.Store("runs").open(run)
    bias = stored.memory()["north"]["model"]["kept"]["bias"]
    X = np.loadtxt(app.parent / "data" / "north.csv", delimiter=",")[:, :-1].astype("float32")
    wanted = predicted(h.Softmax(3, 2), np.append(stored.state().x, bias), Examples.of((X, np.zeros(24, int))))
    assert bias.any() and np.array_equal(json.loads(Path("new.json").read_text()), wanted)
    told = hansa("predict", "x.bundle", "other.json", *at, "--kit", "kit", "--client", "north")
    assert told.exit_code == 2 and "--own" in told.output


def normalised() -> h.TorchModel:
    """A net whose running statistics stay with each client."""
    from torch import nn

    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    return h.TorchModel(net, nn.functional.cross_entropy, buffers="local")


def at_a_site(model: Any, folder: Path, who: str) -> tuple[Work, dict[str, Any]]:
    """A worker's work for one client, and what it is asked after a round in which that has counted."""
    plan = h.Plan(model, rounds=1)
    client = h.Client(who, plan, (X, Y), secret=h.Key.of(1))
    runtime = h.InProcess([client])
    (state,) = h.synchronous(plan, runtime)
    path = folder / "records.npz"
    np.savez(path, x=X, y=Y)
    app = h.App(plan, h.Sites(lambda path: tuple(np.load(path).values()), str(path)))
    about = {"plan": plan.digest, "found": None, "read": b"", "broadcast": {"x": state.x}}
    return Work(app, who, path), about | {"state": runtime.memory.after((who,))[who]}


@pytest.mark.promise("P587")
@pytest.mark.parametrize("kind", ["parts", "statistics"])
def test_a_site_scores_no_start_that_nobody_uses(tmp_path: Path, kind: str) -> None:
    """The global model lacks what stays at home: it is refused, and the site's own is scored with its own."""
    model = h.Personal(h.Softmax(4, 3), keep=("bias",)) if kind == "parts" else normalised()
    stays = "bias" if kind == "parts" else "buffers, such as running statistics"
    work, asked = at_a_site(model, tmp_path, "north")
    for what in ("score", "predict"):
        with pytest.raises(PlanError, match=f"has no {stays}: they stay with each client") as told:
            work.answer({**asked, "what": what, "own": False})
        assert "--own" in told.value.instead
    own = asked["state"]["model"]
    found = work.answer({**asked, "what": "score", "own": True})
    assert found == {"examples": 300, "scores": model.score(asked["broadcast"]["x"], DATA, own)}
    assert found["scores"] != model.score(asked["broadcast"]["x"], DATA)
    rows = work.answer({**asked, "what": "predict", "own": True})
    assert np.array_equal(rows, predicted(model, asked["broadcast"]["x"], DATA, own))
    assert work.answer({**asked, "what": "export", "own": False})["start"] == [stays]
    assert work.answer({**asked, "what": "export", "own": True})["start"] == []
    with pytest.raises(AppError, match="no model of its own"):
        work.answer({**asked, "what": "score", "own": True, "state": {}})
    assert "a model that no client uses" in " ".join(explain(work.plan(asked)[0]).warnings)


@pytest.mark.promise("P587")
def test_statistics_that_stay_at_home_are_remembered() -> None:
    """So a secret sample of fixed size hides nobody with them, as with all that clients remember."""
    assert normalised().traits.statistics and normalised().traits.remembers
    assert h.Personal(normalised(), keep=("0.bias",)).traits.statistics
    from torch import nn

    plain = h.TorchModel(nn.Linear(4, 3), nn.functional.cross_entropy, buffers="local")
    assert not plain.traits.statistics and not plain.traits.remembers
    with pytest.raises(PlanError, match="no ε is known"):
        h.Plan(
            normalised(),
            pipe=(h.Clip(1.0), h.Weigh("one"), h.GaussianNoise(1.0)),
            training=h.Training(report=False),
            sample=h.Uniform(2),
            rounds=1,
        )
