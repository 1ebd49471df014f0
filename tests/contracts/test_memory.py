"""What a server holds in a round: the model and the sum, and no copy of either."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.server_memory import CASES, CLASSES, held, plan_of
from torch import nn

import hansa as h
from hansa.aggregators import Sum
from hansa.algorithms import FedAvg
from hansa.optim import Adam
from hansa.spec import Vector
from hansa.transforms import Context, Transform

INPUTS = 300_000  # numbers of a block, of which some are made at a time, are a tenth of a vector then


@pytest.mark.parametrize("case", CASES)
def test_a_server_makes_no_copy_of_the_model(case: str, tmp_path: Path) -> None:
    """Of reals the sum has two halves; of words of 32 bits one half, beside which it is decoded."""
    pipe, optimizer, moments = CASES[case]
    plan = plan_of(INPUTS, pipe, optimizer)
    assert plan.model.size > INPUTS * CLASSES
    vectors, committing = held(plan, tmp_path)
    most = 3.5 if plan.encoded_spec.space == "real" else 2.75
    assert 2.0 < vectors - moments < most
    assert committing < 0.1


# ── what a stranger's piece is given stays as it is ──


@dataclass(frozen=True)
class Keeps:
    """A stranger's piece, which keeps arrays that it is given or gives away."""

    kept: list[tuple[Vector, Vector]] = field(default_factory=list, repr=False, compare=False)

    def keep(self, v: Vector) -> None:
        """Keep the array, and what is in it now."""
        self.kept.append((v, v.copy()))

    def fingerprint(self) -> str:
        """The same for all."""
        return type(self).__name__


class KeepingTransform(Keeps, Transform):
    """It keeps the sum."""

    def learn(self, total: Vector, at: Context) -> None:
        """Nothing."""
        self.keep(total)


class KeepingOptimizer(Keeps):
    """It keeps the mean, and gives away the model that it keeps."""

    def start(self, x: Vector) -> dict[str, Any]:
        """Nothing."""
        return {}

    def step(self, x: Vector, delta: Vector, memo: dict[str, Any]) -> tuple[Vector, dict[str, Any]]:
        """x + Δ."""
        after = x + delta
        self.keep(delta)
        self.keep(after)
        return after, memo


class KeepingAlgorithm(Keeps, FedAvg):
    """It keeps the mean before the step of its parent."""

    def __init__(self) -> None:
        object.__setattr__(self, "kept", [])
        FedAvg.__init__(self, Adam(0.1))

    def fingerprint(self) -> str:
        """There is one of them."""
        return "kept"

    def step(self, x: Vector, memo: Any, mean: dict[str, Vector], at: Context) -> tuple[Vector, Any]:
        """That of the parent."""
        self.keep(mean["delta"])
        return super().step(x, memo, mean, at)


class KeepingAggregator(Keeps, Sum):
    """It keeps the mean that it gives away."""

    def server(self, channel: Any, cohort: Any, decode: Any) -> Any:
        """That of the parent."""
        mean, participants = super().server(channel, cohort, decode)
        self.keep(mean[0])
        return mean, participants


WEIGHED = (h.Clip(5.0, side=10.0, statistics=5.0), h.Weigh("examples", cap=64), h.Quantize(24))


@pytest.mark.parametrize("place", range(4))
def test_a_strangers_transform_may_keep_the_sum(place: int) -> None:
    keeping = KeepingTransform()
    hold(keeping.kept, pipe=(*WEIGHED[:place], keeping, *WEIGHED[place:]))
    assert len(keeping.kept) == 3


def test_a_strangers_optimizer_may_keep_the_mean() -> None:
    keeping = KeepingOptimizer()
    assert hold(keeping.kept, algorithm=FedAvg(server=keeping)) == hold([])
    assert len(keeping.kept) == 6


def test_a_strangers_algorithm_may_keep_the_mean() -> None:
    keeping = KeepingAlgorithm()
    assert hold(keeping.kept, algorithm=keeping) == hold([], algorithm=FedAvg(server=Adam(0.1)))
    assert len(keeping.kept) == 3


def test_a_strangers_aggregator_may_keep_the_mean() -> None:
    keeping = KeepingAggregator()
    assert hold(keeping.kept, aggregator=keeping) == hold([])
    assert len(keeping.kept) == 3


def test_who_resumes_from_an_older_state_finds_it_as_it_was() -> None:
    """Each state has memory of its own."""
    before = [(state.x, state.x.copy()) for state in run(algorithm=FedAvg(server=Adam(0.1)))]
    assert all((x == copy).all() for x, copy in before)
    assert not (before[0][0] == before[1][0]).all()


def hold(kept: list[tuple[Vector, Vector]], **more: Any) -> bytes:
    """The last weights of a run, in which what was kept stays as it was."""
    *_, last = run(**more)
    assert all((v == copy).all() for v, copy in kept)
    return last.x.tobytes()


def run(**more: Any) -> Iterator[h.State]:
    """A run of three rounds over a net whose statistics travel."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    plan = h.Plan(h.TorchModel(net, nn.functional.cross_entropy, compile=False), **{"rounds": 3, **more})
    rng = np.random.default_rng(0)
    data = [(rng.normal(size=(20, 4)).astype(np.float32), rng.integers(0, 3, 20)) for _ in range(3)]
    clients = [h.Client(f"{i}", plan, one) for i, one in enumerate(data)]
    return h.synchronous(plan, h.InProcess(clients))
