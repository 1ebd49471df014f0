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
        from yarl import URL

        from ..ui.page.server import app_of, check_host, is_loopback, serve
    except ModuleNotFoundError as error:
        raise AppError(
            f"hansa ui needs {error.name}.",
            "It is not installed here.",
            "Run: pip install 'hansa[ui]'.",
        ) from None
    from ..ui.page.reading import Reading
    from ..ui.terminal import out

    check_host(host)
    token = None
    key = ""
    if not is_loopback(host):
        token = secrets.token_urlsafe(32)
        key = f"?token={token}"
    file = None
    if not place.store:
        file = place.folder / "hansa.sqlite"

    def ready(port: int) -> None:
        """Say where it is."""
        address = URL.build(scheme="http", host=host, port=port, path="/")
        out().print(f"{address}{key}", soft_wrap=True)
        out().print("Ctrl-C ends it.")

    asyncio.run(serve(app_of(Reading(place.open, file), token), host, port, ready))
