"""Analytics: what all clients' data is like together, from one sum of which no part is seen.

    allowed = dict.fromkeys(data, Policy(sees="sum"))  # by each owner
    questions = {"age": Mean(0, 120), "sex": TopK(2, ("f", "m"))}
    answers = ask(questions, data, most=500, policies=allowed)

A survey is a plan of one round: its questions take the place of model and algorithm. Clients say
sums and counts over their records, as side values of a vector; so any aggregator can add them up,
noise and ledger apply, and every runtime will do. With VerifiedSum, the default, Prio3 proves them:
that no sum is larger than `most` records can make it, and that the counts of a histogram add up to
at most that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..aggregators import Aggregator
from ..aggregators.verified import VerifiedSum
from ..algorithms import ClientState, Parts
from ..data import Examples
from ..errors import AppError, DataError, PlanError, PolicyError, RoundError, number
from ..loops.synchronous import synchronous
from ..models import Model
from ..optim import ServerState
from ..parties.client import Client
from ..parties.policy import Policy
from ..plan import Plan
from ..rand import Key
from ..runtimes.inprocess import InProcess
from ..sample import Everyone
from ..spec import Bound, Counts, Vector
from ..state import State
from ..training import Training
from ..transforms import Context, Transform
from ..transforms.weigh import Weigh
from .questions import Count, Histogram, Mean, Quantiles, Question, TopK, Variance, column
from .scores import Curve, Scores, scored

__all__ = [
    "Ask",
    "Count",
    "Curve",
    "Histogram",
    "Mean",
    "Quantiles",
    "Question",
    "Scores",
    "Survey",
    "TopK",
    "Variance",
    "ask",
    "none_asked",
    "scored",
    "survey",
]

RECORDS = "records"  # the side value that every survey asks for: how many records count


@dataclass(frozen=True)
class Survey(Model):
    """What is asked, in the place of a model: its vector [size] holds the sums of the last round.

    questions: name → question. most: records of one client that count; of more, so many are drawn
    anew each round. columns: of X, for questions that name none. PlanError for what is no question,
    or no number of records or columns.
    """

    questions: Mapping[str, Question]
    most: int
    columns: int = 1

    def __post_init__(self) -> None:
        asked = self.questions.items()
        wrong = [name for name, one in asked if not hasattr(one, "answer") or isinstance(one, type)]
        if wrong or not self.questions:
            raise PlanError(
                f"The survey asks {', '.join(map(repr, wrong)) or 'nothing'}.",
                "Each name stands for a question.",
                "Write for example {'age': Mean(0, 120, column=0)}.",
            )
        for name, value in (("most", self.most), ("columns", self.columns)):
            if not (number(value, whole=True) and value >= 1):
                raise PlanError(
                    f"{name}={value!r}",
                    "It counts something, and there is one.",
                    f"Write {name}=100.",
                )

    @property
    def side(self) -> dict[str, Bound]:
        """All side values, with their bounds."""
        found: dict[str, Bound] = {RECORDS: Counts(1, self.most)}
        for name, question in self.questions.items():
            found |= question.side(name, self.most, self._width(question))
        return found

    @property
    def sizes(self) -> dict[str, int]:
        """How many numbers each side value has, in the order in which x holds them."""
        bounds = self.side.items()
        return {name: bound.size if isinstance(bound, Counts) else 1 for name, bound in bounds}

    @property
    def size(self) -> int:  # type: ignore[override]
        """How many numbers there are in all."""
        return sum(self.sizes.values())

    def start(self, key: Key) -> Vector:
        """Nothing is known: zeros [size]."""
        return np.zeros(self.size)

    def check(self, data: Examples, who: str, training: Training | None = None) -> None:
        """DataError where a question names a column that is not there, or is of another width."""
        for name, question in self.questions.items():
            for batch in data.whole():
                values = column(batch, question.column, who)
                width = math.prod(values.shape[1:])
                if question.side(name, self.most, width) and width != self._width(question):
                    raise DataError(
                        f"{who} has {width} columns, and the question {name!r} is about "
                        f"{self._width(question)}.",
                        "A sum adds like to like.",
                        "Name a column in the question, or give the survey the right number of "
                        "columns.",
                    )

    def answers(self, state: State) -> dict[str, Any]:
        """The answers that a state holds, by the names of the questions.

        RoundError where its round changed nothing, or no records count.
        """
        if state.skipped:
            raise RoundError(
                "The survey has no answers.", state.skipped, "Ask again, or ask fewer to answer."
            )
        ends = np.cumsum([0, *self.sizes.values()]).tolist()
        sums = {name: state.x[ends[i] : ends[i + 1]] for i, name in enumerate(self.sizes)}
        records = float(sums[RECORDS][0])
        answers = dict[str, Any]()
        for name, question in self.questions.items():
            answers[name] = question.answer(name, sums, records, self._width(question))
        return answers

    def _width(self, question: Question) -> int:
        """How many columns a question is about."""
        if question.column is None:
            return self.columns
        return 1


@dataclass(frozen=True)
class Ask:
    """The algorithm of a survey: each client says its sums, and their sum is the answer.

        x ← n·mean = Σ sᵢ,    sᵢ: sums and counts over the records of client i

    Where a secret sample hides n, it is n in expectation that the mean was divided by.
    """

    survey: Survey

    def plan(self, training: Training, model: Model) -> None:
        """Nothing is trained."""

    def blocks(self, d: int) -> dict[str, int]:
        """No update."""
        return {}

    def side(self) -> Mapping[str, Bound]:
        """Sums and counts."""
        return self.survey.side

    def start(self, x: Vector, key: Key) -> ServerState:
        """Nothing."""
        return {}

    def broadcast(self, x: Vector, memo: ServerState) -> dict[str, Vector]:
        """Nothing: the questions are in the plan."""
        return {}

    def client(
        self,
        model: Model,
        broadcast: dict[str, Vector],
        client_state: ClientState,
        data: Examples,
        training: Training,
        at: Context,
    ) -> tuple[Parts, ClientState]:
        """Sums and counts over the client's records, or over `most` of them, drawn at random."""
        batches = list(data.whole())
        total = sum(len(column(batch, None, at.who)) for batch in batches)
        most = self.survey.most
        parts = dict[str, Any]()
        chosen = np.sort(at.key.child("records").rng().permutation(total)[:most])
        for name, question in self.survey.questions.items():
            values = np.concatenate([column(batch, question.column, at.who) for batch in batches])
            parts |= question.client(name, values[chosen] if total > most else values)
        return {**parts, RECORDS: len(chosen)}, client_state

    def step(
        self, x: Vector, memo: ServerState, mean: dict[str, Vector], at: Context
    ) -> tuple[Vector, ServerState]:
        """The sums: n times the mean."""
        n = at.spec.noise.share * at.population or at.n
        return n * np.concatenate([mean[name] for name in self.survey.sizes]), memo


