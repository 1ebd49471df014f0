"""EncryptedSum: a sum of vectors under one-time keys, of which t of n clients open the sum.

    cᵢ = a·sᵢ + eᵢ + ⌊vᵢ · p/2ᴷ⌉           each under a key of its own, which lives for one session
    Σ vᵢ = ⌊(Σ cᵢ − a · Σ sᵢ) · 2ᴷ/p⌉       over those in the sum

Each client shares its key among all; who helps adds up its shares of the keys of exactly those in
the sum, and says nothing else. t such sums open Σ sᵢ, which opens Σ vᵢ, and no vector: there is no
key that opens one. Who vanishes leaves nothing behind that has to be taken off.

What is assumed: a·s + e is like random to who does not know s, in a ring of degree 4096 with a
modulus of 64 bits, σ = 3.24 (RLWE); also to who knows the sum of s and of e over h honest clients,
which leaves each with σ·√(1 − 1/h). Shares are sealed with X25519 as in MaskedSum, and are longer.
(Li et al. 2023, LERNA; Karthikeyan and Polychroniadou 2025, OPA; Bell-Clark et al. 2025, Willow)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ..crypto.field import Elements, Field64
from ..crypto.lattice import SIGMA, Key, Octets, add, fits, remove
from ..crypto.packing import DEGREE, ETA, Packing, packing
from ..errors import Fault, PlanError, ProtocolError, RoundError, number
from ..messages import largest
from ..spec import Spec, Vector
from ..transforms import Context, Session
from . import Aggregator, Channel, Contribute, Conversation
from .grouped import Grouped
from .hidden import LARGEST, MOST, HiddenSum, holding
from .hidden.committee import RISK, Seats, holders_that_fit, log2_risk
from .hidden.record import entry_of
from .hidden.reopening import SPARE, opened
from .hidden.spool import Spool
from .hidden.terms import (
    FEWEST,
    Scheme,
    Set,
    Terms,
    View,
    box_of,
    colluding,
    form_of,
    help_of,
    needed,
    sharing_of,
)

NAME = b"hansa lattice key: name 1"


def packed(spec: Spec, n: int) -> Packing:
    """How vectors of a spec lie in ciphertexts where n are added; PlanError where they do not."""
    bits, size, wraps = form_of(spec)
    return packing(bits, n, size, SPARE * wraps)


def kept(aggregator: Aggregator, spec: Spec, n: int) -> int:
    """Bytes of what a run may keep of a round of n clients: ciphertexts, and in each cell the sum
    of keys; 0 where there are none.
    """
    if isinstance(aggregator, Grouped):
        most = aggregator.added(n)
        return -(-n // most) * kept(aggregator.inner, spec, most)
    if not isinstance(aggregator, EncryptedSum):
        return 0
    return n * packed(spec, n).octets + 8 * DEGREE


class Lattice(Scheme):
    """Ciphertexts under one-time keys, whose sum is opened."""

    width: ClassVar[int] = hashlib.sha256().digest_size
    parts: ClassVar[int] = 1
    helped: ClassVar[int] = DEGREE
    certain: ClassVar[bool] = False  # a wrong sum of keys may be short
    apart: ClassVar[bool] = True

    def rows(self, n: int) -> int:
        """One: the sum of keys."""
        return 1

    def draw(self) -> bytes:
        """What a key and its errors are made of."""
        return Key.fresh().secret

    def public(self, secret: bytes) -> bytes:
        """A name of the key, with which its shares are sealed, so that none is of another."""
        return hashlib.sha256(NAME + secret).digest()

    def elements(self, secret: bytes) -> Elements:
        """Its coefficients."""
        return Key(secret).s[None, :]

    def hide(
        self, v: Vector, secret: bytes, who: str, publics: Mapping[str, bytes], terms: Terms
    ) -> Vector:
        """Its ciphertext."""
        return Key(secret).encrypt(v, terms.binding, packed(terms.spec, terms.n))

    def largest(self, spec: Spec, n: int) -> Vector:
        """A ciphertext: the more are added, the fewer numbers are in a coefficient."""
        return np.zeros(packed(spec, n).octets, np.uint8)

    def fits(self, v: Any, terms: Terms) -> bool:
        """Has it as many coefficients as a vector takes, each of which is an element?"""
        return fits(v, packed(terms.spec, terms.n))

    def total(self, terms: Terms) -> Ciphertexts:
        """A sum mod p."""
        return Ciphertexts(packed(terms.spec, terms.n), Spool.of(terms.task))

    def helpers(self, holds: Set, inside: Set) -> Set:
        """Who holds the shares of all that are in."""
        return np.asarray(holds[:, inside].all(axis=1)).reshape(-1, 1)

    def wanted(self, prepared: Set, inside: Set) -> Set:
        """The sum of keys: of who is not in the sum, nothing hides it."""
        return np.ones(1, bool)

    def help(self, shares: Elements, prepared: Set, inside: Set) -> Elements:
        """The sum of its shares of the keys of those in the sum; ProtocolError where it lacks one.

        The sum of t others over a set that is smaller by one would tell that one's key.
        """
        if not shares[inside].any(axis=1).all():
            raise ProtocolError(
                "A client was asked to open a sum over some whose shares it does not hold.",
                "It has said so, and its sum of shares would be of another set.",
                "Look at the server.",
            )
        total = np.zeros(shares.shape[1], np.uint64)
        for i in np.flatnonzero(inside):
            total = Field64.add(total, shares[i])
        return total[None, :]

    def checked(self, elements: Elements, public: bytes, inside: bool) -> bytes | None:
        """The sum of keys, which no public value tells; `open` looks whether it can be one."""
        return elements.tobytes()

    def dealers(self, terms: Terms, rows: Set) -> list[str]:
        """None: a sum of keys is of all."""
        return []

    def open(
        self, total: Vector, terms: Terms, view: View, inside: Set, secrets: Mapping[int, bytes]
    ) -> Vector:
        """Σ vᵢ; RoundError where there is none: see `opened`."""
        way = packed(terms.spec, terms.n)
        return opened(total, secrets[0], int(inside.sum()), terms.binding, way)


class Ciphertexts:
    """Σ cᵢ; and each of them in a file, until it is known who is in the sum."""

    def __init__(self, way: Packing, spool: Spool):
        self._way = way
        self._sum = np.zeros(way.coefficients, np.uint64)
        self._spool = spool
        self._places = list[int]()

    def add(self, ciphertext: Octets) -> None:
        """Add one more, that `fits`."""
        add(self._sum, ciphertext)
        self._places.append(self._spool.write(ciphertext))

    def remove(self, k: int) -> None:
        """Take the k-th off again."""
        remove(self._sum, self._spool.read(self._places[k], self._way.octets))

    def release(self) -> Elements:
        """The sum."""
        return self._sum


@dataclass(frozen=True, repr=False)
class EncryptedSum(HiddenSum):
    """Σ vᵢ mod 2ᵇ, each encrypted under a key of its own; t = ⌊threshold · n⌋ + 1 of n clients open
    the sum together, and there is no key that opens one vector.

    As MaskedSum, with the same pipe: Quantize(16, of="sum") at its end. The work of a client hardly
    grows with their number, and nothing has to be repaired when clients vanish; it sends somewhat
    more, and rests on one assumption more (RLWE).   (Li et al. 2023)

    holders    so many clients of the roster, drawn anew in each round, hold shares, and t is of
               them: all others say one message. 0: all who are asked hold them
    colluders  the share of all clients that is taken to collude with the server, by which the
               number of holders is judged
    """

    holders: int = 0
    colluders: float = 0.2

    scheme: ClassVar[Scheme] = Lattice()

    def __post_init__(self) -> None:
        super().__post_init__()
        several = number(self.holders, whole=True) and FEWEST <= self.holders <= MOST
        if not several and self.holders != 0:
            raise PlanError(
                f"EncryptedSum(holders={self.holders!r}).",
                f"They are {FEWEST} clients at least, and {MOST} at most; with 0 all hold shares.",
                "Write EncryptedSum(holders=700).",
            )
        if not number(self.colluders) or not 0 <= self.colluders < 1 / 3:
            raise PlanError(
                f"EncryptedSum(colluders={self.colluders!r}).",
                "Of a committee that is drawn from all, a third or more would collude as soon.",
                "Write the share of all clients that may collude with the server: colluders=0.2.",
            )

    def seats(self, cohort: Sequence[str], spec: Spec, session: Session) -> Seats:
        """Who says a vector, and who holds shares; ProtocolError where that cannot be."""
        return Seats.at(cohort, self, spec, session, self.holders)

    def client(self, contribute: Contribute, at: Context) -> Conversation:
        """Say a vector and shares of its key; a holder helps to open the sum."""
        if self.holders:
            return holding.speak(self.seats, contribute, at)
        return super().client(contribute, at)

    def opened(
        self, channel: Channel, asked: list[str], terms: Sequence[Terms], told: Any = None
    ) -> list[tuple[Vector, list[str]]]:
        """As of every hidden sum; or that which holders open."""
        if not self.holders:
            return super().opened(channel, asked, terms, told)
        (seats,) = terms
        assert isinstance(seats, Seats)
        table = holding.Table.set_for(seats, channel.keep)
        total = holding.collect(channel, asked, table)
        channel.note(entry_of(table, total))
        if total is None:
            why = table.failure.why if table.failure else ""
            raise RoundError(why, "No sum can be opened, and nothing of one was seen.")
        return [(total, seats.named(table.inside))]

    def cells(self, cohort: Sequence[str], spec: Spec, session: Session) -> list[Terms]:
        """One of all; with holders, who these are, too."""
        if self.holders:
            return [self.seats(cohort, spec, session)]
        return super().cells(cohort, spec, session)

    @property
    def _box(self) -> int:
        """Bytes of a share of one holder."""
        h = self.holders
        return box_of(self.scheme, sharing_of(self.scheme, h, needed(self.threshold, h)))

    def risk(self, rounds: int) -> float:
        """log₂ of the chance that more holders collude than may, in any of so many rounds."""
        return log2_risk(self.holders, self.threshold, self.colluders, rounds)

    def _risky(self, spec: Spec) -> Iterator[Fault]:
        """Are holders too few for as many as may collude?"""
        rounds = spec.sum_facts.rounds
        if not self.holders or (risk := self.risk(rounds)) <= RISK:
            return
        fit = holders_that_fit(self.threshold, self.colluders, rounds, MOST)
        instead = f"Write holders={fit}" if fit else "Take a higher threshold"
        yield (
            True,
            f"{self!r} is opened by colluders with probability 2^{risk:.1f} in {rounds} rounds.",
            f"Where {self.colluders:.0%} of all clients collude, "
            f"{colluding(self.threshold, self.holders) + 1} of {self.holders} holders may, and "
            "these with a server see single vectors. 2^-40 is the most that is taken.",
            f"{instead}, threshold=0.8 (fewer holders may be away then), or colluders=… as you "
            "know them.",
        )

    def _faults(self, spec: Spec) -> Iterator[Fault]:
        """Also what does not fit into a coefficient, and a committee that colluders would hold.

        With holders a client says nothing to other clients, so that many more may be asked.
        """
        facts = spec.sum_facts
        most = facts.clients
        if not self.holders:
            yield from super()._faults(spec)
        else:
            few = min(most, MOST)  # how many there are beyond that is looked at here
            yield from super()._faults(spec.replace(sum_facts=replace(facts, clients=few)))
            yield from self._risky(spec)
            size = most * self.holders * self._box
            yield (
                size > LARGEST,
                f"{self!r} of {most} clients has {size / 2**30:.1f} GiB of shares.",
                "Each client says something to each holder, and the server carries it.",
                "Sample fewer, or take a higher threshold, and fewer holders.",
            )
        if spec.space == "integer" and (self.holders or most <= MOST):
            try:
                packed(spec, most or MOST)
            except PlanError as error:
                yield True, error.found, error.why, error.instead

    def in_numbers(self, spec: Spec, asked: int) -> str:
        """Also the parameters of the lattice."""
        if asked < FEWEST:
            return ""
        way = packed(spec, asked)
        told = super().in_numbers(spec, asked)
        honest = self.min_clients(asked) - colluding(self.threshold, asked)
        if self.holders:
            told = self._of_holders(spec, asked)
            honest = max(2, self.min_clients(asked) - math.ceil(self.colluders * asked))
        left = SIGMA * (1 - 1 / honest) ** 0.5
        # P420
        return (
            f"{told} The ring has degree {DEGREE} and a modulus of 64 "
            f"bits; a coefficient holds {way.each} sums of {way.width} bits. Keys and errors have "
            f"σ = {SIGMA:.2f}, {ETA} at most, and {left:.2f} is left of it to who knows their sums "
            f"over {honest} honest clients; the errors of {asked} add up to {way.error} at most, "
            f"and a sum is right below {way.half_step}."
        )

    def _of_holders(self, spec: Spec, asked: int) -> str:
        """How many open a sum, may be away, and how likely too many collude."""
        h = self.holders
        t = needed(self.threshold, h)
        rounds = max(1, spec.sum_facts.rounds)
        least = max(self.min_clients(asked), spec.sum_facts.quorum, spec.sum_facts.noise.least)
        # P422
        return (
            f"{h} holders are drawn from the whole roster in each round, by a hash that everybody "
            f"computes; {t} of them open a sum, which is over {least} of the {asked} clients "
            f"asked at least. {h - t} holders may be away, and {colluding(self.threshold, h)} may "
            f"collude with the server. Where {self.colluders:.0%} of all clients do, more do in "
            f"one of {rounds} rounds with probability 2^{self.risk(rounds):.1f}; of 2^k plans or "
            "rosters that whoever writes them tries, with 2^k times that."
        )

    def largest_reply(self, spec: Spec, turn: int) -> int:
        """With holders a first message has vector and shares, and others are of holders alone."""
        if not self.holders:
            return super().largest_reply(spec, turn)
        most = spec.sum_facts.clients or MOST
        sharing = sharing_of(self.scheme, self.holders, needed(self.threshold, self.holders))
        bodies: list[Any] = [
            {
                "vector": self.scheme.largest(spec, most),
                "signature": bytes(64),
                "public": bytes(self.scheme.width),
                "boxes": np.zeros((self.holders, self._box), np.uint8),
                "prepared": bytes(64),
            },
            np.zeros(most, np.uint8),
            bytes(64),
            np.zeros(help_of(self.scheme, sharing), np.uint64),
        ]
        return largest(bodies[min(turn, 3)])

    def visibility(self) -> tuple[tuple[str, str, str], ...]:
        """As of every hidden sum; and what the lattice adds to what it rests on."""
        server, *others = super().visibility()
        lattice = (
            "; that ciphertexts under keys whose sum is known are like random numbers (RLWE, with "
            "the parameters above), on which no outside review has been done"
        )
        # P420
        return ((*server[:2], server[2] + lattice), *others)
