"""Approvals: which bundles the owner of a kit has approved, and which reviewers have signed them.

kit/approvals            a line for each: SHA-256, name, by whom, when; nothing in it is changed
kit/bundles/SHA-256      what was approved, to tell the next one from
X.bundle.NAME.review     a reviewer's signature, beside the bundle

signature = Ed25519(a reviewer's key, DOMAIN ‖ JSON of federation, reviewer and SHA-256)

A line of approvals is {"by":…,"name":…,"sha256":…,"signed":[…],"when":…}, sorted and without
spaces. What is signed is

    hansa review 1                                      DOMAIN, and a line feed
    {"federation":…,"sha256":…,"who":…}                 the hash in hex, of the whole bundle

A review holds these three and the signature in hex, as base64 between two lines that say HANSA
REVIEW. It does not approve: an owner counts reviews, and decides.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from .. import private
from ..crypto.identity import Identity, Roster
from ..crypto.keys import verify
from ..errors import ApprovalError, HansaError, StoreError
from ..kits.armour import armoured, canonical, opened, unreadable
from ..kits.files import contents
from .bundle import Bundle

FILE = "approvals"
BUNDLES = "bundles"
APPS = "apps"  # where approved bundles are unpacked
LABEL = "REVIEW"
REVIEW = ".review"
DOMAIN = b"hansa review 1\n"  # what is signed under it is signed as a review, and as nothing else
LARGEST = 2**26  # bytes of the file


@dataclass(frozen=True)
class Approval:
    """That a bundle was approved: its SHA-256 and name, by whom, when, and who had signed it."""

    sha256: str
    name: str
    by: str
    when: str  # in UTC, as 2027-01-31T12:00:00Z
    signed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Review:
    """That a member of a federation has read the bundle with this SHA-256, and finds it right."""

    federation: str
    who: str
    sha256: str
    signature: bytes = field(default=b"", repr=False)

    @classmethod
    def signed(cls, federation: str, identity: Identity, bundle: Bundle) -> Self:
        """The review of who has this identity, by the signing key that the roster names."""
        unsigned = cls(federation, identity.who, bundle.sha256)
        signature = identity.signing.sign(unsigned._message)
        return cls(federation, identity.who, bundle.sha256, signature)

    def check(self, federation: str, roster: Roster, bundle: Bundle) -> None:
        """ApprovalError unless a member of this roster has signed this bundle, here."""
        member = roster.get(self.who)
        about = (self.federation, self.sha256) == (federation, bundle.sha256)
        if member is None or not about or not verify(member.signing, self._message, self.signature):
            raise ApprovalError(
                f"The review of {self.who} does not count for this bundle.",
                "It is of another bundle or federation, or nobody on the roster has signed it.",
                "Ask the reviewer to sign this one: hansa approve X.bundle --kit kit/ --sign",
            )

    def encode(self) -> bytes:
        """The text to be sent."""
        return armoured(LABEL, {**self._value, "signature": self.signature.hex()})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The review that `encode` has written, not checked; ProtocolError for anything else."""
        value = opened(LABEL, data)
        try:
            signature = bytes.fromhex(value["signature"])
            found = cls(value["federation"], value["who"], value["sha256"], signature)
            whole = armoured(LABEL, value) == found.encode()
        except (AttributeError, KeyError, TypeError, ValueError):
            whole = False
        if not whole:
            raise unreadable(LABEL, len(data))
        return found

    @property
    def _value(self) -> Mapping[str, Any]:
        return {"federation": self.federation, "who": self.who, "sha256": self.sha256}

    @property
    def _message(self) -> bytes:
        return DOMAIN + canonical(self._value)


def reviewers(
    reviews: Iterable[Path], federation: str, roster: Roster, bundle: Bundle
) -> tuple[set[str], list[HansaError]]:
    """Who of the roster has signed this bundle, and why other files do not count.

    reviews: paths. A member counts once, however many files it has signed; a file that cannot be
    read is among those that do not count.
    """
    found = set[str]()
    wrong = list[HansaError]()
    for path in reviews:
        try:
            review = Review.decode(contents(path, "Put the review beside the bundle."))
            review.check(federation, roster, bundle)
            found.add(review.who)
        except HansaError as error:
            wrong.append(error)
    return found, wrong


