"""The clients' own models: how each does on its client's own examples, beside the global one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..algorithms import PIPE, ClientState
from ..algorithms.reports import personal, personal_model
from ..data import Examples
from ..errors import AppError, DataError, Fault, PolicyError, refuse
from ..models import NO_LOCAL, Local
from ..parties.client import Client
from ..parties.population import Population
from ..plan import Plan, server
from ..spec import Vector
from ..state import State
from .checks import names_of
from .clients import clients_of
from .compare import Row
from .federation import Federation
from .peers import graph_of, office_of, peer_model
from .scoring import TestSets, of_each_metric, weighted_means, worst_first

if TYPE_CHECKING:
    from ..store import Run

TENTHS = (10, 50, 90)  # of 100 clients so many have less
WORST = 5  # clients that are named
MANY = 1000  # of more names none is looked for that is like another


@dataclass(frozen=True)
class Own:
    """What one client's examples say of its own model, and of the global one.

    examples: how many they are. own, shared: the scores of the two models on them, by metric.
    """

    examples: int
    own: Mapping[str, float]
    shared: Mapping[str, float]


def model_of(plan: Plan, state: State, client_state: ClientState) -> tuple[Vector, Local]:
    """The model [size] that a client uses itself after a round, and what it keeps of it."""
    broadcast, _ = server.broadcast(plan, state)
    return personal_model(plan.algorithm, broadcast, client_state)


def own_model(
    app: Federation, state: State, who: str, client_state: ClientState
) -> tuple[Vector, Local]:
    """The same, also of a peer that has no server."""
    if (office := office_of(app)) is not None:
        return peer_model(office, state, who, client_state)
    return model_of(app.known_plan, state, client_state)


def stored_model(app: Federation, run: Run, state: State, who: str) -> tuple[Vector, Local]:
    """The model [size] that one client uses itself after a round of a run, and what it keeps of it.

    AppError where the round is not the last; where it has none: by the plan, for it is nobody of
    the app, or has never taken part; and where nobody may know who took part.
    """
    plan = app.known_plan
    names = names_of(app.data)
    client_state = run.memory().get(who, {})
    last = len(run.history())
    none = not _personal(app) and not client_state.get("model")
    faults: list[Fault] = [
        (
            state.round != last,
            f"Nothing is known of {who}'s own model after round {state.round}.",
            f"What clients remember is kept as it was after the last round, {last}, alone.",
            "Leave --round out.",
        ),
        (
            who not in names,
            f"The app has no client {who!r}.",
            f"It has {len(names)} clients{_alike(who, names)}.",
            "Write the name as the app's data has it.",
        ),
        (
            none,
            f"Run {run.id} has no model of {who}'s own.",
            f"{type(plan.algorithm).__name__} with {type(plan.model).__name__} trains one model, "
            "which all clients use.",
            "Leave --client out; for models of their own take an algorithm such as Ditto().",
        ),
        (
            plan.encoded_spec.hidden,
            f"The own model of {who} in run {run.id} cannot be told.",
            "Only who took part has one, and who took part is a secret that ε rests on.",
            "Leave --client out: the global model is covered by ε.",
        ),
        (
            not client_state.keys() - {PIPE},
            f"{who} has no model of its own in run {run.id} after round {state.round}.",
            "It has never taken part, or its model has left the range of numbers: it uses the "
            "global one.",
            "Leave --client out for that one.",
        ),
    ]
    refuse(faults, AppError)
    return own_model(app, state, who, client_state)


def _alike(who: str, names: Collection[str]) -> str:
    """Names that are like this one, as the end of a sentence; of very many none is looked for."""
    if len(names) > MANY:
        return ""
    alike = get_close_matches(who, names, cutoff=0.4)
    if not alike:
        return ""
    return f", among them {', '.join(alike)}"


def own_rows(app: Federation, state: State, memory: Mapping[str, ClientState]) -> list[Row]:
    """10, 50 and 90 % of the clients' scores, of their own models and of the global one on the same
    examples, and the five worst by name.

    Each score is taken on the client's own test set, or else on what it has kept from training;
    clients that have neither, or cannot take part, are left out. There are no rows where no client
    has a model of its own, and none of a population. Where anything hides clients or their examples
    nobody is named.
    """
    plan = app.known_plan
    if not _own_models(app):
        return []
    scored = dict(_each(app, state, memory))
    if not scored:
        return []
    every = list(scored.values())
    total = sum(one.examples for one in every)
    outside = plan.hides
    own = _tenths("own models", [one.own for one in every], total, outside)
    shared = _tenths("global model", [one.shared for one in every], total, outside)
    if outside or plan.encoded_spec.hidden:
        return [*own, *shared]
    worst = worst_first({who: one.own for who, one in scored.items()})[:WORST]
    named = [Row(f"worst: {who}", scored[who].examples, scored[who].own) for who in worst]
    return [*own, *shared, *named]


def has_own_tests(app: Federation) -> bool:
    """Has each client a model of its own, and is every test set a client's?"""
    tests = app.tests
    return _own_models(app) and tests.named and tests.sets.keys() <= app.sources.keys()


