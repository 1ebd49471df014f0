"""Rounds in step: each begins with the model that the one before has made.

    state ─▶ open a session ─▶ draw a cohort ─▶ aggregate what it sends ─▶ absorb the mean ─▶ state

A round is committed by the caller, who asks for the next state when this one is safe: only then is
its session settled, and what the participants have learnt in it counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from ..errors import RoundError, printable
from ..plan import Plan, server
from ..rand import Key
from ..record import round_entry
from ..state import FAILED, State
from ..transforms import Context, Mean
from .channel import Kept, Runtime, ServerChannel, begin, session_of, settle
from .checks import check_in_step, check_mistakes, check_roster
from .journal import Journal


def synchronous(
    plan: Plan,
    runtime: Runtime,
    state: State | None = None,
    secret: Key | None = None,
    journal: Journal | None = None,
    kept: Kept | None = None,
) -> Iterator[State]:
    """Rounds one after another: sample, broadcast, train, encode, aggregate, decode, step, settle.

    Without a state it starts from the beginning, and clients from nothing. A session is settled
    when the caller asks for the next state, that is, when it has committed this one: what a client
    that counts has learnt (a control variate) is remembered then, and what others have learnt is
    not.

    The server's noise, and its sample where ε rests on it, grow from `secret`: a fresh one, unless
    a simulation names one so that they repeat; then ε does not hold against who knows it. Who
    resumes a run of noise gives its secret. With a `journal` a round that was interrupted goes on
    with what was heard of it. With `kept` ciphertexts stay there, where the aggregator has some.
    """
    check_in_step(plan)
    secret = secret or Key.fresh()
    check_roster(plan, len(runtime.roster()))
    state = _begun(plan, runtime, state, secret, journal)
    while state.round < plan.rounds:
        session = session_of(secret, number=state.round)
        state = one_round(plan, runtime, state, secret, journal, kept)
        yield state
        settle(runtime, journal, session, state.counted)


def one_round(
    plan: Plan,
    runtime: Runtime,
    state: State,
    secret: Key,
    journal: Journal | None = None,
    kept: Kept | None = None,
) -> State:
    """The state after one round: open a session, draw a cohort, aggregate, absorb the mean."""
    roster = runtime.roster()
    session = session_of(secret, number=state.round)
    seconds = plan.sample.deadline
    if journal:  # the session may have begun before a restart
        opening = journal.begin(session, roster)
        roster = opening.clients
        seconds = opening.left(seconds)
    channel = ServerChannel(plan, runtime, state, session, journal, kept, seconds)
    more: dict[str, Any] = {"population": len(roster), "memo": state.transforms}
    at = plan.context(state.round, session, secret=secret, task=channel.head.task, **more)
    at = at.enrolled(runtime.members)

    cohort = server.cohort(plan, roster, at)
    mean, participants, skipped = aggregated(plan, channel, cohort, at)
    check_cohort(plan, channel, cohort)

    excluded = excluded_of(channel, cohort, participants, skipped)
    named = runtime.named or not secret.hides
    at = replace(at, n=len(participants))
    told = {"excluded": excluded, "skipped": skipped, "named": named}
    new = server.absorb(plan, state, mean, participants, at, **told)
    if not channel.notes:
        return new
    models = state.x, new.x
    return replace(new, record=round_entry(new.round, channel.head, channel.notes, models))


def _begun(
    plan: Plan, runtime: Runtime, state: State | None, secret: Key, journal: Journal | None
) -> State:
    """The state to go on from: the one that is given, whose session is settled now, or the first.

    Where a journal has heard of the first round, that goes on, and clients forget nothing of it.
    """
    if state is None:
        if journal and journal.heard(session_of(secret)):
            return plan.start()
        return begin(plan, runtime, secret)
    if state.round:
        last = session_of(secret, number=state.round - 1)
        settle(runtime, journal, last, state.counted)
    return state


def aggregated(
    plan: Plan, channel: ServerChannel, cohort: Sequence[str], at: Context
) -> tuple[Mean | None, Sequence[str], str]:
    """The decoded mean of a cohort, who is in it, and why the round fails, if it does.

    A round that fails leaves the model as it was; the run goes on.
    """
    try:
        mean, participants = plan.aggregator.server(channel, cohort, server.decoder(plan, at))
    except RoundError as error:
        skipped = printable(str(error))
        return None, [], skipped
    return mean, participants, ""


def check_cohort(plan: Plan, channel: ServerChannel, cohort: Sequence[str]) -> None:
    """RoundError where all who were asked make a mistake that they would make again.

    A single attacker, asked alone, could end the run so; and its end would tell who was in a secret
    sample. So smaller cohorts than the quorum, and secret ones, end nothing.
    """
    if len(cohort) >= plan.sample.quorum and not plan.encoded_spec.hidden:
        mistakes = channel.mistakes(cohort)
        check_mistakes(len(cohort), mistakes)


def excluded_of(
    channel: ServerChannel, cohort: Sequence[str], participants: Sequence[str], skipped: str
) -> dict[str, str]:
    """Who was asked and is not in the sum, and why: where the round failed, all who were asked.

    Gives name → reason, a kind in words; nobody's own words are in it.
    """
    if skipped:
        return dict.fromkeys(cohort, FAILED) | channel.excluded
    return channel.outcome(cohort, participants)
