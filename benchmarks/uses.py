"""The four uses: what each client gets alone, from the federation, from a model of its own, with noise, and if all data
were in one place.

    python benchmarks/uses.py health driving homes:0      these; of homes one seed alone; results of others stay

Plans are those of the example programs, but for their seed. All are scored on the clients' own test sets. A driver who
was never there is scored by the global model of the four others.
"""

from __future__ import annotations

import json
import runpy
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from common import RESULTS, ROOT, machine, save
from sklearn.metrics import roc_auc_score

import hansa as h
from hansa.app.compare import Fair, pooled, trained_alone
from hansa.app.personal import own_model
from hansa.data import Examples
from hansa.metrics import CalibrationError
from hansa.privacy.calibrate import calibrate
from hansa.privacy.mechanisms import Release
from hansa.transforms.curves import Gaussian

SEEDS = range(3)
USES = ("health", "driving", "homes", "keyboard")
Models = Mapping[str, Any]  # client → (x [size], what it keeps of it)


def example(use: str, seed: int) -> tuple[dict[str, Any], h.Plan]:
    """The names in an example program, and its plan with other first weights and another seed."""
    found = runpy.run_path(str(ROOT / "examples" / f"{use}.py"))
    torch.manual_seed(seed)
    net = found["net"]
    for layer in net.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    model = h.TorchModel(net, found["plan"].model.loss, metrics=found.get("metrics"))
    return found, replace(found["plan"], model=model, seed=seed)


def run(app: h.App) -> tuple[h.State, dict[str, Any]]:
    """The last state, and each client's own model."""
    *_, state = app.run()
    memory = vars(app)["_remembered"]
    return state, {who: own_model(app, state, who, memory.get(who, {})) for who in app.data}


@cache
def multiplier(epsilon: float, delta: float, rate: float, times: int) -> float:
    """z of a Gaussian on Poisson samples."""
    return calibrate(h.Budget(epsilon, delta), Release(Gaussian(1.0), "poisson", rate), times, "pld")


# ── how each use is scored ───────────────────────────────────────────────────────────────────────────────────────────


def probabilities(plan: h.Plan, x: Any, X: Any) -> Any:
    """P(ill) by a linear model."""
    parts = plan.model.tensors(x)
    z = X @ np.asarray(parts["weight"]).T + np.asarray(parts["bias"])
    return 1 / (1 + np.exp(z[:, 0] - z[:, 1]))


def health(plan: h.Plan, test: Mapping[str, Any], models: Models) -> dict[str, Any]:
    """Over all patients together, each by the model that its hospital uses."""
    p = np.concatenate([probabilities(plan, models[who][0], X) for who, (X, _) in test.items()])
    y = np.concatenate([y for _, y in test.values()])
    both = np.log(np.stack([1 - p, p], 1))
    found = {"accuracy": float(((p > 0.5) == y).mean()), "auc": roc_auc_score(y, p)}
    each = {}
    for who, (X, truth) in test.items():
        if len(np.unique(truth)) == 2:
            each[f"auc of {who}"] = roc_auc_score(truth, probabilities(plan, models[who][0], X))
    bins = {name: np.histogram(p[y == label], 10, (0, 1))[0].tolist() for label, name in enumerate(("healthy", "ill"))}
    return {**found, "calibration": CalibrationError()(both, y), **each, "bins": bins}


def driving(plan: h.Plan, test: Mapping[str, Any], models: Models) -> dict[str, Any]:
    """The mean of the drivers' R², and each."""
    each = {who: plan.model.score(models[who][0], d, *kept(models[who]))["r2"] for who, d in test.items()}
    return {"r2": float(np.mean(list(each.values()))), **each}


def homes(plan: h.Plan, test: Mapping[str, Any], models: Models) -> dict[str, Any]:
    """The mean over homes of the mean error, in units of a home's mean load; and below what so many of them lie."""
    errors = [plan.model.score(models[who][0], d, *kept(models[who]))["loss"] for who, d in test.items()]
    below = {f"{tenth} %": float(np.percentile(errors, tenth)) for tenth in (10, 50, 90)}
    return {"error": float(np.mean(errors)), **below}


def kept(model: tuple[Any, Any]) -> tuple[Any, ...]:
    """What a client keeps of its model, if anything."""
    return () if model[1] is None else (model[1],)


SCORE: dict[str, Callable[..., dict[str, Any]]] = {"health": health, "driving": driving, "homes": homes}


# ── with noise ───────────────────────────────────────────────────────────────────────────────────────────────────────


