"""A helper of a verified sum: it checks reports with the server, and says its share of their sum.

It believes the server nothing that it can check: the opening is compared with the key and cohort
that it heard first, each report's signature with the roster, and no share of a sum over too few
clients is said.
"""

from __future__ import annotations

from typing import Any

from ...codec import fingerprint
from ...crypto.identity import Identity
from ...errors import ProtocolError
from ...transforms import Context
from .. import Conversation
from .opening import SECRET, promised, read_opening
from .reports import Reports, all_of, identified, unexpected
from .share import Share
from .terms import Terms


def assist(terms: Terms, quorum: int, at: Context) -> Conversation:
    """A helper's side: check batches of reports, add up its shares of those who are in, and return
    their sum.

    ProtocolError where the server says what does not fit together, or asks for a sum over fewer
    than `quorum` clients.
    """
    match (yield):
        case {"key": bytes(secret), "cohort": list(cohort)} if len(secret) == SECRET and all_of(
            cohort, str
        ):
            # the same to the same question, and to another cohort another one
            challenge = at.key.child("challenge", fingerprint((secret, cohort)).hex()).secret
        case _:
            raise unexpected(at.who, "a key to check with, and the cohort")
    me = terms.helpers.index(at.who) + 1
    opening = read_opening((yield challenge), at.who, len(terms.helpers))
    challenges = [*opening["challenges"][: me - 1], challenge, *opening["challenges"][me:]]
    if opening != promised(secret, challenges, cohort):
        raise ProtocolError(
            f"{at.who} was told another key, challenge or cohort than the clients.",
            "Who knows the key to check with can prove what is false, so clients hear its hash "
            "beforehand.",
            "Look at the server: its messages do not fit together.",
        )
    identity = identified(at)
    reports = Reports.of(at.session, opening, terms.helpers)
    reports.check_cohort(at.who, cohort)
    share = Share(terms.claims(reports.binding), me, secret)
    yield from _check(share, reports, cohort, identity)
    least = max(quorum, terms.least)
    if len(share.seen) < least:
        raise ProtocolError(
            f"{at.who} was asked for a sum over {len(share.seen)} clients.",
            f"It says none over fewer than {least}.",
            "Sample more clients, or ask for a lower quorum in the plan.",
        )
    return {"totals": share.totals(terms.drawn(at.key, share.seen)), "seen": sorted(share.seen)}


def _check(share: Share, reports: Reports, cohort: list[str], identity: Identity) -> Conversation:
    """Answer the server's batches of reports and verdicts, until it ends the round."""
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
                return
            case _:
                raise unexpected(identity.who, "reports, verdicts, or the end of the round")
