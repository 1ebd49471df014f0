"""A client of a hidden sum: what it says in four turns, and what it refuses.

    cohort            →  a public value, and a share of its secrets sealed for each other member
    who has prepared  →  its hidden vector, and whose shares it holds
    (what those have signed whose shares it lacks  →  the proof that these are rubbish)
    who is in         →  its signature on that set, and for each other member a MAC of the same
    t − 1 MACs        →  its help, for exactly that set

It believes the server nothing: of a public value its client says by a MAC that it is its own, and a
box opens only as its sender has sealed it, with this binding and this value; a set is signed once;
and nothing is opened that t members, itself among them, have not said to each other. A MAC is as
good as a signature to the one whom it is for, and takes 1 µs to check instead of 100. Where others
have to see who has said what, as of a box that is rubbish, it looks at the signature.
(Bonawitz et al. 2017, Fig. 4; keys are known beforehand, so the first two rounds are one)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ...asks import Work
from ...codec import dumps, loads
from ...crypto.disclosure import PROOF
from ...crypto.field import Elements
from ...crypto.identity import Identity, Member
from ...crypto.sealing import MAC, Channel, show
from ...errors import ProtocolError
from ...spec import Spec, Vector
from ...transforms import Context, Session
from .. import Contribute, Conversation, Draw
from .proving import DEALT, Dealt, are_shares, is_octets, opened
from .terms import (
    Octets,
    Set,
    Terms,
    View,
    as_set,
    digest_of,
    form_of,
    member_box_of,
    said_of,
    shares_of,
    value_of,
)

SAID = b"hansa hidden sum: public value 1"  # before a value, where a MAC says whose it is


@dataclass(frozen=True)
class Prepared:
    """What a client has drawn for a session, and said of it."""

    secret: bytes = field(repr=False)
    share: Elements = field(repr=False)  # its own share of it
    public: bytes
    boxes: Octets = field(repr=False)  # [n, …]: for each other member its share
    signature: bytes  # on what it says of this: its seal is gone when it starts again

    def encode(self) -> bytes:
        """Its bytes, for the book."""
        return dumps((self.secret, self.share, self.public, self.boxes, self.signature))

    @classmethod
    def decode(cls, data: bytes) -> Prepared:
        """What `encode` has written."""
        return cls(*loads(data))


def speak(
    cells: Callable[[list[str], Spec, Session], list[Terms]], contribute: Contribute, at: Context
) -> Conversation:
    """A client's side; ProtocolError where the server says what does not fit together."""
    cohort = _read_cohort(at, (yield))
    (terms,) = (cell for cell in cells(cohort, at.spec, at.session) if at.who in cell.names)
    yield from member(terms, contribute, at)


def member(terms: Terms, vector: Callable[[], Work[Vector]], at: Context) -> Conversation:
    """The same from where the client knows its cell."""
    me = Me(terms, at)
    mine = Prepared.decode((yield Draw(me.drawn)))

    told = yield {"public": mine.public, "boxes": mine.boxes, "signature": mine.signature}
    view, boxes = _read_prepared(me, mine, told)
    shares, known = _opened(me, mine, view, boxes)
    others = {
        name: view.public(i)
        for i, name in enumerate(terms.names)
        if view.prepared[i] and name != at.who
    }
    held = np.asarray(shares.any(axis=1))
    # without a name, which would keep the vector for the session
    told = yield me.said((yield from vector()), mine.secret, others, held)
    if _asks_for_proofs(told):
        told = yield _proofs(me, view, told)
    inside = _read_inside(me, view, known, told)
    agreed = terms.agreed(view, inside)

    told = yield {"signature": me.identity.signing.sign(agreed), "macs": me.macs(agreed)}
    _check_agreed(me, inside, agreed, told)
    yield terms.scheme.help(shares, view.prepared, inside)


