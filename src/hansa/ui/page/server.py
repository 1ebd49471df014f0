"""Routes of the live page, and events while runs go on.

An event says that something is new: its id is the version of what the page shows, and its data one
sentence. A browser that comes back says which version it has (Last-Event-ID), and hears at once
where that is another. So a server that begins anew needs to know nothing.
"""

from __future__ import annotations

import asyncio
import errno
import json
import re
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.resources import files
from ipaddress import ip_address
from typing import Any

from aiohttp import web
from yarl import URL

from ...errors import AppError, HansaError
from ...store import Summary
from .. import template
from ..overlay import Compared
from ..tables import as_csv, of_round
from . import guard, views
from .reading import Reading, version, why
from .reading import report as report_of

EVERY = 1.0  # seconds between two looks at the store
QUIET = 15.0  # seconds after which a stream says that it is still there
MOST_STREAMS = 100
RUN = r"/runs/{id:[0-9A-Za-z][0-9A-Za-z._-]*}"
READING = web.AppKey("reading", Reading)
STREAMS = web.AppKey("streams", set[Any])
REPORT = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; "
REPORT += "frame-ancestors 'none'"
STATIC = dict.fromkeys(("page.css", "page.js", "icon.svg"), "hansa.ui.page")
STATIC["plain.css"] = "hansa.ui"
NAME = "Name an address that this machine has: 127.0.0.1, or 0.0.0.0 for all of them."
KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def app_of(reading: Reading, token: str | None = None) -> web.Application:
    """The page of a store; with a token, for those who have it.

    What is in front of all routes: who is answered (`guard`), then errors of the store as pages.
    """
    app = web.Application(middlewares=[guard.guarded, told])
    app.on_response_prepare.append(guard.head)
    app[READING] = reading
    app[STREAMS] = set[Any]()
    if token is not None:
        app[guard.TOKEN] = token
    app.add_routes(
        [
            web.get("/", runs),
            web.get("/events", events),
            web.get("/compare", compare),
            web.get(RUN, run),
            web.get(RUN + "/events", events),
            web.get(RUN + "/rounds.csv", rounds),
            web.get(RUN + "/report", report),
            *(web.get(f"/{name}", static) for name in STATIC),
        ]
    )
    return app


