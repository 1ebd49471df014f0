"""Grouped: a hidden sum in each of many small cells, and a robust rule over their means."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import Fault, ProtocolError, RoundError, number, refuse
from ..rand import Key
from ..spec import Spec, Vector
from ..transforms import Context, Decoder, Mean, Session
from . import Aggregator, Channel, Contribute, Conversation, RobustRule, decoded
from .hidden import HiddenSum
from .hidden.client import speak
from .hidden.terms import FEWEST, Terms, colluding
from .reveals import Reveals

LIARS = 0.1  # the share of colluding clients that `in_numbers` tells of


def deal(cohort: Sequence[str], size: int, key: Key) -> list[list[str]]:
    """Cells of `size` clients or some more, each sorted: dealt at random by a public key, so that
    each client sees that it is the plan that deals, and not the server.
    """
    many = max(1, len(cohort) // size)
    order = key.child("cells").rng().permutation(len(cohort)).tolist()
    names = [cohort[i] for i in order]
    return [sorted(names[i::many]) for i in range(many)]


@dataclass(frozen=True)
class Grouped(Aggregator):
    """outer(mean of cell 1, mean of cell 2, …): cells of `size` clients, in each of which `inner`
    hides all but the sum.

        Grouped(MaskedSum(), size=5, outer=Median())

    The server sees the mean of each cell, and no client's vector. A liar spoils the cell that it is
    in; the rule holds for certain where fewer cells have one than it withstands, and counts each
    cell once. A cell of which too few are left is left out.
    """

    inner: HiddenSum
    size: int
    outer: RobustRule

    @property
    def identified(self) -> bool:
        """Clients know each other by their keys."""
        return True

    def cells(self, cohort: Sequence[str], spec: Spec, session: Session) -> list[Terms]:
        """Who is with whom, as one party knows it; ProtocolError for no cohort."""
        if list(cohort) != sorted(set(cohort)):
            raise ProtocolError(
                f"The cohort of {len(cohort)} clients is not sorted, or names somebody twice.",
                "The cells that it is dealt into would not be the plan's.",
                "Look at the server's version.",
            )
        if len(cohort) < spec.sum_facts.quorum:
            raise ProtocolError(
                f"The cohort has {len(cohort)} clients.",
                f"By the plan a round counts with {spec.sum_facts.quorum} at least.",
                "Sample more clients, or look at the server.",
            )
        alone = spec.replace(sum_facts=replace(spec.sum_facts, quorum=1))
        dealt = deal(cohort, self.size, session.drawn)
        return [Terms.of(names, self.inner, alone, session) for names in dealt]

    def added(self, n: int) -> int:
        """Those of the largest cell."""
        if not n:
            return 2 * self.size - 1
        return math.ceil(n / max(1, n // self.size))

    def min_clients(self, asked: int = 0) -> int:
        """As many as open the sum of one cell."""
        return self.inner.min_clients(min(asked, self.size) or self.size)

    def plan(self, spec: Spec) -> Spec:
        """The same; PlanError where its cells hide nobody, or its rule cannot be taken."""
        refuse(self._faults(spec))
        self.inner.plan(spec)
        return self.outer.plan(spec)

    def _faults(self, spec: Spec) -> Iterator[Fault]:
        why = "It takes a hidden sum in each cell, and a robust rule over their means."
        instead = "Write Grouped(MaskedSum(), size=5, outer=Median())."
        yield not isinstance(self.inner, HiddenSum), f"inner={self.inner!r}.", why, instead
        yield not isinstance(self.outer, RobustRule), f"outer={self.outer!r}.", why, instead
        yield (
            bool(getattr(self.inner, "holders", 0)),
            f"inner={self.inner!r} in cells.",
            "In a cell of a few all hold shares.",
            f"Write Grouped(EncryptedSum(), size={self.size!r}, outer={self.outer!r}).",
        )
        whole = number(self.size, whole=True)
        yield (
            not whole or self.size < FEWEST,
            f"size={self.size!r}.",
            f"{FEWEST} clients hide each other at least.",
            instead,
        )
        yield (
            bool(spec.sum_facts.noise.multiplier),
            f"{self!r} with noise has no guarantee.",
            "The noise is sized for the sum of all clients, and each cell has a sum of its own.",
            "Leave the noise out, or take the hidden sum without Grouped.",
        )

    def shortfall(self, n: int) -> str:
        """Why n clients make too few cells, or nothing."""
        if n < self.size:
            return f"A cell has {self.size} clients."
        return self.outer.shortfall(n // self.size)

    def client(self, contribute: Contribute, at: Context) -> Conversation:
        """As of the hidden sum, in its cell."""
        return speak(self.cells, contribute, at)

    def server(
        self, channel: Channel, cohort: Sequence[str], decode: Decoder
    ) -> tuple[Mean | None, list[str]]:
        """The rule of the cells' decoded means; RoundError where too few cells are opened."""
        spec = decode.pipe.specs[-1]
        asked = sorted(cohort)
        many = len(cohort) // self.size
        try:
            cells = self.cells(asked, spec, decode.at.session)
        except ProtocolError as error:
            raise RoundError(error.found, error.why, error.instead) from error
        found = self.inner.opened(channel, asked, cells)
        means = list[Vector]()
        participants = list[str]()
        for total, names in found:
            mean, why = decoded(total, decode, len(names))
            if why:
                for who in names:
                    channel.exclude(who, f"the sum of its cell is refused: {why}")
            else:
                means.append(mean)
                participants += names
        if not means:
            return None, []
        v = self.outer.combined(np.stack(means), many, decode.spec)
        return (v, decode.at.memo), sorted(participants)

    def largest_reply(self, spec: Spec, turn: int) -> int:
        """As of the hidden sum, in the largest cell."""
        return self.inner.largest_reply(spec, turn)

    def reveals(self) -> Reveals:
        """The server sees the sum of each cell alone."""
        return Reveals(server="sum")

    def form(self, spec: Spec) -> str:
        """As of the hidden sum."""
        return self.inner.form(spec)

    def in_numbers(self, spec: Spec, asked: int) -> str:
        """How few a cell hides among, and the chance that colluders hold one."""
        many = asked // self.size
        if not many:
            return ""
        t = self.inner.min_clients(self.size)
        hold = colluding(self.inner.threshold, self.size)
        chance = _beyond(hold, self.size, LIARS)
        # P402
        return (
            f"Of {asked} clients {many} cells are made, of {self.size} or some more. In a cell of "
            f"{self.size}, {t} open the sum, up to {hold} may collude with the server, and a "
            f"vector is hidden among those of {t - hold} honest ones or more. Where {LIARS:.0%} of "
            f"all clients collude, they hold a given cell with probability {chance:.2g} a round. "
            f"Fewer liars than half of the {many} cells cannot spoil a median of them."
        )

    def visibility(self) -> tuple[tuple[str, str, str], ...]:
        """As of the hidden sum, cell by cell; and what liars can do."""
        server, others, _, rounds = self.inner.visibility()
        return (
            # P402
            (server[0], "random numbers; the sum of each cell, and who is in it", server[2]),
            others,
            # P402
            (
                "Byzantine clients",
                "nothing more; each moves the mean of its cell as far as it likes",
                f"over the cells: {self.outer.tolerance()}, where a cell counts as a liar that has "
                "one in it",
            ),
            rounds,
        )


def _beyond(most: int, n: int, share: float) -> float:
    """P[more than `most` of n], where each is with this probability."""
    return 1 - sum(
        math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(min(most, n) + 1)
    )