@dataclass(frozen=True)
class Me:
    """One member: its place, its identity, and a channel to each of the others."""

    terms: Terms
    at: Context

    @cached_property
    def identity(self) -> Identity:
        """Its keys; ProtocolError where it has none, or others than the roster says."""
        found = self.at.session.identity
        if found is None or found.member != self.known.get(found.who):
            raise ProtocolError(
                f"{self.at.who} has no identity, or another than the roster says.",
                "It could sign nothing, and nothing could be sealed for it alone.",
                "Who brings the parties together gives each its own: Identity.fresh(who, role).",
            )
        return found

    @property
    def known(self) -> Mapping[str, Member]:
        """Who takes part in the session."""
        return self.terms.members

    @property
    def place(self) -> int:
        """Its number."""
        return self.terms.number(self.at.who)

    @cached_property
    def channels(self) -> dict[str, Channel]:
        """A channel to each other member; of which session a box is says its `about`."""
        members = self.terms.members.items()
        return self.identity.channels(
            {name: one.agreement for name, one in members if name != self.at.who}
        )

    @cached_property
    def others(self) -> list[tuple[int, str]]:
        """All other members, with their numbers."""
        names = enumerate(self.terms.names)
        return [(i, name) for i, name in names if name != self.at.who]

    @cached_property
    def sealed_for(self) -> dict[str, Channel]:
        """A channel to each other member in which it seals."""
        members = self.terms.members.items()
        return self.identity.sealed_for(
            {name: one.agreement for name, one in members if name != self.at.who}
        )

    def drawn(self) -> bytes:
        """A secret drawn anew, dealt to all members; and what is said of it."""
        scheme = self.terms.scheme
        secret = scheme.draw()
        public = scheme.public(secret) + self.identity.seal.public
        shares = shares_of(self.terms, secret)
        boxes = np.zeros((self.terms.n, member_box_of(scheme, self.terms.sharing)), np.uint8)
        about = self.terms.binding + public
        for name, sealed in self.sealed_for.items():
            i = self.terms.number(name)
            box = self.channels[name].mac(SAID + about) + sealed.seal_once(
                shares[i].tobytes(), about
            )
            boxes[i] = np.frombuffer(box, np.uint8)
        signature = self.signed(public, boxes)
        return Prepared(secret, shares[self.place], public, boxes, signature).encode()

    def signed(self, public: bytes, boxes: Octets) -> bytes:
        """Its signature on what it has prepared, and that of the seal of its boxes [DEALT]."""
        message = self.terms.prepared(self.identity.who, public, boxes)
        return self.identity.signing.sign(message) + self.identity.seal.sign(message)

    def macs(self, agreed: bytes) -> Octets:
        """For each other member a MAC of what it has signed [n, MAC]."""
        blank = bytes(MAC)
        macs = {name: channel.mac(agreed) for name, channel in self.channels.items()}
        data = b"".join(macs.get(name, blank) for name in self.terms.names)
        return np.frombuffer(data, np.uint8).reshape(self.terms.n, MAC)

    def said(
        self, v: Vector, secret: bytes, others: Mapping[str, bytes], held: Set
    ) -> dict[str, Any]:
        """Its vector, hidden and signed, and whose shares it holds."""
        hidden = self.terms.scheme.hide(v, secret, self.at.who, others, self.terms)
        form = form_of(self.terms.spec)
        message = said_of(self.terms.binding, self.at.who, form, digest_of(hidden))
        signature = self.identity.signing.sign(message)
        return {"vector": hidden, "holds": as_set(held), "signature": signature}


# ── prepare ──


def _read_cohort(at: Context, told: Any) -> list[str]:
    """The cohort, of which this client is one; ProtocolError for another than the plan draws."""
    match told:
        case {"cohort": list(names), **more} if not more and all(isinstance(n, str) for n in names):
            if tuple(names) == at.session.cohort and at.who in names:
                return names
            raise ProtocolError(
                f"{at.who} was told of a cohort of {len(names)} that the plan does not draw.",
                "A server that chose whom to ask could choose those who collude with it, or fewer.",
                "Look at the server; or take the newest roster, from which the plan draws.",
            )
    raise unexpected(at.who, "the cohort")


# ── vector ──


def _read_prepared(me: Me, mine: Prepared, told: Any) -> tuple[View, Octets]:
    """Who has prepared, with which public values; and the boxes for this client [n, …].

    ProtocolError where too few have, where one's own value is another, or two have one.
    """
    who = me.at.who
    terms = me.terms
    match told:
        case {"prepared": names, "publics": publics, "boxes": boxes, **more} if not more:
            prepared = terms.read_set(names, "Those who have prepared")
            publics = terms.read_rows(publics, value_of(terms.scheme), "Public values")
            boxes = terms.read_rows(boxes, mine.boxes.shape[1], "Boxes")
        case _:
            raise unexpected(who, "who has prepared, with which values, and their shares")
    view = View(prepared, publics)
    if not prepared[me.place] or prepared.sum() < terms.least:
        raise ProtocolError(
            f"{who} was told that {prepared.sum()} of {terms.n} clients have prepared.",
            f"A sum is over {terms.least} at least, and {who} is one of them.",
            "Sample more clients, or look at the server.",
        )
    if view.public(me.place) != mine.public:
        raise ProtocolError(
            f"{who} was told another public value of its own.",
            "What others hide against it would never cancel.",
            "Look at the server.",
        )
    values = {view.public(i) for i in np.flatnonzero(prepared).tolist()}
    if len(values) < prepared.sum():
        raise ProtocolError(
            f"{who} was told one public value of two clients.",
            "Values are drawn, so somebody repeats another's.",
            "Look at the server.",
        )
    return view, boxes


