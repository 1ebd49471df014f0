"""`hansa ui`: the live page of the runs that are stored, for a browser on this machine."""

from __future__ import annotations

import secrets
from typing import Annotated

import typer

from ..errors import AppError
from .options import Place, command


@command
def ui(
    place: Place,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port; 0 is any that is free.")
    ] = 4267,
    host: Annotated[
        str,
        typer.Option(help="The address; another than this machine's own needs the token it shows."),
    ] = "127.0.0.1",
) -> None:
    """Show runs in a browser, while they go on: curves, who took part, ε, times, the plan in words.

    It reads, and changes nothing. It answers this machine alone; with --host others too, who have
    the token that it prints, and whom the network in between can read.

    Example: hansa ui
    """
    import asyncio

    try:
        from ..ui.page.server import app_of, is_loopback, serve
    except ModuleNotFoundError as error:
        raise AppError(
            f"hansa ui needs {error.name}.",
            "It is not installed here.",
            "Run: pip install 'hansa[ui]'.",
        ) from None
    from ..ui.page.reading import Reading
    from ..ui.terminal import out

    token = None if is_loopback(host) else secrets.token_urlsafe(32)
    file = None if place.store else place.folder / "hansa.sqlite"

    def ready(port: int) -> None:
        name = f"[{host}]" if ":" in host else host
        key = "" if token is None else f"?token={token}"
        out().print(f"http://{name}:{port}/{key}", soft_wrap=True)
        out().print("Ctrl-C ends it.")

    asyncio.run(serve(app_of(Reading(place.open, file), token), host, port, ready))
