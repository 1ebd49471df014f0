"""Terms: what client, helpers and server of a verified sum know before a session begins.

They follow from the plan alone, so no party has to believe another one's: which helpers there are,
what is proven of a vector, and how much noise each aggregator adds to its share.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property

from ...codec import fingerprint
from ...rand import Key
from ...spec import Noise, Spec
from ...transforms.discrete import DiscreteGaussianNoise
from .claims import Claim, Integers

REACH = 40  # standard deviations: no draw is ever farther out (its probability is below e⁻⁷⁹⁹)


@dataclass(frozen=True)
class Terms:
    """What all parties of one verified sum take from its plan.

    helpers: their names, in order. spec: of a client's encoded vector. claims: of such a vector,
    with proofs that are bound to the given bytes. plan: Spec → what is known of the sum. least: of
    fewer clients there is no sum.
    """

    helpers: tuple[str, ...]
    spec: Spec
    claims: Callable[[bytes], tuple[Claim, ...]]
    plan: Callable[[Spec], Spec]
    least: int

    @cached_property
    def noise(self) -> Noise:
        """What one aggregator adds, as the plan states it."""
        return self.plan(self.spec).noise

    def drawn(self, key: Key, seen: Collection[str]) -> dict[str, Integers]:
        """One aggregator's noise on each block of the sum, in steps; empty where there is none.

        From the aggregator's own key, and other noise for another company: else two sums of almost
        the same clients would have a difference without noise.
        """
        gaussian = DiscreteGaussianNoise(self.noise.multiplier)
        company = fingerprint(sorted(seen))
        key = key.child("noise", company.hex())
        each = zip(self.spec.blocks, self.noise.parts, strict=False)  # no parts without noise
        return {name: gaussian.draw(sigma, d, key.child(name)) for name, (d, _, sigma) in each}

    def reach(self) -> dict[str, float]:
        """How far the noise of all aggregators can bring a block of the sum, in steps."""
        blocks = self.spec.blocks
        sigmas = [sigma for *_, sigma in self.noise.parts] or [0.0] * len(blocks)
        aggregators = 1 + len(self.helpers)
        return {
            name: REACH * aggregators * sigma for name, sigma in zip(blocks, sigmas, strict=True)
        }
