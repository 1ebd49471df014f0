"""The conversation of a hidden sum whose shares a committee holds.

    cohort                          →  of members: vector, and shares of its key, sealed for holders
    who has said one, and its boxes →  of holders, as all that follows: whose shares it holds
    who is in                       →  its signature on that set
    t signatures                    →  its help, for exactly that set

A member that holds nothing has said all with its first message. A holder that is no member is told
the cohort like all others, so that it knows the session, and answers with nothing.

A holder believes the server as little as a member does: who is asked and who holds shares it draws
from its own roster, a box opens only as its sender has sealed it, a set is signed once, and nothing
is opened that t holders have not signed. It need not be in the sum itself; how many must be is as
without holders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ...crypto.field import Elements, Field64
from ...crypto.identity import Member
from ...crypto.keys import SIGNATURE, verify
from ...crypto.sealing import Channel as Sealed
from ...errors import ProtocolError
from ...spec import Spec, Vector
from ...transforms import Context, Session
from .. import NO_VECTOR, Channel, Contribute, Conversation, Draw
from .cell import Bodies, Cell, Failure, Vectors
from .client import Me, Prepared, unexpected
from .committee import Seats
from .opening import opened
from .terms import Octets, Set, View, as_set, box_of, help_of, shares_of

Seating = Callable[[list[str], Spec, Session], Seats]
HERE = b""  # what a holder says that is no member


# ── a client ──


def speak(seating: Seating, contribute: Contribute, at: Context) -> Conversation:
    """A client's side: that of a member, of a holder, or both."""
    cohort = _read_cohort(at, (yield))
    seats = seating(cohort, at.spec, at.session)
    me = Seat(seats, at)
    mine: Prepared | None = None
    if at.who in seats.names:
        mine = Prepared.decode((yield Draw(me.dealt)))
        told = yield me.first((yield from contribute()), mine)
    elif at.who in seats.holders:
        told = yield HERE
    else:
        raise ProtocolError(
            f"{at.who} was asked, and is neither in the cohort nor a holder.",
            "Both are drawn from its own roster, by the plan's seed.",
            "Look at the server; or take the newest roster.",
        )
    if at.who not in seats.holders:
        raise unexpected(at.who, "nothing: it has said all")
    view, boxes = _read_dealt(me, mine, told)
    shares = _opened(me, mine, view, boxes)
    held = np.asarray(shares.any(axis=1))
    told = yield as_set(held)
    inside = _read_inside(me, view, held, told)
    agreed = seats.agreed(view, inside)
    told = yield me.identity.signing.sign(agreed)
    _check_holders_agreed(seats, agreed, told)
    yield seats.scheme.help(shares, view.prepared, inside)


@dataclass(frozen=True)
class Seat(Me):
    """One party of a session with holders: its identity, and channels to those it speaks with."""

    terms: Seats

    @property
    def known(self) -> Mapping[str, Member]:
        """Members and holders."""
        return {**self.terms.members, **self.terms.holding}

    @cached_property
    def channels(self) -> dict[str, Sealed]:
        """A member's to holders; a holder's to members, too."""
        peers = dict(self.terms.holding)
        if self.at.who in peers:
            peers |= self.terms.members
        keys = {name: one.agreement for name, one in peers.items() if name != self.at.who}
        return self.identity.channels(keys)

    def dealt(self) -> bytes:
        """A secret drawn anew, dealt to all holders; and what is said of it."""
        seats = self.terms
        secret = seats.scheme.draw()
        public = seats.scheme.public(secret)
        shares = shares_of(seats, secret)
        boxes = np.zeros((len(seats.holders), box_of(seats.scheme, seats.sharing)), np.uint8)
        share = np.zeros(0, np.uint64)
        for j, name in enumerate(seats.holders):
            if name == self.at.who:
                share = shares[j]
                continue
            box = self.channels[name].seal(shares[j].tobytes(), seats.binding + public)
            boxes[j] = np.frombuffer(box, np.uint8)
        signature = self.signed(public, boxes)
        return Prepared(secret, share, public, boxes, signature).encode()

    def signed(self, public: bytes, boxes: Octets) -> bytes:
        """Its signature on what it has prepared: holders open boxes of its long-lived key."""
        return self.identity.signing.sign(self.terms.prepared(self.at.who, public, boxes))

    def first(self, v: Vector, mine: Prepared) -> dict[str, Any]:
        """All that a member says: its public value, shares and vector, signed."""
        said = self.said(v, mine.secret, {}, np.zeros(0, bool))
        del said["holds"]
        return {**said, "public": mine.public, "boxes": mine.boxes, "prepared": mine.signature}


