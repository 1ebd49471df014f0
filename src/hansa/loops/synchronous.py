"""Rounds one after another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..errors import RoundError, printable
from ..plan import Plan
from ..rand import Key
from ..state import FAILED, State
from .channel import Runtime, ServerChannel, begin
from .checks import check_mistakes, check_roster


def synchronous(plan: Plan, runtime: Runtime, state: State | None = None, secret: Key | None = None) -> Iterator[State]:
    """Rounds one after another: sample, broadcast, train, encode, aggregate, decode, step.

    Without a state it starts from the beginning, and clients from nothing. Who was asked and does not count forgets the
    round: what clients and server remember (a control variate, its mean) stays in step.

    The server's noise, and its sample where ε rests on it, grow from `secret`: a fresh one, unless a simulation names
    one so that they repeat; then ε does not hold against who knows it. Who resumes a run of noise gives its secret.
    """
    secret = secret or Key.fresh()
    check_roster(plan, len(runtime.roster()))
    state = state or begin(plan, runtime)
    named = runtime.named or not secret.hides
    while state.round < plan.rounds:
        roster = runtime.roster()
        channel = ServerChannel(plan, runtime, state, session=state.round, secret=secret)
        fingerprint = channel.head.fingerprint if plan.binds else b""
        more: dict[str, Any] = {"population": len(roster), "memo": state.transforms}
        at = plan.context(
            state.round, state.round, secret=secret, run=channel.head.run, fingerprint=fingerprint, **more
        ).enrolled(runtime.members)
        cohort, skipped = plan.cohort(roster, at), ""
        try:
            mean, participants = plan.aggregator.server(channel, cohort, plan.decoder(at))
        except RoundError as error:
            mean, participants, skipped = None, [], printable(str(error))
        # a single attacker, asked alone, could end the run; and its end would tell who was in a secret sample
        if len(cohort) >= plan.sample.quorum and not plan.encoded_spec.hidden:
            check_mistakes(len(cohort), {who: why for who, why in channel.excluded.items() if who in cohort})
        excluded = dict.fromkeys(cohort, FAILED) | channel.excluded if skipped else channel.excluded
        state = plan.absorb(
            state, mean, participants, replace(at, n=len(participants)), excluded=excluded, skipped=skipped, named=named
        )
        if missing := cohort if state.skipped else list(excluded):
            runtime.rollback(channel.head.session, missing)
        yield state
