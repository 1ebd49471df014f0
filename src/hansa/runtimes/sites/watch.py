"""Watch: what an operator may see of the rounds of a server, as numbers, as lines of its log, and
as traces where those are wanted.

Where ε rests on nobody but the server knowing who took part, nothing is counted or told that hangs
on who was asked: a party that is away, and one more that was lost, would be the same party. What is
left then is which round it is.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...messages import SessionId, Settle
from .events import Asked, tell

if TYPE_CHECKING:  # who wants no traces needs no library for them
    from .traces import Traces


class Watch:
    """Counts of one server, over all its plans; no name of a party is among them.

    hidden: who takes part is a secret, from here on. traces: where they are wanted.
    """

    def __init__(self) -> None:
        self.hidden = False
        self.traces: Traces | None = None
        self.bytes = Counter[str]({"up": 0, "down": 0})
        self.lost = Counter[str]()  # by kind
        self.late = 0  # answers that came when nobody waited for them any more
        self.sessions = 0  # that are settled
        self.seconds = 0.0  # that these took together
        self._began = dict[SessionId, tuple[int, float]]()  # round, and when

    def moved(self, way: str, bytes: int) -> None:
        """Bytes have come, or gone."""
        if not self.hidden:
            self.bytes[way] += bytes

    def too_late(self) -> None:
        """An answer has come when its question was over."""
        if not self.hidden:
            self.late += 1

    def begun(self, session: SessionId, round: int) -> None:
        """A session begins, or goes on."""
        self._began.setdefault(session, (round, time.monotonic()))
        if self._traced is not None:
            self._traced.begun(session, round)

    def asked(self, asked: Asked) -> None:
        """A party is asked, in a session that has begun."""
        if self._traced is not None:
            self._traced.asked(asked)

    def heard(self, asked: Asked, round: int, bytes: int) -> None:
        """A party has answered."""
        if self.hidden:
            return
        session, who, _ = asked
        took = self._since(session)
        tell("heard", session=session, round=round, who=who, bytes=bytes, seconds=took)
        if self.traces is not None:
            self.traces.answered(asked, bytes=bytes)

    def missed(self, asked: Asked, round: int, kind: str) -> None:
        """A party has not."""
        if self.hidden:
            return
        self.lost[kind] += 1
        tell("lost", session=asked.session, round=round, who=asked.who, kind=kind)
        if self.traces is not None:
            self.traces.answered(asked, kind=kind)

    def headers(self, who: str) -> Mapping[str, str]:
        """What a party hears beside what it fetches: within which span it is asked."""
        if self._traced is None:
            return {}
        return self._traced.headers(who)

    @property
    def _traced(self) -> Traces | None:
        """Traces, where they tell nothing that is hidden."""
        if self.hidden:
            return None
        return self.traces

    def settled(self, message: Settle) -> None:
        """A session is over."""
        if self._traced is not None:
            self._traced.settled(message.session)
        took = self._since(message.session)
        begun: tuple[int | None, float] = (None, 0.0)
        if self.hidden:  # also where nobody was drawn, and so nobody asked: that is a secret too
            begun = (message.session.number, 0.0)
        round, _ = self._began.pop(message.session, begun)
        if round is None:
            return
        if self.hidden:
            took = None
        else:
            self.sessions += 1
            self.seconds += took or 0.0
        tell("settled", session=message.session, round=round, seconds=took)

    def _since(self, session: SessionId) -> float | None:
        """Seconds since a session began."""
        if session not in self._began:
            return None
        return time.monotonic() - self._began[session][1]