def _read_cohort(at: Context, told: Any) -> list[str]:
    """The cohort; ProtocolError for another than the plan draws."""
    match told:
        case {"cohort": list(names), **more} if not more and all(isinstance(n, str) for n in names):
            if tuple(names) == at.session.cohort:
                return names
            raise ProtocolError(
                f"{at.who} was told of a cohort of {len(names)} that the plan does not draw.",
                "A server that chose whom to ask could choose those who collude with it.",
                "Look at the server; or take the newest roster, from which the plan draws.",
            )
    raise unexpected(at.who, "the cohort")


def _read_dealt(me: Seat, mine: Prepared | None, told: Any) -> tuple[View, Octets]:
    """Who has said a vector, with which public values; and the boxes for this holder [n, …].

    ProtocolError where too few have, one's own value is another, or two have one.
    """
    seats = me.terms
    match told:
        case {"prepared": names, "publics": publics, "boxes": boxes, **more} if not more:
            prepared = seats.read_set(names, "Those who have said a vector")
            publics = seats.read_rows(publics, seats.scheme.width, "Public values")
            boxes = seats.read_rows(boxes, box_of(seats.scheme, seats.sharing), "Boxes")
        case _:
            raise unexpected(me.at.who, "who has said a vector, with which values, and shares")
    view = View(prepared, publics)
    wrong = ""
    if prepared.sum() < seats.least:
        wrong = f"{prepared.sum()} of {seats.n} clients, and a sum is over {seats.least} at least"
    values = {view.public(i) for i in np.flatnonzero(prepared).tolist()}
    if len(values) < prepared.sum():
        wrong = "two clients with one public value"
    if mine and prepared[me.place] and view.public(me.place) != mine.public:
        wrong = "another public value than its own"
    if wrong:
        raise ProtocolError(f"{me.at.who} was told of {wrong}.", "", "Look at the server.")
    return view, boxes


def _opened(me: Seat, mine: Prepared | None, view: View, boxes: Octets) -> Elements:
    """The shares in the boxes that open [n, columns], and zeros for all others.

    A member that is a holder, too, has its own share without a box.
    """
    seats = me.terms
    shares = np.zeros((seats.n, seats.sharing.columns(seats.scheme.helped)), np.uint64)
    channels = me.channels
    for i in np.flatnonzero(view.prepared).tolist():
        name = seats.names[i]
        if mine and name == me.at.who:
            shares[i] = mine.share
            continue
        try:
            share = channels[name].open(boxes[i].tobytes(), seats.binding + view.public(i))
        except ProtocolError:
            continue
        shares[i] = np.frombuffer(share, "<u8")
    shares[(shares >= Field64.p).any(axis=1)] = 0  # of what is no share, nothing is held
    return shares


def _read_inside(me: Seat, view: View, held: Set, told: Any) -> Set:
    """Who is in the sum; ProtocolError where that is no set that a holder may help to open.

    Who has sealed nothing for this holder does not count: the server may have made it up.
    """
    seats = me.terms
    match told:
        case {"inside": names, **more} if not more:
            inside = seats.read_set(names, "Those who are in")
        case _:
            raise unexpected(me.at.who, "who is in the sum")
    count = int((inside & held).sum())
    if (inside & ~view.prepared).any() or count < seats.least:
        raise ProtocolError(
            f"{me.at.who} was asked to open a sum of {count} clients whose shares it holds.",
            f"It opens one of at least {seats.least}, who have all said a vector.",
            "Look at the server, or sample more clients.",
        )
    return inside