async def serve(app: web.Application, host: str, port: int, ready: Callable[[int], None]) -> None:
    """Answer until Ctrl-C or SIGTERM; `ready` hears the port.

    AppError where the port is taken, or the address is none of this machine's.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    over = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # on Windows Ctrl-C ends the loop itself
            asyncio.get_running_loop().add_signal_handler(name, over.set)
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            instead = "Name another port, such as --port 0, which is any that is free."
            if error.errno == errno.EADDRNOTAVAIL:
                instead = NAME
            raise AppError(
                f"{host}:{port} cannot be listened on.", f"{error.strerror}.", instead
            ) from None
        ready(runner.addresses[0][1])
        await over.wait()
    finally:
        await runner.cleanup()


def check_host(host: str) -> None:
    """AppError for what is no name and no address of a machine."""
    try:
        URL.build(scheme="http", host=host)
        socket.getaddrinfo(host, None)
    except (OSError, ValueError) as error:  # UnicodeError is one
        why = getattr(error, "strerror", None) or error
        raise AppError(f"--host {host!r} is no address.", f"{why}.", NAME) from None


def is_loopback(host: str) -> bool:
    """Is it an address that this machine alone reaches?"""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@web.middleware
async def told(request: web.Request, handler: guard.Answer) -> web.StreamResponse:
    """An error of the store, as a page; it comes back by itself where the store does."""
    try:
        return await handler(request)
    except HansaError as error:
        status = 503
        if await _reachable(request):
            status = 404
        words = {"title": "Nothing to show", "version": "", "events": "/events", "why": why(error)}
        return _page("gone", words, status)


async def runs(request: web.Request) -> web.Response:
    """The list; `?q=` finds some, and `?page=` turns."""
    summaries = await asyncio.to_thread(request.app[READING].runs)
    page = re.fullmatch(r"0*([1-9]\d{0,6})", request.query.get("page", ""), re.ASCII)
    number = int(page[1]) if page else 1
    return _page("runs", views.listed(summaries, request.query.get("q", ""), number))


async def run(request: web.Request) -> web.Response:
    """One run."""
    reading = request.app[READING]
    id = request.match_info["id"]
    return await asyncio.to_thread(lambda: _page("run", views.run(reading.run(id))))


async def compare(request: web.Request) -> web.Response:
    """Some runs beside each other: `?run=` for each; AppError for fewer than two, or too many."""
    reading = request.app[READING]
    ids = list(dict.fromkeys(request.query.getall("run", [])))
    if not 2 <= len(ids) <= views.MOST_COMPARED:
        raise AppError(
            f"{len(ids)} runs are chosen.",
            f"From two to {views.MOST_COMPARED} can be shown beside each other.",
            "Choose some in the list of runs.",
        )

    def work() -> web.Response:
        found = [Compared.of(reading.open(id)) for id in ids]
        return _page("compare", views.comparison(found))

    return await asyncio.to_thread(work)


async def rounds(request: web.Request) -> web.Response:
    """All rounds of a run, for programs: a line for each, as `hansa show RUN --as csv` has them."""
    reading = request.app[READING]
    id = request.match_info["id"]
    text = await asyncio.to_thread(lambda: as_csv(map(of_round, reading.run(id).rounds)))
    name = {"Content-Disposition": f'attachment; filename="{id}.csv"'}
    return web.Response(text=text, content_type="text/csv", headers=name)


async def report(request: web.Request) -> web.Response:
    """The report that a run has written, on an origin of its own: it is a file, and may be any."""
    folder = (await asyncio.to_thread(request.app[READING].open, request.match_info["id"])).folder
    try:
        text = await asyncio.to_thread(report_of, folder)
    except (OSError, ValueError):
        raise AppError(
            "This run has no report.", "One is written at its end.", "Wait for it."
        ) from None
    headers = {"Content-Security-Policy": REPORT}
    return web.Response(text=text, content_type="text/html", headers=headers)


async def static(request: web.Request) -> web.Response:
    """Style, script and icon: parts of the package, by the names in STATIC; no path is read."""
    name = request.path.removeprefix("/")
    text = (files(STATIC[name]) / name).read_text("utf-8")
    return web.Response(text=text, content_type=KINDS[name.rpartition(".")[2]])


async def events(request: web.Request) -> web.StreamResponse:
    """What is new, until the browser goes: of one run, or of the list.

    It ends when the page is closed, and has no end else; there are MOST_STREAMS at a time.
    """
    streams = request.app[STREAMS]
    if len(streams) >= MOST_STREAMS:
        raise web.HTTPServiceUnavailable(text="Too many pages are open.")
    stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await stream.prepare(request)
    streams.add(stream)
    try:
        await stream.write(b"retry: 1000\n\n")
        await _follow(request, stream)
    except ConnectionResetError:
        pass  # the page was closed
    finally:
        streams.discard(stream)
    return stream


async def _follow(request: web.Request, stream: web.StreamResponse) -> None:
    """Look at the store again and again; an event where something is new.

    The first look counts from what the browser has: Last-Event-ID where it comes back, else `after`
    of the page that it has got.
    """
    seen = request.headers.get("Last-Event-ID") or request.query.get("after", "")
    silent = 0.0
    while request.transport is not None and not request.transport.is_closing():
        begin = time.monotonic()
        now, words = await asyncio.to_thread(_news, request.app[READING], request.match_info)
        if now != seen:
            seen = now
            silent = 0.0
            await stream.write(f"id: {now}\ndata: {json.dumps(words)}\n\n".encode())
        elif silent >= QUIET:
            silent = 0.0
            await stream.write(b": still here\n\n")
        pause = max(EVERY, 4 * (time.monotonic() - begin))  # a slow store is asked less often
        await asyncio.sleep(pause)
        silent += pause


def _news(reading: Reading, names: web.UrlMappingMatchInfo) -> tuple[str, dict[str, str]]:
    """The version of what is shown, and what is told of it; or why nothing can be."""
    try:
        found: Sequence[Summary]
        if "id" in names:
            found = [reading.summary(names["id"])]
            return reading.version(found[0]), {"told": views.told(found[0])}
        found = reading.runs()
        return version(found), {"told": f"{len(found)} runs."}
    except HansaError as error:
        return "away", {"away": why(error)}


async def _reachable(request: web.Request) -> bool:
    """Is the store there, so that it is the run that is not?"""
    try:
        await asyncio.to_thread(request.app[READING].runs)
    except HansaError:
        return False
    return True


def _page(name: str, values: views.Page, status: int = 200) -> web.Response:
    """A page, from its template."""
    text = template(f"page/{name}.html.j2").render(values)
    return web.Response(text=text, content_type="text/html", status=status)
