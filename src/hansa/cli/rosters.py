"""Rosters of real sites: who takes part, as the authority says.

hansa roster show, revoke, renew    each prints the newest; the last two have written it
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from .kits import Pki, day
from .options import command, commands

if TYPE_CHECKING:  # what a command needs is imported when it runs, so that --help is quick
    from ..kits.authority import Authority

roster = typer.Typer(help="Say who takes part, at the authority.")
commands.add_typer(roster, name="roster")


@partial(command, of=roster)
def show(pki: Pki) -> None:
    """List who takes part.

    Example: hansa roster show --pki pki/
    """
    from ..kits.authority import Authority

    _say(Authority.load(pki))


@partial(command, of=roster)
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who.", show_default=False)], pki: Pki
) -> None:
    """Write the next roster, on which this party is no more.

    It counts at a party once that party has it: hand it to the server, and to the helpers.

    Example: hansa roster revoke north --pki pki/
    """
    from ..kits.authority import Authority

    _say(Authority.load(pki).revoke(name))


@partial(command, of=roster)
def renew(pki: Pki) -> None:
    """Write the next roster, of the same parties, before the present one expires.

    Example: hansa roster renew --pki pki/
    """
    from ..kits.authority import Authority

    authority = Authority.load(pki)
    _say(authority.publish(authority.roster))


def _say(authority: Authority) -> None:
    """Who is on the newest roster, and where it lies."""
    from ..ui.terminal import out

    found = authority.roster
    out().print(
        f"{authority.folder / 'roster.json'}: serial {found.serial}, {day(found.until)}",
        soft_wrap=True,
    )
    for who, one in found.items():
        out().print(f"{who}, {one.role}, {len(one.certificates)} certificates", soft_wrap=True)