def _check_holders_agreed(seats: Seats, agreed: bytes, told: Any) -> None:
    """ProtocolError where fewer than t holders have signed what this one has."""
    match told:
        case {"signatures": np.ndarray() as rows, **more} if not more:
            whole = rows.dtype == np.uint8 and rows.shape == (len(seats.holders), SIGNATURE)
        case _:
            whole = False
    if not whole:
        raise unexpected("A holder", "who has signed the set")
    count = 0
    for row, name in zip(rows, seats.holders, strict=True):
        if count < seats.t and row.any():
            count += verify(seats.holding[name].signing, agreed, bytes(row))
    if count < seats.t:
        raise ProtocolError(
            f"{count} of {len(seats.holders)} holders have signed that this set is in the sum.",
            f"{seats.t} must have, or a server could have another set opened by the others, and "
            "take the difference.",
            "Look at the server.",
        )


# ── the server ──


@dataclass
class Table(Cell):
    """What the server knows of a session with holders; rows of `holds` and `signatures` are
    holders.
    """

    terms: Seats
    there: set[str] = field(default_factory=set)  # who has answered in the turn before

    @classmethod
    def set_for(cls, seats: Seats, keep: Callable[[Any], None]) -> Table:
        """One at which nobody has said anything."""
        n = seats.n
        h = len(seats.holders)
        view = View(np.zeros(n, bool), np.zeros((n, seats.scheme.width), np.uint8))
        boxes = np.zeros((n, h, box_of(seats.scheme, seats.sharing)), np.uint8)
        dealt = np.zeros((n, SIGNATURE), np.uint8)
        signatures = np.zeros((h, SIGNATURE), np.uint8)
        vectors = Vectors.of(seats, keep)
        holds = np.zeros((h, n), bool)
        return cls(seats, view, np.zeros(n, bool), boxes, holds, dealt, signatures, vectors)

    def hear_first(self, who: str, answer: Any) -> str:
        """Take in all that a member says; or why it is none. A holder that is none says nothing."""
        if who not in self.terms.members:
            return "" if answer == HERE else NO_VECTOR
        match answer:
            case {
                "public": public,
                "boxes": boxes,
                "prepared": prepared,
                "vector": v,
                "signature": bytes(signature),
                **more,
            } if not more:
                first = {"public": public, "boxes": boxes, "signature": prepared}
            case _:
                return NO_VECTOR
        return self.hear_prepared(who, first, False) or self.hear_hidden(who, v, signature)

    def told_dealt(self) -> Bodies:
        """Who has said a vector, and to each holder its boxes."""
        self.close(int(self.inside.sum()), "have said a vector")
        self.view = View(self.inside.copy(), self.view.publics)
        named = {"prepared": as_set(self.view.prepared), "publics": self.view.publics}
        return self._to_holders(
            lambda j: {**named, "boxes": np.ascontiguousarray(self.between[:, j])}
        )

    def hear_holds(self, who: str, answer: Any) -> str:
        """Whose shares a holder has; or why that is none."""
        try:
            held = self.terms.read_set(answer, "Those whose shares are held")
        except ProtocolError:
            return NO_VECTOR
        self.holds[self._place(who)] = held
        return ""

    def told_set(self) -> Bodies:
        """Who is in the sum: without those whose keys could not be opened, and with all others.

        A failure where too few are left, or too few holders have the shares of all.
        """
        for i in left_out(self.terms.t, self.holds, self.inside):
            self.vectors.remove(i)
            self.inside[i] = False
        self.between = self.between[:0]
        self.close(int(self.inside.sum()), "have keys that can be opened")
        self.close(int(self._able.sum()), "hold the shares of all", self.terms.t)
        message = {"inside": as_set(self.inside)}
        return self._to_holders(lambda j: message)

    def hear_signed(self, who: str, answer: Any) -> str:
        """Take in a holder's signature on the set; or why it is none."""
        agreed = self.terms.agreed(self.view, self.inside)
        if not isinstance(answer, bytes) or len(answer) != SIGNATURE:
            return "what it says is no signature"
        if not verify(self.terms.holding[who].signing, agreed, answer):
            return "it has signed something else than the set that is in the sum"
        self.signatures[self._place(who)] = np.frombuffer(answer, np.uint8)
        return ""

    def told_signed(self) -> Bodies:
        """Which holders have signed."""
        signed = np.asarray(self.signatures.any(axis=1))
        self.close(int(signed.sum()), "have signed who is in the sum", self.terms.t)
        able = signed & self._able
        bodies = self._to_holders(lambda j: {"signatures": self.signatures})
        return {who: body for who, body in bodies.items() if able[self._place(who)]}

    def hear_opening(self, who: str, answer: Any) -> str:
        """Take in a holder's help; or why it is none."""
        whole = isinstance(answer, np.ndarray) and answer.dtype == np.uint64
        if not whole or answer.shape != help_of(self.terms.scheme, self.terms.sharing):
            return "what it says is no help"
        if (answer >= Field64.p).any():
            return "its help holds what is no element"
        self.helps[self._place(who)] = answer
        return ""

    @property
    def _able(self) -> Set:
        """Which holders have the shares of all in the sum."""
        return np.asarray(self.holds[:, self.inside].all(axis=1))

    def _place(self, who: str) -> int:
        """The number of a holder."""
        return self.terms.holders.index(who)

    def _to_holders(self, body: Callable[[int], Any]) -> Bodies:
        """A message to each holder that is there; none where the session has failed."""
        if self.failure:
            return {}
        return {who: body(j) for j, who in enumerate(self.terms.holders) if who in self.there}

    def close(self, count: int, have: str, least: int = 0) -> None:
        """There is no sum where fewer members are left than must be; or holders, where `least` of
        them must.
        """
        if not least:
            super().close(count, have)
        elif count < least and not self.failure:
            many = len(self.terms.holders)
            self.failure = Failure(f"{count} of {many} holders {have}, and {least} must.")


