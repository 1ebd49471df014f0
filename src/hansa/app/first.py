"""What an app asks before its first round: a survey whose answers its plan and its data may hang on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..analytics import Survey
from ..errors import AppError
from ..explain import expression
from ..plan import Plan
from ..privacy import planned_privacy, spent_privacy
from ..privacy.ledger import Ledger
from ..state import State
from .checks import refuse

if TYPE_CHECKING:
    from ..store import Run

PlanOf = Callable[[Mapping[str, Any]], Plan]  # what a survey found → the plan of the rounds


def answers_of(first: Plan, state: State) -> dict[str, Any]:
    """What the survey found; RoundError where its round changed nothing."""
    assert isinstance(first.model, Survey)
    return first.model.answers(state)


def held(first: Plan | None, run: Run) -> State | None:
    """The survey's state that the run holds, if any; AppError where the run did not begin with this survey."""
    digest, state = run.survey()
    asked = None if first is None else first.digest
    begun = state is not None or bool(run.history())
    if begun and digest != (asked or ""):
        raise AppError(
            f"What this app asks first is not what run {run.id} asked.",
            "What its clients have said counts with its rounds, and its data and plan hang on it.",
            "Resume it with the app file that it began with, or start a new run.",
        )
    return state


def keep(first: Plan, state: State, plan: Plan, run: Run) -> None:
    """Keep with the run what the survey found, and the plan that came of it, unless it holds them already."""
    if run.survey()[1] is None:
        run.keep_survey(first.digest, state, (expression(plan), plan.digest, plan.rounds))


def said(first: Plan | None, state: State | None, clients: int | None) -> Ledger:
    """What the survey has given away about each client; without a state, what it will."""
    if first is None:
        return Ledger()
    if state is None:
        return planned_privacy(first, clients)
    return spent_privacy(first, [state], clients)


def check_first(plan: Any, first: Any, prepare: Any) -> None:
    """AppError where the pieces of an app that belong to a survey do not fit together."""
    survey = isinstance(first, Plan) and isinstance(first.model, Survey)
    lone = "prepare" if prepare is not None else "plan" if not isinstance(plan, Plan) else ""
    refuse(
        [
            (
                not isinstance(plan, Plan) and (not callable(plan) or isinstance(plan, type)),
                f"App(plan=…) with a {type(plan).__name__}",
                "`plan` takes a Plan, or a function of what `first` found that gives one",
                "plan=hansa.Plan(…)",
            ),
            (
                first is not None and not survey,
                f"App(first=…) with a {type(first).__name__}",
                "what is asked before the first round is a survey",
                "first=hansa.survey({'mean': Mean(0, 120)}, most=300)",
            ),
            (
                prepare is not None and not callable(prepare),
                f"App(prepare=…) with a {type(prepare).__name__}",
                "`prepare` is a function of a client's data and of what `first` found",
                "prepare=lambda data, found: …",
            ),
            (
                first is None and bool(lone),
                f"App({lone}=…) with a function, and without `first`,",
                "it is called with what a survey found, and there is none",
                "first=hansa.survey({…}, most=300), or do it where the data is read",
            ),
        ]
    )
