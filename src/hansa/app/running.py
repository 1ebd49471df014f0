"""The rounds of an app: each with its ε and its scores, and committed before it is told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..algorithms import ClientState
from ..errors import AppError
from ..loops.buffered import buffered
from ..loops.synchronous import synchronous
from ..parties.book import Book
from ..privacy import stop_at_budget
from ..rounds import Round
from ..state import State
from ..store.journal import journal_of
from ..store.kept import Kept
from .checks import unwrapped
from .clients import runtime_of
from .epsilon import Account
from .federation import Federation
from .first import secret_of

if TYPE_CHECKING:
    from ..store import Run


# where an app has what its clients remember after its last run in this process
REMEMBERED = "_remembered"


def rounds_of(
    app: Federation,
    run: Run | None,
    state: State | None,
    make_runtime: Callable[..., Any] | None = None,
) -> Iterator[State]:
    """The rounds that are left after `state`, or else after what the run holds.

    Each holds what its clients report, its model's scores on the test data, and the ε that is
    spent, by survey and rounds together; and it is committed to the run, if there is one, before it
    is yielded. So whatever was shown is stored, and a run that was killed goes on to the same end.

    make_runtime: (app, secret, book) → where the clients live; else as the app has it. A runtime
    whose parties remember for themselves has no `memory`.
    AppError where the survey has not been asked on which the plan hangs, or the run is another
    app's; the first fault of the test data, before any round.
    """
    plan = app.known_plan
    for problem in app.tests.problems(plan.model):
        raise problem
    secret = secret_of(app.secret, run)
    remembered = vars(app)[REMEMBERED] = dict[str, ClientState]()
    with ExitStack() as stack:
        loop, book = _loop_of(app, run, stack)
        make_runtime = make_runtime or app.runtime or runtime_of
        runtime = stack.enter_context(make_runtime(app, secret, book))
        past: list[Round] = []
        if run is not None:
            state = state or run.state()
            if runtime.memory is not None:  # of sites a roster says who takes part by now
                check_same_clients(runtime.roster(), run, state)
                remembered |= run.memory()
                runtime.memory.load(remembered)
            past = run.history()
        known = list(past)
        if state is not None and not past:
            known = [state.happened]
        account = Account(app, past, state)
        states = _within_budget(app, loop(plan, runtime, state, secret), runtime, past, account)
        while app.stop is None or not app.stop.over(known):
            new = next(states, None)
            if new is None:
                return
            scores = app.tests.score(plan.model, new.x)
            new = replace(new, spent=account.add(new), scores=scores)
            known.append(new.happened)
            memory = None
            if runtime.memory is not None:
                memory = runtime.memory.learnt(new.counted)
                remembered |= memory
            if run is not None:
                run.commit(new, memory, _best(app, known), app.keep == "all")
            yield new


def _within_budget(
    app: Federation, states: Iterator[State], runtime: Any, past: Sequence[Round], account: Account
) -> Iterator[State]:
    """The rounds up to the first that could pass the app's budget, if it has one."""
    if not app.budget:
        return states
    clients = len(runtime.roster())
    return stop_at_budget(states, app.known_plan, app.budget, clients, past, account.before)


def _loop_of(app: Federation, run: Run | None, stack: ExitStack) -> tuple[Any, Book | None]:
    """The app's loop, with what it writes down for the run; and a book where one is kept here.

    More is on its way between two states of `buffered` than a round, which can be made again; and
    what sites have said is not asked for again.
    """
    loop: Any = app.loop
    book: Book | None = None
    if run is None:
        return loop, book
    overlapping = unwrapped(loop) is buffered
    if overlapping and app.runtime is None:
        book = stack.enter_context(closing(Book(run.book)))
    if overlapping or app.runtime is not None:
        loop = partial(loop, journal=stack.enter_context(closing(journal_of(run))))
    if run.ciphertexts is not None:
        loop = partial(loop, kept=kept_of(app, Path(run.ciphertexts)))
    return loop, book


def _best(app: Federation, known: Sequence[Round]) -> int | None:
    """The round whose model is the best so far, 0 for none yet; None where nothing stops early."""
    if app.stop is None:
        return None
    return app.stop.model(known) or 0


def kept_of(app: Federation, folder: Path) -> Kept:
    """Where the ciphertexts of a run are kept, and a warning that says how many bytes that are;
    AppError where it has none, or there is no room.
    """
    from ..aggregators.encrypted import kept

    plan = app.known_plan
    n = plan.sample.most or len(app.data)
    each = kept(plan.aggregator, plan.encoded_spec, n)
    if not each or unwrapped(app.loop) is not synchronous:
        raise AppError(
            f"Ciphertexts are to be kept in {folder}, of a plan with {plan.aggregator!r}.",
            "There are some in rounds in step that are summed by EncryptedSum.",
            "Keep none, or write Plan(…, aggregator=EncryptedSum()).",
        )
    found = Kept(folder)
    found.check_room(each, plan.rounds)
    return found


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


def check_same_clients(there: Collection[str], run: Run, state: State | None) -> None:
    """AppError where the run has asked somebody, in the round of `state`, who is not there.

    Of a run that has no state yet nothing is known, and nothing is refused.
    """
    if state is None:
        return
    gone = sorted(who for who in state.asked if who not in there)
    if gone:
        raise AppError(
            f"The run {run.id} asked {', '.join(gone)} in its last round, and this app has no such "
            "client.",
            "It would go on as another federation, under the name of the first.",
            "Resume it with the app file that it began with, or start a new run.",
        )
