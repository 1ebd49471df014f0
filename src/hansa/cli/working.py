"""What commands share that let an approved app work at a site, in a worker.

Dialling        how a party reaches its server
Working         how the app is run, and by which agent
check_at        could this site take part?

    approved bundle ─▶ Working.agent ─▶ Agent ── pair of sockets ── worker ─▶ the app

Nothing of the app's is imported here: who calls these holds the keys of a kit.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import AppError
from ..private import harden
from .operating import Patience
from .there import PROXY, approved_bundle, kit_of, policy_of, print_plainly

if TYPE_CHECKING:  # what a command needs is imported when it runs, so that --help is quick
    from ..approval.bundle import Bundle
    from ..config.run import Config
    from ..kits import Kit
    from ..runtimes.sites.agent import Agent


@dataclass(frozen=True)
class Dialling:
    """How a party reaches its server; options that several commands share."""

    proxy: PROXY = None
    give_up: Patience = math.inf


@dataclass(frozen=True)
class Working:
    """How the approved app is run; options that several commands share."""

    reads: Annotated[
        list[Path] | None,
        typer.Option(
            "--reads",
            metavar="PATH",
            help="What else the app's code may read: a file, or a folder.",
            show_default=False,
        ),
    ] = None
    memory: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="GB",
            help="Memory that it may have; by default three quarters of this machine's.",
            show_default=False,
        ),
    ] = None
    scratch: Annotated[
        float,
        typer.Option(min=0, metavar="GB", help="What it may write into its folder; 0 for no end."),
    ] = 10.0
    no_isolation: Annotated[
        bool,
        typer.Option(
            "--no-isolation",
            help="Run it where it can reach the network, the kit's keys, and all that you can.",
        ),
    ] = False
    repeats: Annotated[
        bool,
        typer.Option(
            "--repeats", help="Take the secret that the app names: then nothing is hidden by noise."
        ),
    ] = False

    def agent(
        self, found: Bundle, config: Config, kit: Kit, settings: dict[str, Any], data: Path | None
    ) -> Agent:
        """The agent of a kit's party, whose worker runs this bundle; AppError where there is no
        sandbox for it, and none was asked to be left out.
        """
        from ..parties.policy import ALL
        from ..runtimes.sites.agent import Agent
        from ..runtimes.sites.events import log
        from ..runtimes.sites.quota import Limits
        from ..runtimes.sites.worker import Worker, Workplace

        memory = self.memory
        if memory is None:
            memory = 0.75 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
        reads = tuple(self.reads or ())
        config = replace(config, set={**config.set, **settings})
        limits = Limits(int(1e9 * memory), int(1e9 * self.scratch))
        limited = (limits, not self.no_isolation)
        place = Workplace(found, kit.folder, kit.who, config.kept(), data, reads, *limited)
        policy = policy_of(kit.folder)
        if policy == ALL and kit.role in ("client", "peer"):
            log.info("no policy in %s: a plan that is approved may ask for anything", kit.folder)
        if self.no_isolation:
            log.warning("no isolation: the app's code can reach all that %s can", kit.who)
        worker = Worker(place)
        return Agent(worker, kit.identity, kit.roster, kit.secret, policy, self.repeats)


def check_at(
    target: Path, kit: Path, data: Path, settings: dict[str, Any], working: Working
) -> None:
    """Say whether this site could take part: with its data, its policy, and what earlier runs have
    given away.

    It prints what was looked at, a line each; what does not fit is raised, as it would be at the
    start of a run: DataError, PolicyError, PlanError. No run is written down.
    """
    own = kit_of(kit)
    if own.role != "client":
        raise AppError(
            f"{kit} is the kit of {own.who}, a {own.role}.",
            "What is checked is a client's data.",
            "Name the kit of a client.",
        )
    harden()
    agent = working.agent(*approved_bundle(target, own.folder), own, settings, data)
    with contextlib.closing(agent.worker):
        print_plainly(_checked(agent, own.folder))


def _checked(agent: Agent, folder: Path) -> Iterator[str]:
    """What was looked at of a party's survey and plan."""
    from ..runtimes.sites.agent import AgentClient
    from ..runtimes.sites.runs import Runs

    about = agent.about()
    with contextlib.closing(Runs(folder / "runs")) as runs:
        if about["first"]:
            asked = agent(about["first"])
            assert isinstance(asked, AgentClient)
            asked.check()
            runs.check(asked)
            yield f"{asked.count} examples can be read, and the survey can be asked."
        if not about["plan"]:
            yield "The plan hangs on what the survey finds; it is held against your policy then."
            return
        party = agent(about["plan"])
        assert isinstance(party, AgentClient)
        if not about["prepares"]:
            party.check()
            yield f"{party.count} examples can be read."
        runs.check(party)
        yield from runs.told(party)
