"""How the settings of the health app were chosen: five folds of each hospital's training patients, no test patient.

    python benchmarks/health_choice.py

Scores are of all held-out patients together, each by the model that its hospital would use. The app's plan with a plain
sum and a softmax regression that starts at zero. Units of hospitals, or of all, are those of all training patients.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from common import save
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, StratifiedKFold
from uses import example, multiplier, run

import hansa as h
from hansa.data import Examples
from hansa.datasets.heart_disease import heart_disease

MODEL = h.Softmax(13, 2)
Folds = list[tuple[dict[str, Any], dict[str, Any]]]


def folds(units: Any, seed: int) -> Folds:
    """Five times patients to train on and patients held out, by hospital."""
    found: Folds = [({}, {}) for _ in range(5)]
    for who, parts in heart_disease(units).items():
        X, y = parts["train"]
        many = np.bincount(y, minlength=2).min() >= 5
        split = (
            StratifiedKFold(5, shuffle=True, random_state=seed) if many else KFold(5, shuffle=True, random_state=seed)
        )
        for (train, held), (fit, out) in zip(found, split.split(X, y), strict=True):
            train[who], held[who] = (X[fit], y[fit]), (X[out], y[out])
    return found


def score(plan: h.Plan, units: Any, seeds: int) -> Iterator[dict[str, float]]:
    """Accuracy and AUC, federated and own, with each seed."""
    for seed in range(seeds):
        told: dict[str, list[Any]] = {"federated": [], "own": []}
        truth = []
        for train, held in folds(units, seed):
            state, own = run(h.App(replace(plan, seed=seed), train))
            for who, (X, y) in held.items():
                truth.append(y)
                for name, x in (("federated", state.x), ("own", own[who][0])):
                    p = np.asarray(MODEL.predict(x, Examples.of((X, y))))
                    told[name].append(p[:, 1] - p[:, 0])
        y = np.concatenate(truth)
        both = {name: np.concatenate(one) for name, one in told.items()}
        accuracies = {f"{name} accuracy": float(((one > 0) == y).mean()) for name, one in both.items()}
        yield {**accuracies, **{f"{name} AUC": roc_auc_score(y, one) for name, one in both.items()}}


def row(what: str, name: str, scores: list[Mapping[str, float]], begun: float, **more: Any) -> dict[str, Any]:
    """The means over seeds."""
    means = {one: float(np.mean([each[one] for each in scores])) for one in scores[0]}
    found = {"choice": what, "row": name, "seeds": len(scores), "scores": means, **more}
    print(found, round(time.perf_counter() - begun, 1), flush=True)
    return found


def main() -> None:
    """Units and λ; then noise for an example."""
    _, plan = example("health", 0)
    plain = replace(plan, model=MODEL, aggregator=h.Sum())
    rows = []
    for units in ("local", "pooled", "fixed"):
        for lam in (0.03, 0.1, 0.3, 1.0):
            begun = time.perf_counter()
            scores = list(score(replace(plain, algorithm=h.Ditto(lam=lam)), units, 2))
            rows.append(row("units", f"{units}, λ = {lam:g}", scores, begun))
    for rounds, batch in ((10, 8), (10, 16), (10, 30), (20, 30), (10, 60)):
        for rate in (0.1, 0.3, 1.0):
            begun = time.perf_counter()
            times = {n: rounds * -(-n // min(batch, n)) for n in (30, 199)}
            z = max(multiplier(4.0, 1e-3, min(1.0, batch / n), steps) for n, steps in times.items())
            private = h.PerExample(clip=1.0, noise=z)
            training = h.Training(epochs=1, batch=batch, learning_rate=rate, report=False, private=private)
            pipe = (h.Clip(10.0), h.Weigh("examples", cap=200))
            noisy = replace(plain, algorithm=h.FedAvg(), training=training, pipe=pipe, rounds=rounds)
            name = f"{rounds} rounds, batches of {batch}, rate {rate:g}"
            rows.append(row("noise", name, list(score(noisy, "fixed", 4)), begun, noise=z))
    save("health_choice", rows)


if __name__ == "__main__":
    main()