def private(use: str, plan: h.Plan) -> Iterator[tuple[str, h.Plan, dict[str, float]]]:
    """Plans with noise: for each example of a hospital, or for each home; with ε and δ."""
    plain = replace(plan, algorithm=h.FedAvg(), aggregator=h.Sum())
    if use == "health":
        rounds, batch, fewest, most = 10, 8, 30, 199
        steps = {n: rounds * -(-n // batch) for n in (fewest, most)}
        z = max(multiplier(4.0, 1e-3, batch / n, steps[n]) for n in steps)
        training = h.Training(
            epochs=1, batch=batch, learning_rate=0.3, report=False, private=h.PerExample(clip=1.0, noise=z)
        )
        pipe = (h.Clip(10.0), h.Weigh("examples", cap=200))
        yield (
            "private: ε = 4 for an example",
            replace(plain, training=training, pipe=pipe, rounds=rounds),
            {"epsilon": 4.0, "delta": 1e-3, "noise": z},
        )
    if use == "homes":
        for epsilon in (8.0,):
            z = multiplier(epsilon, 1e-4, 0.2, 100)
            pipe = (h.Clip(0.3), h.Weigh("one"), h.GaussianNoise(z))
            training = replace(plan.training, report=False)
            noisy = replace(plain, training=training, pipe=pipe, sample=h.Poisson(0.2), rounds=100)
            yield f"private: ε = {epsilon:g} for a home", noisy, {"epsilon": epsilon, "delta": 1e-4, "noise": z}


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────────


def keyboard(seed: int) -> Iterator[dict[str, Any]]:
    """The federation alone, by its course: (round, accuracy, processor seconds with scoring)."""
    found, plan = example("keyboard", seed)
    begun, used = time.perf_counter(), time.process_time()
    course = []
    for state in replace(found["app"], plan=plan).run():
        course.append((state.round, round(state.scores["accuracy"], 4), round(time.process_time() - used, 1)))
        print(course[-1], flush=True)
    scores = {"accuracy": course[-1][1], "course": course}
    seconds = time.perf_counter() - begun
    yield {"use": "keyboard", "row": "federated", "seed": seed, "scores": scores, "seconds": seconds}
    if seed == SEEDS[0]:
        yield from noisy_keyboard(found["app"], plan, seed)


def noisy_keyboard(app: h.App, plan: h.Plan, seed: int) -> Iterator[dict[str, Any]]:
    """The noise that ε = 8 takes among so many users, here: on the mean of a cohort of 50, with updates clipped alike.

    noise / clip = z √d / cohort              the norm of the noise on the mean, in clips
    """
    here, all_here = 50, len(app.data)
    for row, delta, users, cohort in (
        ("clipped, without noise", 0.0, 0, 1),
        ("ε = 8 among a million", 1e-7, 10**6, 10_000),
        ("ε = 8 among 100,000", 1e-6, 10**5, 1_000),
        ("ε = 8 among these", 1e-4, all_here, here),
    ):
        begun = time.perf_counter()
        z = multiplier(8.0, delta, cohort / users, plan.rounds) if users else 0.0
        noise = [h.GaussianNoise(z * here / cohort)] if users else []
        one = replace(
            plan,
            pipe=(h.Finite(), h.Clip(5.0), h.Weigh("one"), *noise),
            training=replace(plan.training, report=False),
            sample=h.Poisson(here / all_here),
        )
        *_, state = replace(app, plan=one, test=None).run()
        ratio = z * float(np.sqrt(plan.model.size)) / cohort
        scores = {"accuracy": plan.model.score(state.x, Examples.of(app.test))["accuracy"], "ratio": ratio}
        seconds = time.perf_counter() - begun
        print(row, scores, seconds, flush=True)
        yield {"use": "keyboard", "row": row, "seed": seed, "scores": scores, "seconds": seconds, "noise": z}


def rows(use: str, seed: int) -> Iterator[dict[str, Any]]:
    """One row for each way to train."""
    if use == "keyboard":
        yield from keyboard(seed)
        return
    found, plan = example(use, seed)
    app = found["app"]
    train, test = app.data, app.test
    score = SCORE[use]
    begun = time.perf_counter()

    def row(name: str, models: Models, **more: Any) -> dict[str, Any]:
        nonlocal begun
        seconds = time.perf_counter() - begun
        one = {"use": use, "row": name, "seed": seed, "scores": score(plan, test, models), "seconds": seconds, **more}
        print(one, flush=True)
        begun = time.perf_counter()
        return one

    state, own = run(replace(app, plan=plan, test=None))
    yield row("federated", dict.fromkeys(test, (state.x, None)))
    yield row("personal", own)  # of the same training
    examples = {who: Examples.of(data) for who, data in train.items()}
    fair = Fair(plan, {who: len(one) for who, one in examples.items()}, state.round)
    begun = time.perf_counter()
    alone = {who: (trained_alone(plan, who, one, fair.rounds), None) for who, one in examples.items()}
    yield row("alone", alone)
    together = trained_alone(plan, "pooled", pooled(list(examples.values())), fair.rounds, fair.all_at_once)
    yield row("pooled", dict.fromkeys(test, (together, None)))
    for name, noisy, told in private(use, plan):
        state, _ = run(h.App(noisy, train))
        yield row(name, dict.fromkeys(test, (state.x, None)), **told)
    if use == "health":
        plain, mine = run(h.App(replace(plan, aggregator=h.Sum()), train))
        yield row("federated, plain sum", dict.fromkeys(test, (plain.x, None)))
        yield row("personal, plain sum", mine)
    if use == "driving":
        left = {}
        for who in test:
            others = {name: data for name, data in train.items() if name != who}
            four = replace(plan, aggregator=h.Sum(), algorithm=h.FedAvg(), sample=h.Everyone())
            left[who] = (run(h.App(four, others))[0].x, None)
        yield row("a new driver", left)


def main() -> None:
    """Run what is named, each seed by itself, and save it; rows of others, and of other seeds, stay."""
    named = [one.partition(":") for one in sys.argv[1:] or USES]
    asked = [(use, seed) for use, _, seed in named]
    for use, chosen in asked:
        for seed in [int(chosen)] if chosen else SEEDS:
            new = [{**row, "cpu": machine()["cpu"]} for row in rows(use, seed)]
            earlier = []
            if (RESULTS / "uses.json").is_file():
                earlier = json.loads((RESULTS / "uses.json").read_text())["rows"]
            kept = [row for row in earlier if (row["use"], row["seed"]) != (use, seed)]
            save("uses", sorted([*kept, *new], key=lambda row: (USES.index(row["use"]), row["seed"])))


if __name__ == "__main__":
    main()
