"""Cell: what the server of a hidden sum knows of one cell, from turn to turn.

It carries what clients say to one another, and adds vectors that it cannot read. What does not fit
is left out by name; a cell of which too few are left has no sum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...crypto.field import Elements, Field64
from ...crypto.keys import SIGNATURE, verify
from ...crypto.sealing import MAC
from ...errors import ProtocolError
from ...spec import Vector
from .. import NO_VECTOR
from .proving import DEALT, Dealt, Proof
from .terms import (
    DIGEST,
    Octets,
    Set,
    Terms,
    View,
    as_set,
    digest_of,
    form_of,
    help_of,
    member_box_of,
    said_of,
    value_of,
)

Bodies = dict[str, Any]  # who → message

NO_SIGNATURE = "what it says is no signature, with a MAC for each"
# why a client is left out whose shares do not open to what it has said of them, and then again in
# the round that follows: for no longer, since it may be those who help that lie
LACKING = "the shares that it has dealt do not open to what it has said of them"
RESTING = "in the round before, the shares that it had dealt did not open to what it had said"


def unkept(data: Any) -> None:
    """Nothing is kept of a round."""


@dataclass(frozen=True)
class Failure:
    """Why a cell has no sum; and whose shares do not open, if that is why."""

    why: str
    lacking: list[str] = field(default_factory=list)


@dataclass
class Vectors:
    """The hidden vectors of a cell as they came: their sum, and who has signed what."""

    total: Any  # of the scheme
    keep: Callable[[Any], None]  # takes each of them, and what opens their sum
    signed: Octets  # [n, …]: SHA-256 of a member's vector, and its signature
    arrived: list[int] = field(default_factory=list)  # members
    key: bytes = b""  # SHA-256 of what opens the sum, where that may be told

    @classmethod
    def of(cls, terms: Terms, keep: Callable[[Any], None]) -> Vectors:
        """None yet."""
        signed = np.zeros((terms.n, DIGEST + SIGNATURE), np.uint8)
        return cls(terms.scheme.total(terms), keep, signed)

    def add(self, i: int, v: Vector, signed: bytes) -> None:
        """That of a member."""
        self.keep(np.ascontiguousarray(v).data)
        self.total.add(v)
        self.arrived.append(i)
        self.signed[i] = np.frombuffer(signed, np.uint8)

    def remove(self, i: int) -> None:
        """Take a member's off the sum again."""
        self.total.remove(self.arrived.index(i))

    def keep_key(self, key: bytes) -> None:
        """Keep what opens the sum."""
        self.keep(key)
        self.key = hashlib.sha256(key).digest()


