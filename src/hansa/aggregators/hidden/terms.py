"""Terms: what a client and the server of a hidden sum know of one cell before anything is said; and
the scheme by which its vectors are hidden.

A cell is the clients whose vectors are added together: all of a cohort, or a part of it. Members
are numbered in the order of their names, and a set of them travels as n zeros and ones.

    t = ⌊threshold · n⌋ + 1                                     so many open a sum
    2t − n − 1 clients may collude with the server              two sets would need t signatures
                                                                each, and honest clients give one;
    and t − 2 at most                                           two honest ones hide each other
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ...codec import fingerprint
from ...crypto.field import Elements
from ...crypto.identity import Member
from ...crypto.sealing import MAC, OVERHEAD, SEALED_WITH, TAG
from ...crypto.shamir import Sharing
from ...errors import ProtocolError
from ...spec import Spec, Vector
from ...sums import Total
from ...transforms import Session

DOMAIN = "hansa hidden sum 1"
PREPARED = "hansa hidden sum: prepared 1"  # what is signed as this is signed as nothing else
AGREED = "hansa hidden sum: agreed 1"
SHARE = 2 / 3  # of the members that open a sum, and one more, where a plan says nothing else
SAID = "hansa hidden sum: vector 1"
DIGEST = hashlib.sha256().digest_size
FEWEST = 3  # members of a cell: of two, each learns the other's vector from the sum

Set = NDArray[np.bool_]  # of members, by number
Octets = NDArray[np.uint8]


def needed(threshold: float, n: int) -> int:
    """t: how many of n members open a sum together."""
    share = Fraction(threshold).limit_denominator(10**6)
    t = int(share * n) + 1
    return min(t, max(n, 1))


def colluding(threshold: float, n: int) -> int:
    """How many of n members may collude with the server, and still see no more than the sum, over
    two honest ones or more:  min(2t − n − 1, t − 2).
    """
    t = needed(threshold, n)
    of_two_sets = 2 * t - n - 1
    of_two_honest = t - 2
    return min(of_two_sets, of_two_honest)


@dataclass(frozen=True)
class View:
    """Who has prepared, and with which public values [n, width]; zeros for all others.

    A value is the scheme's, and behind it the seal of the member's boxes.
    """

    prepared: Set
    publics: Octets

    def public(self, i: int) -> bytes:
        """The value of a member."""
        return bytes(self.publics[i])

    def seal(self, i: int) -> bytes:
        """What a member has sealed its boxes with."""
        return bytes(self.publics[i, -SEALED_WITH:])


class Scheme:
    """How vectors are hidden, and their sum is opened; a subclass says it.

    draw, public, elements: what a client draws for a session, shows, and shares. hide, total: its
    vector under what it has drawn, and how such vectors are added. helpers: who can help to open
    the sum. wanted, help: what members say of their shares, for one
    set, in rows, each of which opens to one secret. checked, open: the secrets that this gives, and
    the sum.
    """

    width: ClassVar[int]  # bytes of a public value
    parts: ClassVar[int]  # secrets of one client, of which each is opened apart
    helped: ClassVar[int]  # elements of each of them
    certain: ClassVar[bool] = True  # is no wrong secret taken for the right one?
    apart: ClassVar[bool] = False  # can a vector be taken off the sum again?

    def rows(self, n: int) -> int:
        """How many secrets may be opened: here one of each member."""
        return n

    def draw(self) -> bytes:
        """The secret of one session, from the operating system."""
        raise TypeError(f"{type(self).__name__} does not say what it draws")

    def public(self, secret: bytes) -> bytes:
        """What everybody may know of a secret; `width` bytes."""
        raise TypeError(f"{type(self).__name__} does not say what is public")

    def sound(self, public: bytes) -> bool:
        """Can others hide a vector against this public value?"""
        return True

    def elements(self, secret: bytes) -> Elements:
        """What is shared of a secret [parts, helped]."""
        raise TypeError(f"{type(self).__name__} does not say what is shared")

    def hide(
        self, v: Vector, secret: bytes, who: str, publics: Mapping[str, bytes], terms: Terms
    ) -> Vector:
        """A client's vector, hidden by its secret against the public values of the others; `v` may
        be written to.
        """
        raise TypeError(f"{type(self).__name__} does not say how a vector is hidden")

    def largest(self, spec: Spec, n: int) -> Vector:
        """A hidden vector, as long as one can be where n are added."""
        return np.zeros(spec.size, spec.word)

    def fits(self, v: Any, terms: Terms) -> bool:
        """Is this a hidden vector?"""
        return terms.spec.fits(v)

    def total(self, terms: Terms) -> Any:
        """A sum of hidden vectors: it can `add` one, and `release` the sum; where vectors come off
        it again, `remove` the k-th that was added.
        """
        return Total()

    def helpers(self, holds: Set, inside: Set) -> Set:
        """Who can help to open which row [n, rows]."""
        return holds

    def wanted(self, prepared: Set, inside: Set) -> Set:
        """Which rows must be opened to take off what hides this sum [rows]."""
        return prepared

    def help(self, shares: Elements, prepared: Set, inside: Set) -> Elements:
        """What a client says of the shares that it holds [n, parts · …], for this set alone:
        [rows, …], in each row of one part.
        """
        raise TypeError(f"{type(self).__name__} does not say what helps")

    def checked(self, elements: Elements, public: bytes, inside: bool) -> bytes | None:
        """The secret that these elements [helped] are, of a client that is in the sum or not; None
        where its public value is of another.
        """
        raise TypeError(f"{type(self).__name__} does not say what a public value is of")

    def dealers(self, terms: Terms, rows: Set) -> list[str]:
        """Who has dealt what these rows open, where each is of one client."""
        return terms.named(rows)

    def open(
        self, total: Vector, terms: Terms, view: View, inside: Set, secrets: Mapping[int, bytes]
    ) -> Vector:
        """The sum without what hides it, which may be in the same memory, with what was opened of
        each row; RoundError where it cannot be that of these secrets.
        """
        raise TypeError(f"{type(self).__name__} does not say how a sum is opened")


class Hidden(Protocol):
    """A sum that is hidden in some way, and opened by some share of its members."""

    @property
    def scheme(self) -> Scheme:
        """The arithmetic."""
        ...

    @property
    def threshold(self) -> float:
        """Which share of the members opens it, and one more."""
        ...


@dataclass(frozen=True)
class Terms:
    """One cell of one session.

    names      its members, sorted
    scheme     the arithmetic of the sum
    kind       which sum it is, as its aggregator prints
    threshold  which share of the members open it, and one more
    spec       of a vector before it is hidden
    """

    names: tuple[str, ...]
    scheme: Scheme
    kind: str
    threshold: float
    spec: Spec
    task: bytes = field(repr=False)
    members: Mapping[str, Member] = field(repr=False)

    @classmethod
    def of(cls, names: Sequence[str], aggregator: Hidden, spec: Spec, session: Session) -> Terms:
        """Those of a cell in a session, as one party knows that; ProtocolError for no cell.

        Each member is a client of the party's own roster, and there are as many as the plan says.
        """
        known = {name: session.roster.get(name) for name in names}
        found = {name: one for name, one in known.items() if one and one.role == "client"}
        if strangers := sorted(set(names) - found.keys()):
            raise ProtocolError(
                f"The cohort has {', '.join(strangers[:5])}, whom the roster does not name.",
                "Who may invent clients reads the vector of the one that is real off the sum.",
                "Look at the server, or take the newest roster.",
            )
        terms = cls(
            tuple(names),
            aggregator.scheme,
            repr(aggregator),
            aggregator.threshold,
            spec,
            session.task,
            found,
        )
        terms._check()
        return terms

    def _check(self) -> None:
        n = len(self.names)
        if list(self.names) != sorted(set(self.names)):
            raise ProtocolError(
                f"The cohort of {n} clients is not sorted, or names somebody twice.",
                "Whoever is twice in it has two shares of each secret.",
                "Look at the server's version.",
            )
        facts = self.spec.sum_facts
        if n < FEWEST or self.least > n or 0 < facts.clients < n:
            most = f" and {facts.clients} at most" if facts.clients else ""
            raise ProtocolError(
                f"The cohort has {n} clients.",
                f"By the plan a sum is over {max(FEWEST, self.least)} at least{most}.",
                "Sample more clients, or look at the server.",
            )

    @property
    def n(self) -> int:
        """How many members there are."""
        return len(self.names)

    @cached_property
    def t(self) -> int:
        """How many of them open a sum."""
        return needed(self.threshold, self.n)

    @cached_property
    def least(self) -> int:
        """How many must be in a sum: t, the quorum, and as many as the noise counts on."""
        facts = self.spec.sum_facts
        return max(self.t, facts.quorum, facts.noise.least)

    @cached_property
    def sharing(self) -> Sharing:
        """How secrets are shared among the members."""
        return sharing_of(self.scheme, self.n, self.t)

    @cached_property
    def binding(self) -> bytes:
        """SHA-256 of what all members have to agree on: run, plan, session, model and turn of the
        protocol (`task`), who the members are and what their keys are, and how many open a sum.
        """
        return binding_of(self.kind, self.task, self.members, self.t, self.least)

    def prepared(self, who: str, public: bytes, boxes: Octets) -> bytes:
        """What a client signs of its first message."""
        return prepared_of(self.binding, who, public, boxes)

    def agreed(self, view: View, inside: Set) -> bytes:
        """What a client signs of a set: who has prepared, with which values, and who is in."""
        return agreed_of(self.binding, view, inside)

    def number(self, who: str) -> int:
        """The place of a member."""
        return self.names.index(who)

    def named(self, members: Set) -> list[str]:
        """Who is in a set."""
        return [self.names[i] for i in np.flatnonzero(members).tolist()]

    def read_set(self, found: Any, of: str) -> Set:
        """A set of members as it travels; ProtocolError for anything else."""
        whole = isinstance(found, np.ndarray) and found.dtype == np.uint8
        if not whole or found.shape != (self.n,) or (found > 1).any():
            raise ProtocolError(
                f"{of} are no set of {self.n} clients.",
                "It has a zero or a one for each of them.",
                "Look at the version of who says so.",
            )
        return np.asarray(found, bool)

    def read_rows(self, found: Any, width: int, of: str) -> Octets:
        """A row of so many bytes for each member; ProtocolError for anything else."""
        whole = isinstance(found, np.ndarray) and found.dtype == np.uint8
        if not whole or found.shape != (self.n, width):
            raise ProtocolError(
                f"{of} are no {self.n} rows of {width} bytes.",
                "",
                "Look at the version of who says so.",
            )
        return np.ascontiguousarray(found)


def sharing_of(scheme: Scheme, n: int, t: int) -> Sharing:
    """How secrets are shared among n members.

    As many elements lie on one polynomial as hide from those who may collude:
    t − pack ≥ 2t − n − 1.
    """
    most = n - t + 1
    return Sharing(n, t, min(scheme.helped, most))


def value_of(scheme: Scheme) -> int:
    """Bytes of a member's public value: the scheme's, and a seal."""
    return scheme.width + SEALED_WITH


def share_of(scheme: Scheme, sharing: Sharing) -> int:
    """Bytes of a share."""
    return 8 * scheme.parts * sharing.columns(scheme.helped)


def box_of(scheme: Scheme, sharing: Sharing) -> int:
    """Bytes of a share, as it is sealed for a holder."""
    return share_of(scheme, sharing) + OVERHEAD


def member_box_of(scheme: Scheme, sharing: Sharing) -> int:
    """Bytes of a share, as it is sealed for a member, and a MAC before it."""
    return MAC + share_of(scheme, sharing) + TAG


def help_of(scheme: Scheme, sharing: Sharing) -> tuple[int, int]:
    """The shape of a client's help: rows, and elements of its share of what each opens."""
    return scheme.rows(sharing.n), sharing.columns(scheme.helped)


