"""What an app asks before its first round: a survey on which plan and data may hang.

Its answers are public, are kept with the run, and are asked for once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..analytics import Survey
from ..errors import AppError, HansaError
from ..explain import BEFORE, Explanation, Section, asked, explain, visible
from ..graphs import Mixing
from ..plan import Plan
from ..privacy import planned_privacy, spent_privacy
from ..privacy.ledger import Ledger
from ..rand import Key
from ..state import State
from .checks import check

if TYPE_CHECKING:
    from ..store import Run

OPEN = Section(
    "What cannot be known yet",
    # P144
    "The plan of the rounds hangs on what a survey finds that is asked before them. What follows "
    "is that survey: all that is asked until it has its answers. Then each client holds the plan "
    "against its owner's policy again, survey and rounds together, before it trains; one that "
    "refuses has said what the survey asks, and no more. To read the plan as well, let the survey "
    "be asked where the data is simulated: hansa explain --ask.",
)

PlanOf = Callable[[Mapping[str, Any]], Plan]  # what a survey found → the plan of the rounds


def secret_of(named: Key | None, run: Run | None) -> Key:
    """What noise grows from: what a simulation names, else what the run keeps, else a fresh one."""
    if named:
        return named
    if run is None:
        return Key.fresh()
    return run.secret()


def answers_of(first: Plan, state: State) -> dict[str, Any]:
    """What the survey found; RoundError where its round changed nothing."""
    assert isinstance(first.model, Survey)
    return first.model.answers(state)


def held(first: Plan | None, run: Run) -> State | None:
    """The survey's state that the run holds, if any; AppError where it began with another."""
    digest, state = run.survey()
    mine = ""
    if first is not None:
        mine = first.digest
    begun = state is not None or bool(run.history())
    if begun and digest != mine:
        raise AppError(
            f"What this app asks first is not what run {run.id} asked.",
            "What its clients have said counts with its rounds, and its data and plan hang on it.",
            "Resume it with the app file that it began with, or start a new run.",
        )
    return state


def given_away(first: Plan | None, state: State | None, clients: int | None) -> Ledger:
    """What the survey has given away about each client; without a state, what it will.

    first: the survey, if there is one. clients: how many there are, where that is known.
    """
    if first is None:
        return Ledger()
    if state is None:
        return planned_privacy(first, clients)
    return spent_privacy(first, [state], clients)


def plan_of(plan: Plan | PlanOf, found: Mapping[str, Any]) -> Plan:
    """The plan that comes of what was found; AppError where its function fails, or gives none."""
    if isinstance(plan, Plan):
        return plan
    try:
        made = plan(found)
    except HansaError:
        raise
    except Exception as error:
        raise AppError(
            f"The function App(plan=…) has failed: {type(error).__name__}: {error}",
            f"It was called with what the survey found: {', '.join(found)}.",
            "Mend it; a run keeps what was found, and goes on without asking again.",
        ) from error
    if not isinstance(made, Plan):
        raise AppError(
            f"The function App(plan=…) has given a {type(made).__name__}.",
            "It makes a Plan of what the survey found.",
            "Write for example plan=lambda found: hansa.Plan(…).",
        )
    return made


def check_first(plan: Any, first: Any, prepare: Any) -> None:
    """AppError where the pieces of an app that belong to a survey do not fit together.

    first: a survey. plan, or else a function of what it found; prepare: such a function, too.
    """
    survey = isinstance(first, Plan) and isinstance(first.model, Survey)
    lone = ""
    if not isinstance(plan, Plan):
        lone = "plan"
    if prepare is not None:
        lone = "prepare"
    check(
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


def section(first: Plan, population: int | None, delta: float) -> Section:
    """The survey in words, for whoever must decide whether to take part.

    population: how many clients there are, where that is known. delta: at which ε is told.
    """
    rows = [
        *(("question", one, "") for one in asked(first)),
        ("of each client", f"{getattr(first.model, 'most', 'all')} records at most", ""),
        ("who must answer", f"{first.sample.quorum} clients", ""),
        ("aggregator", repr(first.aggregator), ""),
        *visible(first.aggregator),
        ("ε", str(planned_privacy(first, population).guarantee(delta)), ""),
        ("fingerprint", first.digest, ""),
    ]
    text = (
        # P78
        "Before the first round each client is asked this survey, once in a run. Its answers are "
        "told to everybody, and may be in how data is prepared and in the plan. What it gives away "
        "adds to what the rounds do. Where a plan has a model, a survey has its answers."
    )
    return Section(BEFORE, text, ("", "is, or sees", "what this rests on"), tuple(rows))


def explained(
    plan: Plan | PlanOf,
    first: Plan | None,
    population: int | None,
    delta: float,
    named: bool,
    mixing: Mixing | None,
) -> Explanation:
    """What survey and plan ask of a client; of a plan that hangs on it, that it is not known.

    named: does noise grow from a secret that a simulation names? mixing: the graph of the peers,
    where there is no server.
    """
    if not isinstance(plan, Plan):
        assert first is not None
        alone = explain(first, population, delta, named=named)
        return Explanation((OPEN, *alone.sections), alone.warnings)
    told = explain(plan, population, delta, first, named, mixing)
    if first is None:
        return told
    return replace(told, sections=(section(first, population, delta), *told.sections))
