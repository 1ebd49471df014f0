"""`hansa peer`: a node of a federation without a server, which learns from its neighbours.

    peer      reads   a peer's kit, its policy, the approved app, its data
              writes  mail, runs, models/, coming/ and apps/ in the kit
              says    who is there, each round, and who was not heard in it
              ends    0 when the run is over and what it said is held, or a round was finished at
                      SIGTERM; 3 where the app is not approved or the kit does not count; 4 where
                      neighbours do not come before the first round in --give-up seconds

    hansa peer heart.py --kit north/ --data /srv/heart.csv

Started again it goes on where it was.
"""

from __future__ import annotations

import contextlib
import math
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import AppError, PlanError
from .operating import Listen, Patience, Told, host_and_port, ready, stopping
from .options import Set, command
from .sites import App, _kit
from .target import settings_of
from .there import KIT, approved_bundle
from .working import Working

if TYPE_CHECKING:  # what a command needs is imported when it runs, so that --help is quick
    from ..kits import Kit
    from ..runtimes.peers.desk import Course
    from ..runtimes.peers.mail import Mail
    from ..runtimes.sites.agent import Agent


@dataclass(frozen=True)
class Meeting:
    """In which run neighbours meet, and where; options of `peer`."""

    number: Annotated[
        int, typer.Option(min=1, help="Which run of this plan: all peers name the same.")
    ] = 1
    listen: Listen = None
    give_up: Patience = math.inf


@command
def peer(
    target: App,
    kit: KIT,
    data: Annotated[Path, typer.Option(help="This peer's data.", show_default=False)],
    meeting: Meeting = Meeting(),
    told: Told = Told(),
    working: Working = Working(),
    set_: Set = None,
) -> None:
    """Take part in an app without a server, among neighbours; start it again at any time.

    It listens where the roster says, unless --listen names another address of this machine.

    Example: hansa peer heart.py --kit north/ --data /srv/heart.csv
    """
    import asyncio

    from ..runtimes.peers.gate import more_files
    from ..runtimes.peers.mail import Mail
    from ..runtimes.sites.runs import Runs
    from ..ui.errors import say

    told.begin()
    more_files()
    own = _kit(kit, "peer")
    agent = working.agent(*approved_bundle(target, own.folder), own, settings_of(set_), data)
    address = own.listens
    if meeting.listen is not None:
        address = host_and_port(meeting.listen, "--listen")
    with ExitStack() as stack:
        stack.enter_context(contextlib.closing(agent.worker))
        mail = stack.enter_context(contextlib.closing(Mail(own.folder)))
        runs = stack.enter_context(contextlib.closing(Runs(own.folder / "runs")))
        course, over = begun(own, agent, mail, runs, meeting.number)
        if over:
            say(f"The run {course.run[:8]}… is over. Another one: --number {meeting.number + 1}")
            return
        asyncio.run(_until_stopped(own, course, mail, runs, address, meeting.give_up))


def begun(own: Kit, agent: Agent, mail: Mail, runs: Any, number: int) -> tuple[Course, bool]:
    """The run that a kit's peer takes part in, begun here where it has not; and whether it is over.

    PlanError for a plan that nodes cannot run, PolicyError for one that its owner does not allow,
    AppError for a run that may not be gone on with.
    """
    from ..crypto.identity import peers_of
    from ..runtimes.peers.agent import AgentPeer
    from ..runtimes.peers.desk import Course
    from ..runtimes.peers.mesh import check_nodes, run_of
    from ..runtimes.peers.part import check_new, over

    agent = replace(agent, takes=AgentPeer)
    about = agent.about()
    if about["first"] or not about["plan"]:
        raise PlanError(
            "The plan hangs on a survey.",
            "A survey is asked by a server, which all answer; among nodes there is none.",
            "Leave first=… out, and write into the app what it would find.",
        )
    party = agent(about["plan"])
    assert isinstance(party, AgentPeer)
    known = mail.begun(party.plan.digest, number)
    names = peers_of(own.roster) if known is None else known.names
    check_nodes(party.plan, names, own.who)
    mesh = party.mesh(names)
    run = run_of(own.enrolment, party.plan.digest, mesh, number)
    if party.named_run and number == 1:
        run = party.named_run  # of a demonstration that repeats what was simulated
    if known is not None and known.run != run:
        raise AppError(
            f"The run {known.run[:8]}… began with another graph.",
            "Who hears whom is part of a run.",
            f"Take the app as it was; or begin another run: --number {number + 1}",
        )
    course = Course(run, number, party, mesh)
    if over(runs, mail, run, known):
        return course, True
    if runs.get(run) is None:
        if known is None:
            check_new(runs, mail, party.plan.digest, number)
        party.check()
        runs.check(party)
        mail.begin(run, party.plan.digest, number, names)  # before it counts: else it were lost
        runs.began(run, party)
    return course, False


async def _until_stopped(own: Kit, *about: Any) -> None:
    """Take part until the run is over, or the process is told to end: then the round under way is
    finished.
    """
    from ..kits import ROSTER
    from ..runtimes.peers.node import Node
    from ..runtimes.sites.revoking import following

    node = Node(own, *about)
    stopping(node.stop)
    with following(node.desk, own.folder / ROSTER):
        ready()
        await node.live()