def holders_of(terms: Terms) -> tuple[str, ...]:
    """Who holds shares, in the order of their places: all members, or a committee."""
    return getattr(terms, "holders", terms.names)


def as_set(found: Any) -> Octets:
    """A set as it travels."""
    return np.asarray(found, np.uint8)


def shares_of(terms: Terms, secret: bytes) -> Elements:
    """A secret's shares, in row i those of member i [n, …]; each of its parts is shared apart."""
    parts = terms.scheme.elements(secret)
    return np.concatenate([terms.sharing.share(part) for part in parts], axis=1)


def binding_of(kind: str, task: bytes, members: Mapping[str, Member], t: int, least: int) -> bytes:
    """SHA-256 of a cell of one session: see `Terms.binding`."""
    names = sorted(members)
    keys = b"".join(members[name].signing + members[name].agreement for name in names)
    return fingerprint((DOMAIN, kind, task, names, keys, t, least))


def prepared_of(binding: bytes, who: str, public: bytes, boxes: Octets) -> bytes:
    """What a client signs of its first message: see `Terms.prepared`."""
    return fingerprint((PREPARED, binding, who, public, boxes))


def digest_of(v: Vector) -> bytes:
    """SHA-256 of a hidden vector."""
    return hashlib.sha256(np.ascontiguousarray(v).data).digest()


def form_of(spec: Spec) -> tuple[int, int, bool]:
    """How numbers lie in a vector: bits of one, how many, and whether a sum may have more bits."""
    facts = spec.sum_facts
    wraps = bool(facts.noise.multiplier or spec.rotated)
    return facts.modulus, spec.size, wraps


def said_of(binding: bytes, who: str, form: Sequence[int], digest: bytes) -> bytes:
    """What a client signs of its hidden vector: how it is read, and SHA-256 of it."""
    return fingerprint((SAID, binding, who, [int(x) for x in form], digest))


def agreed_of(binding: bytes, view: View, inside: Set) -> bytes:
    """SHA-256 of a set: see `Terms.agreed`."""
    seen = as_set(view.prepared), view.publics, as_set(inside)
    return fingerprint((AGREED, binding, *seen))
