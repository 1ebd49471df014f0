"""The rounds of an app: each with its ε and its scores, and committed before it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import AppError
from ..loops.buffered import buffered
from ..loops.journal import Journal
from ..parties.book import Book
from ..privacy import stop_at_budget
from ..rounds import Round
from ..state import State
from .checks import names_of, unwrapped
from .clients import runtime_of
from .epsilon import Account
from .federation import Federation
from .first import secret_of

if TYPE_CHECKING:
    from ..store import Run


def rounds_of(
    app: Federation,
    run: Run | None,
    state: State | None,
    make_runtime: Callable[..., Any] = runtime_of,
) -> Iterator[State]:
    """The rounds that are left after `state`, or else after what the run holds.

    Each holds what its clients report, its model's scores on the test data, and the ε that is
    spent, by survey and rounds together; and it is committed to the run, if there is one, before it
    is yielded. So whatever was shown is stored, and a run that was killed goes on to the same end.

    make_runtime: (app, secret, book) → where the clients live.
    AppError where the survey has not been asked on which the plan hangs, or the run is another
    app's; the first fault of the test data, before any round.
    """
    plan = app.known_plan
    for problem in app.tests.problems(plan.model):
        raise problem
    secret = secret_of(app.secret, run)
    with ExitStack() as stack:
        loop: Any = app.loop
        book: Book | None = None
        # more is on its way between two states than a round, which can be made again
        if run is not None and unwrapped(loop) is buffered:
            book = stack.enter_context(closing(Book(run.book)))
            loop = partial(loop, journal=stack.enter_context(closing(Journal(run.journal))))
        runtime = stack.enter_context(make_runtime(app, secret, book))
        past: list[Round] = []
        if run is not None:
            state = state or run.state()
            check_same_clients(app, run, state)
            runtime.memory.load(run.memory())
            past = run.history()
        known = list(past)
        if state is not None and not past:
            known = [state.happened]
        account = Account(app, past, state)
        states = loop(plan, runtime, state, secret)
        if app.budget:
            clients = len(app.data)
            states = stop_at_budget(states, plan, app.budget, clients, past, account.before)
        while app.stop is None or not app.stop.over(known):
            new = next(states, None)
            if new is None:
                return
            scores = app.tests.score(plan.model, new.x)
            new = replace(new, spent=account.add(new), scores=scores)
            known.append(new.happened)
            if run is not None:
                best = None
                if app.stop is not None:
                    best = app.stop.model(known)
                memory = runtime.memory.learnt(new.counted)
                run.commit(new, memory, best, app.keep == "all")
            yield new


def how_it_ended(app: Federation, rounds: Sequence[Round]) -> str:
    """Why a run with these rounds ended before the last one, and which model was the best; in
    sentences, or nothing.
    """
    planned = app.known_plan.rounds
    why = ""
    if app.budget:
        why = f"one more could pass ε = {app.budget.epsilon:g} at δ = {app.budget.delta:g}"
    if app.stop is not None and app.stop.over(rounds):
        why = app.stop.why(rounds)
    words = []
    if why and len(rounds) < planned:
        words.append(f"Ended after {len(rounds)} of {planned} rounds: {why}.")
    if app.stop is not None:
        words.append(app.stop.told(rounds))
    return " ".join(filter(None, words))


def check_same_clients(app: Federation, run: Run, state: State | None) -> None:
    """AppError where the run has asked somebody, in the round of `state`, whom the app lacks.

    Of a run that has no state yet nothing is known, and nothing is refused.
    """
    if state is None:
        return
    there = names_of(app.data)
    gone = sorted(who for who in state.asked if who not in there)
    if gone:
        raise AppError(
            f"The run {run.id} asked {', '.join(gone)} in its last round, and this app has no such "
            "client.",
            "It would go on as another federation, under the name of the first.",
            "Resume it with the app file that it began with, or start a new run.",
        )
