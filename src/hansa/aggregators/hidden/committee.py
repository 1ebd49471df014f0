"""Committee: a few clients who hold shares of all keys, so that all others say one message.

    who    h of the N clients of the roster, each set equally likely, by a hash of the plan's seed,
           the round, and names and keys of all clients: everybody draws it, nobody is told it
    t      ⌊threshold · h⌋ + 1 holders open a sum; 2t − h − 1 of them may collude with the server
    risk   log₂ (rounds · P[2t − h of them collude]),   of N → ∞:  Σ_k C(h, k) pᵏ (1 − p)ʰ⁻ᵏ

It is drawn from the whole roster and not from the cohort, so nobody is a holder by being asked; a
holder that is away is one that has vanished. Neither the name of a run, nor the number of a
session, nor the model is in the hash: a server chooses these as it likes, and could try many. Who
writes the plan or the roster last can try some, too: of 2ᵏ tries the risk is 2ᵏ times as large.
(Committees of clients: Bell-Clark et al. 2025, Willow; Ma et al. 2023, Flamingo)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

from ...codec import fingerprint
from ...crypto.identity import Member, clients_of
from ...crypto.shamir import Sharing
from ...crypto.xof import XofHmacSha256Aes128
from ...errors import ProtocolError
from ...spec import Spec
from ...transforms import Session
from .terms import Hidden, Terms, binding_of, colluding, needed, sharing_of

DRAWN = b"hansa holders 1"
WORD = 8  # bytes of a draw
RISK = -40.0  # log₂ of the chance, over all rounds of a plan, that is the most to be taken


# ── who ──


def committee(session: Session, size: int) -> tuple[str, ...]:
    """The holders of a round, sorted, as one party knows its roster; ProtocolError where that has
    fewer clients.
    """
    names = clients_of(session.roster)
    many = len(names)
    if many < size:
        raise ProtocolError(
            f"{size} clients are to hold shares, and the roster names {many}.",
            "Holders are drawn from all of its clients.",
            f"Enrol more, or write holders={many}.",
        )
    seed = hashlib.sha256(DRAWN + session.drawn.secret + roster_digest(session.roster)).digest()
    stream = XofHmacSha256Aes128(seed, DRAWN)
    even = 2 ** (8 * WORD) // many * many  # below it each is as likely
    found = dict[int, None]()
    while len(found) < size:
        x = int.from_bytes(stream.read(WORD), "little")
        if x < even:
            found[x % many] = None
    return tuple(sorted(names[i] for i in found))


def roster_digest(roster: Mapping[str, Member]) -> bytes:
    """SHA-256 of names and keys of all clients; of a population as its roster says it."""
    if (known := getattr(roster, "digest", None)) is not None:
        return bytes(known)
    clients = sorted(clients_of(roster))
    keys = b"".join(roster[who].signing + roster[who].agreement for who in clients)
    return fingerprint((clients, keys))


# ── how likely they collude ──


def log2_risk(
    holders: int, threshold: float, share: float, rounds: int, population: int = 0
) -> float:
    """log₂ of the chance that more holders than may collude do, in any of so many rounds, where
    this share of all clients does.

    Exact, of whole numbers, but for the last logarithm. population: how many clients there are;
    0 is any number of them, of which none is worse than the limit of many.
    """
    least = colluding(threshold, holders) + 1
    part = Fraction(share).limit_denominator(10**6)
    if population:
        bad = math.ceil(part * population)
        ways = _hypergeometric(holders, least, bad, population)
        of = math.comb(population, holders)
    else:
        ways = _binomial(holders, least, part)
        of = part.denominator**holders
    if not ways:
        return -math.inf
    return min(0.0, math.log2(ways) - math.log2(of) + math.log2(max(1, rounds)))


def holders_that_fit(threshold: float, share: float, rounds: int, most: int) -> int:
    """The fewest holders, up to `most`, with which the risk is no more than 2⁻⁴⁰; 0 for none."""
    for holders in range(3, most + 1):
        if log2_risk(holders, threshold, share, rounds) <= RISK:
            return holders
    return 0


def _binomial(n: int, least: int, part: Fraction) -> int:
    """Σ_{k ≥ least} C(n, k) aᵏ bⁿ⁻ᵏ, where part = a/(a + b)."""
    a = part.numerator
    b = part.denominator - a
    return sum(math.comb(n, k) * a**k * b ** (n - k) for k in range(least, n + 1))


def _hypergeometric(n: int, least: int, bad: int, population: int) -> int:
    """Σ_{k ≥ least} C(bad, k) C(population − bad, n − k)."""
    good = population - bad
    most = min(n, bad)
    return sum(math.comb(bad, k) * math.comb(good, n - k) for k in range(least, most + 1))


# ── what they know of one session ──


@dataclass(frozen=True)
class Seats(Terms):
    """Terms of a session whose shares some clients hold, who need not be members.

    names     who says a vector: the cohort, sorted
    holders   who holds shares, sorted; t of them open the sum
    """

    holders: tuple[str, ...] = ()
    holding: Mapping[str, Member] = field(default_factory=dict, repr=False)

    @classmethod
    def at(
        cls, names: Sequence[str], aggregator: Hidden, spec: Spec, session: Session, size: int
    ) -> Seats:
        """Those of a session, as one party knows that; ProtocolError where there can be none."""
        cohort = Terms.of(names, aggregator, spec, session)
        holders = committee(session, size)
        holding = {who: session.roster[who] for who in holders}
        told = cohort.scheme, cohort.kind, cohort.threshold, spec, cohort.task, cohort.members
        return cls(cohort.names, *told, holders, holding)

    @cached_property
    def t(self) -> int:
        """How many holders open a sum."""
        return needed(self.threshold, len(self.holders))

    @cached_property
    def least(self) -> int:
        """How many must be in a sum, and no fewer than without holders."""
        facts = self.spec.sum_facts
        return max(needed(self.threshold, self.n), facts.quorum, facts.noise.least)

    @cached_property
    def sharing(self) -> Sharing:
        """How keys are shared among holders."""
        return sharing_of(self.scheme, len(self.holders), self.t)

    @cached_property
    def binding(self) -> bytes:
        """As of all members; and who the holders are."""
        return seated(
            binding_of(self.kind, self.task, self.members, self.t, self.least), self.holding
        )


def seated(binding: bytes, holding: Mapping[str, Member]) -> bytes:
    """What members and holders agree on: see `Seats.binding`."""
    names = sorted(holding)
    keys = b"".join(holding[name].signing + holding[name].agreement for name in names)
    return fingerprint((DRAWN.decode(), binding, names, keys))
