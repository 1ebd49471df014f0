"""App: a plan and the data of all its clients, so that one command can run a federation on one machine."""

from __future__ import annotations

import math
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import data as local
from .. import privacy
from ..aggregators import Sum
from ..algorithms import FedAvg
from ..data.batches import examples_at_a_glance
from ..errors import AppError, DataError, HansaError
from ..known import own
from ..loops.channel import Runtime
from ..loops.synchronous import synchronous
from ..parties.client import Client
from ..parties.policy import Policy
from ..plan import Plan
from ..privacy import add_round, planned_privacy, spent_privacy, stop_at_budget, told, understates
from ..privacy.ledger import Budget, Ledger, default_delta
from ..rand import Key
from ..runtimes.inprocess import InProcess, Network
from ..sample import Everyone
from ..spec import Vector
from ..state import State
from ..transforms.scale import Weigh

if TYPE_CHECKING:
    from ..store import Round, Run


OUTSIDE = (
    "Outside ε: these numbers are computed from each client's own examples, without the noise of the sums, and ε does "
    "not count them. Keep them where the examples are."
)
MODULE = "hansa-app:"  # what the modules of loaded app files are called, with the file's name after it

Loop = Callable[[Plan, Runtime, State | None, Key | None], Iterator[State]]


@dataclass(frozen=True)
class Row:
    """A line of the comparison: which data a model was trained on, how many examples, its scores on the test data."""

    name: str
    examples: int
    scores: Mapping[str, float]
    outside: bool = False  # do noise or a budget hide the examples? ε does not count what is told of them here


