"""Verifiable distributed aggregation functions: what Prio3 and PINE share.

Sharding is done by a client, once. Aggregator 0 is the leader, and holds vectors; the others are
helpers, and hold seeds that they expand. Each prepares its share of a report; somebody decides from
all verifier shares; each finishes and keeps its output share, adds it to those of other reports,
and gives the total to the collector, who unshards.

    shard → [prepare ─ verifier share → decide ─ message → finish] → aggregate → unshard

Messages and shares are bytes, in the encoding of the drafts. (draft-irtf-cfrg-vdaf, section 5)
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as attribute
from typing import Any, NamedTuple, Protocol

from ..errors import PlanError, ProtocolError
from .field import Elements, Field

NONCE = 16  # bytes


@dataclass(frozen=True, eq=False)
class State:
    """What an aggregator keeps between `prepare` and `finish`; it does not print its share.

    share: of the vector that is summed. seed: of all joint randomness that this aggregator used.
    """

    share: Elements = attribute(repr=False)
    seed: bytes = attribute(repr=False)


class Sizes(NamedTuple):
    """Bytes of a report's public share, and of the input shares of leader and helpers."""

    public: int
    leader: int
    helper: int


class Vdaf(Protocol):
    """A sum of measurements, each secret and each proven valid."""

    @property
    def shares(self) -> int:
        """How many aggregators there are."""

    @property
    def rand_size(self) -> int:
        """How many random bytes `shard` uses."""

    @property
    def verify_key_size(self) -> int:
        """How many bytes the key has that aggregators share, and clients do not know."""

    @property
    def sizes(self) -> Sizes:
        """How large a report is."""

    def shard(
        self, measurement: Any, nonce: bytes, rand: bytes | None = None
    ) -> tuple[bytes, list[bytes]]:
        """A public share, and an input share for each aggregator.

        rand is for test vectors only; without it, the operating system's generator is asked.
        """

    def prepare(
        self, key: bytes, who: int, nonce: bytes, public: bytes, share: bytes
    ) -> tuple[State, bytes]:
        """Aggregator `who` checks its shares: what it keeps, and its verifier share.

        ProtocolError refuses the report.
        """

    def decide(self, verifier_shares: Sequence[bytes]) -> bytes:
        """The message that a report is valid, from all verifier shares; else ProtocolError."""

    def finish(self, state: State, message: bytes) -> Elements:
        """The output share of a valid report; ProtocolError where joint randomness differed."""

    def aggregate(self, out_shares: Sequence[Elements]) -> bytes:
        """The sum of output shares of one aggregator."""

    def unshard(self, totals: Sequence[bytes]) -> Any:
        """The sum of all measurements, from the totals of all aggregators."""


def nonce() -> bytes:
    """A fresh nonce. Aggregators must refuse a second report with the same."""
    return secrets.token_bytes(NONCE)


def refuse(found: str, why: str) -> ProtocolError:
    """The error that refuses a report."""
    return ProtocolError(found, why, "The report is refused. An honest client's report is not.")


def expect(data: bytes, size: int, what: str) -> None:
    """ProtocolError unless the data has this many bytes."""
    if len(data) != size:
        raise refuse(f"{what} of {len(data)} bytes.", f"It must have {size}.")


def cut(data: bytes, size: int) -> list[bytes]:
    """The data in pieces of `size` bytes: seeds."""
    return [data[i : i + size] for i in range(0, len(data), size)]


def randomness(rand: bytes | None, size: int) -> bytes:
    """The given random bytes, of the right number, or fresh ones."""
    if rand is None:
        return secrets.token_bytes(size)
    expect(rand, size, "Randomness")
    return rand


def check_shares(shares: int) -> None:
    """PlanError unless there can be this many aggregators."""
    if not 2 <= shares < 256:
        raise PlanError(
            f"shares={shares}", "A secret is split between 2 to 255 aggregators.", "Write shares=2."
        )


def check_party(who: int, shares: int, nonce: bytes) -> None:
    """ProtocolError unless there are such an aggregator and such a nonce."""
    if not 0 <= who < shares:
        raise refuse(f"Aggregator {who}.", f"There are {shares}, counted from 0.")
    expect(nonce, NONCE, "A nonce")


def check_seed(ours: bytes, theirs: bytes) -> None:
    """ProtocolError unless the message holds the very seeds that this aggregator used.

    They are compared in constant time.
    """
    if not hmac.compare_digest(ours, theirs):
        raise refuse(
            "The joint randomness is another than that of the shares.",
            "Who chooses it can prove what is false, so it must follow from the shares themselves.",
        )


def add_all(field: Field, vectors: Sequence[Elements], length: int) -> Elements:
    """The sum of vectors of one length."""
    total = field.zeros(length)
    for v in vectors:
        total = field.add(total, v)
    return total


def add_encoded(field: Field, vectors: Sequence[bytes], count: int, length: int) -> Elements:
    """The sum of `count` encoded vectors of one length; ProtocolError for others."""
    if len(vectors) != count:
        raise refuse(
            f"{len(vectors)} shares.", f"There are {count} aggregators, and all must speak."
        )
    for data in vectors:
        expect(data, length * field.size, "A share")
    return add_all(field, [field.decode(data) for data in vectors], length)