@dataclass
class Cell:
    """What the server knows of one cell, turn by turn."""

    terms: Terms
    view: View
    inside: Set
    between: Octets = field(repr=False)  # [n, n, …]: from, to; sealed shares, and then MACs
    holds: Set = field(repr=False)  # [n, n]: who, whose
    dealt: Octets = field(repr=False)  # [n, DEALT]: signatures on first messages
    signatures: Octets = field(repr=False)  # [n, …]
    vectors: Vectors = field(repr=False)
    helps: dict[int, Elements] = field(default_factory=dict)  # member → its help
    failure: Failure | None = None  # once there is no sum
    proven: list[Proof] = field(default_factory=list)  # that somebody has dealt rubbish
    # whose help lies beside that of the others: its own lie, or that of who dealt it a share
    wrong: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, terms: Terms, keep: Callable[[Any], None] = unkept) -> Cell:
        """A cell of which nobody has said anything."""
        n = terms.n
        view = View(np.zeros(n, bool), np.zeros((n, value_of(terms.scheme)), np.uint8))
        return cls(
            terms,
            view,
            np.zeros(n, bool),
            np.zeros((n, n, member_box_of(terms.scheme, terms.sharing)), np.uint8),
            np.zeros((n, n), bool),
            np.zeros((n, DEALT), np.uint8),
            np.zeros((n, SIGNATURE), np.uint8),
            Vectors.of(terms, keep),
        )

    # ── prepare ──

    def hear_prepared(self, who: str, answer: Any, seals: bool = True) -> str:
        """Take in a first message; or why it is none. seals: are its boxes under a seal?"""
        i = self.terms.number(who)
        match answer:
            case {
                "public": bytes(public),
                "boxes": np.ndarray() as boxes,
                "signature": bytes(signature),
                **more,
            } if not more:
                whole = boxes.dtype == np.uint8 and boxes.shape == self.between.shape[1:]
                if not whole or len(public) != self.view.publics.shape[1]:
                    return NO_VECTOR
            case _:
                return NO_VECTOR
        member = self.terms.members[who]
        dealt = Dealt(self.terms.binding, who, member, public, boxes, signature)
        signed = dealt.signed if seals else verify(member.signing, dealt.about, signature)
        if not signed:
            return "what it says is not signed by the client that it is said to be of"
        if not self.terms.scheme.sound(public):
            return "nobody can hide a vector against its public value"
        value = np.frombuffer(public, np.uint8)
        if (self.view.publics[self.view.prepared] == value).all(axis=1).any():
            return "its public value is that of another client"
        self.view.prepared[i] = True
        self.view.publics[i] = value
        self.between[i] = boxes
        self.dealt[i] = np.frombuffer(signature, np.uint8)
        return ""

    # ── vector ──

    def hear_vector(self, who: str, answer: Any) -> str:
        """Add a hidden vector to the others; or why it is none."""
        i = self.terms.number(who)
        match answer:
            case {"vector": v, "holds": holds, "signature": bytes(signature), **more} if not more:
                try:
                    held = self.terms.read_set(holds, "Those whose shares are held")
                except ProtocolError:
                    return NO_VECTOR
            case _:
                return NO_VECTOR
        if why := self.hear_hidden(who, v, signature):
            return why
        self.holds[i] = held
        return ""

    def hear_hidden(self, who: str, v: Any, signature: bytes) -> str:
        """Add what its client has signed to the others; or why not."""
        i = self.terms.number(who)
        if not self.terms.scheme.fits(v, self.terms):
            return NO_VECTOR
        digest = digest_of(v)
        said = said_of(self.terms.binding, who, form_of(self.terms.spec), digest)
        if not verify(self.terms.members[who].signing, said, signature):
            return "its vector is not signed by the client that it is said to be of"
        self.vectors.add(i, v, digest + signature)
        self.inside[i] = True
        return ""

    # ── agree ──

    def told_inside(self) -> Bodies:
        """Who is in the sum."""
        self.close(int(self.inside.sum()), "have said a vector")
        self.between = np.zeros((self.terms.n, self.terms.n, MAC), np.uint8)
        held = helpers_of(self)[self.inside].sum(axis=0)
        wanted = self.terms.scheme.wanted(self.view.prepared, self.inside)
        lacking = wanted & (held < self.terms.t)
        if lacking.any():
            whose = ", ".join(self.terms.scheme.dealers(self.terms, lacking)[:5]) or "all"
            why = (
                f"Fewer than {self.terms.t} clients hold shares of {whose}: what hides the sum "
                "could not be taken off."
            )
            self.failure = self.failure or Failure(why)
        message = {"inside": as_set(self.inside)}
        members = np.flatnonzero(self.inside).tolist()
        return addressed(self, dict.fromkeys(members, message))

    def hear_agreed(self, who: str, answer: Any) -> str:
        """Take in a signature on the set, and for each other member a MAC, which it alone can
        check; or why it is none.
        """
        match answer:
            case {"signature": bytes(signature), "macs": macs, **more} if not more:
                try:
                    macs = self.terms.read_rows(macs, MAC, "MACs")
                except ProtocolError:
                    return NO_SIGNATURE
            case _:
                return NO_SIGNATURE
        agreed = self.terms.agreed(self.view, self.inside)
        if not verify(self.terms.members[who].signing, agreed, signature):
            return "it has signed something else than the set that is in the sum"
        i = self.terms.number(who)
        self.signatures[i] = np.frombuffer(signature, np.uint8)
        self.between[i] = macs
        return ""

    # ── open ──

    def hear_help(self, who: str, answer: Any) -> str:
        """Take in a client's help; or why it is none."""
        whole = isinstance(answer, np.ndarray) and answer.dtype == np.uint64
        if not whole or answer.shape != help_of(self.terms.scheme, self.terms.sharing):
            return "what it says is no help"
        if (answer >= Field64.p).any():
            return "its help holds what is no element"
        self.helps[self.terms.number(who)] = answer
        return ""

    # ── all turns ──

    def close(self, count: int, have: str, least: int = 0) -> None:
        """There is no sum where fewer are left than must be."""
        least = least or self.terms.least
        if count < least and not self.failure:
            self.failure = Failure(f"{count} of {self.terms.n} clients {have}, and {least} must.")


def helpers_of(cell: Cell) -> Set:
    """Who can help to open which row [n, rows]."""
    return cell.terms.scheme.helpers(cell.holds, cell.inside)


def told_prepared(cell: Cell) -> Bodies:
    """Who has prepared, and to each its shares."""
    cell.close(int(cell.view.prepared.sum()), "have prepared")
    named = {"prepared": as_set(cell.view.prepared), "publics": cell.view.publics}
    members = np.flatnonzero(cell.view.prepared)
    return addressed(
        cell,
        {int(i): {**named, "boxes": np.ascontiguousarray(cell.between[:, i])} for i in members},
    )


def told_agreed(cell: Cell) -> Bodies:
    """To each what those who have signed say to it."""
    signed = cell.signatures.any(axis=1)
    cell.close(int(signed.sum()), "have signed who is in the sum", cell.terms.t)
    able = signed & helpers_of(cell).any(axis=1)
    members = np.flatnonzero(able).tolist()
    return addressed(cell, {i: {"macs": np.ascontiguousarray(cell.between[:, i])} for i in members})


def addressed(cell: Cell, bodies: Mapping[int, Any]) -> Bodies:
    """Messages by name; none where the cell has failed."""
    if cell.failure:
        return {}
    return {cell.terms.names[i]: body for i, body in bodies.items()}
