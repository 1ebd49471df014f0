"""`hansa backup` and `hansa restore`: of a store, or of a party's kit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Place, command

KitOf = Annotated[
    Path | None,
    typer.Option("--kit", metavar="DIR", help="A kit, and not the store.", show_default=False),
]


@command
def backup(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.", show_default=False)],
    place: Place,
    kit: KitOf = None,
) -> None:
    """Write all runs of a store into a new folder, or a party's kit with its book.

    A store may be in use meanwhile; a party has to be ended first. A backup holds secrets: keep it
    where nobody else reads or writes.

    Examples: hansa backup /backup/monday, or hansa backup /backup/north --kit kit/
    """
    from ..private import harden
    from ..ui.terminal import out as console

    harden()
    if kit is not None:
        from ..runtimes.sites.backup import backup as of_kit

        found = of_kit(kit, out)
        console().print(f"{out}: the kit of {found.who}, with its book.", soft_wrap=True)
        return
    from ..store.backup import backup as of_store

    names = of_store(place.open(), out)
    console().print(f"{out}: {_runs(names)}, all files checked.", soft_wrap=True)


@command
def restore(
    saved: Annotated[
        Path, typer.Argument(metavar="DIR", help="What backup has made.", show_default=False)
    ],
    place: Place,
    kit: KitOf = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also in the place of runs that are there.")
    ] = False,
) -> None:
    """Put runs back into a store, or a kit into a folder that is not there.

    A run that a process has is not touched. A party whose kit is put back takes part no more in
    runs that began before, and has a new secret: an old book would answer again what it has
    answered.

    Examples: hansa restore /backup/monday, or hansa restore /backup/north --kit kit/
    """
    from ..private import harden
    from ..ui.terminal import out as console

    harden()
    if kit is not None:
        from ..runtimes.sites.backup import restore as of_kit

        found = of_kit(saved, kit)
        console().print(
            f"{kit}: the kit of {found.who}, with a new secret. It takes part in no run that began "
            "before.",
            soft_wrap=True,
        )
        return
    from ..store.backup import restore as of_store

    names = of_store(saved, place.open(new=True), replace)
    console().print(f"{place.folder}: {_runs(names)} put back.", soft_wrap=True)


def _runs(names: list[str]) -> str:
    """1 run, 2 runs."""
    return f"{len(names)} run{'s' * (len(names) != 1)}"
