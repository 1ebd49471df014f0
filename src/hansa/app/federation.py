"""What an app declares, and what follows from that before anybody is asked or any data is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from ..data import Sites
from ..data.sites import prepared
from ..errors import AppError, number
from ..loops.channel import Runtime
from ..loops.synchronous import synchronous
from ..parties.policy import Policy
from ..parties.population import Population
from ..plan import Plan
from ..privacy.ledger import Budget, default_delta
from ..rand import Key
from ..runtimes.inprocess import Network
from ..state import State
from .checks import Wrong, check, check_budget, check_names, check_survey, unasked
from .first import PlanOf, answers_of, check_first, given_away
from .peers import graph_of, office_of
from .scoring import TestSets, sets_of
from .stopping import EarlyStopping, check_metric

Loop = Callable[[Plan, Runtime, State | None, Key | None], Iterator[State]]


@dataclass(frozen=True, repr=False)
class Federation:
    """A plan, where each client's data is, and examples that no client has.

    plan       of the rounds; or with `first` a function of what that found, which makes one
    data       each client's by name, for a simulation; `Sites`, which are read at their clients; or
               a `Population`, to which the plan and the secret are those of the app
    test       what the model is scored on after every round, without noise: its examples are held
               out, and are those of nobody whom ε protects. One set, or one of each name; or paths,
               read when they are first needed
    policies   the owners' vetoes, by client, or one that all have
    network    simulates latency and dropouts
    workers    counts processes; 0 trains in this one
    loop       how rounds follow on one another; for FedBuff partial(buffered, size=…, busy=…), and
               without a server gossip(graph=…)
    budget     the run ends before a round that could pass it
    stop       the run ends when a metric becomes better no more, and its best model is kept
    keep       checkpoints: "last", the last two and the best; or "all"
    first      a survey that all are asked before round 1, and whose answers are told to all
    prepare    prepare(data, found) makes of each client's data, and of the test data, what models
               are trained on
    answer     the survey's state, once it was asked
    runtime    where clients live, if not here: (app, secret, book) → Runtime
    secret     what noise grows from. Nobody knows it, unless a simulation wants noise that repeats
               and names one: secret=Key.of(7). Then no ε holds against who knows it, and everything
               that tells ε says so
    """

    plan: Plan | PlanOf
    data: Mapping[str, Any] = field(repr=False)
    test: Any = field(default=None, repr=False)
    policies: Mapping[str, Policy] | Policy = field(default_factory=dict)
    network: Network | None = None
    workers: int = 0
    loop: Loop = synchronous
    budget: Budget | None = None
    stop: EarlyStopping | None = None
    keep: Literal["last", "all"] = "last"
    first: Plan | None = None
    prepare: Callable[[Any, Any], Any] | None = None
    answer: State | None = field(default=None, repr=False, compare=False)
    runtime: Callable[..., Any] | None = field(default=None, repr=False, compare=False)
    secret: Key | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """AppError where the fields do not fit together, PolicyError where an owner forbids
        `first`.
        """
        check_first(self.plan, self.first, self.prepare)
        check(_wrong(self))
        _ = self.tests
        if self.population is not None:
            check_names(self.plan, self.first, self.data, self.policies)
        if self.first is not None:
            check_survey(self.first, self.data, self.policies)
        if self.budget is not None:
            before = given_away(self.first, self.answer, self.population)
            check_budget(self.budget, self.plan, before, self.population, self.loop)
        _ = office_of(self)
        if self.stop is not None and isinstance(self.plan, Plan):
            check_metric(self.stop, self.plan, bool(self.tests))

    @property
    def population(self) -> int | None:
        """How many clients there are; None at a site that has no path of any other."""
        if isinstance(self.data, Sites) and not self.data.there:
            return None
        return len(self.data)

    @property
    def known_plan(self) -> Plan:
        """The plan; AppError where it hangs on what the survey finds, and that has not been
        asked.
        """
        if isinstance(self.plan, Plan):
            return self.plan
        raise unasked("The plan of this app is")

    @cached_property
    def sources(self) -> Mapping[str, Any]:
        """What each client trains on; with `prepare`, made of its data when the client is asked.

        AppError for a population, whose clients are made when they are asked.
        """
        if isinstance(self.data, Population):
            raise AppError(
                f"The {len(self.data)} clients of a Population cannot be listed.",
                "They are made when they are asked, and here all would have to be there.",
                "Give App(data=…) the data of some of them by name.",
            )
        named = {str(who): data for who, data in self.data.items()}
        return _prepared(self, named)

    @cached_property
    def tests(self) -> TestSets:
        """What models are scored on, prepared as the clients' data is; read when it is needed."""
        raw = sets_of(self.test, self.data)
        if self.answer is None:
            return raw
        return replace(raw, sets=_prepared(self, raw.sets))


def delta_of(app: Federation) -> float:
    """The δ at which ε is told: the budget's, or the usual one for so many clients."""
    if app.budget:
        return app.budget.delta
    return default_delta(app.population or 1)


def found_by(app: Federation) -> dict[str, Any]:
    """What the survey of an app found; AppError where it has not been asked."""
    if app.first is None or app.answer is None:
        raise unasked("What the survey of this app found is")
    return answers_of(app.first, app.answer)


def _prepared(app: Federation, sets: Mapping[str, Any]) -> Mapping[str, Any]:
    """Each of these as `prepare` makes it of what was found, when it is first asked for."""
    if app.prepare is None:
        return sets
    found = found_by(app)
    return {name: prepared(data, app.prepare, found) for name, data in sets.items()}


def _wrong(app: Federation) -> list[Wrong]:
    """What a field may hold, and what may stand beside what."""
    data = app.data
    return [
        (
            not isinstance(data, Mapping),
            f"App(data=…) with a {type(data).__name__}",
            "`data` takes each client's data by the client's name",
            "data={'north': (X, y), 'south': (X, y)}",
        ),
        (
            not isinstance(app.budget, Budget | None),
            f"App(budget={app.budget!r})",
            "a budget is ε at δ",
            "budget=Budget(epsilon=4.0, delta=1e-6)",
        ),
        (
            not isinstance(app.stop, EarlyStopping | None),
            f"App(stop={app.stop!r})",
            "a run stops early by a metric and a patience",
            "stop=EarlyStopping('val_loss', patience=5)",
        ),
        (
            app.keep not in ("last", "all"),
            f"App(keep={app.keep!r})",
            "the last checkpoints are kept and the best, or all",
            "keep='last' or keep='all'",
        ),
        (
            not number(app.workers, whole=True) or app.workers < 0,
            f"App(workers={app.workers!r})",
            "it counts processes",
            "workers=0",
        ),
        (
            not isinstance(app.secret, Key | None),
            f"App(secret=…) of type {type(app.secret).__name__}",
            "what hides grows from a Key",
            "secret=Key.of(7), or leave it out",
        ),
        *_clashes(app),
    ]


def _clashes(app: Federation) -> list[Wrong]:
    """What may not stand beside what."""
    data = app.data
    return [
        (
            bool(app.workers and app.network),
            f"App(workers={app.workers}, network=…)",
            "only clients in one process live on a simulated clock",
            "one of the two",
        ),
        (
            app.runtime is not None and graph_of(app.loop) is not None,
            "App(loop=gossip(…)) among sites",
            "messages of peers are carried in a simulation alone, and here a server would carry "
            "them and hear all",
            "loop=synchronous",
        ),
        (
            isinstance(data, Population) and app.policies != {},
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
