"""A federation from its file: an authority, and for tests and small teams the kits of all parties.

    name = "heart study"
    address = "fl.example.org:7443"
    days = 90                          # that a roster counts; may be left out

    [[party]]
    name = "north"
    role = "client"                    # client, helper, server, gateway or peer

A peer's table has its own address, at which it listens; where all are peers there is no server, and
no other address is needed.

Where no party is listed, there is an authority alone, and each party makes its own keys
(`kits.enrol`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..crypto.identity import ROLES, Role
from ..errors import ProtocolError
from .authority import DAYS, Authority, check_days, make_folder
from .enrol import add, enrol
from .files import contents
from .names import check_name, check_new, check_server, host_and_port
from .words import words

KEYS = ("name", "address", "days", "party")
PARTY = ("name", "role", "address")
KITS = "kits"  # the folder of all kits, in that of the authority


@dataclass(frozen=True)
class Design:
    """What a `federation.toml` says: who takes part, by name, where the server is, and each peer.

    addresses: where each peer listens, by name.
    """

    name: str
    address: str
    days: int = DAYS
    parties: Mapping[str, Role] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)


def read(path: Path) -> Design:
    """The federation in a TOML file; StoreError where it cannot be read, ProtocolError for a key
    that is none, and a name or role that cannot be.
    """
    data = contents(path, "Name a file with the name, the address and the parties of a federation.")
    try:
        found = tomllib.loads(data.decode())
    except ValueError as error:  # of TOML, which names the line, or of UTF-8
        raise ProtocolError(
            f"{path} is not TOML: {error}.",
            "A federation is written as a TOML file.",
            'Begin it with name = "heart study".',
        ) from None
    parties, addresses = _parties(path, found.get("party", []))
    needed: tuple[str, ...] = ("name", "address")
    if addresses and len(addresses) == len(parties):
        needed = ("name",)
    _check_keys(path, found, KEYS, needed)
    check_name(found["name"], "A federation")
    address = found.get("address", "")
    check_server(address)
    days = found.get("days", DAYS)
    check_days(days)
    return Design(found["name"], address, days, parties, addresses)


def _parties(path: Path, listed: object) -> tuple[Mapping[str, Role], Mapping[str, str]]:
    """name → role of the [[party]] tables, and name → address of peers."""
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise ProtocolError(
            f"{path} has party = {listed!r:.220}.",
            "Each party is a table of its own.",
            'Write [[party]], and below it name = "north" and role = "client".',
        )
    parties = dict[str, Role]()
    addresses = dict[str, str]()
    for number, one in enumerate(listed, 1):
        where = f"{path}, [[party]] {number}"
        needed = PARTY if one.get("role") == "peer" else PARTY[:2]
        _check_keys(where, one, needed, needed)
        check_name(one["name"], f"{where}: a party")
        check_new(one["name"], parties)
        if one["role"] not in ROLES:
            raise ProtocolError(
                f"{where}: {one['name']} has role = {one['role']!r:.220}.",
                "What a party may say depends on its role.",
                f"Write one of {', '.join(ROLES)}.",
            )
        parties[one["name"]] = one["role"]
        if one["role"] == "peer":
            host_and_port(one["address"])
            addresses[one["name"]] = one["address"]
    return parties, addresses


def _check_keys(
    where: object, found: Mapping[str, Any], known: tuple[str, ...], needed: tuple[str, ...]
) -> None:
    """ProtocolError for a key that is not known, and one that is missing."""
    for key in found:
        if key not in known:
            raise ProtocolError(
                f"{where} has the key {key!r:.220}.",
                f"There are {', '.join(known)}.",
                "Take one of them.",
            )
    for key in needed:
        if key not in found:
            raise ProtocolError(
                f"{where} has no {key}.", f"It needs {' and '.join(needed)}.", f"Write {key} = …"
            )


def provision(design: Design, folder: Path) -> Authority:
    """A new authority in a folder, and below it a kit for each party that is listed.

    Whoever runs it has seen all their private keys. StoreError where the folder is there.
    """
    made = Authority.new(folder, design.name, design.address, design.days)
    if not design.parties:
        return made
    kits = folder / KITS
    make_folder(kits)
    listens = design.addresses
    requests = [
        enrol(kits / who, who, role, listens.get(who, "")) for who, role in design.parties.items()
    ]
    made, answers = made.admit(requests)
    heard = words(made.federation.message)
    for request, answer in zip(requests, answers, strict=True):
        add(kits / request.who, answer, heard)
    return made