def survey(
    questions: Mapping[str, Question],
    most: int,
    columns: int = 1,
    aggregator: Aggregator | None = None,
    pipe: Iterable[Transform] = (),
    quorum: int = 2,
    seed: int = 0,
    deadline: float = math.inf,
) -> Plan:
    """The plan of a survey, for any runtime; `plan.model.answers(state)` reads its one round.

    most: records of one client that count. columns: of X. aggregator: VerifiedSum() unless another
    is named. pipe: noise, where the aggregator adds none; it comes after Weigh('one'). quorum:
    clients that must answer. deadline: seconds after which nobody is waited for. PlanError where
    the pieces do not fit.
    """
    asked = Survey(dict(questions), most, columns)
    if aggregator is None:
        aggregator = VerifiedSum()
    return Plan(
        asked,
        Ask(asked),
        pipe=(Weigh("one"), *pipe),
        aggregator=aggregator,
        training=Training(report=False),
        sample=Everyone(quorum=quorum, deadline=deadline),
        rounds=1,
        seed=seed,
    )


_silent: ContextVar[bool] = ContextVar("may nobody be asked now?", default=False)


@contextmanager
def none_asked() -> Iterator[None]:
    """Let `ask` refuse meanwhile, in this thread: nobody has seen yet what it asks.

    So an app file is read: whoever reads one asks nobody anything by that.
    """
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def ask(
    questions: Mapping[str, Question],
    data: Mapping[str, Any],
    most: int,
    policies: Mapping[str, Policy] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """The answers to questions about the records of all clients, who are simulated in this process.

    data: client → records. most: records of one client that count. policies: what each owner
    allows; PolicyError where one is missing, or forbids the survey. more: as `survey` has it.
    DataError where a question is about a column that a client has not. AppError while an app file
    is read.
    """
    if _silent.get():
        raise AppError(
            "ask(…) while an app file is read.",
            "No site could read such an app: nobody else's data is there, and no owner has read "
            "what it asks.",
            "Write App(first=hansa.survey({…}, most=…), prepare=…), which asks before the first "
            "round.",
        )
    if not data:
        raise DataError(
            "There is nobody to ask.",
            "A survey is a sum over clients.",
            "Give data={'north': (X, y), …}.",
        )
    allowed = policies or {}
    if missing := [str(who) for who in data if not isinstance(allowed.get(who), Policy)]:
        raise PolicyError(
            "No owner's policy allows to ask "
            f"{', '.join(missing[:3])}{' and others' * (len(missing) > 3)}.",
            "A survey makes clients say something beside the app's plan, and each owner decides on "
            "that too.",
            "Write ask(…, policies={'north': Policy(…), …}), or policies=dict.fromkeys(data, "
            "Policy()) to allow all.",
        )
    one = next(Examples.of(next(iter(data.values()))).whole())
    first = np.shape(column(one, None, "the first client"))
    plan = survey(questions, most, **{"columns": math.prod(first[1:]), **more})
    for who in data:
        allowed[who].check(plan, str(who))
    clients = [Client(who, plan, records, allowed[who]) for who, records in data.items()]
    (state,) = synchronous(plan, InProcess(clients))
    asked = plan.model
    assert isinstance(asked, Survey)
    return asked.answers(state)
