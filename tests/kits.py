"""A federation on this machine for tests, and parties that meet over TLS on its loopback."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hansa.crypto.identity import Role, Roster
from hansa.errors import ProtocolError
from hansa.kits import Kit
from hansa.kits.authority import Authority
from hansa.kits.provision import Design, provision

PARTIES: Mapping[str, Role] = {"server": "server", "north": "client", "mallory": "client", "auditor": "helper"}
PATIENCE = 20  # seconds


def federation(folder: Path, name: str = "heart study", parties: Mapping[str, Role] = PARTIES) -> Authority:
    """An authority, and below it a kit for each party."""
    return provision(Design(name, "localhost:7443", 90, parties), folder)


def kit(made: Authority, who: str) -> Kit:
    return Kit.load(made.folder / "kits" / who)


@dataclass(frozen=True)
class Met:
    """How far a party came: `stage` is where it ended, `who` whom the server took it for, `heard` what it read."""

    stage: str  # "handshake", "roster" or "in"
    who: str = ""
    heard: str = ""


def meet(listening: ssl.SSLContext, dialling: ssl.SSLContext, roster: Roster, host: str = "localhost") -> Met:
    """One party dials the other, which looks on the roster who it is, and greets it by name."""
    found = list[Met]()
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(PATIENCE)
        thread = threading.Thread(target=lambda: found.append(_serve(door, listening, roster)))
        thread.start()
        heard = _dial(door.getsockname()[1], dialling, host)
        thread.join(PATIENCE)
    (met,) = found
    stage = met.stage if heard else "handshake"
    return Met(stage, met.who, heard)


def _serve(door: socket.socket, context: ssl.SSLContext, roster: Roster) -> Met:
    plain, _ = door.accept()
    plain.settimeout(PATIENCE)
    try:
        with context.wrap_socket(plain, server_side=True) as peer:
            try:
                who = roster.who(peer.getpeercert(True) or b"")
            except ProtocolError:
                peer.sendall(b"stranger")
                return Met("roster")
            peer.sendall(who.encode())
            return Met("in", who)
    except (ssl.SSLError, OSError):
        return Met("handshake")
    finally:
        plain.close()


def _dial(port: int, context: ssl.SSLContext, host: str) -> str:
    """What is heard; nothing where the handshake fails at either side."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=host) as server,
        ):
            return server.recv(100).decode()
    except (ssl.SSLError, OSError):
        return ""
