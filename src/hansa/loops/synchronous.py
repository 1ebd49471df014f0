"""Rounds one after another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..errors import RoundError, printable
from ..plan import Plan
from ..rand import Key
from ..state import FAILED, State
from .channel import Runtime, ServerChannel, begin, session_of, settle
from .checks import check_mistakes, check_roster
from .journal import Journal


def synchronous(
    plan: Plan,
    runtime: Runtime,
    state: State | None = None,
    secret: Key | None = None,
    journal: Journal | None = None,
) -> Iterator[State]:
    """Rounds one after another: sample, broadcast, train, encode, aggregate, decode, step; then
    settle.

    Without a state it starts from the beginning, and clients from nothing. A session is settled
    when the caller asks for the next state, that is, when it has committed this one: what a client
    that counts has learnt (a control variate) is remembered then, and what others have learnt is
    not.

    The server's noise, and its sample where ε rests on it, grow from `secret`: a fresh one, unless
    a simulation names one so that they repeat; then ε does not hold against who knows it. Who
    resumes a run of noise gives its secret. With a `journal` a round that was interrupted goes on
    with what was heard of it.
    """
    secret = secret or Key.fresh()
    check_roster(plan, len(runtime.roster()))
    if state is not None and state.round:
        last = session_of(secret, number=state.round - 1)
        settle(runtime, journal, last, state.counted)
    if state is None:
        state = (
            plan.start()
            if journal and journal.heard(session_of(secret))
            else begin(plan, runtime, secret)
        )
    named = runtime.named or not secret.hides
    while state.round < plan.rounds:
        roster = runtime.roster()
        session = session_of(secret, number=state.round)
        channel = ServerChannel(plan, runtime, state, session, journal)
        more: dict[str, Any] = {"population": len(roster), "memo": state.transforms}
        at = plan.context(
            state.round, session, secret=secret, task=channel.head.task, **more
        ).enrolled(runtime.members)
        cohort = plan.cohort(roster, at)
        skipped = ""
        try:
            mean, participants = plan.aggregator.server(channel, cohort, plan.decoder(at))
        except RoundError as error:
            mean = None
            participants = []
            skipped = printable(str(error))
        excluded = channel.outcome(cohort, participants)
        # a single attacker, asked alone, could end the run; and its end would tell who was in a
        # secret sample
        if len(cohort) >= plan.sample.quorum and not plan.encoded_spec.hidden:
            check_mistakes(
                len(cohort), {who: why for who, why in channel.excluded.items() if who in cohort}
            )
        if skipped:
            excluded = dict.fromkeys(cohort, FAILED) | channel.excluded
        state = plan.absorb(
            state,
            mean,
            participants,
            replace(at, n=len(participants)),
            excluded=excluded,
            skipped=skipped,
            named=named,
        )
        yield state
        settle(runtime, journal, session, state.counted)
