"""Helper: a party that holds shares of what clients say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..aggregators import Conversation
from ..algorithms import ClientState
from ..crypto.identity import Role
from ..errors import ProtocolError
from ..messages import Request
from . import Party


@dataclass(repr=False)
class Helper(Party):
    """One more aggregator beside the server: it holds shares of what clients say, which alone are random numbers.

    It says one sum in a round of a run, whatever the server asks, and whoever says that the run begins: two over other
    clients would differ by what single ones say, and noise is sized for one.

    Shares, nonces and proofs of a session are in its memory alone, until the next session's first message reaches it;
    for its life it keeps its identity, the secret of its noise and, of each run, the last round that
    it gave a sum for. Nothing of it is stored on disk.
    """

    role: ClassVar[Role] = "helper"

    def load(self, memo: ClientState) -> None:
        """Start anew, for a run that does; what clients remember is not for it."""
        self._begin_anew()

    def _converse(self, request: Request) -> Conversation:
        self._heard(request)
        at = self._at(request, self.secret)
        there = self.plan.aggregator_context(at)
        total = yield from self.plan.aggregator.helper(self.plan.sample.quorum, there)
        latest = self._drew(request.run)
        if at.round <= latest:
            raise ProtocolError(
                f"{self.who} was asked for a sum in round {at.round}, and has said that of round {latest}.",
                "Sums of one round over other clients differ by what single clients say, and noise is sized for one.",
                "Look at the server; or start another run.",
            )
        self._latest[request.run] = at.round
        yield total
