"""What an algorithm promises.

    blocks(), side()   names and bounds of all that a client says, for a model of any size
    client()           a function of its arguments, which modifies none; works without memory too
    step()             a function of its arguments; gives a model, and remembers plain values
    side by side       how many clients train at a time changes nothing
    its own model      personal_model(), where it has one, begins with the global model
    it learns          on clients that differ

So a run repeats, goes on from a checkpoint, and is the same in one process and in many.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..algorithms import Algorithm, Answer, ClientState, Parts
from ..algorithms.reports import personal_model
from ..asks import AskedModel, alone, locally
from ..data import Examples
from ..errors import PlanError
from ..loops.synchronous import synchronous
from ..messages import SessionId
from ..models import NO_LOCAL, Gradient, Local, Model, ModelView, Train, TrainResult
from ..models.softmax import Softmax
from ..parties.client import Client
from ..plan import Plan
from ..plan.client import training_context
from ..rand import Key
from ..runtimes.inprocess import InProcess
from ..spec import Vector, ends
from ..state import State
from ..training import Training
from .asserts import KEY, check_repr, equal, is_plain, require

MODEL = Softmax(4, 3)
TRAINING = Training(epochs=2, batch=8, learning_rate=0.2)


def check_algorithm(
    algorithm: Algorithm,
    training: Training = TRAINING,
    rounds: int = 20,
    model: Model = MODEL,
    parties: Mapping[str, Any] | None = None,
) -> None:
    """Hold an algorithm to its promises, on softmax regression with six clients that differ, or on
    another model with `parties`, name → data (X, y).

    training   of the clients, for algorithms that do not accept every one
    rounds     after which the loss has fallen by a third at least

    What a client says is what `blocks` and `side` declare; every function is one of its arguments
    alone; the first round works without memory; it makes no difference how many clients train side
    by side. AssertionError names the first promise that is broken.
    """
    name = repr(algorithm)
    check_repr(algorithm)
    _declares(algorithm)
    try:
        plan = Plan(model, algorithm, training=training, rounds=rounds)
    except PlanError as error:
        raise AssertionError(
            f"{name}: it refuses {training!r}; give a training that it accepts.\n  {error}"
        ) from error
    parties = parties or federation()
    state = plan.start()
    require(
        is_plain(state.memo),
        f"{name}: start() must give a dict of numbers, words and arrays, as a checkpoint holds "
        "them.",
    )
    require(
        equal(state.memo, plan.start().memo),
        f"{name}: start() is not a function of its arguments; draw from its key.",
    )
    memory = dict[str, ClientState]()
    for _ in range(2):  # the first round from no memory, the second from what the first left
        replies = []
        for who, data in list(parties.items())[:3]:
            parts, memory[who] = _client(plan, state, who, Examples.of(data), memory.get(who, {}))
            replies.append(parts)
        state = _step(plan, state, replies)
    _side_by_side(plan, parties)
    before, after = _learns(plan, parties)
    require(
        repr(algorithm) == name,
        f"{name}: it changed while it was used; what it remembers belongs into its memory.",
    )
    require(
        after < before * 2 / 3,
        f"{name}: it does not learn; after {rounds} rounds the loss is {after:.3f}, from "
        f"{before:.3f}.",
    )


def federation(
    clients: int = 6, skew: float = 0.5, key: Key = KEY
) -> dict[str, tuple[Vector, Vector]]:
    """Clients of 20, 25, 30, … examples for Softmax(4, 3), whose inputs lie `skew` apart.

    Name → (X [n, 4], y [n]); one line tells the labels of all of them apart.
    """
    rng = key.child("federation").rng()
    W = rng.normal(size=(4, 3))
    parties = {}
    for i in range(clients):
        X = rng.normal(size=(20 + 5 * i, 4)) + skew * rng.normal(size=4)
        parties[f"client-{i}"] = X, (X @ W).argmax(1)
    return parties


def _declares(algorithm: Algorithm) -> None:
    """The same blocks for a model of any size, of positive length; side values with bounds, under
    names that are free.
    """
    small = algorithm.blocks(10)
    large = algorithm.blocks(20)
    require(
        small
        and small.keys() == large.keys()
        and all(isinstance(n, int) and n > 0 for n in small.values()),
        f"{algorithm!r}: blocks(d) must name the same blocks for every d, each with a positive "
        f"length: {small!r}.",
    )
    side = algorithm.side()
    require(
        all(ends(bound)[1] > 0 for bound in side.values()),
        f"{algorithm!r}: a bound in side() is positive, or infinite: {side!r}.",
    )
    taken = (small.keys() | {"loss", "weight", "under"}) & side.keys()
    require(not taken, f"{algorithm!r}: side() uses the names {sorted(taken)}, which are taken.")


def _client(
    plan: Plan, state: State, who: str, data: Examples, memory: ClientState
) -> tuple[Parts, ClientState]:
    """What one client says of a round, and remembers of it: twice, for both must be the same.

    It says all that blocks() and side() declare, each within its bounds, and the loss.
    """
    algorithm = plan.algorithm
    given = (state.x, state.memo, memory)
    before = copy.deepcopy(given)
    broadcast = algorithm.broadcast(state.x, state.memo)
    sent = copy.deepcopy(broadcast)
    session = SessionId(number=state.round)
    at = plan.context(state.round, session, who, secret=KEY, examples=len(data))
    at = training_context(plan, at)

    def answer() -> Answer:
        asked = AskedModel(plan.model)
        work = algorithm.client(asked, broadcast, memory, data, plan.training, at)
        return alone(locally(work, NO_LOCAL, plan.training), plan.perform)[0]

    parts, new = answer()
    again, anew = answer()
    require(
        equal(sent, broadcast), f"{algorithm!r}: client() modifies what came down; make new arrays."
    )
    require(
        equal(before, given),
        f"{algorithm!r}: client() or broadcast() modifies its arguments; make new dicts and "
        "arrays.",
    )
    require(
        equal(dict(parts), dict(again)) and equal(new, anew),
        f"{algorithm!r}: client() is not a function of its arguments; draw from at.key, return "
        "what to remember.",
    )
    require(
        is_plain(new),
        f"{algorithm!r}: a client's memory must be a dict of numbers, words and arrays.",
    )
    _says(algorithm, plan.model.size, parts)
    _personal(algorithm, broadcast, new)
    return parts, new


def _says(algorithm: Algorithm, d: int, parts: Parts) -> None:
    """All that blocks() and side() declare of a model of d numbers, each within its bounds, and the
    loss.
    """
    promised = {**algorithm.blocks(d), **dict.fromkeys(algorithm.side(), 1), "loss": 1}
    missing = promised.keys() - parts.keys()
    require(not missing, f"{algorithm!r}: client() says no {', '.join(sorted(missing))}.")
    for name, length in promised.items():
        part = np.ravel(parts[name])
        require(
            part.size == length,
            f"{algorithm!r}: client() says {part.size} numbers as {name!r}; {length} are declared.",
        )
        require(
            np.isfinite(part).all(), f"{algorithm!r}: client() says NaN or infinity as {name!r}."
        )
        low, high = ends(algorithm.side().get(name, np.inf))
        require(
            ((part >= low) & (part <= high)).all(),
            f"{algorithm!r}: {name!r} is {part[0]:g}, and side() declares {low:g} … {high:g}.",
        )


def _personal(algorithm: Algorithm, broadcast: dict[str, Vector], state: ClientState) -> None:
    """The model that a client uses itself, where the algorithm names one.

    It is a function of what came down and of what the client remembers: without memory, the global
    model.
    """
    if not hasattr(algorithm, "personal_model"):
        return
    given = copy.deepcopy((broadcast, state))
    own, _ = personal_model(algorithm, broadcast, state)
    again, _ = personal_model(algorithm, broadcast, state)
    first, _ = personal_model(algorithm, broadcast, {})
    require(
        equal(own, again) and equal(given, (broadcast, state)),
        f"{algorithm!r}: personal_model() is not a function of its arguments, or modifies them.",
    )
    require(
        equal(first, broadcast["x"]),
        f"{algorithm!r}: personal_model() of a client that remembers nothing must be the global "
        "model: from there it starts again where it has left the range of numbers.",
    )


def _step(plan: Plan, state: State, replies: list[Parts]) -> State:
    """The state after the server's step with the plain mean: twice, for both must be the same.

        x, memo = step(x, memo, (1/n)·Σ partsᵢ)

    It gives finite numbers, and remembers plain values under the names that start() gave.
    """
    algorithm = plan.algorithm
    x = state.x
    memo = state.memo
    mean = plan.spec.unpack(np.mean([plan.spec.pack(parts) for parts in replies], axis=0))
    session = SessionId(number=state.round)
    at = plan.context(state.round, session, secret=KEY, n=len(replies), population=6)
    given = (x, memo, mean)
    before = copy.deepcopy(given)
    new, known = algorithm.step(*given, at)
    again = algorithm.step(*given, at)
    require(
        equal(before, given),
        f"{algorithm!r}: step() modifies its arguments; make new dicts and arrays.",
    )
    require(
        equal((new, known), again), f"{algorithm!r}: step() is not a function of its arguments."
    )
    require(
        isinstance(new, np.ndarray) and new.shape == x.shape and np.isfinite(new).all(),
        f"{algorithm!r}: step() must give {x.size} finite numbers in one array.",
    )
    require(
        is_plain(known) and known.keys() == memo.keys(),
        f"{algorithm!r}: step() must remember under the names that start() gave: "
        f"{', '.join(memo)}.",
    )
    return replace(state, round=state.round + 1, x=new, memo=known)


def _side_by_side(plan: Plan, parties: Mapping[str, Any]) -> None:
    """Rounds with one, four and 64 clients that train at a time give the same model.

    To within what libraries round otherwise for several clients at once.
    """
    short = replace(plan, rounds=3)
    models = [SideBySide(plan.model, cohort) for cohort in (1, 4, 64)]
    first, *others = (_trained(replace(short, model=model), parties) for model in models)
    require(
        all(np.allclose(first, x, rtol=1e-4, atol=1e-6) for x in others),
        f"{plan.algorithm!r}: what clients make of a round depends on how many train side by side; "
        "all that an answer is made of is in what client() asks: `yield Train(…)`.",
    )


@dataclass(frozen=True)
class SideBySide(ModelView):
    """A model that trains so many clients at a time, and is the model itself in all else."""

    model: Model
    cohort: int

    def train(self, x: Vector, data: Examples, *how: Any, **more: Any) -> TrainResult:
        """As the model."""
        return self.model.train(x, data, *how, **more)

    def train_all(self, asks: Sequence[Train]) -> list[TrainResult]:
        """As the model."""
        return self.model.train_all(asks)

    def gradients(self, asks: Sequence[Gradient]) -> list[Vector]:
        """As the model."""
        return self.model.gradients(asks)

    def score(self, x: Vector, data: Examples, local: Local = NO_LOCAL) -> dict[str, float]:
        """As the model."""
        return self.model.score(x, data, local)


def _trained(plan: Plan, parties: Mapping[str, Any]) -> Vector:
    """The model [size] after the rounds of the plan."""
    clients = [Client(who, plan, data) for who, data in parties.items()]
    *_, state = synchronous(plan, InProcess(clients))
    return state.x


def _learns(plan: Plan, parties: Mapping[str, Any]) -> tuple[float, float]:
    """The loss on all examples before and after the rounds of the plan."""
    X, y = (np.concatenate(parts) for parts in zip(*parties.values(), strict=True))
    examples = Examples.of((X, y))
    before = plan.model.score(plan.start().x, examples)
    after = plan.model.score(_trained(plan, parties), examples)
    return before["loss"], after["loss"]
