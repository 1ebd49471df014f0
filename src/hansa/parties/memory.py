"""Memory: what the parties of a simulation keep between messages, for every runtime in one way.

A party is a function: (request, what it remembers) → (reply, what it has learnt). What it learns in
a session is pending until that is settled; then it remembers it if its vector counted, and forgets
it else.

    ask    what a party is given with a request, or what it has said before
    keep   what it says is written down, with what it learnt
    hear   a session is settled: who counts remembers

Whoever runs parties calls these three: in one process, in workers, at sites.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..algorithms import ClientState
from ..errors import ProtocolError
from ..messages import Begin, Request, SessionId, Settle
from ..plan import Plan
from ..plan.noise import binds, once
from . import NOTHING, Given, Said
from .book import Book


class Memory:
    """What these parties remember, what is pending, and their book.

    It lives with who runs the simulation, and stands for what each party keeps for itself.

    plan: which all of them hold. named: does what they hide grow from a secret that the simulation
    names? Then a run may be said again. book: where it is written; without one, in memory.
    """

    def __init__(self, plan: Plan, named: bool, book: Book | None = None):
        self.plan = plan
        self.named = named
        self.book = book or Book()
        self._once = once(plan)
        self._helpers = frozenset(plan.aggregator.parties)
        self.early = set[tuple[SessionId, str]]()  # who has said what the loop has not heard yet
        self._states: dict[str, ClientState] = {}
        self._run: str | None = None

    def load(self, client_states: Mapping[str, ClientState]) -> None:
        """Let each client remember this, and those that are not named nothing; what was said stays
        said.
        """
        self._states = {who: state for who, state in client_states.items() if state}

    def of(self, who: Iterable[str]) -> dict[str, ClientState]:
        """What these remember, where it is anything."""
        return {name: self._states[name] for name in who if self._states.get(name)}

    def learnt(self, who: Iterable[str]) -> dict[str, ClientState]:
        """What these have learnt that is not settled, in sessions of which the loop has heard."""
        pending = {name: self.book.pending.get(name, ()) for name in who}
        heard = {
            name: [state for session, state in learnt if (session, name) not in self.early]
            for name, learnt in pending.items()
        }
        return {name: states[-1] for name, states in heard.items() if states}

    def after(self, counted: Iterable[str]) -> dict[str, ClientState]:
        """What all remember when the sessions are settled in which these count."""
        return self._states | self.learnt(counted)

    def _of(self, who: str, session: SessionId) -> ClientState:
        """What it trains with: what it has learnt in an earlier session, settled or not."""
        learnt: Sequence[tuple[SessionId, ClientState]] = self.book.pending.get(who, ())
        for one, state in reversed(learnt):
            if one != session:
                return state
        return self._states.get(who, {})

    def hear(self, message: Begin | Settle) -> None:
        """A run begins, or a session is over."""
        if isinstance(message, Begin):
            self._run = message.run
            self._states = {}
            self.early.clear()
            # where nothing hides, or a simulation wants it to repeat, all may be said again
            self.book.begin(message.run, again=self.named or not binds(self.plan))
            return
        self._turn_to(message.session.run)
        self._states |= self.book.settle(message.session, message.counted)

    def _turn_to(self, run: str) -> None:
        """Open the book where this run is written."""
        if run != self._run:
            self._run = run
            self.book.turn_to(run)

    def ask(self, who: str, request: Request) -> Given | Said:
        """What a party is given to answer with, or what it has said before; ProtocolError where it
        refuses.
        """
        self._turn_to(request.session.run)
        if request.fold and self.plan.aggregator.identified:
            raise ProtocolError(
                f"{who} was asked for a vector that is added up on its way.",
                "What it says would not be kept, and said again it could be another.",
                "Look at the server: with this plan each client answers for itself.",
            )
        entry = self.book.ask(who, request, self._once or who in self._helpers)
        if entry.kept:
            return Said(self.book.recall(who, request))
        state = self._of(who, request.session)
        data = self.book.said_of(who)
        earlier = self.book.earlier(who, request)
        if not (state or data or earlier):
            return NOTHING
        return Given(state, data, earlier, self.book.drawn(who))

    def keep(self, who: str, request: Request, said: Said) -> Any:
        """Write down what a party says, and give what it then says: the same as before, where it
        was asked before.
        """
        return self.book.said(who, request, said)
