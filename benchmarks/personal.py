"""Each way to give a client a model of its own, once: on four hospitals, and on 517 homes.

    python benchmarks/personal.py heart homes:0       these; rows of others, and of other seeds, stay

Patients: 16 hidden units, SGD, 20 rounds of two epochs, all by the models that their hospitals use. Homes: the plan of
examples/homes.py; what steps by plain SGD has a learning rate of its own, and batches of 105, as it asks for each.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from common import RESULTS, save
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn.functional import cross_entropy
from uses import SEEDS, example, run
from uses import homes as of_homes

import hansa as h
from hansa.app.compare import trained_alone
from hansa.data import Examples
from hansa.datasets.heart_disease import heart_centres
from hansa.models.parts import without_kept

TASKS = ("heart", "homes")
SGD = h.Training(epochs=1, batch=105, learning_rate=0.1, schedule=h.schedules.Cosine())
Change = Mapping[str, Any]


def methods(head: str, body: str, tuning: h.Training) -> dict[str, Change]:
    """Name → what is other in the plan. head, body: patterns of the parts of the net."""
    own_heads = {"keep": (head,)}
    return {
        "FedAvg": {"algorithm": h.FedAvg()},
        "FedSAM": {"algorithm": h.FedSAM(), "plain": True},
        "fine-tuning": {"algorithm": h.FineTuned(tuning=tuning)},
        "FedPer": {"algorithm": h.FedAvg(), **own_heads},
        "FedRep": {"algorithm": h.FedRep(head_epochs=2), **own_heads},
        "LG-FedAvg": {"algorithm": h.FedAvg(), "keep": (body,)},
        "FedBABU": {"algorithm": h.FineTuned(tuning=tuning), "only": (body,)},
        "FedBN": {"algorithm": h.FedAvg(), "keep": ("norm*",), "norm": True},
        "Ditto": {"algorithm": h.Ditto(lam=0.1)},
        "APFL": {"algorithm": h.APFL(alpha=0.5), "plain": True},
        "pFedMe": {"algorithm": h.PFedMe(lam=5.0, rate=0.1, inner=5), "plain": True},
        "Per-FedAvg": {"algorithm": h.PerFedAvg(alpha=0.05), "plain": True},
        "FedALA": {"algorithm": h.FedALA(rate=1.0)},
    }


class Net(nn.Module):
    """16 hidden units, with or without BatchNorm above them."""

    def __init__(self, seed: int, norm: bool):
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Linear(13, 16)
        self.norm = nn.BatchNorm1d(16) if norm else nn.Identity()
        self.head = nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.norm(self.body(x))))


def changed(plan: h.Plan, change: Change) -> h.Plan:
    """The plan with a method."""
    model = plan.model
    if "keep" in change:
        model = h.Personal(model, keep=change["keep"])
    training = replace(plan.training, only=change.get("only", ()))
    return replace(plan, model=model, algorithm=change["algorithm"], training=training)


def heart(seed: int) -> list[dict[str, Any]]:
    """Accuracy and AUC over all test patients."""
    found = heart_centres()
    tuning = h.Training(epochs=5, batch=16, learning_rate=0.1)
    rows = []
    for name, change in {**methods("head.*", "body.*", tuning), "alone": {}}.items():
        begun = time.perf_counter()
        plan = h.Plan(
            h.TorchModel(Net(seed, change.get("norm", False)), cross_entropy),
            pipe=(h.Weigh("examples", cap=200),),
            training=h.Training(epochs=2, batch=16, learning_rate=0.1),
            rounds=20,
            seed=seed,
        )
        if name == "alone":
            train = {who: Examples.of(data) for who, data in found.train.items()}
            own = {who: (trained_alone(plan, who, data, plan.rounds), {}) for who, data in train.items()}
        else:
            plan = changed(plan, change)
            _, own = run(h.App(plan, dict(found.train)))
        told, truth = [], []
        for who, (X, y) in found.test.items():
            x, local = own[who]
            model = plan.model
            if isinstance(model, h.Personal):
                model, x, local = model.model, model.whole(x, local), without_kept(local)
            p = np.asarray(model.predict(x, Examples.of((X, y)), local))
            told.append(p[:, 1] - p[:, 0])
            truth.append(y)
        score, y = np.concatenate(told), np.concatenate(truth)
        scores = {"accuracy": float(((score > 0) == y).mean()), "auc": roc_auc_score(y, score)}
        rows.append(shown("heart", name, seed, scores, begun))
    return rows


def homes(seed: int) -> list[dict[str, Any]]:
    """The error of the example's table, of the models that homes use."""
    found, plan = example("homes", seed)
    train, test = found["app"].data, found["app"].test
    rows = []
    for name, change in methods("4.*", "[02].*", plan.algorithm.tuning).items():
        if change.get("norm"):
            continue  # the example's net has no layer to normalise
        begun = time.perf_counter()
        one = changed(replace(plan, training=SGD) if change.get("plain") else plan, change)
        _, own = run(h.App(one, train))
        rows.append(shown("homes", name, seed, of_homes(one, test, own), begun))
    return rows


def shown(task: str, name: str, seed: int, scores: Mapping[str, float], begun: float) -> dict[str, Any]:
    """A row, which is shown."""
    row = {"task": task, "row": name, "seed": seed, "scores": scores, "seconds": time.perf_counter() - begun}
    print(row, flush=True)
    return row


def main() -> None:
    """Run what is named, each seed by itself, and save it; rows of others, and of other seeds, stay."""
    for task, _, chosen in [one.partition(":") for one in sys.argv[1:] or TASKS]:
        for seed in [int(chosen)] if chosen else SEEDS:
            new = {"heart": heart, "homes": homes}[task](seed)
            earlier = []
            if (RESULTS / "personal.json").is_file():
                earlier = json.loads((RESULTS / "personal.json").read_text())["rows"]
            kept = [row for row in earlier if (row["task"], row["seed"]) != (task, seed)]
            save("personal", sorted([*kept, *new], key=lambda row: (TASKS.index(row["task"]), row["seed"])))


if __name__ == "__main__":
    main()
