"""What a run's record holds of one cell, and how anybody verifies it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...crypto.identity import Member
from ...crypto.keys import SIGNATURE, verify
from ...errors import ProtocolError, RoundError
from ...spec import Vector
from .cell import Cell
from .committee import seated
from .proving import is_proven, proof_entry
from .reopening import reopened
from .terms import (
    DIGEST,
    FEWEST,
    SHARE,
    Octets,
    View,
    agreed_of,
    as_set,
    binding_of,
    form_of,
    needed,
    said_of,
)


def entry_of(cell: Cell, total: Vector | None) -> dict[str, Any]:
    """A cell as a line of the record holds it: all that its members have signed, their signatures,
    and SHA-256 of the sum that they opened; nothing in its place where they did not. Who is proven
    to have dealt rubbish, by whom and how; and whose help lay beside that of the others, as the
    server says.
    """
    terms = cell.terms
    holding = getattr(terms, "holding", {})
    members = {
        name: [one.signing.hex(), one.agreement.hex()]
        for name, one in {**terms.members, **holding}.items()
    }
    digest = "" if total is None else hashlib.sha256(total.data).hexdigest()
    return {
        "names": list(terms.names),
        "members": members,
        "holders": sorted(holding),
        "kind": terms.kind,
        "needed": [terms.t, terms.least],
        "prepared": as_set(cell.view.prepared).tobytes().hex(),
        "publics": cell.view.publics.tobytes().hex(),
        "inside": as_set(cell.inside).tobytes().hex(),
        "signatures": cell.signatures.tobytes().hex(),
        "form": [int(x) for x in form_of(terms.spec)],
        "vectors": cell.vectors.signed.tobytes().hex(),
        "sum": digest,
        "key": cell.vectors.key.hex(),
        "wrong": cell.wrong,
        "proven": [proof_entry(one) for one in cell.proven],
        "closed": cell.failure.why if cell.failure else "",
    }


def verify_cell(
    entry: Mapping[str, Any], task: bytes, roster: Mapping[str, Member] | None
) -> bytes:
    """ProtocolError where a sum was opened that not enough members have signed, or of vectors that
    their clients have not, members are not those of the roster, or what it says is proven is not;
    else the cell's binding.
    """
    names = entry["names"]
    if names != sorted(set(names)) or len(names) < FEWEST:
        raise _wrong("its members are too few, or not those of a cell")
    holders = entry["holders"]
    if holders != sorted(set(holders)) or 0 < len(holders) < FEWEST:
        raise _wrong("its holders are too few, or one is among them twice")
    members = _members_of(entry, roster)
    t, least = entry["needed"]
    n = len(names)
    prepared = _rows(entry["prepared"], n, 1)[:, 0] > 0
    publics = _rows(entry["publics"], n)
    view = View(prepared, publics)
    inside = _rows(entry["inside"], n, 1)[:, 0] > 0
    binding = binding_of(entry["kind"], task, {name: members[name] for name in names}, t, least)
    if holders:
        binding = seated(binding, {name: members[name] for name in holders})
    for one in entry["proven"]:
        if holders or not is_proven(one, names, members, binding):
            raise _wrong(f"it is not proven that {one['dealer']} has dealt rubbish")
    agreed = agreed_of(binding, view, inside)
    if not entry["sum"]:
        return binding
    signers = holders or names
    signatures = _rows(entry["signatures"], len(signers), SIGNATURE)
    signed = [
        name
        for i, name in enumerate(signers)
        if (holders or inside[i]) and verify(members[name].signing, agreed, bytes(signatures[i]))
    ]
    if (inside & ~prepared).any():
        raise _wrong("its sum is over clients who had not prepared")
    least = least if holders else max(t, least)
    if 3 * t <= 2 * len(signers) or 3 * least <= 2 * n or inside.sum() < least:
        raise _wrong("its sum is over fewer clients than hide each other")
    if t != needed(_threshold(entry["kind"]), len(signers)):
        raise _wrong(
            f"{t} of {len(signers)} clients are not as many as {entry['kind']} has open a sum"
        )
    if len(signed) < t:
        raise _wrong(
            f"{len(signed)} of {len(signers)} clients have signed who is in the sum, not {t}"
        )
    vectors = _rows(entry["vectors"], n, DIGEST + SIGNATURE)
    for i in np.flatnonzero(inside).tolist():
        said = said_of(binding, names[i], entry["form"], bytes(vectors[i, :DIGEST]))
        if not verify(members[names[i]].signing, said, bytes(vectors[i, DIGEST:])):
            raise _wrong(f"{names[i]} has not signed the vector that it says is in the sum")
    return binding


def _members_of(entry: Mapping[str, Any], roster: Mapping[str, Member] | None) -> dict[str, Member]:
    """All whom a cell names, with their keys; ProtocolError where it names others beside, or the
    roster has other keys.
    """
    named = {*entry["names"], *entry["holders"]}
    if entry["members"].keys() != named or not set(entry["wrong"]) <= named:
        raise _wrong("it names some who are not in its cell")
    members = dict[str, Member]()
    for name in sorted(named):
        signing, agreement = entry["members"][name]
        members[name] = Member("client", bytes.fromhex(signing), bytes.fromhex(agreement))
        if roster is not None and roster.get(name) != members[name]:
            raise _wrong(f"{name} is not in the roster, or has other keys there")
    return members


def add_up_again(
    entry: Mapping[str, Any], binding: bytes, read: Callable[[str, str], bytes]
) -> None:
    """ProtocolError where the ciphertexts of a cell that holds, and the sum of their keys, open to
    another sum than it says.

    read: (whose, SHA-256) → what is kept of it; StoreError where that is not there, or another.
    """
    if not entry["sum"]:
        return
    if not entry["key"]:
        raise _wrong(f"of {entry['kind']} nothing is kept that its sum could be opened with")
    names = entry["names"]
    inside = _rows(entry["inside"], len(names), 1)[:, 0] > 0
    digests = _rows(entry["vectors"], len(names), DIGEST + SIGNATURE)[:, :DIGEST]
    key = read("the sum of keys", entry["key"])
    ciphertexts = (
        read(f"the ciphertext of {names[i]}", bytes(digests[i]).hex())
        for i in np.flatnonzero(inside).tolist()
    )
    try:
        total = reopened([len(names), *entry["form"]], binding, ciphertexts, key)
    except (ProtocolError, RoundError) as error:
        raise _wrong(f"its ciphertexts do not open: {error.found}") from error
    if hashlib.sha256(total.data).hexdigest() != entry["sum"]:
        raise _wrong("its sum, computed again from its ciphertexts, is another than it says")


def _threshold(kind: str) -> float:
    """Which share of its members opens a sum, and one more, as its aggregator prints."""
    found = re.search(r"threshold=([0-9.e-]+)", kind)
    return float(found[1]) if found else SHARE


def _rows(text: str, n: int, width: int = 0) -> Octets:
    """Bytes as n rows; ProtocolError for another number of them."""
    data = np.frombuffer(bytes.fromhex(text), np.uint8)
    if len(data) % n or (width and len(data) != n * width):
        raise _wrong("it holds rows of another length")
    return data.reshape(n, -1)


def _wrong(found: str) -> ProtocolError:
    return ProtocolError(found, "", "")
