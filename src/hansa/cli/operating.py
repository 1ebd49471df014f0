"""What the processes of real sites have in common: their log, how they end, and what they leave.

Told       how a process says what happens
Service    where a server listens, and how long it waits for whom
watched    metrics and health of a server
traced     its traces
draining   SIGTERM at a server: the round under way is finished, and no other begins
stopping   SIGTERM at a party: the answer under way is finished
ready      systemd is told that a process is there
stay       SIGHUP, which ends nothing
unfinished which run a service goes on with

    hansa serve heart.py --kit server/ --go-on --metrics 9464 --log json

so is a server started by systemd, with Type=notify: it says that it is ready once the port is open,
goes on with the run that it had, and ends with 0 at SIGTERM. Lines of the log go to stderr.
"""

from __future__ import annotations

import math
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import AppError

if TYPE_CHECKING:  # what a command needs is imported when it runs, so that --help is quick
    from ..kits import Kit
    from ..runtimes.sites import Gateway
    from ..runtimes.sites.metrics import Metrics
    from ..store import Run
    from .options import Place

LOOPBACK = "127.0.0.1"

Patience = Annotated[
    float,
    typer.Option("--give-up", metavar="SECONDS", min=0, help="End, with code 4, after so long."),
]


Listen = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Where to listen; by default at all addresses, at the port of the kit.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Told:
    """How a process says what happens; two options that several commands share."""

    log: Annotated[
        Literal["people", "json"], typer.Option(help="Lines on stderr for people, or as JSON.")
    ] = "people"
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Say each event, and each try to reach the server.")
    ] = False

    def begin(self) -> None:
        """Say it from here on, and keep what this process writes and holds from others."""
        from ..private import harden
        from ..ui.logs import begin

        harden()
        begin(self.log == "json", self.verbose)


def host_and_port(given: str, option: str, host: str = "") -> tuple[str, int]:
    """An address to listen at; `host` where none is named. AppError for what is none.

    given: host:port, [::1]:port, or a port alone where `host` is there. option: that it came from.
    """
    named, _, port = given.rpartition(":")
    named = named.strip("[]") or host
    if not named or not port.isdigit() or int(port) > 65_535:
        raise AppError(
            f"{option} {given} is no address.",
            "It takes a host and a port, which is a number up to 65535.",
            f"Write for example {option} 0.0.0.0:7443.",
        )
    return named, int(port)


@contextmanager
def traced(gateway: Gateway, endpoint: str) -> Iterator[None]:
    """Send what the server waits for to a collector of OpenTelemetry; AppError where the library
    is not installed.

    endpoint: of OTLP over HTTP. What is left is sent when the block ends, for five seconds at most.
    """
    from ..runtimes.sites.traces import Traces

    with Traces.to(endpoint) as traces:
        gateway.watch.traces = traces
        yield


def watched(gateway: Gateway, run: Run, kit: Kit, given: str) -> Metrics:
    """The port for operators, at this machine's loopback where `given` names no host."""
    from ..runtimes.sites.metrics import Health, Metrics
    from ..store.health import last_round, touch

    address = host_and_port(given, "--metrics", LOOPBACK)
    health = Health(gateway, partial(last_round, run), partial(touch, run), kit.until)
    return Metrics(health, address)


@dataclass(frozen=True)
class Service:
    """How a server is run as a service; options of `serve`."""

    listen: Listen = None
    wait: Annotated[
        float,
        typer.Option(min=0, help="Seconds to wait for who is missing once a quorum is there."),
    ] = 60.0
    give_up: Patience = math.inf
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds to finish a round in, at SIGTERM.")
    ] = 20.0
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT",
            help="Metrics and health for Prometheus; without a host for this machine alone.",
            show_default=False,
        ),
    ] = None
    traces: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="An OTLP collector, to which spans are sent: http://host:4318/v1/traces",
            envvar="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            show_default=False,
        ),
    ] = None
    go_on: Annotated[
        bool, typer.Option("--go-on", help="Go on with the app's latest run, if it is not done.")
    ] = False


@contextmanager
def draining(gateway: Gateway, seconds: float) -> Iterator[None]:
    """At SIGTERM let the round under way go on for so long, and no other begin; at a second one the
    process ends at once, as after a kill: what counts is written down.
    """

    def drain(number: int, _: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        gateway.drain(seconds)

    before = signal.signal(signal.SIGTERM, drain)
    stay()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def ready() -> None:
    """Tell systemd that this process is there, where it has started it (sd_notify(3))."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place:
        return
    if place.startswith("@"):  # a name that is no file
        place = "\0" + place[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.sendto(b"READY=1", place)


def unfinished(place: Place, target: Path | None) -> str | None:
    """The latest run of this app that is not done; None where none has begun.

    Exit code 0 where the latest is done: a service that is started again begins no other.
    """
    from ..ui.errors import say
    from .target import config_of

    assert target is not None
    app = str(Path(config_of(target).app).resolve())
    mine = [one for one in place.open(new=True).runs() if one.app == app]
    if not mine:
        return None
    if mine[-1].status == "done":
        say(f"The run {mine[-1].id} of {app} is done. Without --go-on another one begins.")
        raise typer.Exit(0)
    return mine[-1].id


def stopping(stop: Callable[[], None]) -> None:
    """At SIGINT or SIGTERM call `stop`, in the running loop; at a second one the process ends at
    once.
    """
    import asyncio

    loop = asyncio.get_running_loop()

    def once(number: int) -> None:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
        stop()

    stay()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, once, number)


def stay() -> None:
    """Let SIGHUP end nothing: what it asks for, a new look at the roster, happens each second.

    Windows has no such signal.
    """
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
