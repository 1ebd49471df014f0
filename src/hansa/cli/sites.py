"""`hansa serve`, `join`, `helper`, `gateway`: one app between real sites.

    serve     reads   the server's kit, the app file, the store
              writes  rounds and a report into the store, and what travels into sites/ of the run
              says    whom it waits for, and each round
              ends    0 when the run is done, or a round was finished at SIGTERM; 4 where a quorum
                      does not come in --give-up seconds; 130 at Ctrl-C
    join      reads   a client's kit, its policy, the approved app, its data
              writes  book, runs, coming/ and apps/ in the kit
              ends    0 when the run is over, or an answer was finished at SIGTERM; 3 where the app
                      is not approved or the server does not take it; 4 after --give-up seconds
    helper    the same, of a helper, and without data
    gateway   reads   a gateway's kit
              writes  what travels into relay/ of the kit
              ends    0 at SIGTERM; 3 where the server does not take it

    hansa join heart.bundle --kit kit/ --data /srv/heart.csv --give-up 3600

The first three go on where they were when they are started again: the server by --resume or
--go-on, the others by what their kit holds.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import AppError, DeadlineError
from .operating import (
    Listen,
    Service,
    Told,
    draining,
    host_and_port,
    ready,
    stopping,
    traced,
    unfinished,
    watched,
)
from .options import Place, Set, Target, Way, command
from .started import check_named, new_run, resumed_run
from .target import settings_of
from .there import KIT, approved_bundle, kit_of, way_of
from .working import Dialling, Working

if TYPE_CHECKING:  # what a command needs is imported when it runs, so that --help is quick
    from ..kits import Kit
    from ..plan import Plan
    from ..runtimes.sites import Gateway
    from ..runtimes.sites.agent import Agent
    from ..runtimes.sites.upstream import RelayPort
    from ..store import Run

App = Annotated[
    Path, typer.Argument(metavar="X.bundle|APP.py", help="The approved app.", show_default=False)
]


@command
def serve(
    place: Place,
    way: Way,
    told: Told,
    service: Service,
    kit: KIT,
    target: Target = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with this run.", show_default=False)
    ] = None,
    set_: Set = None,
) -> None:
    """Run the app with the sites of a federation, which dial in.

    It offers the app as a bundle to those who approve it. It gives up where a quorum is not there
    after so many seconds. SIGTERM lets the round under way be finished, and no other begin; the
    exit code is 0 then.

    Example: hansa serve heart.py --kit server/
    """
    from ..app.sites import served
    from ..approval.packing import pack
    from ..ui.live import follow

    check_named("serve", resume, target)
    told.begin()
    own = _kit(kit, "server")
    if service.go_on and resume is None:
        resume = unfinished(place, target)
    if resume:
        app, stored, path = resumed_run(place, way, resume, target, settings_of(set_))
    else:
        app, stored, path = new_run(place, way, target, settings_of(set_))
    offered = pack(path)
    again = f"hansa serve --kit {kit} --resume {stored.id}{place.words()}{way.words()}"
    with ExitStack() as stack:
        gateway = stack.enter_context(_gateway(own, service.listen, stored.folder / "sites"))
        for lasting in _meanwhile(gateway, stored, own, service):
            stack.enter_context(lasting)
        ready()
        _adopt(gateway, place, stored)
        app = served(app, gateway)
        gateway.bundles[offered.name] = offered.encode()
        if stored.planned is None or len(stored.history()) < stored.planned:
            _wait(gateway, app.first or app.known_plan, service)
        code = follow(app, stored, path.stem, False, again, way.profile)
        if not code:
            gateway.end()
        elif gateway.draining:
            code = 0
    raise typer.Exit(code)


@command
def join(
    target: App,
    kit: KIT,
    data: Annotated[Path, typer.Option(help="This client's data.", show_default=False)],
    runs: Annotated[
        int, typer.Option(min=1, help="In how many runs of one plan to take part.")
    ] = 1,
    told: Told = Told(),
    working: Working = Working(),
    dialling: Dialling = Dialling(),
    set_: Set = None,
) -> None:
    """Take part in the app with the data that is here; start it again at any time.

    Example: hansa join heart.py --kit kit/ --data /srv/heart.csv
    """
    told.begin()
    own = _kit(kit, "client")
    agent = working.agent(*approved_bundle(target, own.folder), own, settings_of(set_), data)
    _attend(own, agent, runs, dialling)


@command
def helper(
    target: App,
    kit: KIT,
    runs: Annotated[
        int, typer.Option(min=1, help="In how many runs of one plan to take part.")
    ] = 1,
    told: Told = Told(),
    working: Working = Working(),
    dialling: Dialling = Dialling(),
    set_: Set = None,
) -> None:
    """Hold shares of what clients say, and add them up, as the app's aggregator asks of a helper.

    Example: hansa helper hospitals.py --kit auditor/
    """
    told.begin()
    own = _kit(kit, "helper")
    agent = working.agent(*approved_bundle(target, own.folder), own, settings_of(set_), None)
    _attend(own, agent, runs, dialling)


@command
def gateway(
    kit: KIT,
    upstream: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT", help="Where the server itself listens.", show_default=False
        ),
    ],
    listen: Listen = None,
    told: Told = Told(),
) -> None:
    """Stand before a server, one of several: sites dial in here, and what they say is added up.

    It decides nothing and runs no app. Sites that it served dial again when it ends.

    Example: hansa gateway --kit gateway-1/ --upstream 10.0.0.5:7443
    """
    import asyncio

    from ..runtimes.sites.standing import standing

    told.begin()
    own = _kit(kit, "gateway")
    host_and_port(upstream, "--upstream")
    with standing(own, upstream, _address(own, listen)) as port:
        asyncio.run(_standing(port))


async def _standing(port: RelayPort) -> None:
    """Stand there until the process is told to end."""
    import asyncio

    staying = asyncio.wrap_future(port.begin())

    def leave() -> None:
        staying.cancel()

    stopping(leave)
    ready()
    with contextlib.suppress(asyncio.CancelledError):
        await staying


def _kit(folder: Path, role: str) -> Kit:
    """The kit of a party; AppError for that of one with another role.

    folder: of the kit. RefusedError where it does not count now.
    """
    kit = kit_of(folder)
    if kit.role != role:
        raise AppError(
            f"{folder} is the kit of {kit.who}, a {kit.role}.",
            f"This is what a {role} does.",
            f"Name the kit of a {role}.",
        )
    return kit


def _gateway(kit: Kit, listen: str | None, folder: Path) -> Gateway:
    """The port of the server, open.

    folder: for what comes and goes.
    """
    from ..runtimes.sites import Gateway
    from ..runtimes.sites.standing import port_of

    return Gateway(*port_of(kit, _address(kit, listen), folder))


def _address(kit: Kit, listen: str | None) -> tuple[str, int]:
    """Where to listen: at all addresses with the number of the kit's, or as `listen` says."""
    port = kit.address.rpartition(":")[2]
    return host_and_port(listen or f"0.0.0.0:{port}", "--listen")


