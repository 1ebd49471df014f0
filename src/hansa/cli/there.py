"""What commands of a site share: its kit, and what may run there.

An app is run by a worker, from a copy of its own, which is unpacked anew from what was approved.

    X.bundle ───────────┐
    APP.py ── packed ───┴─▶ SHA-256 ──▶ in kit/approvals? ──▶ kit/apps/…/APP.py ──▶ a worker
                                         no: exit code 3, and nothing of it has run

What is hashed is what was read, and what was read is what is unpacked: a file that changes in
between changes neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .target import config_of

if TYPE_CHECKING:  # what a command needs is imported when it runs, so that --help is quick
    from ..approval.bundle import Bundle
    from ..config.run import Config
    from ..kits import Kit
    from ..parties.policy import Policy
    from ..runtimes.sites.link import Way

KIT = Annotated[
    Path, typer.Option("--kit", metavar="DIR", help="The kit of this party.", show_default=False)
]

PROXY = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="An HTTP proxy that passes CONNECT on; else what HTTPS_PROXY and NO_PROXY say.",
        show_default=False,
    ),
]


def print_plainly(lines: Iterable[str]) -> None:
    """Lines as they are: no markup, and nothing that commands the terminal."""
    from ..errors import printable
    from ..ui.terminal import out

    for line in lines:
        out().print(printable(line), markup=False, highlight=False, soft_wrap=True)


def kit_of(folder: Path) -> Kit:
    """The kit in a folder; RefusedError where its certificate or roster does not count."""
    from ..errors import ProtocolError, RefusedError
    from ..kits import Kit

    try:
        return Kit.load(folder)
    except ProtocolError as error:
        raise RefusedError(error.found, error.why, error.instead) from error


def way_of(own: Kit, proxy: str | None) -> Way:
    """How a party reaches its server, and through which proxy; AppError where that is none."""
    from ..runtimes.sites.link import Way
    from ..runtimes.sites.proxy import proxy_to

    between = proxy_to(own.address, proxy)
    return Way(own.address, own.server_listed(), own.federation, between)


def approved_bundle(target: Path, kit: Path) -> tuple[Bundle, Config]:
    """A bundle, or that of an app file, once exactly that is approved; and what a config says
    beside it.

    kit: its folder. ApprovalError where it is not approved, or is no bundle; AppError where there
    is no such file.
    """
    from ..approval.approvals import check_approved
    from ..approval.bundle import SUFFIX, Bundle
    from ..approval.packing import pack
    from ..config.run import Config

    if target.suffix == SUFFIX and target.is_file():
        config = Config(str(target))
        found = Bundle.read(target)
    else:
        config = config_of(target)
        found = pack(Path(config.app))
    check_approved(kit, found, Path(config.app))
    return found, config


def policy_of(kit: Path) -> Policy:
    """What the owner of the data allows; all, where they have said nothing."""
    from ..approval.policies import read_policy
    from ..parties.policy import ALL

    return read_policy(kit) or ALL
