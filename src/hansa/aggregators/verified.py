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

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from ..codec import fingerprint
from ..crypto import vdaf
from ..crypto.bundle import Bundle
from ..crypto.identity import Identity
from ..errors import PlanError, ProtocolError, RoundError, number
from ..messages import largest
from ..rand import Key
from ..spec import Noise, Spec, Vector
from ..transforms import Context, Decoder, Mean
from ..transforms.curves import DiscreteGaussian, Mechanism
from ..transforms.discrete import LARGEST, DiscreteGaussianNoise
from ..transforms.noise import shares
from ..transforms.scale import bounding
from . import Aggregator, Channel, Contribute, Conversation
from .claims import Claim, Integers, Norm, Range, claims
from .reports import Reports, all_of, identified, unexpected
from .reveals import Reveals
from .share import Share, longest

SECRET = 32  # bytes of the key that proofs are checked with, and of a challenge
BATCH, MOST = 2**28, 256  # bytes of reports that are checked at a time, and how many


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

    min_clients: ClassVar[int] = 2

    @property
    def parties(self) -> tuple[str, ...]:
        """The helpers' names; one that is a client as well has a second name in this role."""
        if isinstance(self.helpers, int):
            return tuple(f"helper {i}" for i in range(1, self.helpers + 1))
        return tuple(f"{name} as helper" for name in self.helpers)

    def plan(self, spec: Spec) -> Spec:
        """What is known of the sum: its noise; PlanError where nothing could be proven."""
        self._check()
        self._check_spec(spec)
        if not self.noise:
            claims(spec, self._aggregators, self.bound, noisy=False)
            return spec
        parts = []
        step = {}
        for claim in claims(spec, self._aggregators, self.bound, noisy=True):
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
        named = isinstance(self.helpers, tuple) and all(
            isinstance(name, str) and name.strip() and name.isprintable() for name in self.helpers
        )
        count = len(self.helpers) if isinstance(self.helpers, tuple) else self.helpers
        right = [
            (
                "helpers",
                (named and len(set(self.parties)) == count) or number(self.helpers, whole=True),
                "counts helpers, or is a tuple of their names",
                "1",
            ),
            (
                "helpers",
                number(count, whole=True) and 1 <= count <= 8,
                "are 1 to 8: alone, the server would see every vector",
                "1",
            ),
            (
                "noise",
                number(self.noise) and 0 <= self.noise < float("inf"),
                "is a multiplier z ≥ 0",
                "1.0",
            ),
            (
                "bound",
                self.bound is None or (number(self.bound) and 0 < self.bound < float("inf")),
                "is a norm",
                "1.0",
            ),
        ]
        for name, fits, what, instead in right:
            if not fits:
                raise PlanError(
                    f"VerifiedSum({name}={getattr(self, name)!r}) proves nothing.",
                    f"`{name}` {what}.",
                    f"Write for example VerifiedSum({name}={instead}).",
                )
        if missing := [name for name in ("cryptography", "Crypto") if find_spec(name) is None]:
            raise PlanError(
                f"VerifiedSum needs a library that is not installed ({', '.join(missing)}).",
                "It brings ciphers and hash functions.",
                "Install it: pip install 'hansa[verified]'.",
            )

    def _check_spec(self, spec: Spec) -> None:
        if loose := spec.unbounded:
            raise PlanError(
                f"VerifiedSum needs a bound on: {', '.join(loose)}.",
                "A client proves that what it says is within a bound, and there is none.",
                bounding(spec, "Put Clip(norm=…) into the pipe"),
            )
        if spec.noise.multiplier:
            raise PlanError(
                "VerifiedSum comes after noise.",
                "With noise in it, a vector is longer than any bound that would be worth proving.",
                "Take the noise out of the pipe, and write "
                f"VerifiedSum(noise={spec.noise.multiplier:g}).",
            )
        longest = max((spec.bounds[name] for name in spec.trained), default=0.0)
        if self.bound is not None and longest > self.bound:
            raise PlanError(
                f"VerifiedSum(bound={self.bound:g}) would refuse honest clients.",
                f"The pipe lets a vector have a norm of {longest:g}.",
                f"Leave `bound` out, write bound={longest:g}, or clip to less.",
            )
        if spec.sum_facts.modulus < 64:
            raise PlanError(
                f"VerifiedSum cannot prove a norm of integers mod 2^{spec.sum_facts.modulus}.",
                "Of a number that has wrapped around nobody can tell how large it was.",
                "Leave of='sum' out of Quantize.",
            )
        if spec.space == "integer" and not spec.noise.step:
            raise PlanError(
                "VerifiedSum does not know what an integer of this vector stands for.",
                "The transform that made it integer says no step.",
                "Leave it out: VerifiedSum rounds by itself.",
            )

    @property
    def _aggregators(self) -> int:
        return 1 + len(self.parties)

    def _reports(self, at: Context, opening: dict[str, Any]) -> Reports:
        """The reports of one session, bound to its opening, and by `task` to plan and model."""
        bound = (
            "hansa VerifiedSum 1",
            at.session.task,
            opening["key"],
            opening["challenges"],
            opening["cohort"],
        )
        return Reports(fingerprint(bound), at.session.roster, self.parties)

    def _claims(self, spec: Spec, binding: bytes) -> tuple[Claim, ...]:
        return claims(spec, self._aggregators, self.bound, self.noise > 0, binding)

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

    # ── a client ──

    def client(self, contribute: Contribute, at: Context) -> Conversation:
        """Hear what to bind the proofs to; say the report: shares of the vector, and proofs on
        them.
        """
        identity = identified(at)
        opening = self._opening((yield), at.who)
        reports = self._reports(at, opening)
        reports.check_helpers(at.who)
        # which is not kept while others speak
        v = yield from contribute()
        yield self._report(v, reports, identity, at)

    def _report(
        self, v: Vector, reports: Reports, identity: Identity, at: Context
    ) -> dict[str, Any]:
        parts = self._claims(at.spec, reports.binding)
        blocks = at.spec.unpack(v)
        values = [
            part.measurement(
                part.round(np.concatenate([blocks[name] for name in part.names]), at.key.child(i))
            )
            for i, part in enumerate(parts)
        ]
        nonce = vdaf.nonce()
        public, (leader, *others) = Bundle(tuple(part.sum for part in parts)).shard(values, nonce)
        sealed = reports.sealed(at.who, nonce, public, others)
        return reports.signed(
            {"nonce": nonce, "public": public, "leader": leader, "sealed": sealed}, identity
        )

    # ── a helper ──

    def helper(self, quorum: int, at: Context) -> Conversation:
        """Check batches of reports with the server, add up its shares of those who are in, and
        return their sum.
        """
        match (yield):
            case {"key": bytes(secret), "cohort": list(cohort)} if len(secret) == SECRET and all_of(
                cohort, str
            ):
                # the same to the same question, and to another cohort another one
                challenge = at.key.child("challenge", fingerprint((secret, cohort)).hex()).secret
            case _:
                raise unexpected(at.who, "a key to check with, and the cohort")
        me = self.parties.index(at.who) + 1
        opening = self._opening((yield challenge), at.who)
        challenges = [*opening["challenges"][: me - 1], challenge, *opening["challenges"][me:]]
        if opening != _promise(secret, challenges, cohort):
            raise ProtocolError(
                f"{at.who} was told another key, challenge or cohort than the clients.",
                "Who knows the key to check with can prove what is false, so clients hear its hash "
                "beforehand.",
                "Look at the server: its messages do not fit together.",
            )
        identity = identified(at)
        reports = self._reports(at, opening)
        reports.check_cohort(at.who, cohort)
        share = Share(self._claims(at.spec, reports.binding), me, secret)
        reply: Any = True
        while True:
            match (yield reply):
                case {"reports": list(rows), "count": list(names), **more} if not more and all_of(
                    names, str
                ):
                    share.count(names)
                    reply = share.prepare([reports.opened(row, cohort, identity) for row in rows])
                case {"verdicts": dict(verdicts), **more} if not more:
                    reply = share.finish(verdicts)
                case {"close": list(names), **more} if not more and all_of(names, str):
                    share.count(names)
                    break
                case _:
                    raise unexpected(at.who, "reports, verdicts, or the end of the round")
        if len(share.seen) < max(quorum, self.min_clients):
            raise ProtocolError(
                f"{at.who} was asked for a sum over {len(share.seen)} clients.",
                f"It says none over fewer than {max(quorum, self.min_clients)}.",
                "Sample more clients, or ask for a lower quorum in the plan.",
            )
        return {
            "totals": share.totals(self._noise(at.spec, at.key, share)),
            "seen": sorted(share.seen),
        }

    # ── the server ──

    def server(
        self, channel: Channel, cohort: Sequence[str], decode: Decoder
    ) -> tuple[Mean | None, list[str]]:
        """Collect reports, check them with the helpers, and decode the sum of those that are
        valid.
        """
        try:
            return self._serve(channel, cohort, decode)
        except ProtocolError as error:  # a helper's; that of a client is its own end
            raise RoundError(
                f"A helper does not keep to the protocol: {error.found}", error.why
            ) from error

    def _serve(
        self, channel: Channel, cohort: Sequence[str], decode: Decoder
    ) -> tuple[Mean | None, list[str]]:
        spec = decode.pipe.specs[-1]
        at = decode.at
        secret = decode.at.key.child("check").secret
        hello = self._tell(channel, {"key": secret, "cohort": list(cohort)}, bytes)
        opening = self._opening(_promise(secret, hello, list(cohort)), "the server")
        self._tell(channel, opening, bool)
        reports = self._reports(at, opening)
        parts = self._claims(spec, reports.binding)
        share = Share(parts, 0, secret)
        agreed = list[str]()
        answers = channel.as_completed(dict.fromkeys(cohort, opening))
        authentic = reports.authentic(channel, answers, len(parts))
        while batch := dict(islice(authentic, max(1, min(MOST, BATCH // (8 * spec.size))))):
            agreed = self._check_batch(channel, share, reports, batch, agreed)
            share.count(agreed)
        n = len(share.seen)
        if n < self.min_clients:
            return None, sorted(share.seen)
        ends = self._tell(channel, {"close": agreed}, dict)
        totals = [
            share.totals(self._noise(spec, at.key, share)),
            *(_totals(end, share) for end in ends),
        ]
        tail = self._tail(spec)
        read = [
            part.read(reply, n, max(tail[name] for name in part.names))
            for part, reply in zip(parts, zip(*totals, strict=True), strict=True)
        ]
        return decode(_vector(spec, parts, read), n, overwrite=True), sorted(share.seen)

    def _tell(self, channel: Channel, body: Any, kind: type) -> list[Any]:
        return self._ask(channel, dict.fromkeys(self.parties, body), kind)

    def _ask(self, channel: Channel, bodies: dict[str, Any], kind: type) -> list[Any]:
        answers = channel.gather(bodies)
        if missing := [name for name in self.parties if name not in answers]:
            raise RoundError(
                f"{' and '.join(missing)} said no more.",
                "Without the share of every helper there is no sum.",
                "Look at the helper, and run the round again.",
            )
        if wrong := [name for name in self.parties if not isinstance(answers[name], kind)]:
            raise unexpected("the server", f"a {kind.__name__} by {' and '.join(wrong)}")
        return [answers[name] for name in self.parties]

    def _check_batch(
        self,
        channel: Channel,
        share: Share,
        reports: Reports,
        batch: dict[str, Any],
        counted: list[str],
    ) -> list[str]:
        """Who of a batch is in the sum; the helpers count those of the one before."""
        opened = [(who, one["nonce"], one["public"], one["leader"]) for who, one in batch.items()]
        own = share.prepare(opened)
        told = dict[str, Any]()
        for name in self.parties:
            rows = [reports.row(who, one, name) for who, one in batch.items()]
            told[name] = {"reports": rows, "count": counted}
        reply = [own, *self._ask(channel, told, dict)]
        verdicts, why = share.decide(list(batch), reply)
        ends = [share.finish(verdicts), *self._tell(channel, {"verdicts": verdicts}, list)]
        agreed = [who for who in verdicts if all(who in end for end in ends)]
        why |= {
            who: "its aggregators used other joint randomness"
            for who in verdicts
            if who not in agreed
        }
        for who, reason in why.items():
            channel.exclude(who, f"its report is refused: {reason}")
        return agreed

    def _opening(self, reply: Any, who: str) -> dict[str, Any]:
        """What binds a session's proofs: the hash of the key to check with, the challenges, the
        hash of the cohort.
        """
        match reply:
            case {"key": key, "challenges": list(challenges), "cohort": digest, **more} if not more:
                parts = [key, digest, *challenges]
                count = len(self.parties)
                if (
                    all_of(parts, bytes)
                    and {len(part) for part in parts} == {SECRET}
                    and len(challenges) == count
                ):
                    return dict(reply)
        raise unexpected(
            who, "the hash of a key, a challenge of each helper, and the hash of the cohort"
        )

    def _noise(self, spec: Spec, key: Key, share: Share) -> dict[str, Integers]:
        """One aggregator's noise on each block of the sum, in steps: other noise for another
        company.
        """
        drawn = DiscreteGaussianNoise(self.noise)
        company = fingerprint(sorted(share.seen))
        key = key.child("noise", company.hex())
        each = zip(spec.blocks, self.plan(spec).noise.parts, strict=False)  # no parts without noise
        return {name: drawn.draw(sigma, size, key.child(name)) for name, (size, _, sigma) in each}

    def _tail(self, spec: Spec) -> dict[str, float]:
        """What the noise of all aggregators on a block does not reach, in steps."""
        sigmas = [sigma for *_, sigma in self.plan(spec).noise.parts] or [0.0] * len(spec.blocks)
        return {
            name: 40 * self._aggregators * sigma
            for name, sigma in zip(spec.blocks, sigmas, strict=True)
        }

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
            "whoever holds the "
            "enrolment key; and that enough honest ones are in the sum, for who knows all other "
            "vectors of a sum "
            "knows the last"
        )
        noise = (
            f", with the noise of each aggregator (multiplier {self.noise:g})" if self.noise else ""
        )
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
                "random shares; the model, and by its change the mean; who "
                "took part, and whose "
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
                "nothing more; each moves the sum by its bounds at most, or is "
                "refused by name; the mean by the longest update over the least weight, for the "
                "two are proven apart",
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


def _promise(secret: bytes, challenges: Sequence[bytes], cohort: Sequence[str]) -> dict[str, Any]:
    return {
        "key": hashlib.sha256(secret).digest(),
        "challenges": list(challenges),
        "cohort": fingerprint(list(cohort)),
    }


def _totals(end: Any, share: Share) -> list[bytes]:
    match end:
        case {"totals": list(totals), "seen": list(seen)} if all_of(totals, bytes) and len(
            totals
        ) == len(share.parts):
            if seen == sorted(share.seen):
                return totals
    raise RoundError(
        "A helper's sum is not over the clients that the server has counted.",
        "Shares of different sums add up to random numbers.",
        "Look at the helper, and run the round again.",
    )


def _vector(spec: Spec, parts: Sequence[Claim], sums: Sequence[Integers]) -> Vector:
    """The sum as the pipe knows it, from the sums of all claims in steps."""
    real = spec.space == "real"
    v: Vector = np.empty(spec.size, np.float64 if real else np.uint64)
    for part, x in zip(parts, sums, strict=True):
        start = 0
        for name, step in zip(part.names, part.steps, strict=True):
            block = x[start : start + spec.blocks[name]]
            v[spec.slice(name)] = block * step if real else block.view(np.uint64)
            start += spec.blocks[name]
    return v