def _adopt(gateway: Gateway, place: Place, run: Run) -> None:
    """Let the server tell what those of earlier runs, which are done, could not tell who was
    away.

    A store may have runs of several federations: those of this one alone are told of, and what was
    left of another stays there for its own server.
    """
    for earlier in place.open().runs():
        left = run.folder.parent / earlier.id / "sites"
        if earlier.status == "done" and (left / "unsettled").exists():
            gateway.adopt(left)


def _meanwhile(
    gateway: Gateway, run: Run, kit: Kit, service: Service
) -> Iterator[AbstractContextManager[object]]:
    """What goes on while a server runs: who looks at its roster, hears its signals, waits for its
    database, and tells its numbers.
    """
    from ..kits import ROSTER
    from ..runtimes.sites.revoking import following

    yield following(gateway, kit.folder / ROSTER)
    yield draining(gateway, service.grace)
    yield run.database.waiting.until(gateway.over)
    if service.metrics is not None:
        yield watched(gateway, run, kit, service.metrics)
    if service.traces is not None:
        yield traced(gateway, service.traces)


def _wait(gateway: Gateway, plan: Plan, service: Service) -> None:
    """Wait until all attend whom the plan needs; or a quorum and all helpers, and some seconds
    more. DeadlineError where they do not come.
    """
    from ..crypto.identity import clients_of
    from ..ui.errors import say

    helpers = set(plan.aggregator.parties)
    clients = set(clients_of(gateway.roster))
    told = set[str]()
    until = math.inf
    begun = time.monotonic()
    while missing := (clients | helpers).difference(gateway.desk.present):
        if gateway.draining:
            return  # what follows asks nobody
        if missing != told:
            say(f"Waiting for {', '.join(sorted(missing))}.")
            told = missing
        enough = len(clients - missing) >= plan.sample.quorum and not helpers & missing
        now = time.monotonic()
        until = min(until, now + service.wait) if enough else math.inf
        if now >= until:
            return
        if not enough and now - begun > service.give_up:
            raise DeadlineError(
                f"After {service.give_up:g} seconds {', '.join(sorted(missing))} are not there.",
                f"The plan needs {plan.sample.quorum} clients, and all its helpers.",
                "Serve again when they are: hansa serve --resume RUN",
            )
        time.sleep(0.1)


def _attend(kit: Kit, agent: Agent, runs: int, dialling: Dialling) -> None:
    """Attend as a party of the app, until somebody ends it.

    runs: how many of one plan its owner takes part in.
    """
    import asyncio

    from ..runtimes.sites.link import Link
    from ..runtimes.sites.site import Site

    with (
        contextlib.closing(agent.worker),
        contextlib.closing(Site(kit.folder, agent, runs)) as site,
    ):
        agent.about()  # an app that cannot be used ends this now
        link = Link(way_of(kit, dialling.proxy), site, kit.folder, dialling.give_up)
        asyncio.run(_until_stopped(link))


async def _until_stopped(link: Any) -> None:
    """Attend until the process is told to end, and finish what is being answered."""
    stopping(link.stop)
    ready()
    await link.attend()
