"""More about homes than their example tells: the load of tomorrow, noise, how a home is heated, forecasts, one home.

    python benchmarks/homes.py tomorrow:0 hour heating forecasts house      these; results of others stay

Plans are those of examples/homes.py, but for what a row says.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from common import RESULTS, save, shared
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from uses import SEEDS, example, homes, multiplier, run

import hansa as h
from hansa.aggregators.ideal import Ideal
from hansa.app.compare import Fair, pooled, trained_alone
from hansa.data import Examples
from hansa.datasets.swiss_meters import WEEK, swiss_meters

TASKS = ("tomorrow", "hour", "heating", "forecasts", "house")
ELECTRIC = {"electric heating": 0, "heat pump": 1, "heat pump and boiler": 1}
HEAD = ("4.*",)  # the last layer of the example's net
Row = dict[str, Any]


def scored(task: str, name: str, seed: int, begun: float, scores: Mapping[str, Any], **more: Any) -> Row:
    """A row, which is shown."""
    row = {"task": task, "row": name, "seed": seed, "scores": scores, "seconds": time.perf_counter() - begun, **more}
    print({**row, "scores": {k: v for k, v in scores.items() if not isinstance(v, list)}}, flush=True)
    return row


def noisy(plan: h.Plan, epsilon: float) -> tuple[h.Plan, float]:
    """The plan with noise that hides a home, as in the example's table; and its z."""
    z = multiplier(epsilon, 1e-4, 0.2, 100)
    pipe = (h.Clip(0.3), h.Weigh("one"), h.GaussianNoise(z))
    training = replace(plan.training, report=False)
    quiet = replace(plan, algorithm=h.FedAvg(), pipe=pipe, training=training, sample=h.Poisson(0.2), rounds=100)
    return quiet, z


def tomorrow(seed: int) -> Iterator[Row]:
    """An hour of the next day, from what is known a day before."""
    _, plan = example("homes", seed)
    found = swiss_meters(ahead=24)
    train, test = dict(found.train), dict(found.test)
    begun = time.perf_counter()

    def row(name: str, models: Mapping[str, Any], plan: h.Plan = plan, **more: Any) -> Row:
        nonlocal begun
        one = scored("tomorrow", name, seed, begun, homes(plan, test, models), **more)
        begun = time.perf_counter()
        return one

    naive = [float(np.abs(X[:, :1] - y).mean()) for X, y in test.values()]
    below = {f"{tenth} %": float(np.percentile(naive, tenth)) for tenth in (10, 50, 90)}
    yield scored("tomorrow", "as yesterday", seed, begun, {"error": float(np.mean(naive)), **below})
    state, own = run(h.App(plan, train))
    yield row("federated", dict.fromkeys(test, (state.x, None)))
    yield row("personal", own)
    faster = replace(plan, algorithm=replace(plan.algorithm, server=h.Momentum(lr=0.3)))
    state, own = run(h.App(faster, train))
    yield row("federated, server momentum", dict.fromkeys(test, (state.x, None)))
    yield row("personal, server momentum", own)
    yield row("personal heads (FedPer)", *per_home(plan, train))
    examples = {who: Examples.of(data) for who, data in train.items()}
    fair = Fair(plan, {who: len(one) for who, one in examples.items()}, plan.rounds)
    together = trained_alone(plan, "pooled", pooled(list(examples.values())), fair.rounds, fair.all_at_once)
    yield row("pooled", dict.fromkeys(test, (together, None)))
    quiet, z = noisy(plan, 8.0)
    state, _ = run(h.App(quiet, train))
    yield row("private: ε = 8 for a home", dict.fromkeys(test, (state.x, None)), epsilon=8.0, delta=1e-4, noise=z)


def per_home(plan: h.Plan, train: Mapping[str, Any]) -> tuple[dict[str, Any], h.Plan]:
    """Models with a last layer of each home's own, and their plan."""
    heads = replace(plan, model=h.Personal(plan.model, keep=HEAD), algorithm=h.FedAvg())
    _, own = run(h.App(heads, train))
    return own, heads