def collect(channel: Channel, asked: list[str], table: Table) -> Vector | None:
    """The server's side; None where there is no sum, and the table's `failure` says why."""
    parties = sorted({*asked, *table.terms.holders})
    bodies: Bodies = {who: {"cohort": asked} for who in parties}
    for said, hear in _turns(table, bodies):
        heard = set[str]()
        for who, answer in channel.as_completed(said):
            if why := hear(who, answer):
                channel.exclude(who, why)
            else:
                heard.add(who)
        table.there = heard
    return opened(table)


def _turns(table: Table, bodies: Bodies) -> Iterator[tuple[Bodies, Callable[[str, Any], str]]]:
    """What is said in each turn, and who hears the answers."""
    yield bodies, table.hear_first
    yield table.told_dealt(), table.hear_holds
    yield table.told_set(), table.hear_signed
    yield table.told_signed(), table.hear_opening


def left_out(t: int, holds: Set, inside: Set) -> list[int]:
    """Whose keys are not opened, so that t holders have the shares of all others.

    A clash is of a holder and a member whose share it does not hold: whoever lies, one of them
    does. Who has most of them goes, one after another; of a holder no more is expected then.
    """
    inside = inside.copy()
    trusted = np.array(holds.any(axis=1))
    out = list[int]()
    while trusted.sum() >= t and inside.any():
        lacks = ~holds & trusted[:, None] & inside[None, :]
        if (trusted & ~lacks.any(axis=1)).sum() >= t:
            break
        of_members = lacks.sum(axis=0)
        of_holders = lacks.sum(axis=1)
        if of_members.max() >= of_holders.max():
            out.append(int(np.argmax(of_members)))
            inside[out[-1]] = False
        else:
            trusted[int(np.argmax(of_holders))] = False
    return out
