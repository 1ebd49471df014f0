"""Helper: a party that holds shares of what clients say.

What it does is its aggregator's, `helper`; here is what makes it a party: a name, a secret, an
identity, and one session in a round. It holds the plan as clients do, so it knows by itself over
how many of them a sum has to be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..aggregators import Conversation
from ..crypto.identity import Role
from ..messages import Request
from ..plan.client import aggregator_context
from . import Given, Party


@dataclass(repr=False)
class Helper(Party):
    """One more aggregator beside the server: it holds shares of what clients say, which alone are
    random numbers.

    It takes part in one session of a round, whatever the server asks, and whoever says that the run
    begins: sums over other clients would differ by what single ones say, and noise is sized for
    one. That is kept by its book.

    Shares, nonces and proofs of a session are in its memory, until the next session's first message
    reaches it; where its book is a file, what it hears and says lies there until the session is
    settled. For its life it keeps its identity and the secret of its noise.
    """

    role: ClassVar[Role] = "helper"

    def _converse(self, request: Request, given: Given) -> Conversation:
        """Its side of a session; ProtocolError for what the plan does not tell."""
        self._heard(request)
        there = aggregator_context(self.plan, self._at(request, self.secret))
        yield (yield from self.plan.aggregator.helper(self.plan.sample.quorum, there))