def hour(seed: int) -> Iterator[Row]:
    """The next hour: heads of each home's own beside the example's rows, and more noise."""
    found, plan = example("homes", seed)
    train, test = found["app"].data, found["app"].test
    begun = time.perf_counter()
    own, heads = per_home(plan, train)
    yield scored("hour", "personal heads (FedPer)", seed, begun, homes(heads, test, own))
    for epsilon in (3.0,):
        begun = time.perf_counter()
        quiet, z = noisy(plan, epsilon)
        state, _ = run(h.App(quiet, train))
        scores = homes(plan, test, dict.fromkeys(test, (state.x, None)))
        yield scored("hour", f"private: ε = {epsilon:g} for a home", seed, begun, scores, epsilon=epsilon, noise=z)


# ── how a home is heated ─────────────────────────────────────────────────────────────────────────────────────────────


def heated() -> tuple[list[str], np.ndarray, np.ndarray]:
    """Homes that have said how they are heated, by electricity alone (0) or by a heat pump (1).

    x = mean load of each of 24 hours / mean load − 1,   mean load of each week / mean load − 1,   log mean load / kW
    """
    with np.load(shared("swiss_smart_meters") / "swiss_15min_7weeks.npz") as file:
        loads = dict(zip(file["household"].tolist(), file["kwh"].reshape(-1, WEEK * 7, 4).sum(2), strict=True))
    usable = swiss_meters().train
    names, X, y = [], [], []
    with open(shared("swiss_smart_meters") / "heatinginfo.csv", encoding="utf-8") as table:
        for line in csv.DictReader(table):
            name = f"home {line['VID']}"
            if name not in usable or line["heating_type"] not in ELECTRIC:
                continue
            load = loads[int(line["VID"])].astype(float)
            mean = load.mean()
            hours, weeks = load.reshape(-1, 24).mean(0) / mean - 1, load.reshape(7, -1).mean(1) / mean - 1
            names.append(name)
            X.append([*hours, *weeks, np.log(mean)])
            y.append(ELECTRIC[line["heating_type"]])
    return names, np.array(X, np.float32), np.array(y)


def heating(seed: int) -> Iterator[Row]:
    """Each home one example, five folds: a federation under masks beside one data set."""
    names, X, y = heated()
    begun = time.perf_counter()
    plan = h.Plan(
        h.Softmax(X.shape[1], 2),
        h.FedAvg(h.Momentum(lr=1.0)),
        pipe=(h.Clip(1.0, side=10.0), h.Weigh("one"), h.Quantize(24)),
        aggregator=Ideal(h.MaskedSum()),  # the same integers; 5 · 60 rounds of 111² pairs take an hour
        training=h.Training(steps=1, batch=0, learning_rate=0.1),
        sample=h.Everyone(quorum=80),
        rounds=60,
        seed=seed,
    )
    told = {"federated": np.zeros(len(y)), "pooled": np.zeros(len(y))}
    for fit, held in StratifiedKFold(5, shuffle=True, random_state=seed).split(X, y):
        data = {names[i]: (X[i : i + 1], y[i : i + 1]) for i in fit}
        *_, state = h.synchronous(plan, h.InProcess([h.Client(who, plan, one) for who, one in data.items()]))
        weight, bias = plan.model.tensors(state.x).values()
        told["federated"][held] = X[held] @ (weight[:, 1] - weight[:, 0]) + bias[1] - bias[0]
        told["pooled"][held] = LogisticRegression(max_iter=2000).fit(X[fit], y[fit]).decision_function(X[held])
    for name, score in told.items():
        scores = {"auc": roc_auc_score(y, score), "accuracy": float(((score > 0) == y).mean())}
        yield scored("heating", name, seed, begun, scores, homes=len(y), heat_pumps=int(y.sum()))


# ── two weeks of three homes, and one home ───────────────────────────────────────────────────────────────────────────


