"""Reports of a verified sum: what a client says and signs, and how the server and its helpers read it.

    signature = Ed25519(DOMAIN, binding, who, nonce, public shares, SHA-256 of each aggregator's share)

A helper gets its own share and the hashes of the others, so that it checks the signature as the server does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..codec import dumps
from ..crypto import vdaf
from ..crypto.identity import Identity, Member, Role
from ..crypto.keys import SIGNATURE, seal, verify
from ..errors import ProtocolError
from ..transforms import Context
from . import Channel
from .share import UNOPENED, UNSIGNED, Report

DOMAIN = "hansa VerifiedSum report 1"  # what is signed under it is signed as a report, and as nothing else
SEEDS = 2**10  # bytes; no public share, and no share of a helper, has as many


@dataclass(frozen=True)
class Reports:
    """The reports of one session: what they are bound to, who may sign them, and who helps."""

    binding: bytes
    roster: Mapping[str, Member] = field(repr=False)
    helpers: tuple[str, ...]

    def member(self, who: str, role: Role) -> Member | None:
        """The public half of who has this role; None where nobody of that name has."""
        found = self.roster.get(who)
        if found is None or found.role != role:
            return None
        return found

    # ── a client ──

    def check_helpers(self, who: str) -> None:
        """ProtocolError where `who` could seal no share, for it does not know every helper's key."""
        if missing := [name for name in self.helpers if self.member(name, "helper") is None]:
            raise ProtocolError(
                f"{who} knows no public key of {', '.join(missing)}.",
                "A share that is sealed for an unknown key could be read by anybody.",
                "Who brings the parties together gives each a roster of all: Client(…, roster=roster).",
            )

    def sealed(self, who: str, nonce: bytes, public: list[bytes], shares: Sequence[list[bytes]]) -> list[list[bytes]]:
        """Each helper's share, sealed for it, part by part."""
        return [
            [
                seal(part, self.roster[name].agreement, self._info(who, nonce, public, name, i))
                for i, part in enumerate(own)
            ]
            for name, own in zip(self.helpers, shares, strict=True)
        ]

    def signed(self, report: Mapping[str, Any], identity: Identity) -> dict[str, Any]:
        """The report with its client's signature over all that is in it."""
        message = self._message(identity.who, report["nonce"], report["public"], _hashes(report))
        return {**report, "signature": identity.signing.sign(message)}

    # ── the server ──

    def authentic(
        self, channel: Channel, answers: Iterable[tuple[str, Any]], parts: int
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The reports among the answers, of so many parts, that are signed by whom they are of; others are excluded."""
        for who, report in answers:
            if not self._fits(report, parts):
                channel.exclude(who, "what it says is no report of this plan")
            elif not self._is_signed(who, report["nonce"], report["public"], _hashes(report), report["signature"]):
                channel.exclude(who, f"its report is refused: {UNSIGNED}")
            else:
                yield who, report

    def _fits(self, report: Any, parts: int) -> bool:
        """Is this a report, and small where helpers get it or something of it is kept?"""
        match report:
            case {
                "nonce": bytes(nonce),
                "public": public,
                "leader": leader,
                "sealed": list(sealed),
                "signature": bytes(signature),
                **more,
            } if not more:
                if len(nonce) != vdaf.NONCE or len(signature) != SIGNATURE or len(sealed) != len(self.helpers):
                    return False
                right = all(all_of(row, bytes) for row in (public, leader, *sealed))
                return right and all(len(row) == parts and max(map(len, row)) < SEEDS for row in (public, *sealed))
        return False

    def row(self, who: str, report: Mapping[str, Any], helper: str) -> tuple[Any, ...]:
        """A report as a helper gets it."""
        own = report["sealed"][self.helpers.index(helper)]
        return who, report["nonce"], report["public"], own, _hashes(report), report["signature"]

    # ── a helper ──

    def check_cohort(self, who: str, cohort: Iterable[str]) -> None:
        """ProtocolError where not all of a cohort are clients of the roster."""
        if strangers := [name for name in cohort if self.member(name, "client") is None]:
            raise ProtocolError(
                f"{who} was told of a cohort in which {', '.join(strangers[:5])} is no client of its roster.",
                "Who may invent clients reads the vector of the one that is real off the sum.",
                "Look at the server, or give the helper the newest roster.",
            )

    def opened(self, row: Any, cohort: Collection[str], helper: Identity) -> Report:
        """A report as a helper got it, with its shares opened, or why they are not; ProtocolError for what is none."""
        match row:
            case (str(who), bytes(nonce), list(public), list(sealed), list(hashes), bytes(signature)) if (
                all_of(public, bytes) and all_of(sealed, bytes) and all_of(hashes, bytes)
            ):
                me = 1 + self.helpers.index(helper.who)
                hashes = [*hashes[:me], _hash(sealed), *hashes[me + 1 :]]
                if who not in cohort:
                    return who, nonce, public, f"{who} is not in the cohort"
                if not self._is_signed(who, nonce, public, hashes, signature):
                    return who, nonce, public, UNSIGNED
                return who, nonce, public, self._open(who, nonce, public, sealed, helper)
        raise unexpected("a helper", "reports with a name, a nonce, shares, hashes and a signature")

    def _open(self, who: str, nonce: bytes, public: list[bytes], sealed: list[bytes], helper: Identity) -> Any:
        try:
            return [
                helper.agreement.open(box, self._info(who, nonce, public, helper.who, i))
                for i, box in enumerate(sealed)
            ]
        except ProtocolError:
            return UNOPENED

    # ── all of them ──

    def _is_signed(self, who: str, nonce: bytes, public: list[bytes], hashes: list[bytes], signature: bytes) -> bool:
        """Has the client that this is said to be of signed it, for this session?"""
        member = self.member(who, "client")
        return member is not None and verify(member.signing, self._message(who, nonce, public, hashes), signature)

    def _message(self, who: str, nonce: bytes, public: list[bytes], hashes: list[bytes]) -> bytes:
        return dumps((DOMAIN, self.binding, who, nonce, public, hashes))

    def _info(self, who: str, nonce: bytes, public: list[bytes], helper: str, part: int) -> bytes:
        """What a share is sealed with: it opens as this part of this report alone, in this session, by this helper."""
        return hashlib.sha256(dumps((self.binding, who, nonce, public, helper, part))).digest()


def _hashes(report: Mapping[str, Any]) -> list[bytes]:
    """SHA-256 of the share of each aggregator, the server's first."""
    return [_hash(share) for share in (report["leader"], *report["sealed"])]


def _hash(share: Iterable[bytes]) -> bytes:
    whole = hashlib.sha256()
    for part in share:
        whole.update(len(part).to_bytes(8, "little"))
        whole.update(part)
    return whole.digest()


def identified(at: Context) -> Identity:
    """The identity of a party; ProtocolError where it has none."""
    if at.session.identity is None:
        raise ProtocolError(
            f"{at.who} has no identity.",
            "It could sign nothing, and nothing could be sealed for it alone.",
            "Who brings the parties together gives each its own: Identity.fresh(who, role).",
        )
    return at.session.identity


def all_of(values: Any, kind: type) -> bool:
    """Is this a list of such values?"""
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def unexpected(who: str, wanted: str) -> ProtocolError:
    """What is raised where a server says something else."""
    return ProtocolError(f"{who} was told something else than {wanted}.", "", "Look at the server's version.")
