"""`hansa explain`: what an app asks of a client, in words; for one, as a page, a PDF, or JSON.

    hansa explain hospitals.py                                  in the terminal, of any client
    hansa explain hospitals.py --for north --pdf north.pdf      what north's owner signs
    hansa explain heart.bundle --kit kit/ --html north.html     at the site, of its own kit

With a kit the app runs in a worker; policy and runs are read here, by who holds the kit.

    what            from
    explanation     the app: here in a simulation, in a worker at a site
    SHA-256         the bundle that the app file makes, or that was approved
    policy          the app's, in a simulation; kit/policy.toml
    runs            the store that is here, if there is one; kit/runs
    gateways        the kit's roster

Where one of them is not there, the statement says that it is not known.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import AppError, HansaError, PolicyError, printable
from ..private import harden
from .options import Ask, AtSite, Place, Set, Stated, command
from .target import app_of, config_of, settings_of
from .there import approved_bundle, kit_of
from .working import Working

if TYPE_CHECKING:  # what a command needs is imported when it runs, so that --help is quick
    from ..approval.bundle import Bundle
    from ..config.run import Config
    from ..explain import Explanation
    from ..explain.owner import Owner
    from ..explain.statement import Statement
    from ..graphs import Mixing
    from ..kits import Kit
    from ..runtimes.sites.agent import Agent
    from ..runtimes.sites.runs import Runs
    from ..store import Summary

BOOKED = (
    "All runs that this kit has taken part in, in its own book. What they give away together is a "
    "sum of Rényi divergences at one order, which the first of them fixed: it may be less than the "
    "sum of their ε."
)
BELIEVED = "The owner believes strangers' words on their noise, and ε may rest on one."
PROMISED = {  # of ε of a run, as a worker tells it
    "unit": str,
    "epsilon": float | None,
    "delta": float,
    "rounds": int | None,
    "why": str | None,
    "named": bool,
}


@dataclass(frozen=True)
class Paper:
    """For whom an explanation is written, and as what; options of `explain`."""

    for_: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="CLIENT",
            help="What is asked of this one client, with its owner's policy and its runs.",
            show_default=False,
        ),
    ] = None
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write a page that needs nothing else.", show_default=False
        ),
    ] = None
    pdf: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a PDF, to be signed.", show_default=False),
    ] = None
    font: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.ttf",
            help="With --pdf: a font that has the letters of your names.",
            show_default=False,
        ),
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Print it for programs.")] = False

    @property
    def asked(self) -> bool:
        """Is more than the plain explanation asked for?"""
        return bool(self.for_ or self.html or self.pdf or self.json)


@command
def explain(
    place: Place,
    target: Stated,
    set_: Set = None,
    ask: Ask = False,
    kit: AtSite = None,
    paper: Paper = Paper(),
    working: Working = Working(),
) -> None:
    """Say in words what the app's survey and plan ask of a client, and who sees what; no data is
    read.

    Where the plan hangs on what the survey finds, that is said, and --ask asks the survey, of the
    data that is here. With a kit it is the app that was approved there, which runs in a worker.

    Examples: hansa explain hospitals.py --set 'pipe.1={use = "Clip", norm = 1.0}', or hansa explain
    hospitals.py --for north --pdf north.pdf
    """
    from ..ui.terminal import explanation, out

    if kit is not None and ask:
        raise AppError(
            "--ask and --kit do not go together.",
            "A survey is asked of a simulation's data, and with a kit no data is read.",
            "Leave one of them out.",
        )
    if paper.font is not None and paper.pdf is None:
        raise AppError(
            "--font is given, and no --pdf.",
            "A font is for paper; a page takes those of its reader.",
            "Add --pdf FILE.pdf, or leave --font out.",
        )
    if kit is not None:
        found = stated_at(target, kit, settings_of(set_), working, paper)
    else:
        found = _simulated(target, settings_of(set_), ask, place, paper)
    if paper.asked:
        _write(found, paper)
        return
    for part in explanation(found.explained):
        out().print(part)


def _simulated(
    target: Path, settings: Mapping[str, Any], ask: bool, place: Place, paper: Paper
) -> Statement:
    """The statement of an app whose clients are simulated; what is not asked for is not looked
    up.
    """
    from ..app.statement import owner_of
    from ..explain.statement import Statement

    config = config_of(target)
    app = app_of(config, settings)
    if ask:
        app = app.asked()
    if not paper.asked:
        return Statement(app.explain())
    found = replace(app.statement(paper.for_ or ""), app=Path(config.app).name)
    found = replace(found, sha256=_packed(Path(config.app)))
    if not paper.for_:
        return found
    return found.with_owner(owner_of(app, paper.for_, _runs_of(place), found.app))


def _packed(app: Path) -> str:
    """SHA-256 of the bundle that an app file makes; "" where it makes none.

    Files are read for it, and none is run.
    """
    from ..approval.packing import pack

    try:
        return pack(app).sha256
    except HansaError:
        return ""


def _runs_of(place: Place) -> list[Summary] | None:
    """All runs of the store; None where none is there."""
    if not (place.store or (place.folder / "hansa.sqlite").is_file()):
        return None
    return place.open().runs()


def _write(found: Statement, paper: Paper) -> None:
    """Write what is asked for; the terminal gets it where nothing else is.

    With --json stdout has the JSON and not a byte more, so that its SHA-256 is that of the
    statement; which files were written is said on stderr.
    """
    from ..ui import statement
    from ..ui.errors import say
    from ..ui.terminal import out

    if paper.pdf is not None:
        from ..ui.pdf import pdf

        statement.put(paper.pdf, pdf(found, paper.font))
        say(f"wrote {paper.pdf}")
    if paper.html is not None:
        statement.put(paper.html, statement.html(found).encode())
        say(f"wrote {paper.html}")
    if paper.json:
        typer.echo(found.json(), nl=False)
    elif not (paper.pdf or paper.html):
        for part in statement.terminal(found):
            out().print(part)


def stated_at(
    target: Path, kit: Path, settings: dict[str, Any], working: Working, paper: Paper
) -> Statement:
    """What the app that was approved at a kit asks of its party, and what gateways see; with its
    owner's policy and its runs where the explanation is for the owner.

    Gateways are told of by this process, from the kit's roster, and not by the app's worker.
    RefusedError where the kit does not count now; AppError for the kit of another party than
    `--for` names.
    """
    from ..crypto.identity import gateways_of
    from ..explain import before_server, neighbours

    own = kit_of(kit)
    _check_whose(own, paper)
    harden()
    bundle, config = approved_bundle(target, own.folder)
    agent = working.agent(bundle, config, own, settings, None)
    with contextlib.closing(agent.worker) as worker:
        found = _statement(worker.ask("explain"), own.who, bundle, config)
        explained = found.explained
        sections = (*explained.sections, *before_server(gateways_of(own.roster)))
        if own.role == "peer":
            sections = (*sections, *neighbours(own.who, _mixing(own, agent)))
        found = replace(found, explained=replace(explained, sections=sections))
        if not paper.asked:
            return found
        return found.with_owner(_owner_at(agent, own))


def _mixing(own: Kit, agent: Agent) -> Mixing:
    """Who hears whom among the peers of a kit's roster; PlanError where nodes cannot run the
    plan.
    """
    from ..crypto.identity import peers_of
    from ..runtimes.peers.agent import AgentPeer
    from ..runtimes.peers.mesh import check_nodes

    agent = replace(agent, takes=AgentPeer)
    party = agent(agent.about()["plan"])
    assert isinstance(party, AgentPeer)
    names = peers_of(own.roster)
    check_nodes(party.plan, names, own.who)
    return party.mesh(names).mixing


def _check_whose(own: Kit, paper: Paper) -> None:
    """AppError where a statement is wanted of who is not the client of this kit."""
    if paper.asked and own.role != "client":
        raise AppError(
            f"The kit is that of {own.who}, a {own.role}.",
            "A statement is of a client, whose data is asked for.",
            "Name the kit of a client; or leave --for, --html, --pdf and --json out.",
        )
    if paper.for_ not in (None, own.who):
        raise AppError(
            f"The kit is that of {own.who}, and not of {paper.for_!r:.100}.",
            "Policy and runs are those of the kit.",
            f"Write --for {own.who}, or leave it out.",
        )


def _owner_at(agent: Agent, own: Kit) -> Owner:
    """What the owner of a kit allows, whether the plan keeps to it, and the runs so far.

    It is found by the agent, from the plan's outline and the kit's own book, and not told by the
    app. Where ε is of examples their number decides, and no data is read here.
    """
    from ..explain.owner import Owner
    from ..runtimes.sites.runs import Runs
    from .there import policy_of

    policy = policy_of(own.folder)
    with contextlib.closing(Runs(own.folder / "runs")) as runs:
        past = tuple(_past(one, policy) for one in runs)
        total = _total(runs, policy)
        refusal = ""
        open = ""
        if policy.unit == "example" and math.isfinite(policy.epsilon):
            open = "hansa check --kit --data counts the examples that ε hangs on"
        else:
            try:
                open = _held_against(agent, runs)
            except PolicyError as error:
                refusal = f"{error.found} {error.why}"
    counted = BOOKED
    if policy.stated:
        counted = f"{BOOKED} {BELIEVED}"
    return Owner(policy, refusal, open, past, total, counted)


def _held_against(agent: Agent, runs: Runs) -> str:
    """Hold survey and plan against policy and runs, as at the start of a run: PolicyError where
    they do not fit. Why that is not known, where the plan hangs on the survey.
    """
    from ..runtimes.sites.agent import AgentClient

    about = agent.about()
    for name in ("first", "plan"):
        if about[name]:
            party = agent(about[name])
            assert isinstance(party, AgentClient)
            runs.check(party)
    if about["plan"]:
        return ""
    return "the plan hangs on what the survey finds, and is held against it then"


def _past(one: Any, policy: Any) -> Any:
    """A run of a kit's book: when, how far, and ε of it alone at the policy's δ."""
    from ..explain.owner import PastRun

    given = one.given(policy.unit)
    until = "not over"
    if one.ended:
        until = f"{one.answers} of {one.rounds} rounds answered, until {one.ended}"
    if one.gone:
        until += f", left {one.gone}"
    if given.why:
        return PastRun(one.run, one.plan, one.began, until, why=given.why)
    epsilon = given.epsilon(given.order(math.inf, policy.delta), policy.delta)
    return PastRun(one.run, one.plan, one.began, until, epsilon, policy.delta)


def _total(runs: Runs, policy: Any) -> dict[str, Any]:
    """ε of all runs of a kit together, as its budget counts them; nothing where there are none."""
    epsilon = runs.total(policy) if list(runs) else 0.0
    known = math.isfinite(epsilon)
    return {
        "unit": policy.unit,
        "epsilon": epsilon if known else None,
        "delta": policy.delta,
        "why": None if known else "of one of the runs nobody knows it",
        "named": False,
        "stated": [],
    }


def _statement(told: Any, who: str, bundle: Bundle, config: Config) -> Statement:
    """What a worker has told, as texts that command no terminal; AppError for anything else.

    The worker has run the app's code, so each part of its answer is looked at before it is used.
    """
    from ..explain.statement import Statement

    match told:
        case {
            "explained": dict(explained),
            "plan": str(plan),
            "survey": str(survey),
            "promise": dict(promise),
        } if all(isinstance(promise.get(name), kind) for name, kind in PROMISED.items()):
            made = {name: _plain(promise[name]) for name in PROMISED}
            made["stated"] = list(_plain(promise.get("stated", ())))
            name = Path(config.app).name
            prints = (bundle.sha256, printable(plan), printable(survey))
            return Statement(_explanation(explained), name, who, *prints, made)
    raise _odd()


def _explanation(told: Mapping[str, Any]) -> Explanation:
    """Sections and warnings of a worker."""
    from ..explain import Explanation, Section

    match told:
        case {"sections": [*sections], "warnings": [*warnings], "stated": [*stated]}:
            made = [Section(**{str(k): _plain(v) for k, v in one.items()}) for one in sections]
            return Explanation(tuple(made), _plain(warnings), _plain(stated))
    raise _odd()


def _odd() -> AppError:
    """What is raised for an answer that is none."""
    return AppError("The app is not explained.", "Its worker has said something else.", "")


def _plain(told: Any) -> Any:
    """Texts, rows of texts, and numbers."""
    if isinstance(told, list | tuple):
        return tuple(map(_plain, told))
    if told is None or isinstance(told, bool | int | float):
        return told
    return printable(str(told))