def own_tests(
    app: Federation, state: State, memory: Mapping[str, ClientState], alone: Mapping[str, Vector]
) -> Iterator[Row]:
    """Each test set scored by what its own client may use: the model [size] that it has trained
    alone, the global one, or its own.

        Σₖ nₖ · score(vₖ, Tₖ) / Σₖ nₖ         over clients k for which the score is defined

    So a score that is no mean over examples, as an AUC, can be compared among the three.
    """
    plan = app.known_plan
    sets = {who: app.tests.of(who) for who in app.tests.sets}
    sizes = [len(examples) for examples in sets.values()]

    def row(name: str, scores: list[dict[str, float]]) -> Row:
        return Row(name, sum(sizes), weighted_means(scores, sizes), plan.hides)

    score = plan.model.score
    yield row("each alone, on its own", [score(alone[who], sets[who]) for who in sets])
    yield row("federated, on each one's own", [score(state.x, sets[who]) for who in sets])
    own = {who: own_model(app, state, who, memory.get(who, {})) for who in sets}
    yield row("own models", [score(own[who][0], sets[who], own[who][1]) for who in sets])


def _own_models(app: Federation) -> bool:
    """Does each client have a model of its own, and are there few enough to go through them all?"""
    return _personal(app) and not isinstance(app.data, Population)


def _personal(app: Federation) -> bool:
    """Has each client a model of its own: by algorithm, by parts of the model, or as a peer?"""
    plan = app.known_plan
    return personal(plan.model, plan.algorithm) or graph_of(app.loop) is not None


def _each(
    app: Federation, state: State, memory: Mapping[str, ClientState]
) -> Iterator[tuple[str, Own]]:
    """The scores of each client that has examples of its own to score on, by its name.

    Statistics that a client keeps to itself, such as those of BatchNorm, serve the global model
    too; a part of the model that is the client's own does not.
    """
    plan = app.known_plan
    for client in clients_of(app):
        try:
            examples = _examples(client, app.tests)
        except (DataError, PolicyError):  # it is in no round either, and there it is told why
            continue
        client.release()
        if examples is None:
            continue
        own, local = own_model(app, state, client.who, memory.get(client.who, {}))
        shared = local
        if plan.model.traits.personal:
            shared = NO_LOCAL
        own_scores = plan.model.score(own, examples, local)
        shared_scores = plan.model.score(state.x, examples, shared)
        yield client.who, Own(len(examples), own_scores, shared_scores)


def _examples(client: Client, tests: TestSets) -> Examples | None:
    """A client's own test set, or what it has kept from training."""
    if tests.named and client.who in tests.sets:
        return tests.of(client.who)
    return client.parts[1]


def _tenths(
    what: str, scores: Sequence[Mapping[str, float]], total: int, outside: bool
) -> Iterator[Row]:
    """The scores below which 10, 50 and 90 % of the clients lie, each by itself."""
    for tenth in TENTHS:
        below = of_each_metric(partial(np.percentile, q=tenth), scores)
        yield Row(f"{what}: {tenth} %", total, below, outside)
