"""Names of parties that are names of files too, and addresses of servers."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterable

from ..errors import ProtocolError

LONGEST = 64  # bytes of a name in X.509 (RFC 5280, ub-common-name)
HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


def check_name(name: object, whose: str = "A party") -> None:
    """ProtocolError for a name that is no name of a file everywhere.

    It has letters and digits, and within it spaces, hyphens, points and underscores.
    """
    if not isinstance(name, str) or not _is_name(name):
        raise ProtocolError(
            f"{whose} is called {name!r:.220}.",
            "Folders and certificates have its name: letters and digits, and between them spaces, "
            f"- . and _, of {LONGEST} bytes at most.",
            "Name it otherwise, for example north-2.",
        )


def _is_name(name: str) -> bool:
    """Is it one on every disk, and in its one form (NFC)?"""
    if len(name.encode(errors="replace")) > LONGEST or unicodedata.normalize("NFC", name) != name:
        return False
    plain = [c for c in name if c.isalnum() or c in " -._"]
    return name != "" and len(plain) == len(name) and name[0].isalnum() and name[-1].isalnum()


def check_new(name: str, others: Iterable[str]) -> None:
    """ProtocolError where another has this name, or one that differs in its case or form alone.

    Letters of two alphabets that look alike are two letters.
    """
    for other in others:
        if _plain(other) == _plain(name):
            raise ProtocolError(
                f"Two parties are called {other!r} and {name!r}.",
                "People, and some disks, take the one for the other.",
                "Name one of them otherwise.",
            )


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def host_and_port(address: object) -> tuple[str, int]:
    """ "fl.example.org:7443" → ("fl.example.org", 7443); an IPv6 address stands in brackets.

    ProtocolError for what is no such address.
    """
    text = address if isinstance(address, str) else ""
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        known = is_ip(host) and ":" in host
    else:
        known = HOST.fullmatch(host) is not None and len(host) <= 253
    if not known or not re.fullmatch(r"[1-9][0-9]{0,4}", port) or int(port) > 65535:
        raise ProtocolError(
            f"A server has the address {address!r:.220}.",
            "Parties dial a name or a number, in small letters, and a port.",
            "Write for example fl.example.org:7443, 192.0.2.7:7443 or [2001:db8::7]:7443.",
        )
    return host, int(port)


def check_server(address: object) -> None:
    """ProtocolError for what is no address of a server; none at all is that of peers, which have no
    server.
    """
    if address != "":
        host_and_port(address)


def is_ip(host: str) -> bool:
    """Is it a number, and no name?"""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
