"""Folds: what a gateway adds up of the answers to one question to many.

    put ──▶ ready ──TICK, or all there──▶ added up, announced ──▶ dropped: the server has it
              └── no vector of the plan ──▶ announced as it came

Where somebody who is in an announced sum is not waited for any more, the others are added up
anew. So whoever decides needs to say no more than whose answer it has, or does not want. Whose link
ends has its sum made anew once: what it says on the next goes alone, or it would keep back, by
leaving while each is on its way, what the others say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import ProtocolError
from ...messages import Reply, SessionId
from ...sums import Total
from .between import MANY
from .control import Blob
from .posts import Place, Question
from .spool import Spool

TICK = 0.25  # seconds in which answers are gathered before they are added up


class Ready(NamedTuple):
    """One party's answer, whole, and where it lies."""

    who: str
    path: Path
    blob: Blob
    question: Question


@dataclass
class Fold:
    """Of one question: whose answers are here and not at the server; who is in the sum that is
    announced, and its name.
    """

    ready: dict[str, Ready] = field(default_factory=dict)
    sent: tuple[str, ...] = ()
    sum: Blob | None = None
    ticks: asyncio.TimerHandle | None = None
    making: tuple[str, ...] = ()  # whose answers are just being added up


class Folds:
    """All that a gateway adds up.

    sums: where sums lie. announce: tells the server of a sum, or of one answer. beside: does
    something meanwhile.
    """

    def __init__(
        self,
        sums: Spool,
        announce: Callable[[tuple[str, ...], Place, Blob], None],
        beside: Callable[[Coroutine[Any, Any, None]], None],
    ):
        self._sums = sums
        self._sums.clear()
        self._announce = announce
        self._beside = beside
        self._folds = dict[Place, Fold]()
        self._left = dict[Place, set[str]]()  # whose link has ended with an answer here

    def put(self, one: Ready, place: Place, asked: int) -> None:
        """An answer is here; asked: of how many that are waited for here."""
        fold = self._folds.setdefault(place, Fold())
        if one.who in self._left.get(place, ()) and one.who not in fold.making:
            self._announce((one.who,), place, one.blob)
            return
        fold.ready[one.who] = one
        wait = TICK
        if len(fold.ready) == asked:
            wait = 0.0
        self._gather(place, fold, wait)

    def has(self, who: str, place: Place) -> bool:
        """Is all of a party's answer here, and not yet at the server?"""
        fold = self._folds.get(place)
        return fold is not None and who in fold.ready

    def leave(self, who: str, place: Place) -> None:
        """A party's link has ended, and what it was asked on it comes again."""
        if self.has(who, place):
            self._left.setdefault(place, set()).add(who)
        self.drop(who, place)

    def over(self, session: SessionId) -> None:
        """Nothing is added up any more of a session."""
        for place in [place for place in self._left if place[0] == session]:
            del self._left[place]

    def drop(self, who: str, place: Place) -> None:
        """The server has somebody's answer, or waits for it no more."""
        fold = self._folds.get(place)
        if fold is None:
            return
        fold.ready.pop(who, None)
        if fold.ready:
            self._gather(place, fold, TICK)
        else:
            del self._folds[place]
            self._let_go(fold)

    def sum_of(self, who: str, place: Place) -> tuple[Blob, Path] | None:
        """The sum that was announced as this party's answer."""
        fold = self._folds.get(place)
        if fold is None or fold.sum is None or fold.sent[0] != who:
            return None
        return fold.sum, self._sums.path(fold.sum)

    def _gather(self, place: Place, fold: Fold, seconds: float) -> None:
        """Add up what is there, after a while in which more may come; who comes in it makes it no
        longer.
        """
        if fold.ticks is not None:
            if seconds:
                return
            fold.ticks.cancel()
        loop = asyncio.get_running_loop()
        fold.ticks = loop.call_later(seconds, self._start, place, fold)

    def _start(self, place: Place, fold: Fold) -> None:
        """Begin, unless it is under way, or what is announced still holds."""
        fold.ticks = None
        holds = fold.sent and all(who in fold.ready for who in fold.sent)
        if fold.making or holds or not fold.ready:
            return
        fold.making = tuple(fold.ready)[:MANY]
        self._beside(self._add(place, fold))

    async def _add(self, place: Place, fold: Fold) -> None:
        """Add up what is there, and announce it; what is no vector goes as it came."""
        self._let_go(fold)
        there = {who: fold.ready[who] for who in fold.making if who in fold.ready}
        try:
            names, made = await asyncio.to_thread(_added, self._sums, place, there.values())
        finally:
            fold.making = ()
        for who in there.keys() - set(names):
            alone = fold.ready.pop(who, None)
            if alone is not None:
                self._announce((who,), place, alone.blob)
        # Who left and came back meanwhile may say something else: what was whole first counts.
        if made is not None and all(who in fold.ready for who in names):
            fold.sent = names
            fold.sum = made
            self._announce(names, place, made)
            return
        if made is not None:  # somebody has left meanwhile
            self._sums.drop(made)
        if fold.ready:
            self._gather(place, fold, TICK)

    def _let_go(self, fold: Fold) -> None:
        """What is announced does not hold any more."""
        if fold.sum is not None:
            self._sums.drop(fold.sum)
        fold.sent = ()
        fold.sum = None


def _added(
    sums: Spool, place: Place, there: Iterable[Ready]
) -> tuple[tuple[str, ...], Blob | None]:
    """Whose vectors are in a sum, and the sum, as a reply of all of them; none of fewer than two.

    It runs in a thread of its own.
    """
    total = Total()
    names = list[str]()
    for one in there:
        body = _vector(one, place)
        if body is not None:
            total.add(body)
            names.append(one.who)
    if len(names) < 2:
        return (), None
    (session, turn), round = place, one.question.ask.round
    reply = Reply(session, round, tuple(names), total, turn=turn)
    return tuple(names), sums.put(reply.encode())


def _vector(one: Ready, place: Place) -> Any:
    """What one party says; None where that is no vector, of which the server tells what it is."""
    try:
        reply = Reply.decode(one.path, one.question.most)
    except (ProtocolError, FileNotFoundError):  # the latter where it is not waited for any more
        return None
    fold = one.question.fold
    asked = (*place, one.question.ask.round, (one.who,))
    if (reply.session, reply.turn, reply.round, reply.who) != asked or fold is None:
        return None
    return reply.body if fold.fits(reply.body) else None
