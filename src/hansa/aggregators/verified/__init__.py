"""VerifiedSum: a sum whose parts nobody sees, over clients each of which proves that its part is in
bounds.

server → helpers    a key to check with, and the cohort; each answers with a challenge
server → clients    the key's hash, the challenges, and the cohort's
client → server     a share of its vector for the server, and one sealed for each helper, with
                    proofs, all of it signed
server ↔ helpers    in batches: do the proofs hold? who is in?
helper → server     the sum of its shares of those who are in
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

from ...errors import PlanError, ProtocolError, RoundError, number, refuse
from ...messages import largest
from ...spec import Noise, Spec
from ...transforms import Context, Decoder, Mean
from ...transforms.curves import DiscreteGaussian, Mechanism
from ...transforms.discrete import LARGEST
from ...transforms.noise import shares
from ...transforms.scale import bounding
from .. import Aggregator, Channel, Contribute, Conversation
from ..reveals import Reveals
from .claims import Claim, Norm, Range, claims
from .client import speak
from .helper import assist
from .server import collect
from .share import longest
from .terms import Terms

__all__ = ["VerifiedSum"]


@dataclass(frozen=True)
class VerifiedSum(Aggregator):
    """Σ vᵢ, split between the server and `helpers`; every client proves on the shares that its vᵢ
    is in bounds.

        each block of the update   ‖x‖₂ ≤ B    PINE    (Rothblum, Omri, Chen, Talwar 2023)
        each side value            a ≤ x ≤ b   Prio3   (draft-irtf-cfrg-vdaf-18)
        each list of counts        Σ x ≤ B     Prio3

    They come from the pipe: from its Clip, Weigh and, where there is one, Quantize, of 26 bits at
    most; without Quantize vectors are rounded here, to 2⁻²⁴ of their bound. `bound` proves a larger
    norm of the update than the pipe asks for, but for statistics. A client whose proof does not
    hold is left out, by name. Nobody sees more than the sum while one of the aggregators, that is,
    the server and the helpers, keeps its shares to itself; a false proof is found while all of them
    do their work.

    Update and weight are proven apart, so a client may say the longest update and the least weight:
    `moved` tells how far that goes. Noise is sized for max(|a|, |b|), since a client who is not
    there adds nothing.

    helpers: how many, or their names. noise: z; each aggregator adds discrete Gaussian noise of σₖ
    = z·Bₖ/√sₖ to its share, with the shares sₖ of GaussianNoise, so that one honest aggregator
    makes the guarantee. Draws grow from each aggregator's own secret.
    """

    helpers: int | tuple[str, ...] = 1
    noise: float = 0.0
    bound: float | None = None

    @property
    def parties(self) -> tuple[str, ...]:
        """The helpers' names; one that is a client as well has a second name in this role."""
        if isinstance(self.helpers, int):
            return tuple(f"helper {i}" for i in range(1, self.helpers + 1))
        return tuple(f"{name} as helper" for name in self.helpers)

    def min_clients(self, asked: int = 0) -> int:
        """Two: the sum over one is what that one says."""
        return 2

    def plan(self, spec: Spec) -> Spec:
        """What is known of the sum: its noise; PlanError where nothing could be proven."""
        self._check()
        self._check_spec(spec)
        if not self.noise:
            claims(spec, 1 + len(self.parties), self.bound, noisy=False)
            return spec
        parts = []
        step = {}
        for claim in claims(spec, 1 + len(self.parties), self.bound, noisy=True):
            for i, (name, unit) in enumerate(zip(claim.names, claim.steps, strict=True)):
                bound = max(claim.most(i), spec.bounds[name] / unit)
                parts.append(
                    (spec.blocks[name], bound, self.noise * bound / shares(spec)[name] ** 0.5)
                )
                step[name] = unit
        if (largest := max(sigma for *_, sigma in parts)) > LARGEST:
            raise PlanError(
                f"{self!r} would draw numbers of a standard deviation above {LARGEST:.3g} steps.",
                "Beyond that, draws of the discrete Gaussian are no longer exact.",
                f"Write a noise of at most {self.noise * LARGEST / largest:.3g}, or quantise to "
                "fewer bits.",
            )
        order = [parts[list(step).index(name)] for name in spec.blocks]
        scales = {name: self.noise / share**0.5 for name, share in shares(spec).items()}
        return spec.replace(noise=Noise(self.noise, scales=scales, parts=tuple(order), step=step))

    def privacy(self, spec: Spec, n: int) -> Mechanism:
        """The noise of one aggregator alone."""
        return DiscreteGaussian(spec.noise.parts)

    def describe(self) -> str:
        """What is drawn in each round, and by whom."""
        # P24
        return (
            "discrete gaussian noise in whole steps in each round: drawn by each aggregator, in "
            "full; one that keeps its draws to itself is enough"
        )

    def largest_reply(self, spec: Spec, turn: int) -> int:
        """How many bytes a client's report has at most."""
        return largest(longest(self._claims(spec, b""), len(self.parties)))

    def _check(self) -> None:
        """PlanError where an argument proves nothing, or a library is missing."""
        named = isinstance(self.helpers, tuple) and all(
            isinstance(name, str) and name.strip() and name.isprintable() for name in self.helpers
        )
        distinct = named and len(set(self.parties)) == len(self.parties)
        counts = number(self.helpers, whole=True)
        count: object = self.helpers
        if isinstance(self.helpers, tuple):
            count = len(self.helpers)
        few = number(count, whole=True) and 1 <= count <= 8
        noisy = number(self.noise) and 0 <= self.noise < math.inf
        bounded = self.bound is None or (number(self.bound) and 0 < self.bound < math.inf)
        right = (
            ("helpers", distinct or counts, "counts helpers, or is a tuple of their names", "1"),
            ("helpers", few, "are 1 to 8: alone, the server would see every vector", "1"),
            ("noise", noisy, "is a multiplier z ≥ 0", "1.0"),
            ("bound", bounded, "is a norm", "1.0"),
        )
        refuse(
            (
                not fits,
                f"VerifiedSum({name}={getattr(self, name)!r}) proves nothing.",
                f"`{name}` {what}.",
                f"Write for example VerifiedSum({name}={instead}).",
            )
            for name, fits, what, instead in right
        )
        missing = [name for name in ("cryptography", "Crypto") if find_spec(name) is None]
        if missing:
            raise PlanError(
                f"VerifiedSum needs a library that is not installed ({', '.join(missing)}).",
                "It brings ciphers and hash functions.",
                "Install it: pip install 'hansa[verified]'.",
            )

    def _check_spec(self, spec: Spec) -> None:
        """PlanError where nothing could be proven of such vectors, or honest ones would be
        refused.
        """
        loose = spec.unbounded
        longest = max((spec.bounds.get(name, math.inf) for name in spec.trained), default=0.0)
        refuse(
            (
                (
                    bool(loose),
                    f"VerifiedSum needs a bound on: {', '.join(loose)}.",
                    "A client proves that what it says is within a bound, and there is none.",
                    lambda: bounding(spec, "Put Clip(norm=…) into the pipe"),
                ),
                (
                    spec.noise.multiplier > 0,
                    "VerifiedSum comes after noise.",
                    "With noise in it, a vector is longer than any bound that would be worth "
                    "proving.",
                    "Take the noise out of the pipe, and write "
                    f"VerifiedSum(noise={spec.noise.multiplier:g}).",
                ),
                (
                    self.bound is not None and longest > self.bound,
                    f"VerifiedSum(bound={self.bound or 0:g}) would refuse honest clients.",
                    f"The pipe lets a vector have a norm of {longest:g}.",
                    f"Leave `bound` out, write bound={longest:g}, or clip to less.",
                ),
                (
                    spec.sum_facts.modulus < 64,
                    f"VerifiedSum cannot prove a norm of integers mod 2^{spec.sum_facts.modulus}.",
                    "Of a number that has wrapped around nobody can tell how large it was.",
                    "Leave of='sum' out of Quantize.",
                ),
                (
                    spec.space == "integer" and not spec.noise.step,
                    "VerifiedSum does not know what an integer of this vector stands for.",
                    "The transform that made it integer says no step.",
                    "Leave it out: VerifiedSum rounds by itself.",
                ),
            )
        )

    def _claims(self, spec: Spec, binding: bytes) -> tuple[Claim, ...]:
        """What a client claims of such a vector, with proofs bound to `binding`."""
        return claims(spec, 1 + len(self.parties), self.bound, self.noise > 0, binding)

    def _terms(self, spec: Spec) -> Terms:
        """What the parties of a sum of such vectors know beforehand."""
        claims_of = partial(self._claims, spec)
        return Terms(self.parties, spec, claims_of, self.plan, self.min_clients())

    def moved(self, spec: Spec, others: float, attackers: int = 1) -> dict[str, float]:
        """How far attackers move the mean of each block of the update, where the others weigh so
        much in all.

        Proven of each are ‖u‖ ≤ B and a ≤ w ≤ b, apart; others keep to ‖u‖ ≤ w·B/b, so their mean m
        has ‖m‖ ≤ B/b, and

            ‖m′ − m‖ = ‖Σ u − Σ w·m‖ / (W + Σ w) ≤ f·B·(1 + w/b) / (W + f·w)      over f attackers,
            at w = a or w = b

        where a = b = 1 with Weigh('one'). Up to the rounding of others; of all clients lying, B/a.
        """
        parts = self._claims(spec, b"")
        weights = (1.0, 1.0)
        f = attackers
        for part in parts:
            if isinstance(part, Range) and "weight" in part.names:
                i = part.names.index("weight")
                weights = part.lows[i] * part.steps[i], (part.lows[i] + part.bound) * part.steps[i]
        longest = {
            part.names[0]: part.bound * part.steps[0] for part in parts if isinstance(part, Norm)
        }
        least, most = weights
        if others + f * least <= 0:
            return dict.fromkeys(longest, math.inf)
        if not others:
            return {name: B / least for name, B in longest.items()}
        far = max(f * (1 + w / most) / (others + f * w) for w in weights)
        return {name: B * far for name, B in longest.items()}

    def client(self, contribute: Contribute, at: Context) -> Conversation:
        """Hear what to bind the proofs to; say the report: shares of the vector, and proofs on
        them.
        """
        return speak(self._terms(at.spec), contribute, at)

    def helper(self, quorum: int, at: Context) -> Conversation:
        """Check batches of reports with the server, add up its shares of those who are in, and
        return their sum.
        """
        return assist(self._terms(at.spec), quorum, at)

    def server(
        self, channel: Channel, cohort: Sequence[str], decode: Decoder
    ) -> tuple[Mean | None, list[str]]:
        """Collect reports, check them with the helpers, and decode the sum of those that are
        valid.
        """
        try:
            return collect(self._terms(decode.pipe.specs[-1]), channel, cohort, decode)
        except ProtocolError as error:  # a helper's; that of a client is its own end
            raise RoundError(
                f"A helper does not keep to the protocol: {error.found}", error.why
            ) from error

    def reveals(self) -> Reveals:
        """The server sees the sum, and all but one of the aggregators together see no more."""
        return Reveals(server="sum", colluding=len(self.parties))

    def form(self, spec: Spec) -> str:
        """Shares."""
        # P10
        return "split into shares, each of which alone is random numbers"

    def visibility(self) -> tuple[tuple[str, str, str], ...]:
        """Who sees what, and who must be honest for it."""
        one = "that one of the aggregators (the server, the helpers) keeps its shares to itself"
        more = (
            "; that the clients are real: each signs its reports, and who is a client is said by "
            "whoever holds the enrolment key; and that enough honest ones are in the sum, for who "
            "knows all other vectors of a sum knows the last"
        )
        noise = ""
        if self.noise:
            noise = f", with the noise of each aggregator (multiplier {self.noise:g})"
        return (
            # P10, P11, P120
            (
                "server",
                f"random shares; the sum{noise}; who took part, and whose proof does not hold",
                one + more,
            ),
            # P10, P82
            (
                ", ".join(self.parties),
                "random shares; the model, and by its change the mean; who took part, and whose "
                "proof does not hold",
                one,
            ),
            # P9, P82
            (
                "other clients",
                "the new model after each round, and by its change the mean of all updates",
                "they learn of others what the model itself tells; of two clients, each learns the "
                "other's update",
            ),
            # P12, P83
            (
                "Byzantine clients",
                "nothing more; each moves the sum by its bounds at most, or is refused by name; "
                "the mean by the longest update over the least weight, for the two are proven "
                "apart",
                "that all aggregators do their work; a false proof is accepted with negligible "
                "probability",
            ),
            # P11
            (
                "all aggregators together",
                "each client's vector",
                "none: choose helpers that would not collude",
            ),
        )
