"""The server of a verified sum: it collects reports, checks them with the helpers in batches, and
decodes the sum of those that are valid.

It is one aggregator beside the helpers, with a share of its own, and carries what they say to one
another. A client whose report does not hold is left out by name; a helper that does not keep to the
protocol ends the round.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np

from ...errors import RoundError
from ...spec import Spec, Vector
from ...transforms import Decoder, Mean
from .. import Channel
from .claims import Claim, Integers
from .opening import promised, read_opening
from .reports import Reports, all_of, unexpected
from .share import Share
from .terms import Terms

BATCH = 2**28  # bytes of reports that are checked at a time
MOST = 256  # reports that are checked at a time


class Helpers:
    """All helpers of a session at once: each must answer, or there is no sum."""

    def __init__(self, channel: Channel, names: tuple[str, ...]):
        self.channel = channel
        self.names = names

    def tell(self, body: Any, kind: type) -> list[Any]:
        """Their answers, of this kind, to one message to all of them."""
        return self.ask(dict.fromkeys(self.names, body), kind)

    def ask(self, bodies: dict[str, Any], kind: type) -> list[Any]:
        """Their answers, of this kind and in order, each to its own message.

        RoundError where one is missing, ProtocolError where one is of another kind.
        """
        answers = self.channel.gather(bodies)
        if missing := [name for name in self.names if name not in answers]:
            raise RoundError(
                f"{' and '.join(missing)} said no more.",
                "Without the share of every helper there is no sum.",
                "Look at the helper, and run the round again.",
            )
        if wrong := [name for name in self.names if not isinstance(answers[name], kind)]:
            raise unexpected("the server", f"a {kind.__name__} by {' and '.join(wrong)}")
        return [answers[name] for name in self.names]


def collect(
    terms: Terms, channel: Channel, cohort: Sequence[str], decode: Decoder
) -> tuple[Mean | None, list[str]]:
    """The server's side: the decoded mean, and who is in it; no mean of too few clients.

    ProtocolError where a helper does not keep to the protocol, RoundError where one is gone.
    """
    at = decode.at
    helpers = Helpers(channel, terms.helpers)
    secret = at.key.child("check").secret
    challenges = helpers.tell({"key": secret, "cohort": list(cohort)}, bytes)
    opening = promised(secret, challenges, cohort)
    read_opening(opening, "the server", len(terms.helpers))
    helpers.tell(opening, bool)
    reports = Reports.of(at.session, opening, terms.helpers)
    share = Share(terms.claims(reports.binding), 0, secret)
    agreed = list[str]()
    answers = channel.as_completed(dict.fromkeys(cohort, opening))
    authentic = reports.authentic(channel, answers, len(share.parts))
    size = max(1, min(MOST, BATCH // (8 * terms.spec.size)))
    while batch := dict(islice(authentic, size)):
        agreed = _check_batch(helpers, share, reports, batch, agreed)
        share.count(agreed)
    participants = sorted(share.seen)
    if len(participants) < terms.least:
        return None, participants
    ends = helpers.tell({"close": agreed}, dict)
    totals = [share.totals(terms.drawn(at.key, share.seen)), *(_totals(end, share) for end in ends)]
    v = _read(terms, share.parts, totals, len(participants))
    return decode(v, len(participants), overwrite=True), participants


def _check_batch(
    helpers: Helpers, share: Share, reports: Reports, batch: dict[str, Any], counted: list[str]
) -> list[str]:
    """Who of a batch is in the sum; the helpers count those of the one before."""
    opened = [(who, one["nonce"], one["public"], one["leader"]) for who, one in batch.items()]
    own = share.prepare(opened)
    told = dict[str, Any]()
    for name in helpers.names:
        rows = [reports.row(who, one, name) for who, one in batch.items()]
        told[name] = {"reports": rows, "count": counted}
    verdicts, why = share.decide(list(batch), [own, *helpers.ask(told, dict)])
    ends = [share.finish(verdicts), *helpers.tell({"verdicts": verdicts}, list)]
    agreed = [who for who in verdicts if all(who in end for end in ends)]
    for who in verdicts:
        if who not in agreed:
            why[who] = "its aggregators used other joint randomness"
    for who, reason in why.items():
        helpers.channel.exclude(who, f"its report is refused: {reason}")
    return agreed


def _totals(end: Any, share: Share) -> list[bytes]:
    """A helper's share of the sum of each claim; RoundError where it is not of this sum."""
    match end:
        case {"totals": list(totals), "seen": list(seen)} if all_of(totals, bytes):
            if len(totals) == len(share.parts) and seen == sorted(share.seen):
                return totals
    raise RoundError(
        "A helper's sum is not over the clients that the server has counted.",
        "Shares of different sums add up to random numbers.",
        "Look at the helper, and run the round again.",
    )


def _read(terms: Terms, parts: Sequence[Claim], totals: Sequence[list[bytes]], n: int) -> Vector:
    """The sum of n clients' vectors, from all aggregators' shares of the sum of each claim."""
    reach = terms.reach()
    sums = []
    for part, shares in zip(parts, zip(*totals, strict=True), strict=True):
        margin = max(reach[name] for name in part.names)
        sums.append(part.read(shares, n, margin))
    return joined(terms.spec, parts, sums)


def joined(spec: Spec, parts: Sequence[Claim], sums: Sequence[Integers]) -> Vector:
    """The sum as the pipe knows it [spec.size], from the sums of all claims in steps."""
    real = spec.space == "real"
    v: Vector = np.empty(spec.size, spec.word)
    for part, x in zip(parts, sums, strict=True):
        start = 0
        for name, step in zip(part.names, part.steps, strict=True):
            block = x[start : start + spec.blocks[name]]
            if real:
                v[spec.slice(name)] = block * step
            else:
                v[spec.slice(name)] = block.view(np.uint64)
            start += spec.blocks[name]
    return v
