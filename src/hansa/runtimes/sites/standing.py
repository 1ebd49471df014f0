"""Standing: a port as a kit has it; and a gateway, from its kit alone, wherever it is to stand.

hansa gateway     in a process
RayGateways       in an actor of a Ray cluster
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...kits import ROSTER, Kit
from .link import Way
from .revoking import following
from .upstream import RelayPort

FOLDER = "relay"  # in a gateway's kit, for what comes and goes


def port_of(kit: Kit, address: tuple[str, int], folder: Path) -> tuple[Any, ...]:
    """What a port of a kit is opened with.

    address: to listen at. folder: for what comes and goes; made where it is not there.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    context = kit.server_context()
    return kit.roster, context, address, folder, kit.federation, kit.enrolment


@contextmanager
def standing(kit: Kit, upstream: str, address: tuple[str, int]) -> Iterator[RelayPort]:
    """A gateway's port, which follows the roster of its kit; its link to the server begins with
    `RelayPort.begin`.

    upstream: where the server itself listens, as host:port. address: to listen at.
    """
    host = kit.address.rpartition(":")[0].strip("[]")
    way = Way(upstream, kit.server_listed(), kit.federation, host=host)
    with (
        RelayPort(way, *port_of(kit, address, kit.folder / FOLDER)) as port,
        following(port, kit.folder / ROSTER),
    ):
        yield port
