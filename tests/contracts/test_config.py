"""What a config promises: a plan survives the trip through TOML, a setting changes what it names and nothing else."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hansa
from hansa import (
    APFL,
    Adam,
    AdaptiveClip,
    Clip,
    Ditto,
    Everyone,
    FedAvg,
    FedDyn,
    FedNova,
    FedProx,
    Finite,
    GaussianNoise,
    HansaError,
    MimeLite,
    Momentum,
    Plan,
    Poisson,
    Quantize,
    Scaffold,
    Softmax,
    Training,
    TrimmedMean,
    Uniform,
    Weigh,
    Yogi,
)
from hansa.config import Pieces, build, inline, overlay, set_, table, toml, value_of
from hansa.config.run import Config, read
from hansa.errors import AppError, PlanError

MODEL = Softmax(8, 4)
PLAN = Plan(MODEL, pipe=(Finite(), Clip(1), Weigh("examples", cap=64)), training=Training(epochs=2), rounds=7)

PLANS = [
    PLAN,
    Plan(MODEL, FedAvg(Adam(0.05), pull=0.1)),
    Plan(MODEL, FedProx(1e-5), sample=Uniform(3, quorum=2, deadline=1.5)),
    Plan(MODEL, FedAvg(Momentum(beta=0.5)), sample=Poisson(0.25)),
    Plan(MODEL, Scaffold(), training=Training(steps=3, report=False)),
    Plan(MODEL, FedNova(most=40.0), training=Training(optimizer="sgd", validation=0.25), seed=-3),
    Plan(MODEL, FedDyn(alpha=0.1), pipe=(Weigh("one"),)),
    Plan(MODEL, Ditto(FedAvg(Yogi()).server, lam=0.3)),
    Plan(MODEL, MimeLite(beta=0.8)),
    Plan(MODEL, APFL(alpha=0.25)),
    Plan(MODEL, aggregator=TrimmedMean(0.2), pipe=(Weigh("one"),), sample=Everyone(quorum=3)),
    Plan(
        MODEL,
        pipe=(AdaptiveClip(side=10.0), Weigh("examples", cap=64), GaussianNoise(0.3, by="all", least=2), Quantize(24)),
        sample=Everyone(quorum=2),
    ),
]


@dataclass(frozen=True)
class Mine(Clip):
    """A piece that hansa does not know."""


# ── tables and TOML ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: type(plan.algorithm).__name__)
def test_a_plan_survives_the_trip_through_toml(plan: Plan) -> None:
    document = toml({"plan": {name: value for name, value in table(plan).items() if name != "use"}})
    entries = tomllib.loads(document)["plan"]
    back = build({"use": "Plan"} | entries)
    assert back == plan
    assert repr(back) == repr(plan)
    assert back.digest == plan.digest


TEXTS = st.text(st.characters(codec="utf-8"))
SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(
    SCALARS, lambda one: st.lists(one, max_size=3) | st.dictionaries(TEXTS, one, max_size=3), max_leaves=6
)


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_what_is_written_as_toml_is_what_toml_reads(entries: dict[str, Any]) -> None:
    assert tomllib.loads(toml(entries)) == entries


@given(VALUES)
def test_one_value_is_written_as_toml_reads_it(value: Any) -> None:
    assert tomllib.loads(f"a = {inline(value)}") == {"a": value}


def test_a_table_builds_a_piece_that_the_app_defines() -> None:
    assert build({"use": "Mine", "norm": 2.0}, Pieces({"Mine": Mine})) == Mine(2.0)
    with pytest.raises(AppError, match="No piece is called 'Mine'"):
        build({"use": "Mine", "norm": 2.0})


def test_every_exported_piece_can_be_named() -> None:
    pieces = Pieces()
    assert {"Clip", "Weigh", "FedAvg", "Adam", "Uniform", "FedProx", "Median", "TorchModel", "Plan"} <= set(pieces)
    assert not {"PlanError", "synchronous", "Client", "Run", "Transform", "Spec"} & set(pieces)
    assert pieces["Clip"] is Clip


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"use": "Klip", "norm": 1.0}, ["No piece is called 'Klip'", "Did you mean 'Clip'?"]),
        ({"use": "Clip", "nrm": 1.0}, ["Clip has no 'nrm'", "It takes norm, side", "Did you mean 'norm'?"]),
        ({"use": "Clip"}, ["Clip() cannot be built", "norm"]),
        ({"use": "Clip", "norm": "big"}, ["norm"]),
        ({"norm": 1.0}, ["A table stands where a piece should", "use"]),
        ({"use": "Training", "epochs": "two"}, ["epochs"]),
        ({"use": "os.system"}, ["No piece is called 'os.system'"]),
        ({"use": 3}, ["No piece is called 3"]),
    ],
)
def test_a_table_that_builds_nothing_says_why(entries: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(HansaError) as error:
        value = build(entries)
        Plan(MODEL, pipe=(value, Weigh("one"))) if isinstance(value, Clip) else None
    assert all(word in str(error.value) for word in words)


def test_what_toml_cannot_hold_is_refused() -> None:
    import torch

    net = hansa.TorchModel(torch.nn.Linear(8, 4), torch.nn.functional.cross_entropy)
    with pytest.raises(AppError, match="A TorchModel cannot be written as TOML"):
        table(Plan(net))


# ── a [plan] table ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_plan_table_replaces_what_it_names_and_keeps_the_rest() -> None:
    pipe = [{"use": "Clip", "norm": 3.0}, {"use": "Weigh", "by": "one"}]
    assert overlay(PLAN, {"pipe": pipe}) == replace(PLAN, pipe=(Clip(3.0), Weigh("one")))
    everything = {name: value for name, value in table(PLANS[-1]).items() if name not in ("use", "model")}
    torch_like = replace(PLAN, model=Softmax(3, 2))
    assert overlay(torch_like, everything) == replace(PLANS[-1], model=Softmax(3, 2))
    with pytest.raises(AppError, match="A plan has no 'pip'"):
        overlay(PLAN, {"pip": pipe})


# ── settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def with_clip(clip: Clip) -> Plan:
    return replace(PLAN, pipe=(PLAN.pipe[0], clip, PLAN.pipe[2]))


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("rounds", "3", replace(PLAN, rounds=3)),
        ("pipe.1.norm", "2", with_clip(Clip(2.0))),
        ("pipe.1.norm", "0.5", with_clip(Clip(0.5))),
        ("pipe.1.side", "3", with_clip(Clip(1, side=3.0))),
        ("pipe.1", '{use = "Clip", norm = 4.0}', with_clip(Clip(4.0))),
        ("pipe", '[{use = "Weigh", by = "one"}]', replace(PLAN, pipe=(Weigh("one"),))),
        ("training.optimizer", "sgd", PLAN),  # a word needs no quotes
        ("training.optimizer", '"sgd"', PLAN),
        ("training.report", "false", replace(PLAN, training=Training(epochs=2, report=False))),
        ("training.steps", "9", replace(PLAN, training=Training(epochs=2, steps=9))),
        ("algorithm.server.lr", "0.5", replace(PLAN, algorithm=FedAvg(hansa.Sgd(0.5)))),
        ("algorithm", '{use = "FedProx", mu = 0.1}', replace(PLAN, algorithm=FedProx(0.1))),
        ("sample.deadline", "inf", PLAN),
        ("sample", '{use = "Uniform", size = 2}', replace(PLAN, sample=Uniform(2))),
        ("model.classes", "5", replace(PLAN, model=Softmax(8, 5))),
    ],
)
def test_a_setting_changes_what_it_names_and_nothing_else(path: str, text: str, expected: Plan) -> None:
    changed = set_(PLAN, {path: value_of(text)})
    assert changed == expected
    assert repr(changed) == repr(expected)


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("round", "3", ["There is no 'round'", "model, algorithm, pipe", "Did you mean 'rounds'?"]),
        ("pipe.1.nrm", "3", ["There is no 'pipe.1.nrm'", "In pipe.1 there is norm, side"]),
        ("pipe.3.norm", "3", ["There is no 'pipe.3'", "0 (Finite), 1 (Clip), 2 (Weigh)"]),
        ("pipe.-1.norm", "3", ["There is no 'pipe.-1'"]),
        ("rounds.x", "3", ["rounds is 7, and nothing lies below it"]),
        ("", "3", ["There is no ''"]),
        ("rounds", "many", ["rounds cannot be 'many'", "a whole number"]),
        ("rounds", "2.5", ["rounds cannot be 2.5", "a whole number"]),
        ("rounds", "true", ["rounds cannot be True"]),
        ("pipe.1.norm", "big", ["pipe.1.norm cannot be 'big'", "a number"]),
        ("training.report", "1", ["training.report cannot be 1", "true or false"]),
        ("algorithm", 3, ["algorithm"]),
        ("rounds", "[1", ["'[1' is no value"]),
        ("rounds", "", ["'' is no value"]),
        ("rounds", "1\nseed = 2", ["is no value"]),
    ],
)
def test_a_setting_that_cannot_be_made_says_what_there_is(path: str, text: str, words: list[str]) -> None:
    with pytest.raises(HansaError) as error:
        set_(PLAN, {path: value_of(text)})
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_setting_that_makes_a_wrong_plan_raises_its_error() -> None:
    with pytest.raises(PlanError, match="not a length"):
        set_(PLAN, {"pipe.1.norm": -1})
    with pytest.raises(PlanError, match="rounds=0"):
        set_(PLAN, {"rounds": 0})


# ── a run's config ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_config_file_says_what_the_plan_is(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        """
        app = "apps/hospitals.py"
        rounds = 5
        seed = 11
        [set]
        pipe.0.norm = 2
        "training.epochs" = 3
        sample = {use = "Uniform", size = 2}
        [plan]
        pipe = [{use = "Clip", norm = 1.0}, {use = "Weigh", by = "one"}]
        [stop]
        use = "EarlyStopping"
        metric = "loss"
        """
    )
    config = read(path)
    assert config.app == str(tmp_path / "apps" / "hospitals.py")
    expected = Plan(MODEL, pipe=(Clip(2.0), Weigh("one")), training=Training(epochs=3), sample=Uniform(2),
                    rounds=5, seed=11)  # fmt: skip
    assert config.apply(PLAN) == expected
    assert config.stop == {"use": "EarlyStopping", "metric": "loss"}

    (tmp_path / "again.toml").write_text(config.toml())
    assert read(tmp_path / "again.toml") == config


def test_a_config_without_anything_leaves_the_plan_alone() -> None:
    assert Config("app.py").apply(PLAN) == PLAN


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("app = ", ["is not TOML"]),
        ("rounds = 5", ["names no app"]),
        ('app = "a.py"\nround = 5', ["has the entry 'round'", "Did you mean 'rounds'?"]),
        ('app = "a.py"\nrounds = "5"', ['rounds = "5"', "a whole number"]),
        ('app = "a.py"\nrounds = true', ["rounds = true"]),
        ("app = 3", ["app = 3", "a text"]),
        ('app = "a.py"\nset = 3', ["a table"]),
    ],
)
def test_a_config_that_cannot_be_read_says_why(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(AppError) as error:
        read(tmp_path / "run.toml")
    assert all(word in str(error.value) for word in [*words, "run.toml"]), str(error.value)


def test_a_config_that_is_no_text_says_so(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(AppError, match="cannot be read"):
        read(tmp_path / "run.toml")