def reviews_of(path: Path) -> list[Path]:
    """The reviews that lie beside a bundle: files X.bundle.….review, sorted by name."""
    begin = path.name + "."
    beside = path.absolute().parent.iterdir()
    return sorted(one for one in beside if one.name.startswith(begin) and one.suffix == REVIEW)


def check_signed(found: set[str], wanted: int, wrong: Iterable[HansaError]) -> None:
    """ApprovalError where fewer have signed than are wanted."""
    if len(found) >= wanted:
        return
    also = "".join(f" {one.found}" for one in wrong)
    raise ApprovalError(
        f"{len(found)} of {wanted} reviewers have signed: {', '.join(sorted(found)) or 'nobody'}."
        f"{also}",
        "Each counts once, and is on the roster.",
        "Put their files beside the bundle: X.bundle.NAME.review",
    )


def approve(folder: Path, bundle: Bundle, by: str, signed: Iterable[str] = ()) -> Approval:
    """Write down in a kit's folder that this bundle is approved, and keep it; ApprovalError where
    nobody says so.

    The bundle is written first, and the line then, both to the disk: who is killed in between has
    approved nothing. signed: names of the reviewers that counted.
    """
    if not by.strip() or not by.isprintable():
        raise ApprovalError(
            f"The bundle is approved by {by!r:.100}.",
            "Who is asked later has a name, of one line.",
            'Write for example --by "data protection officer".',
        )
    (folder / BUNDLES).mkdir(mode=0o700, exist_ok=True)
    private.write(folder / BUNDLES / bundle.sha256, bundle.encode())
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    made = Approval(bundle.sha256, bundle.name, by, now, tuple(sorted(signed)))
    private.append(folder / FILE, canonical(asdict(made)) + b"\n")
    return made


def approvals(folder: Path) -> list[Approval]:
    """What was approved in a kit's folder, the latest last; StoreError where others can write
    there, or a line is none of hansa's.
    """
    if not (folder / FILE).exists():
        return []
    return list(_lines(folder / FILE))


def _lines(path: Path) -> Iterator[Approval]:
    """One approval a line; StoreError for the first that is not as `approve` writes it."""
    for line in private.read(path, LARGEST).splitlines():
        try:
            value = json.loads(line)
            found = Approval(**{**value, "signed": tuple(value["signed"])})
            whole = canonical(asdict(found)) == line
        except (KeyError, TypeError, ValueError, RecursionError):
            whole = False
        if not whole:
            raise StoreError(
                f"{path} has a line that is no approval.",
                "Each is as hansa has written it, and is never changed.",
                "Put the file back from a backup, or delete it and approve anew.",
            )
        yield found


def approval_of(folder: Path, bundle: Bundle) -> Approval | None:
    """The latest approval of this very bundle, if there is one."""
    found = [one for one in approvals(folder) if one.sha256 == bundle.sha256]
    return found[-1] if found else None


def check_approved(folder: Path, bundle: Bundle, path: Path) -> None:
    """ApprovalError unless exactly this bundle is approved; `path` is what was to be run."""
    if approval_of(folder, bundle) is not None:
        return
    packed = path
    first = ""
    if path.suffix != ".bundle":
        packed = path.with_suffix(".bundle")
        first = f"hansa bundle {path} --out {packed}, then "
    raise ApprovalError(
        f"{path} is not approved: SHA-256 {bundle.sha256[:16]}….",
        "What it holds runs here beside the data, with all rights; one byte changes its hash.",
        f"Read it, and approve it: {first}hansa inspect {packed} --kit {folder}, and "
        f'hansa approve {packed} --kit {folder} --by "NAME"',
    )


def last_approved(folder: Path, name: str) -> Bundle | None:
    """The bundle of this name that was approved last; None where there is none."""
    before = [one for one in approvals(folder) if one.name == name]
    if not before:
        return None
    return Bundle.read(folder / BUNDLES / before[-1].sha256)
