"""Bundle: several verified sums of one report, accepted or refused together.

So an update and its weight are: a report of which one part is false counts in no sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import vdaf
from .field import Elements
from .vdaf import State, Vdaf


@dataclass(frozen=True)
class Bundle:
    """What `vdaf.Vdaf` says of one sum, for a list of them.

    Every message is the list of the parts' messages.
    """

    parts: tuple[Vdaf, ...]

    @property
    def shares(self) -> int:
        """How many aggregators there are."""
        return self.parts[0].shares

    def shard(
        self, measurements: Sequence[Any], nonce: bytes
    ) -> tuple[list[bytes], list[list[bytes]]]:
        """The public shares, and each aggregator's input shares."""
        made = [part.shard(x, nonce) for part, x in zip(self.parts, measurements, strict=True)]
        return [public for public, _ in made], [
            [own[j] for _, own in made] for j in range(self.shares)
        ]

    def prepare(
        self, key: bytes, who: int, nonce: bytes, public: Sequence[bytes], shares: Sequence[bytes]
    ) -> tuple[list[State], list[bytes]]:
        """Aggregator `who` checks its shares: what it keeps, and its verifier shares.

        ProtocolError refuses the report.
        """
        _check(public, len(self.parts), "public shares")
        _check(shares, len(self.parts), "input shares")
        each = zip(self.parts, public, shares, strict=True)
        states, reply = zip(
            *(part.prepare(key, who, nonce, p, s) for part, p, s in each), strict=True
        )
        return list(states), list(reply)

    def decide(self, verifier_shares: Sequence[Sequence[bytes]]) -> list[bytes]:
        """The messages that a report is valid, from all verifier shares; else ProtocolError."""
        for reply in verifier_shares:
            _check(reply, len(self.parts), "verifier shares")
        columns = zip(*verifier_shares, strict=True)
        return [part.decide(list(said)) for part, said in zip(self.parts, columns, strict=True)]

    def finish(self, states: Sequence[State], messages: Sequence[bytes]) -> list[Elements]:
        """The output shares of a valid report; ProtocolError where joint randomness differed."""
        _check(messages, len(self.parts), "messages")
        return [part.finish(s, m) for part, s, m in zip(self.parts, states, messages, strict=True)]


def _check(reply: Any, count: int, what: str) -> None:
    """ProtocolError unless this is a list of so many bytes objects."""
    if not isinstance(reply, list) or not all(isinstance(one, bytes) for one in reply):
        raise vdaf.refuse(f"A message that holds no {what}.", "It must hold bytes.")
    if len(reply) != count:
        raise vdaf.refuse(f"{len(reply)} {what}.", f"There must be {count}.")
