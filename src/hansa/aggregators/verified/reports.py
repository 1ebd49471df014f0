"""Reports of a verified sum: what a client says and signs, and how aggregators read it.

    signature = Ed25519(domain, binding, who, nonce, public shares, SHA-256 of each share)

A helper gets its own share and the hashes of the others, so it checks signatures as the server
does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...codec import dumps, fingerprint
from ...crypto import vdaf
from ...crypto.identity import Identity, Member, Role
from ...crypto.keys import SIGNATURE, seal, verify
from ...errors import ProtocolError
from ...transforms import Context, Session
from .. import Channel
from .share import UNOPENED, UNSIGNED, Report

DOMAIN = "hansa VerifiedSum report 1"  # what is signed as this is signed as nothing else
Shares = Sequence[list[bytes]]  # of each helper, part by part

SEEDS = 2**10  # bytes; no public share, and no share of a helper, has as many


@dataclass(frozen=True)
class Head:
    """What a client signs: name, nonce, public shares, and SHA-256 of each aggregator's share."""

    who: str
    nonce: bytes
    public: list[bytes]
    hashes: list[bytes]  # the server's first

    @classmethod
    def of(cls, who: str, report: Mapping[str, Any]) -> Head:
        """That of a report."""
        shares = report["leader"], *report["sealed"]
        return cls(who, report["nonce"], report["public"], list(map(_hash, shares)))


@dataclass(frozen=True)
class Reports:
    """The reports of one session: what they are bound to, who may sign them, and who helps."""

    binding: bytes
    roster: Mapping[str, Member] = field(repr=False)
    helpers: tuple[str, ...]

    @classmethod
    def of(cls, session: Session, opening: Mapping[str, Any], helpers: tuple[str, ...]) -> Reports:
        """Those of one session: bound to its opening, and by `task` to plan and model."""
        bound = (
            "hansa VerifiedSum 1",
            session.task,
            opening["key"],
            opening["challenges"],
            opening["cohort"],
        )
        return cls(fingerprint(bound), session.roster, helpers)

    def member(self, who: str, role: Role) -> Member | None:
        """The public half of who has this role; None where nobody of that name has."""
        found = self.roster.get(who)
        if found is None or found.role != role:
            return None
        return found

    # ── a client ──

    def check_helpers(self, who: str) -> None:
        """ProtocolError where `who` does not know the key of every helper."""
        if missing := [name for name in self.helpers if self.member(name, "helper") is None]:
            raise ProtocolError(
                f"{who} knows no public key of {', '.join(missing)}.",
                "A share that is sealed for an unknown key could be read by anybody.",
                "Who brings the parties together gives each a roster: Client(…, roster=roster).",
            )

    def sealed(
        self, who: str, nonce: bytes, public: list[bytes], shares: Shares
    ) -> list[list[bytes]]:
        """Each helper's share, sealed for it, part by part."""
        boxes = []
        for name, share in zip(self.helpers, shares, strict=True):
            key = self.roster[name].agreement
            infos = [self._info(who, nonce, public, name, i) for i in range(len(share))]
            boxes.append([seal(part, key, info) for part, info in zip(share, infos, strict=True)])
        return boxes

    def signed(self, report: Mapping[str, Any], identity: Identity) -> dict[str, Any]:
        """The report with its client's signature over all that is in it."""
        message = self._message(Head.of(identity.who, report))
        return {**report, "signature": identity.signing.sign(message)}

    # ── the server ──

    def authentic(
        self, channel: Channel, answers: Iterable[tuple[str, Any]], parts: int
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The reports, of so many parts, that whom they are of has signed; others are excluded."""
        for who, report in answers:
            if not self._fits(report, parts):
                channel.exclude(who, "what it says is no report of this plan")
            elif not self._is_signed(Head.of(who, report), report["signature"]):
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
                if len(nonce) != vdaf.NONCE or len(signature) != SIGNATURE:
                    return False
                if len(sealed) != len(self.helpers):
                    return False
                small = (public, *sealed)
                right = all(all_of(row, bytes) for row in (leader, *small))
                if not right or any(len(row) != parts for row in small):
                    return False
                return all(len(part) < SEEDS for row in small for part in row)
        return False

    def row(self, who: str, report: Mapping[str, Any], helper: str) -> tuple[Any, ...]:
        """A report as a helper gets it."""
        head = Head.of(who, report)
        own = report["sealed"][self.helpers.index(helper)]
        return who, head.nonce, head.public, own, head.hashes, report["signature"]

    # ── a helper ──

    def check_cohort(self, who: str, cohort: Iterable[str]) -> None:
        """ProtocolError where not all of a cohort are clients of the roster."""
        if strangers := [name for name in cohort if self.member(name, "client") is None]:
            raise ProtocolError(
                f"{who} was told of a cohort in which {', '.join(strangers[:5])} is no client.",
                "Who may invent clients reads the vector of the one that is real off the sum.",
                "Look at the server, or give the helper the newest roster.",
            )

    def opened(self, row: Any, cohort: Collection[str], helper: Identity) -> Report:
        """A helper's row, with its shares opened, or why they are not; ProtocolError for none."""
        match row:
            case (
                str(who),
                bytes(nonce),
                list(public),
                list(sealed),
                list(hashes),
                bytes(signature),
            ) if all(all_of(values, bytes) for values in (public, sealed, hashes)):
                me = 1 + self.helpers.index(helper.who)
                hashes = [*hashes[:me], _hash(sealed), *hashes[me + 1 :]]
                shares: list[bytes] | str
                if who not in cohort:
                    shares = f"{who} is not in the cohort"
                elif not self._is_signed(Head(who, nonce, public, hashes), signature):
                    shares = UNSIGNED
                else:
                    count = range(len(sealed))
                    infos = [self._info(who, nonce, public, helper.who, i) for i in count]
                    shares = _open(helper, sealed, infos)
                return who, nonce, public, shares
        raise unexpected("a helper", "reports with a name, a nonce, shares, hashes and a signature")

    # ── all of them ──

    def _is_signed(self, head: Head, signature: bytes) -> bool:
        """Has the client that this is said to be of signed it, for the session of these reports?"""
        member = self.member(head.who, "client")
        return member is not None and verify(member.signing, self._message(head), signature)

    def _message(self, head: Head) -> bytes:
        return dumps((DOMAIN, self.binding, head.who, head.nonce, head.public, head.hashes))

    def _info(self, who: str, nonce: bytes, public: list[bytes], helper: str, part: int) -> bytes:
        """What a part is sealed with: it opens in this place of one session alone."""
        return hashlib.sha256(dumps((self.binding, who, nonce, public, helper, part))).digest()


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
    found = f"{who} was told something else than {wanted}."
    return ProtocolError(found, "", "Look at the server's version.")


def _open(helper: Identity, sealed: list[bytes], infos: list[bytes]) -> list[bytes] | str:
    """The parts of a share, or that they do not open."""
    try:
        return [helper.agreement.open(box, info) for box, info in zip(sealed, infos, strict=True)]
    except ProtocolError:
        return UNOPENED


def _hash(share: Iterable[bytes]) -> bytes:
    """SHA-256 of a share, part by part."""
    whole = hashlib.sha256()
    for part in share:
        whole.update(len(part).to_bytes(8, "little"))
        whole.update(part)
    return whole.digest()