@dataclass(frozen=True, repr=False)
class App:
    """What an app file calls `app`: a plan, each client's data by name, and examples that no client has.

    The model is scored on `test` after every round, without noise: its examples are held out, and are those of nobody
    whom ε protects. `policies` are the owners' vetoes, by client; `network` simulates
    latency and dropouts; `workers` counts processes, 0 trains in this one. With a `budget` the run ends before a round
    that could pass it. `surveys`: what clients were asked beside the plan; `load` notes those that the app file makes.
    Noise grows from a secret that nobody knows, unless a simulation wants noise that repeats and names one:
    secret=Key.of(7). Then no ε holds against who knows it, and everything that tells ε says so.
    """

    plan: Plan
    data: Mapping[str, Any] = field(repr=False)
    test: Any = field(default=None, repr=False)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    network: Network | None = None
    workers: int = 0
    loop: Loop = synchronous  # for FedBuff: functools.partial(buffered, size=…, busy=…)
    budget: Budget | None = None
    surveys: tuple[Plan, ...] = ()
    secret: Key | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        """How many clients and examples; never what they hold."""
        data = self.data if isinstance(self.data, Mapping) else {}
        there = examples_at_a_glance(data.values())
        return f"<{type(self).__name__}: {len(data)} clients{', ' if there else ''}{there}>"

    def __post_init__(self) -> None:
        names = [str(who) for who in self.data] if isinstance(self.data, Mapping) else []
        odd = [name for name in names if not name.strip() or not name.isprintable()]
        strangers = [who for who in self.policies if who not in self.data] if isinstance(self.data, Mapping) else []
        wrong = [
            (not isinstance(self.plan, Plan), f"App(plan=…) with a {type(self.plan).__name__}",
             "`plan` takes a Plan", "plan=hansa.Plan(…)"),
            (not isinstance(self.data, Mapping), f"App(data=…) with a {type(self.data).__name__}",
             "`data` takes each client's data by the client's name", "data={'north': (X, y), 'south': (X, y)}"),
            (not self.data, "App(data={})", "a federation is a sum over clients", "data={'north': (X, y), …}"),
            (len(set(names)) < len(names), "App(data=…) with two clients of one name",
             "clients are told apart by their names as text", "data={'1': (X, y), '2': (X, y)}"),
            (bool(odd), f"App(data=…) with a client called {odd[:1]}",
             "a name is one line of text that can be shown", "data={'north': (X, y), …}"),
            (isinstance(self.plan, Plan) and len(names) < self.plan.sample.quorum,
             f"App(data=…) with {len(names)} clients", "every round of its plan needs more: its quorum",
             f"sample=Everyone(quorum={len(names)})"),
            (isinstance(self.plan, Plan) and len(names) < self.plan.sample.most,
             f"App(data=…) with {len(names)} clients", "its plan samples more in every round",
             f"a sample of size {len(names)}"),
            (bool(strangers), f"A policy for {', '.join(strangers)}", "no client has that name",
             f"names among {', '.join(names)}"),
            (not isinstance(self.budget, Budget | None), f"App(budget={self.budget!r})",
             "a budget is ε at δ", "budget=Budget(epsilon=4.0, delta=1e-6)"),
            (not all(isinstance(one, Plan) for one in self.surveys), "App(surveys=…)",
             "it lists the plans of surveys", "surveys=(hansa.analytics.survey(…),)"),
            (self.workers < 0, f"App(workers={self.workers})", "it counts processes", "workers=0"),
            (not isinstance(self.secret, Key | None), f"App(secret=…) of type {type(self.secret).__name__}",
             "what hides grows from a Key", "secret=Key.of(7), or leave it out"),
            (bool(self.workers and self.network), f"App(workers={self.workers}, network=…)",
             "only clients in one process live on a simulated clock", "one of the two"),
        ]  # fmt: skip
        for bad, found, why, instead in wrong:
            if bad:
                raise AppError(f"{found} cannot run.", f"{why[0].upper()}{why[1:]}.", f"Write for example {instead}.")
        for survey in self.surveys:
            for who, policy in self.policies.items():
                policy.check(survey, str(who))
        if self.budget and (missing := planned_privacy(self.plan, len(names)).why or self._strange()):
            raise AppError(
                f"App(budget={self.budget!r}) cannot be kept.",
                f"There is no ε for this plan: {missing}.",
                "Put Clip(norm=…) and GaussianNoise(…) into its pipe, or leave the budget out.",
            )

    @property
    def delta(self) -> float:
        """The δ at which ε is told: the budget's, or the usual one for so many clients."""
        return self.budget.delta if self.budget else default_delta(len(self.data))

    @property
    def named(self) -> bool:
        """Does noise grow from a secret that the simulation names?"""
        return self.secret is not None and not self.secret.hides

    def clients(self, secret: Key | None = None) -> list[Client]:
        """One client for each owner of data; what they hide grows from `secret`, each on a branch of its own."""
        secret = secret or self.secret or Key.fresh()
        return [
            Client(str(who), self.plan, data, self.policies.get(who, Policy()), secret=secret)
            for who, data in self.data.items()
        ]

    def runtime(self, secret: Key) -> Any:
        """Where the clients live: in this process, or in `workers` others."""
        if not self.workers:
            return InProcess(self.clients(secret), self.network, self.plan.seed, secret)
        import cloudpickle

        from ..runtimes.processes import Processes

        for name, module in list(sys.modules.items()):
            if name.startswith(MODULE):  # a worker cannot import it, so its classes travel with the clients
                cloudpickle.register_pickle_by_value(module)
        return Processes(self.clients(secret), self.workers, secret)

    def score(self, x: Vector) -> dict[str, float]:
        """The scores of a model on the test data; none without test data."""
        return {} if self.test is None else self.plan.model.score(x, self.test)

    def run(self, run: Run | None = None, state: State | None = None) -> Iterator[State]:
        """The rounds that are left after `state`, or after what `run` holds; each is committed before it is yielded.

        The metrics of a state are what the clients report; as test_…, the scores on the test data; and the ε spent.
        """
        for problem in self._untestable():
            raise problem
        secret = self.secret or (Key.fresh() if run is None else run.secret())
        with ExitStack() as stack:
            runtime = stack.enter_context(self.runtime(secret))
            if run is not None:
                state = state or run.state()
                if state and (gone := sorted({*state.participants, *state.excluded} - set(map(str, self.data)))):
                    raise AppError(
                        f"The run {run.id} asked {', '.join(gone)} in its last round, and this app has no such client.",
                        "It would go on as another federation, under the name of the first.",
                        "Resume it with the app file that it began with, or start a new run.",
                    )
                runtime.memory.load(run.memory())
            past, clients = run.history() if run is not None else [], len(self.data)
            ledger = spent_privacy(self.plan, past, clients)
            if why := self._strange():
                ledger = ledger.without(why)
            asked = Counter(who for one in past for who in {*one.participants, *one.excluded})
            if unknown := self._unknown(past, state, ledger):
                ledger = ledger.without(unknown)
            states = self.loop(self.plan, runtime, state, secret)
            if self.budget:
                states = stop_at_budget(states, self.plan, self.budget, clients, past)
            for new in states:
                ledger = add_round(ledger, self.plan, new, clients)
                asked.update({*new.participants, *new.excluded})
                given = told(ledger.guarantee(self.delta))
                given |= {} if unknown or self._strange() else self._of_examples(asked)
                new = replace(new, metrics={**new.metrics, **given})
                scores = self.score(new.x)
                if run is not None:
                    run.commit(new, runtime.memory.learnt(new.counted), scores)
                tested = {f"test_{name}": value for name, value in scores.items()}
                yield replace(new, metrics={**new.metrics, **tested})

    def _unknown(self, past: Sequence[Round], state: State | None, ledger: Ledger) -> str:
        """Why the rounds before are not what the ledger says, if so; AppError where a budget rests on it."""
        why = "the rounds before the first are not known" if state is not None and state.round > len(past) else ""
        if past and understates(ledger, past[-1].metrics):
            why = "the rounds before were told to have given away more: they had another plan, or other clients"
        if why and self.budget:
            raise AppError(
                f"A budget of ε = {self.budget.epsilon:g} cannot be kept in the rounds that are left.",
                f"{why[0].upper()}{why[1:]}.",
                "Resume the run that holds them with the app that it began with, or leave the budget out.",
            )
        return why

    def _strange(self) -> str:
        """Why nobody knows what the rounds give away, if so: they are those of a loop that is not hansa's own."""
        loop = self.loop.func if isinstance(self.loop, partial) else self.loop
        return "" if own(loop) else f"nobody has stated what the loop {getattr(loop, '__name__', loop)!s} gives away"

    def _of_examples(self, asked: Mapping[str, int]) -> dict[str, float]:
        """ε of the example that has been told most of, where clients hide single ones: their numbers are known here.

        It tells how many examples a client has. Where noise hides whole clients it hides that too, and nothing is told.
        """
        if not self.plan.training.private or self.plan.sum_spec.noise.multiplier:
            return {}
        delta = default_delta(max(self._sizes.values()))
        clients = {(self._sizes[who], times) for who, times in asked.items()}
        found = [privacy.examples(self.plan, n, times).guarantee(delta) for n, times in clients]
        return told(max(found, key=lambda one: math.inf if one.epsilon is None else one.epsilon)) if found else {}

    @cached_property
    def _sizes(self) -> dict[str, int]:
        return {str(who): local.count(data) for who, data in self.data.items()}

    def compare(self, state: State) -> Iterator[Row]:
        """Rows of the comparison on `test`: each client alone, the federation's model, one model on all data.

        Alone and pooled train the same model on the same examples with as many local epochs as there are in all rounds,
        by the code that trains the federation: a plan with a single client, and no noise. Each row says whether that is
        outside the ε of this app.
        """
        if self.test is None:
            raise AppError(
                "There is nothing to compare on.",
                "The comparison scores every model on examples that none of them has seen.",
                "Give App(test=…), or run with --no-compare.",
            )
        parts, outside = {client.who: client.parts for client in self.clients()}, self.plan.hides
        for who, (train, _, examples) in parts.items():
            yield Row(f"{who} alone", examples, self._alone(who, train), outside)
        total, whole = sum(examples for _, _, examples in parts.values()), pooled([part[0] for part in parts.values()])
        yield Row("federated", total, self.score(state.x), outside)
        yield Row("all data pooled", total, self._alone("pooled", whole), outside)

    def _alone(self, who: str, data: Any) -> dict[str, float]:
        training = replace(self.plan.training, validation=0.0, report=False)
        plan = replace(self.plan, pipe=(Weigh("one"),), training=training, sample=Everyone(), **self._lone())
        for state in synchronous(plan, InProcess([Client(who, plan, data)])):
            x = state.x
        return self.score(x)

    def _lone(self) -> dict[str, Any]:
        """What trains a single client: no federated algorithm; trees are appended whoever grows them."""
        return {} if self.plan.model.grows else {"algorithm": FedAvg(), "aggregator": Sum()}

    def problems(self) -> Iterator[HansaError]:
        """What keeps each client from taking part, if anything does; and what is wrong with the test data."""
        for client in self.clients():
            try:
                client.check()
            except HansaError as error:
                yield error
            except Exception as error:  # whatever the code stumbles over that reads this client's data
                at = traceback.extract_tb(error.__traceback__)[-1]
                yield DataError(
                    f"{client.who}: {type(error).__name__}: {message(error)}",
                    f"It was raised while the data was read, in {at.filename}, line {at.lineno}.",
                    "Mend what reads this client's data, or leave the client out.",
                )
        yield from self._untestable()

    def _untestable(self) -> Iterator[HansaError]:
        try:
            if self.test is not None:
                local.check(self.test, "test")
                self.plan.model.check(self.test, "test")
        except HansaError as error:
            yield error


def pooled(parts: Sequence[Any]) -> Any:
    """All examples of several clients as one client's: arrays joined in memory; streams one after another, unread."""
    if any(callable(part) or not hasattr(part, "__getitem__") for part in parts):
        return lambda: chain.from_iterable(local.whole(part) for part in parts)
    batches: list[Any] = [batch for part in parts for batch in local.whole(part)]
    kinds = {tuple(batch) if isinstance(batch, dict) else len(batch) for batch in batches}
    if len(kinds) != 1:
        raise DataError(
            "The clients' data has several forms.", "Only like data can be pooled.", "Run with --no-compare."
        )
    if isinstance(batches[0], dict):
        return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    return tuple(np.concatenate(columns) for columns in zip(*batches, strict=True))


def message(error: BaseException) -> str:
    """What an error of anybody's says, as a sentence."""
    text = (error.msg if isinstance(error, SyntaxError) else str(error)).strip()
    return f"{text}." if text and text[-1] not in ".!?" else text or "(no message)."
