"""Ideal: the plain sum in the place of a hidden one, for simulations of thousands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import PlanError, RoundError
from ..spec import Spec, Vector
from ..sums import Total
from ..transforms import Decoder, Mean
from . import NO_VECTOR, Channel, Sum
from .hidden import HiddenSum
from .hidden.terms import Terms


@dataclass(frozen=True)
class Ideal(Sum):
    """What a hidden sum computes, without hiding anything: Σ vᵢ mod 2ᵇ of those who answer.

    The same vectors have the same sum, and a round of too few clients fails as it would there; the
    exchange itself, which takes n² messages, is left out. The server could see every vector.
    """

    of: HiddenSum

    def plan(self, spec: Spec) -> Spec:
        """As the hidden sum; PlanError where there is none."""
        if not isinstance(self.of, HiddenSum):
            raise PlanError(
                f"Ideal({self.of!r}) stands for no hidden sum.",
                "It computes what one computes, without hiding anything.",
                "Write Ideal(MaskedSum()).",
            )
        return self.of.plan(spec)

    def min_clients(self, asked: int = 0) -> int:
        """As the hidden sum."""
        return self.of.min_clients(asked)

    def shortfall(self, n: int) -> str:
        """As of the hidden sum."""
        return self.of.shortfall(n)

    def server(
        self, channel: Channel, cohort: Sequence[str], decode: Decoder
    ) -> tuple[Mean | None, list[str]]:
        """decode(Σ vᵢ); RoundError where the hidden sum would not be opened."""
        total, participants = channel.sum(cohort)
        count = len(participants)
        least = self.min_clients(len(cohort))
        if count < least:
            raise RoundError(
                f"{count} of {len(cohort)} clients have said a vector, and {least} must."
            )
        return decode(total.release(), count, overwrite=True), participants

    def opened(
        self, channel: Channel, asked: list[str], terms: Sequence[Terms], told: Any = None
    ) -> list[tuple[Vector, list[str]]]:
        """Σ vᵢ of those who answer to what they are told, and who they are; RoundError where the
        hidden sum would not be opened.
        """
        (cell,) = terms
        total = Total()
        participants = list[str]()
        for who, answer in channel.as_completed(dict.fromkeys(asked, told)):
            if not cell.spec.fits(answer):
                channel.exclude(who, NO_VECTOR)
                continue
            total.add(answer)
            participants.append(who)
        if len(participants) < cell.least:
            raise RoundError(
                f"{len(participants)} of {cell.n} clients have said a vector, and {cell.least} "
                "must."
            )
        return [(total.release(), sorted(participants))]

    def visibility(self) -> tuple[tuple[str, str, str], ...]:
        """As of a sum in the clear, which this is."""
        stands = f"stands for {self.of!r}, and hides nothing of what that hides"
        return (
            # P401
            ("Ideal", stands, "nothing"),
            *super().visibility(),
        )