def forecasts(seed: int) -> Iterator[Row]:
    """The last two of seven weeks, hour by hour, by models that were trained on the weeks before."""
    found, plan = example("homes", seed)
    train, last = found["app"].data, found["app"].test
    begun = time.perf_counter()
    known = {who: (X[:-WEEK], y[:-WEEK]) for who, (X, y) in train.items()}
    _, own = run(h.App(plan, known))
    ahead = {
        who: tuple(np.concatenate(two) for two in zip((X[-WEEK:], y[-WEEK:]), last[who], strict=True))
        for who, (X, y) in train.items()
    }
    told = {who: forecast(plan, own[who][0], X) for who, (X, _) in ahead.items()}
    error = {who: float(np.abs(told[who] - ahead[who][1][:, 0]).mean()) for who in told}
    names, _, y = heated()
    pumps = [who for who, one in zip(names, y, strict=True) if one]
    for what, of in (("typical", list(error)), ("heat pump", pumps), ("worst", list(error))):
        middle = np.median([error[who] for who in of])
        who = max(of, key=error.__getitem__) if what == "worst" else min(of, key=lambda one: abs(error[one] - middle))
        course = {"truth": np.round(ahead[who][1][:, 0], 2).tolist(), "forecast": np.round(told[who], 2).tolist()}
        yield scored("forecasts", what, seed, begun, {"error": error[who], **course})


def forecast(plan: h.Plan, x: np.ndarray, X: np.ndarray) -> np.ndarray:
    """The loads [n] that a model tells for inputs [n, 35]."""
    import torch

    with torch.no_grad():
        return plan.model.load(x)(torch.from_numpy(X))[:, 0].numpy()


def house(seed: int) -> Iterator[Row]:
    """One house's appliances, ten minutes ahead: the last quarter of the time, in Wh.

    (Candanedo, Feldheim, Deramaix 2017)
    """
    begun = time.perf_counter()
    with gzip.open(shared("appliances_energy") / "energydata_complete.csv.gz", "rt", encoding="utf-8") as file:
        load = np.array([float(line["Appliances"]) for line in csv.DictReader(file)])
    cut = int(0.75 * len(load))
    lags = np.stack([load[6 - i : len(load) - i] for i in range(1, 7)] + [np.ones(len(load) - 6)], 1)
    target = load[6:]
    fit = cut - 6
    w = np.linalg.lstsq(lags[:fit], target[:fit], rcond=None)[0]
    unit = load[:cut].mean()
    told = {"as ten minutes before": lags[fit:, 0], "AR(6)": lags[fit:] @ w}
    X, y = (lags[:, :6] / unit).astype(np.float32), (target[:, None] / unit).astype(np.float32)
    told["a small network"] = unit * network(X[:fit], y[:fit], X[fit:], seed)
    for name, forecast in told.items():
        apart = forecast - target[fit:]
        scores = {"rmse": float(np.sqrt((apart**2).mean())), "mae": float(np.abs(apart).mean())}
        yield scored("house", name, seed, begun, scores)


def network(X: np.ndarray, y: np.ndarray, later: np.ndarray, seed: int) -> np.ndarray:
    """What a network of 16 units tells [n], trained by the same library on this home alone."""
    import torch

    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
    training = h.Training(epochs=2, batch=64, learning_rate=0.003, optimizer="adam", schedule=h.schedules.Cosine())
    plan = h.Plan(h.TorchModel(net, torch.nn.functional.mse_loss), training=training, rounds=10, seed=seed)
    return forecast(plan, trained_alone(plan, "home", Examples.of((X, y)), 10), later)


RUN = {"tomorrow": tomorrow, "hour": hour, "heating": heating, "forecasts": forecasts, "house": house}


def main() -> None:
    """Run what is named, each seed by itself, and save it; rows of others, and of other seeds, stay."""
    for task, _, chosen in [one.partition(":") for one in sys.argv[1:] or TASKS]:
        seeds = SEEDS if task != "forecasts" else SEEDS[:1]
        for seed in [int(chosen)] if chosen else seeds:
            new = list(RUN[task](seed))
            earlier = []
            if (RESULTS / "homes.json").is_file():
                earlier = json.loads((RESULTS / "homes.json").read_text())["rows"]
            kept = [row for row in earlier if (row["task"], row["seed"]) != (task, seed)]
            save("homes", sorted([*kept, *new], key=lambda row: (TASKS.index(row["task"]), row["seed"])))


if __name__ == "__main__":
    main()
