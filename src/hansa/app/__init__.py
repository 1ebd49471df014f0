"""App: a plan, where its clients' data is, and what they are asked first: all that one command
needs to run it.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Self

from .. import data as local
from ..algorithms import ClientState
from ..data import Sites
from ..data.examples import Examples, at_a_glance
from ..data.sites import prepared
from ..errors import AppError, HansaError, number
from ..explain import Explanation, expression
from ..loops.buffered import buffered
from ..loops.channel import Runtime
from ..loops.journal import Journal
from ..loops.synchronous import synchronous
from ..parties.book import Book
from ..parties.client import Client
from ..parties.policy import Policy
from ..parties.population import Population
from ..plan import Plan
from ..privacy import add_round, spent_privacy, stop_at_budget
from ..privacy.ledger import Budget, default_delta
from ..rand import Key
from ..runtimes.inprocess import InProcess, Network
from ..spec import Vector
from ..state import State
from .checks import (
    check,
    check_budget,
    check_names,
    check_survey,
    names_of,
    policies_of,
    strange,
    unasked,
)
from .compare import Row, pooled, trained_alone
from .epsilon import hides_examples, of_examples, said, unknown_past
from .first import PlanOf, answers_of, check_first, explained, held, keep, plan_of, secret_of
from .looking import unfit
from .personal import own_row
from .scoring import TestSets, sets_of

if TYPE_CHECKING:
    from ..store import Run


# what the modules of loaded app files are called, with the file's name after it
MODULE = "hansa-app:"

Loop = Callable[[Plan, Runtime, State | None, Key | None], Iterator[State]]


@dataclass(frozen=True, repr=False)
class App:
    """What an app file calls `app`: a plan, where each client's data is, and examples that no
    client has.

    data: each client's by name, for a simulation; `Sites`, which are read at their clients; or a
    `Population`, to which the plan and the secret are those of the app. first: a survey that all
    are asked before round 1, and whose answers are told to all. Then plan may be a function of what
    it found, and prepare(data, found) makes of each client's data, and of the test data, what
    models are trained on.

    The model is scored on `test` after every round, without noise: its examples are held out, and
    are those of nobody whom ε protects. It is one set, or one of each name; or paths, read when
    they are first needed. `policies` are the owners' vetoes, by client, or one that all have;
    `network` simulates latency and dropouts; `workers` counts processes, 0 trains in this one. With
    a `budget` the run ends before a round that could pass it. answer: the survey's state, once it
    was asked. Noise grows from a secret that nobody knows, unless a simulation wants noise that
    repeats and names one: secret=Key.of(7). Then no ε holds against who knows it, and everything
    that tells ε says so.
    """

    plan: Plan | PlanOf
    data: Mapping[str, Any] = field(repr=False)
    test: Any = field(default=None, repr=False)
    policies: Mapping[str, Policy] | Policy = field(default_factory=dict)
    network: Network | None = None
    workers: int = 0
    loop: Loop = synchronous  # for FedBuff: functools.partial(buffered, size=…, busy=…)
    budget: Budget | None = None
    first: Plan | None = None
    prepare: Callable[[Any, Any], Any] | None = None
    answer: State | None = field(default=None, repr=False, compare=False)
    secret: Key | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        """How many clients and examples; never what they hold."""
        if isinstance(self.data, Sites):
            return f"<{type(self).__name__}: {self.data!r}>"
        data = self.data if isinstance(self.data, Mapping) else {}
        there = "" if isinstance(data, Population) else at_a_glance(data.values())
        return f"<{type(self).__name__}: {len(data)} clients{', ' if there else ''}{there}>"

    def __post_init__(self) -> None:
        check_first(self.plan, self.first, self.prepare)
        data = self.data
        named = isinstance(self.data, Mapping)
        wrong = [
            (
                not named,
                f"App(data=…) with a {type(data).__name__}",
                "`data` takes each client's data by the client's name",
                "data={'north': (X, y), 'south': (X, y)}",
            ),
            (
                not isinstance(self.budget, Budget | None),
                f"App(budget={self.budget!r})",
                "a budget is ε at δ",
                "budget=Budget(epsilon=4.0, delta=1e-6)",
            ),
            (
                not number(self.workers, whole=True) or self.workers < 0,
                f"App(workers={self.workers!r})",
                "it counts processes",
                "workers=0",
            ),
            (
                not isinstance(self.secret, Key | None),
                f"App(secret=…) of type {type(self.secret).__name__}",
                "what hides grows from a Key",
                "secret=Key.of(7), or leave it out",
            ),
            (
                bool(self.workers and self.network),
                f"App(workers={self.workers}, network=…)",
                "only clients in one process live on a simulated clock",
                "one of the two",
            ),
            (
                isinstance(data, Population) and self.policies != {},
                "App(policies=…) with a Population",
                "its clients have one policy, which it holds",
                "Population(…, allow=Policy(…))",
            ),
            (
                isinstance(data, Population) and data.named,
                "App(data=Population(…, secret=Key.of(…)))",
                "a simulation names one secret, from which all that hides grows",
                "App(…, secret=Key.of(7))",
            ),
        ]
        check(wrong)
        _ = self.tests
        if self.population is not None:
            check_names(self.plan, self.first, data, self.policies)
        if self.first is not None:
            check_survey(self.first, data, self.policies)
        if self.budget is not None:
            before = said(self.first, self.answer, self.population)
            check_budget(self.budget, self.plan, before, self.population, self.loop)

    @property
    def population(self) -> int | None:
        """How many clients there are; None at a site that has no path of any other."""
        return None if isinstance(self.data, Sites) and not self.data.there else len(self.data)

    @property
    def delta(self) -> float:
        """The δ at which ε is told: the budget's, or the usual one for so many clients."""
        return self.budget.delta if self.budget else default_delta(self.population or 1)

    @property
    def named(self) -> bool:
        """Does noise grow from a secret that the simulation names?"""
        return self.secret is not None and not self.secret.hides

    @property
    def known_plan(self) -> Plan:
        """The plan; AppError where it hangs on what the survey finds, and that has not been
        asked.
        """
        if isinstance(self.plan, Plan):
            return self.plan
        raise unasked("The plan of this app is")

    @property
    def found(self) -> dict[str, Any]:
        """What the survey found; AppError where it has not been asked."""
        if self.first is None or self.answer is None:
            raise unasked("What the survey of this app found is")
        return answers_of(self.first, self.answer)

    def explain(self) -> Explanation:
        """What survey and plan ask of a client, in words; no data is read, and nobody is asked."""
        return explained(self.plan, self.first, self.population, self.delta, self.named)

    def answered(self, run: Run) -> Self:
        """This app with what its survey found, if the run holds that."""
        state = held(self.first, run)
        if state is None or self.answer is None:
            return self if state is None else self._after(state)
        if state.x.tobytes() != self.answer.x.tobytes():
            raise AppError(
                f"This app has asked its survey, and run {run.id} holds other answers.",
                "Its data is prepared with what it found itself.",
                "Resume the run with an app that has asked nobody.",
            )
        return self

    def asked(self, run: Run | None = None) -> Self:
        """This app with what its survey found: as the run holds it, or asked now and kept there.

        An app asks once: what it found then is public, and further runs of it go on with that.
        """
        app = self if run is None else self.answered(run)
        if self.first is None:
            return self
        if app.answer is None:
            app = vars(self).get("_asked", self)
        state = app.answer
        if state is None:
            for problem in self.tests.problems(None):
                raise problem
            (state,) = self._survey(secret_of(self.secret, run)).run()
        if run is not None:
            keep(self.first, state, run)  # before anything can fail that hangs on it
        app = self._after(state) if app.answer is None else app
        if run is not None and not run.digest:
            run.keep_plan(expression(app.known_plan), app.known_plan.digest, app.known_plan.rounds)
        vars(self)["_asked"] = app  # and `compare` knows it, too
        return app

    def _survey(self, secret: Key | None = None) -> Self:
        """The survey as an app of one round; what hides in it grows from a branch of the secret."""
        assert self.first is not None
        branch = secret.child("survey") if secret else self.secret
        more: dict[str, Any] = {"loop": synchronous, "secret": branch}
        return replace(
            self, plan=self.first, first=None, prepare=None, test=None, budget=None, **more
        )

    def _after(self, state: State) -> Self:
        """This app, whose survey ended with this state."""
        assert self.first is not None
        found = answers_of(self.first, state)
        return replace(self, plan=plan_of(self.plan, found), answer=state)

    @cached_property
    def sources(self) -> Mapping[str, Any]:
        """What each client trains on; with `prepare`, made of its data when the client is asked."""
        if isinstance(self.data, Population):
            raise AppError(
                f"The {len(self.data)} clients of a Population cannot be listed.",
                "They are made when they are asked, and here all would have to be there.",
                "Give App(data=…) the data of some of them by name.",
            )
        if self.prepare is None:
            return {str(who): data for who, data in self.data.items()}
        return {
            str(who): prepared(data, self.prepare, self.found) for who, data in self.data.items()
        }

    @cached_property
    def tests(self) -> TestSets:
        """What models are scored on, prepared as the clients' data is; read when it is needed."""
        raw = sets_of(self.test, self.data)
        if self.prepare is None or self.answer is None:
            return raw
        made = {name: prepared(data, self.prepare, self.found) for name, data in raw.sets.items()}
        return replace(raw, sets=made)

    def clients(self, secret: Key | None = None) -> list[Client]:
        """One client for each owner of data; what they hide grows from `secret`, each on a branch
        of its own.
        """
        secret = secret or self.secret or Key.fresh()
        more: dict[str, Any] = {"before": self.first, "secret": secret}
        allowed = policies_of(self.policies, self.sources)
        return [
            Client(who, self.known_plan, data, allowed.get(who, Policy()), **more)
            for who, data in self.sources.items()
        ]

    def parties(self, secret: Key) -> list[Client] | Population:
        """All clients: a list, or a population of which each is made when it is asked."""
        if not isinstance(self.data, Population):
            return self.clients(secret)
        data = self.data.data
        if self.prepare is not None:
            data = partial(prepared_one, data, self.prepare, self.found)
        return Population(
            self.known_plan, len(self.data), data, self.data.allow, secret, self.first
        )

    def runtime(self, secret: Key, book: Book | None = None) -> Any:
        """Where the clients live: in this process, or in `workers` others."""
        if not self.workers:
            return InProcess(self.parties(secret), self.network, self.known_plan.seed, secret, book)
        import cloudpickle

        from ..runtimes.processes import Processes

        for name, module in list(sys.modules.items()):
            # a worker cannot import it, so its classes travel with the clients
            if name.startswith(MODULE):
                cloudpickle.register_pickle_by_value(module)
        return Processes(self.parties(secret), self.workers, secret, book)

    def score(self, x: Vector) -> dict[str, float]:
        """The scores of a model on all test data together; none without test data."""
        return self.known_plan.model.score(x, self.tests.whole) if self.tests else {}

    def run(self, run: Run | None = None, state: State | None = None) -> Iterator[State]:
        """The rounds, after the survey if there is one; each is committed before it is yielded.

        The rounds are those that are left after `state`, or after what the run holds. Each holds
        what its clients report, its model's scores on the test data, and the ε that is spent, by
        survey and rounds together.
        """
        yield from self.asked(run)._rounds(run, state)

    def _rounds(self, run: Run | None, state: State | None) -> Iterator[State]:
        assert isinstance(self.plan, Plan)
        for problem in self.tests.problems(self.plan.model):
            raise problem
        secret = secret_of(self.secret, run)
        with ExitStack() as stack:
            loop: Any = self.loop
            book: Book | None = None
            if run is not None and under_way(loop):  # what is on its way goes on as well
                book = stack.enter_context(closing(Book(run.book)))
                loop = partial(loop, journal=stack.enter_context(closing(Journal(run.journal))))
            runtime = stack.enter_context(self.runtime(secret, book))
            if run is not None:
                state = state or run.state()
                there = names_of(self.data)
                if state and (gone := sorted(who for who in state.asked if who not in there)):
                    raise AppError(
                        f"The run {run.id} asked {', '.join(gone)} in its last round, and this app "
                        "has no such client.",
                        "It would go on as another federation, under the name of the first.",
                        "Resume it with the app file that it began with, or start a new run.",
                    )
                runtime.memory.load(run.memory())
            past = run.history() if run is not None else []
            clients = len(self.data)
            before = said(self.first, self.answer, clients)
            ledger = before.merge(spent_privacy(self.plan, past, clients))
            if why := strange(self.loop):
                ledger = ledger.without(why)
            asked = Counter(who for one in past for who in one.asked)
            if unknown := unknown_past(past, state, ledger, self.budget):
                ledger = ledger.without(unknown)
            states = loop(self.plan, runtime, state, secret)
            if self.budget:
                states = stop_at_budget(states, self.plan, self.budget, clients, past, before)
            for new in states:
                ledger = add_round(ledger, self.plan, new, clients)
                asked.update(new.asked)
                spent = ledger.guarantee(self.delta).spent
                if not unknown and not strange(self.loop):
                    spent |= of_examples(self.plan, self._sizes, asked)
                new = replace(new, spent=spent, scores=self.score(new.x))
                if run is not None:
                    run.commit(new, runtime.memory.learnt(new.counted))
                yield new

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """How many examples each client has, where ε of single ones is told: not beside a survey,
        or of a population.
        """
        if (
            self.first is not None
            or isinstance(self.data, Population)
            or not hides_examples(self.known_plan)
        ):
            return {}
        return {who: len(Examples.of(data)) for who, data in self.sources.items()}

    def compare(
        self, state: State, memory: Mapping[str, ClientState] | None = None
    ) -> Iterator[Row]:
        """Rows of the comparison on `test`: each client alone, the federation's model, the clients'
        own models, one model on all data.

        Own models are compared where the algorithm has them, every test set is that of a client,
        and `memory` is there: what clients remember, `run.memory()`.
        Alone and pooled train the same model on the same examples with as many local epochs as
        there are in all rounds, by the code that trains the federation: a plan with a single
        client, and no noise. Each row says whether that is outside the ε of this app. AppError for
        a population, whose clients are too many to train alone.
        """
        app: Self = vars(self).get("_asked", self)
        plan = app.known_plan
        if not app.tests:
            raise AppError(
                "There is nothing to compare on.",
                "The comparison scores every model on examples that none of them has seen.",
                "Give App(test=…), or run with --no-compare.",
            )
        parts = {client.who: client.parts for client in app.clients()}
        outside = plan.hides
        for who, (train, _, examples) in parts.items():
            yield Row(f"{who} alone", examples, app.score(trained_alone(plan, who, train)), outside)
        total = sum(examples for _, _, examples in parts.values())
        whole = pooled([part[0] for part in parts.values()])
        yield Row("federated", total, app.score(state.x), outside)
        yield from () if memory is None else own_row(app, state, memory)
        yield Row(
            "all data pooled", total, app.score(trained_alone(plan, "pooled", whole)), outside
        )

    def problems(self) -> Iterator[HansaError]:
        """What keeps each client from taking part, if anything does; and what is wrong with the
        test data.

        Before the survey is asked that is what keeps it from being asked. Of a population 100
        clients are looked at.
        """
        if self.first is not None and self.answer is None:
            yield from self._survey().problems()
            yield from self.tests.problems(None)
            return
        yield from unfit(self.parties(secret_of(self.secret, None)))
        yield from self.tests.problems(self.known_plan.model)


def under_way(loop: Loop) -> bool:
    """Is there more on its way between two states than a round, which can be made again?"""
    return (loop.func if isinstance(loop, partial) else loop) is buffered


def prepared_one(
    data: Callable[[int], Any], prepare: Callable[[Any, Any], Any], found: Any, i: int
) -> Any:
    """What one client of a population trains on."""
    return prepare(local.loaded(data(i)), found)