def _opened(me: Me, mine: Prepared, view: View, boxes: Octets) -> tuple[Elements, Set]:
    """The shares in the boxes that open [n, columns], and zeros for all others; and who has said to
    this client itself that its public value is its own [n].

    ProtocolError where fewer than t have: a server that makes up public values says for nobody else
    that they are its own.
    """
    terms = me.terms
    shares = np.zeros((terms.n, len(mine.share)), np.uint64)
    shares[me.place] = mine.share
    known = np.zeros(terms.n, bool)
    known[me.place] = True
    there = [(i, name) for i, name in me.others if view.prepared[i]]
    sealed = me.identity.sealed_by({name: view.seal(i) for i, name in there})
    for i, name in there:
        about = terms.binding + view.public(i)
        known[i] = me.channels[name].said(SAID + about, bytes(boxes[i, :MAC]))
        share = opened(sealed.get(name), bytes(boxes[i, MAC:]), about)
        if share is not None:
            shares[i] = share
    shares[~are_shares(shares)] = 0  # of what is no share, nothing is held
    many = int(known.sum())
    if many < terms.t:
        raise ProtocolError(
            f"{many} of {terms.n} clients have said to {me.at.who} what their public values are; "
            f"not {_some(terms, view.prepared & ~known)}.",
            f"{terms.t} must have, or the server may have made the others up.",
            f"Look at the server, or at these, which did not say so to {me.at.who}.",
        )
    return shares, known


def _some(terms: Terms, members: Set) -> str:
    """Names to be read, of a few."""
    return ", ".join(terms.named(members)[:5])


# ── prove ──


def _asks_for_proofs(told: Any) -> bool:
    return isinstance(told, dict) and "denied" in told


def _proofs(me: Me, view: View, told: Any) -> Octets:
    """Of each whose share it does not hold, the proof that it was rubbish [k, PROOF]."""
    terms = me.terms
    match told:
        case {"denied": names, "boxes": boxes, "signatures": signatures, **more} if not more:
            denied = np.flatnonzero(terms.read_set(names, "Those who have dealt nothing")).tolist()
        case _:
            raise unexpected(me.at.who, "what others have signed")
    width = member_box_of(terms.scheme, terms.sharing)
    whole = is_octets(boxes, (len(denied), terms.n, width))
    if not whole or not is_octets(signatures, (len(denied), DEALT)):
        raise unexpected(me.at.who, "what others have signed")
    proofs = np.zeros((len(denied), PROOF), np.uint8)
    for k, i in enumerate(denied):
        name = terms.names[i]
        row = boxes[k], bytes(signatures[k])
        dealt = Dealt(terms.binding, name, terms.members[name], view.public(i), *row)
        proof = _proof(me, dealt)
        proofs[k, : len(proof)] = np.frombuffer(proof, np.uint8)
    return proofs


def _proof(me: Me, dealt: Dealt) -> bytes:
    """The proof that a share was rubbish.

    ProtocolError where its dealer has not signed what it is said to have, with key and seal, or
    there is a share in it: then it was the server that changed what it was told before.
    """
    channel = me.identity.sealed_by({dealt.dealer: dealt.seal}).get(dealt.dealer)
    if not dealt.signed or dealt.holds(me.place, channel):
        raise ProtocolError(
            f"{me.at.who} was asked to show a share of {dealt.dealer} that is none of rubbish.",
            "It is as good as its own client has dealt it, or that has not signed what is told; "
            "and with enough of them a vector would lie open.",
            "Look at the server.",
        )
    return show(me.identity.agreement, dealt.seal, dealt.about)


# ── agree, and open ──


def _read_inside(me: Me, view: View, known: Set, told: Any) -> Set:
    """Who is in the sum; ProtocolError where that is no set that it may help to open.

    Who has said nothing to this client itself does not count: the server may have made it up.
    """
    who = me.at.who
    terms = me.terms
    match told:
        case {"inside": names, **more} if not more:
            inside = terms.read_set(names, "Those who are in")
        case _:
            raise unexpected(who, "who is in the sum")
    wrong = ""
    if (inside & ~view.prepared).any():
        wrong = "some who have not prepared"
    if not inside[me.place]:
        wrong = f"all but {who}"
    count = int((inside & known).sum())
    if count < terms.least:
        wrong = f"{count} clients"
        if unknown := _some(terms, inside & ~known):
            wrong += f", beside {unknown}, of whom it knows nothing but by the server"
    if wrong:
        raise ProtocolError(
            f"{who} was asked to open a sum of {wrong}.",
            f"It opens one of at least {terms.least}, itself among them, who have prepared.",
            f"Look at the server, or at these, which did not say so to {who}; or sample more.",
        )
    return inside


def _check_agreed(me: Me, inside: Set, agreed: bytes, told: Any) -> None:
    """ProtocolError where fewer than t of those in the sum, itself among them, have said to this
    client what it has signed.
    """
    terms = me.terms
    match told:
        case {"macs": rows, **more} if not more:
            macs = terms.read_rows(rows, MAC, "MACs")
        case _:
            raise unexpected(me.at.who, "who has signed the set")
    others = [i for i in np.flatnonzero(inside).tolist() if i != me.place]
    said = [me.channels[terms.names[i]].said(agreed, bytes(macs[i])) for i in others]
    count = 1 + sum(said)
    if count < terms.t:
        raise ProtocolError(
            f"{count} of {terms.n} clients have said that this set is in the sum.",
            f"{terms.t} must have, or a server could have another set opened by the others, and "
            "take the difference.",
            "Look at the server; or some of them say to each other what they have not signed.",
        )


def unexpected(who: str, wanted: str) -> ProtocolError:
    """What is raised where a server says something else."""
    found = f"{who} was told something else than {wanted}."
    return ProtocolError(found, "", "Look at the server's version.")
