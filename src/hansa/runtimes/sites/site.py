"""Site: a party at its own place. It keeps what a simulation keeps for it: its book, its memory,
and which runs its owner has accepted.

    begin     a run begins: of a plan that the app here has, not a second one of it, and within what
              its owner allows for all runs together
    answer    a question: the same answer as before, or a new one, written down before it is said
    settle    a session is over: what it has learnt in it counts, or is forgotten
    end       a run is over: as far as it was answered it counts, it is not gone on with, and what
              of its replies is left goes; who was away then hears of it when it is back

What is on the disk, and from when on:

    runs      the run, and what it may give away      before its first question is heard
    book      a question, and its reply               before the reply is sent
    runs      what was learnt in a session            before its end is acknowledged
    book      the reply goes, a digest stays          when the session is settled
    runs      how many sessions were answered         when the run is over, or was left

A site that was killed so says the same as before when it is asked again; what a helper adds up it
makes again, of the same shares. Both files are SQLite, and wait for the disk with each transaction.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from ...codec import frames
from ...crypto.identity import clients_of
from ...errors import HansaError, ProtocolError, StoreError
from ...messages import HEAD, Begin, Reply, Request, SessionId, Settle
from ...parties import Given, Party
from ...parties.book import Book
from ...parties.client import Client
from ...parties.database import Database
from ...parties.memory import Memory
from ..inprocess import answer, given_to
from .models import Models
from .runs import Runs, Taken

log = logging.getLogger("hansa.sites")

TURNS = 8  # of one session, at most

# (digest of a plan, what a survey found before) → the party that takes part in it
Makes = Callable[[str, Any], Party]


class Site:
    """One party: what it says to whom asks, and what of that it keeps at `folder`.

    make: the party that holds the plan with a digest. accept: how many runs of one plan its owner
    takes part in; a further one is refused, for what all of them give away adds up.
    StoreError where another process has the folder open.
    """

    def __init__(self, folder: Path, make: Makes, accept: int = 1):
        self._make = make
        self._accept = accept
        self._book = Book(folder / "book")
        self.runs = Runs(folder / "runs")
        self._models = Models(folder)
        self._found: Any = None
        self._memory: RunMemory | None = None
        self.party: Party | None = None
        self.run = ""

    def begin(self, run: str, plan: str, found: Any) -> None:
        """A run begins, or goes on; ProtocolError where its owner has not accepted it, and as the
        app has it for a plan that it does not have; PolicyError where it asks for more than is
        left.
        """
        if run == self.run:
            return
        party = self._make(plan, found)
        known = self.runs.get(run)
        self._check_void(run)
        if known is None:
            self._check(plan, [one.plan for one in self.runs])
            if isinstance(party, Client):
                self.runs.check(party)
            self.runs.began(run, party)
        else:
            _check_open(known, plan)
        self.party = party
        self.run = run
        self._found = found
        self._room = _room(party)
        self._memory = RunMemory(party, self._book, self.runs.file, run)
        self._memory.hear(Begin(run))

    def _check_void(self, run: str) -> None:
        """ProtocolError where a run began before this kit was put back from a backup."""
        for (since,) in self.runs.file.execute("SELECT since FROM void WHERE run = ?", (run,)):
            raise ProtocolError(
                f"The run {run[:8]}… began before this kit was put back from a backup, {since} "
                "UTC.",
                "The book of the backup does not hold all that was answered since: a second answer "
                "would tell, by its difference from the first, what noise hides.",
                "Take part in the next run.",
            )

    def _check(self, plan: str, known: list[str]) -> None:
        """ProtocolError where a further run of a plan begins; each backup that was put back may
        have forgotten one.
        """
        ((restored,),) = self.runs.file.execute("SELECT COUNT(*) FROM void WHERE run = ''")
        begun = known.count(plan) + restored
        if begun >= self._accept:
            raise ProtocolError(
                f"The server begins another run of the plan {plan[:8]}…, of which {begun} have "
                "begun here, counting what a backup may have forgotten.",
                "What several runs of one plan give away of the data here adds up.",
                f"If you want that, join with --runs {begun + 1}.",
            )

    def check_asked(self, run: str, told: int, body: int) -> None:
        """ProtocolError where a question is of a run that is not taken part in here, or more is to
        be fetched for it than any question of the plan has: so many bytes that all are told, and
        so many for this party.
        """
        if run != self.run or self.party is None:
            raise ProtocolError("A question came of a run that is not taken part in here.")
        for size, most in zip((told, body), self._room, strict=True):
            if size > most:
                raise ProtocolError(
                    f"The server wants to tell {size:,} bytes.",
                    f"A question of this plan has {most:,} at most; nothing was fetched.",
                    "Ask who runs the server.",
                )

    def answer(self, request: Request) -> Reply:
        """What the party says; or the kind of reason why it says nothing, whose words stay here."""
        if self._memory is None or self.party is None or request.session.run != self.run:
            log.warning("a question of a run that is not taken part in here")
            return Reply.to(request, tuple(request.bodies), None, "refused")
        who = self.party.who
        given, why = given_to(self._memory, who, request)
        if not isinstance(given, Given):
            return Reply.to(request, (who,), given, why)
        try:
            said, why = answer(self.party, request, given)
            if said is None:
                return Reply.to(request, (who,), None, why)
            reply = Reply.to(request, (who,), self._memory.keep(who, request, said))
            if self.party.role == "client":
                self._models.keep(request, self._found)
            return reply
        except HansaError as error:  # the book cannot be written: then nothing was said
            return Reply.to(request, (who,), None, self.party.report(error))
        except Exception:
            log.exception("round %d: the app failed here", request.round + 1)
            return Reply.to(request, (who,), None, "bug")

    def settle(self, session: SessionId, counted: bool) -> None:
        """A session is over; told a second time, nothing changes."""
        if self._memory is None or self.party is None or session.run != self.run:
            self._settle_elsewhere(session, counted)
            return
        who = (self.party.who,)
        self._memory.hear(Settle(session, who if counted else ()))

    def _settle_elsewhere(self, session: SessionId, counted: bool) -> None:
        """A session is over of a run that does not go on yet, or not any more: who starts again may
        hear of its end before it hears of its run.
        """
        if self.runs.get(session.run) is None:
            return
        self._book.begin(session.run, again=False)
        if counted:
            _write_learnt(self._book, self.runs.file, session)
        self._book.settle(session, ())
        if self.run:
            self._book.begin(self.run, again=False)

    def end(self, run: str) -> bool:
        """A run is over: no question of it is answered any more, and no reply of it is kept. Was it
        one of this site's, and open?
        """
        known = self.runs.get(run)
        if known is None or known.ended:
            return False
        self._end(run, left=False)
        return True

    def leave(self, run: str) -> None:
        """Take no part in a run any more: what was booked or learnt in it is deleted."""
        self._models.drop(run)
        self._end(run, left=True)

    def _end(self, run: str, left: bool) -> None:
        if run == self.run:
            self.run = ""
            self.party = None
            self._memory = None
        self._book.leave(run)
        if self.runs.get(run) is not None:
            self.runs.ended(run, self._book.answered(run), left)

    def close(self) -> None:
        """Let the files go."""
        with closing(self.runs), closing(self._book):
            pass


def _room(party: Party) -> tuple[int, int]:
    """How many bytes a question may have at most: of what all are told, and for this party alone,
    which holds no more than what all clients have said.
    """
    plan = party.plan
    numbers = sum(math.prod(shape) for shape in plan.broadcast_shapes.values())
    clients = max(1, len(clients_of(party.roster)))
    if plan.model.traits.grows:
        numbers *= 1 + plan.rounds * clients
    turns = range(TURNS)
    said = max(plan.aggregator.largest_reply(plan.encoded_spec, turn) for turn in turns)
    return HEAD + 8 * numbers, HEAD + clients * said


def _check_open(known: Taken, plan: str) -> None:
    """ProtocolError where a run that has begun here does not go on."""
    if known.plan != plan:
        raise ProtocolError(f"The run {known.run[:8]}… began with another plan.")
    if known.gone:
        raise ProtocolError(
            f"The run {known.run[:8]}… was left at {known.gone}.",
            "Its owner takes no part in it any more, and what it would go on with is deleted.",
            "Who leaves does not come back; another run may be begun.",
        )
    if known.ended:
        raise ProtocolError(
            f"The run {known.run[:8]}… was over at {known.ended}.",
            "Of a run that is over counts what was answered, and so no more of it is.",
            "Begin another run.",
        )


class RunMemory(Memory):
    """What one party remembers of one run, at a path: no server can make it forget.

    In a simulation a run that begins anew makes all forget; here what was said stays said.
    """

    def __init__(self, party: Party, book: Book, runs: Database, run: str):
        super().__init__(party.plan, named=False, book=book)
        self._who = party.who
        self._runs = runs
        self._of_run = run
        self.load({self._who: learnt_in(runs, run)})
        self._turn_to(run)

    def hear(self, message: Begin | Settle) -> None:
        """A run begins, once; or a session is over, and what was learnt in it is written down."""
        if isinstance(message, Begin):
            self.book.begin(message.run, again=False)
            return
        if self._who in message.counted:
            _write_learnt(self.book, self._runs, message.session)
        super().hear(message)


def learnt_in(runs: Database, run: str) -> Any:
    """What a party has learnt in the settled sessions of a run: {} where that is nothing."""
    try:
        return _read_learnt(runs, run)
    except StoreError:  # its file went meanwhile, where the site has learnt more
        return _read_learnt(runs, run)


def _read_learnt(runs: Database, run: str) -> Any:
    """The same, read once."""
    rows = runs.execute("SELECT state FROM runs WHERE run = ?", (run,))
    for (state,) in rows:
        if state is not None:
            return runs.load(state)
    return {}


def _write_learnt(book: Book, runs: Database, session: SessionId) -> None:
    """Keep for good what was learnt in a session, of which the book has it until that is settled.

    A site's book is of one party.
    """
    pending = [one for every in book.pending.values() for one in every]
    for at, learnt in pending:
        if at == session:
            row = (frames(learnt), session.run)
            runs.execute("UPDATE runs SET state = ? WHERE run = ?", row)
            runs.forget()  # what was learnt before, which may lie in a file
