"""What each page shows, from what a store holds: values for its template.

listed        the list of runs
run           one, as far as it is
comparison    some beside each other
told          how far one is, for who hears the page

Words of clients and of apps are cut and made one line here; templates escape them. What a page has
too much of is shortened, and how much is left out is told.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from markupsafe import Markup

from ...errors import printable
from ...privacy.ledger import taken_on_trust
from ...rounds import NAMED, Round
from ...store import Summary
from .. import HIDDEN, about, all_scores, figure, names, private, profile, svg, witness
from ..figures import PRIVACY, compared, figures
from ..overlay import Compared, cells
from ..report import excluded
from .reading import REPORT, Followed, is_report, version

MOST_LISTED = 50  # runs on a page of the list
MOST_TOLD = 30  # rounds in the log
MOST_COMPARED = 12  # runs beside each other
MOST_CLIENTS = 200  # in the table of who is not in the sum
LONGEST_PROFILE = 2**22  # bytes
LAST = 20  # rounds from which it is told how long the rest takes

QUIET = Markup('<p class="quiet">{}</p>')

NONE = Round(0)  # before the first
Page = Mapping[str, Any]


def listed(summaries: Sequence[Summary], wanted: str, page: int) -> Page:
    """The list of runs: those with `wanted` in their id, name, tags, app or status."""
    found = [one for one in summaries if wanted in _words(one)]
    begin = MOST_LISTED * (page - 1)
    return {
        "title": "Runs",
        "version": version(summaries),
        "events": "/events",
        "runs": [_row(one) for one in found[begin : begin + MOST_LISTED]],
        "count": len(found),
        "whole": len(summaries),
        "wanted": wanted,
        "page": page,
        "pages": math.ceil(len(found) / MOST_LISTED),
    }


def _words(one: Summary) -> str:
    """What a run is found by."""
    return " ".join((one.id, one.app, one.status, one.label.name, *one.label.tags))


def _row(one: Summary) -> dict[str, Any]:
    """A run in the list.

    scores: the first three of its last round, each from its best witness.
    """
    last = one.last or NONE
    told = list(all_scores(last.witnessed).items())
    return {
        "id": one.id,
        "name": svg.word(one.label.name or Path(one.app).stem or one.id),
        "tags": [svg.word(tag) for tag in one.label.tags],
        "note": svg.word(one.label.note, 400),
        "started": f"{one.started.astimezone():%d %b %Y, %H:%M}",
        "state": svg.word(one.status),
        "rounds": f"{one.done} of {one.planned or '?'} rounds",
        "done": one.done,
        "planned": one.planned,
        "scores": [(svg.word(name), figure(name, value)) for name, value in told[:3]],
        "private": private(last),
    }


def run(found: Followed) -> Page:
    """One run: figures, plots, who is not in the sum, times, the last rounds, the plan in words.

    Where who took part is secret there is no plot of it; who is not in the sum is not stored then.
    """
    known = about.read(found.run.folder)
    budget = None
    if known.budget is not None:
        budget = known.budget.epsilon
    clients = sorted(found.clients)
    scored, plots = figures(found.rounds, clients, (), budget)
    stated: Sequence[str] = ()
    if known.explained is not None:
        stated = known.explained.stated
    hidden = any(one.hidden for one in found.rounds)
    out = excluded(found.rounds)
    return {
        **_row(found.summary),
        "title": svg.word(found.summary.label.name or Path(found.run.app).stem),
        "version": version([found.summary], found.run.folder),
        "events": f"/runs/{found.run.id}/events",
        "app": svg.word(found.run.app, 400),
        "facts": _facts(found, budget, stated, hidden),
        "told": told(found.summary),
        "curves": list(scored.values()),
        "private": [plots[name] for name in PRIVACY if name in plots],
        "given": "".join(private(one, stated) for one in found.rounds[-1:]),
        "budget": known.budget,
        "participation": plots.get("participation"),
        "hidden": HIDDEN * hidden,
        "excluded": [
            (who, svg.word(who), n, svg.word(why, 400)) for who, n, why in out[:MOST_CLIENTS]
        ],
        "excluded_more": max(0, len(out) - MOST_CLIENTS),
        "seconds": plots.get("seconds"),
        "phases": _phases(found, known.workers),
        "log": [_line(one) for one in found.rounds[: -MOST_TOLD - 1 : -1]],
        "explained": known.explained,
        "plan": printable(found.run.plan),
        "settings": printable(json.dumps(found.run.settings, indent=2, ensure_ascii=False)),
        "report": is_report(found.run.folder / REPORT),
        "digest": printable(found.run.digest),
    }


def told(one: Summary) -> str:
    """How far a run is, in a sentence, for who hears the page."""
    if one.last is None:
        return f"Run {one.id} has no round yet, and is {svg.word(one.status)}."
    words = [f"Round {one.done} of {one.planned or '?'} is done"]
    scores = list(all_scores(one.last.witnessed).items())[:2]
    words += [f"{svg.word(name)} {figure(name, value)}" for name, value in scores]
    if one.status != "running":
        words.append(f"the run is {svg.word(one.status)}")
    return f"{', '.join(words)}."


def _facts(
    found: Followed, budget: float | None, stated: Sequence[str], hidden: bool
) -> list[tuple[str, str]]:
    """The few numbers at the top, as (figure, what it is).

    budget: ε that no client may pass, which is told beside what is spent. stated: on whose word it
    rests, which is told with each ε, as is against whom it does not hold.
    """
    last = next((one.witnessed for one in reversed(found.rounds) if one.witnessed), {})
    told = [(figure(name, value), svg.word(name)) for name, value in all_scores(last).items()][:3]
    for one in found.rounds[-1:]:
        but = f", {NAMED}" * one.named
        if stated:
            but += f", {taken_on_trust(stated)}"
        for unit, spent in one.spent.items():
            of = ""
            if budget and unit == "client":
                of = f" of {budget:.3g}"
            told.append((f"{spent.epsilon:.3g}", f"ε{of}, δ {spent.delta:.2g}, each {unit}{but}"))
    if found.clients and not hidden:
        told.append((f"{len(found.clients)}", "clients asked"))
    told.append((f"{found.summary.done}", f"of {found.summary.planned or '?'} rounds"))
    if left := _left(found):
        told.append((left, "left, about"))
    return told


def _left(found: Followed) -> str:
    """How long a run that goes on will take, from its last rounds; nothing where nobody knows."""
    seconds = [one.seconds for one in found.rounds[-LAST:] if math.isfinite(one.seconds)]
    planned = found.summary.planned
    if found.summary.status != "running" or planned is None or not seconds:
        return ""
    left = fmean(seconds) * max(0, planned - found.summary.done)
    if left < 90:
        return f"{max(1.0, left):.0f} s"
    if left < 5400:
        return f"{left / 60:.0f} min"
    return f"{left / 3600:.1f} h"


def _phases(found: Followed, workers: int) -> Markup:
    """Seconds of each part of a round, where the run notes them; or why they are not told.

    workers: processes that train, whose seconds lie beside those of the server.
    """
    clock = profile.Clock(found.run.folder / "profile.txt")
    if not clock.path.is_file():
        return QUIET.format("With hansa run --profile the parts of a round are told here too.")
    if clock.path.stat().st_size > LONGEST_PROFILE:
        return QUIET.format("It has noted more times than are added up here: it tells them itself.")
    try:
        spent = profile.seconds(clock, workers)
        whole = spent.pop("round", 0.0)
        parts = {profile.PARTS[name]: spent.get(name, 0.0) for name in profile.PARTS}
        return svg.bars(parts, f"where {whole:.1f} s went", lambda value, _: f"{value:.2f} s")
    except ValueError:
        return QUIET.format("What it has noted of the parts of a round cannot be read.")


def _line(one: Round) -> dict[str, Any]:
    """A round in the log."""
    out = [f"{svg.word(who)} ({svg.word(why, 200)})" for who, why in one.excluded.items()]
    return {
        "round": one.round,
        "scores": "  ".join(
            f"{svg.word(name)} {figure(name, value)}"
            for name, value in all_scores(one.witnessed).items()
        ),
        "hidden": one.hidden,
        "there": svg.word(names(one.participants, 3), 200),
        "out": names(out, 3) * bool(out),
        "seconds": figure("seconds", one.seconds),
        "skipped": svg.word(one.skipped, 300),
    }


def comparison(runs: Sequence[Compared]) -> Page:
    """Runs beside each other: what is set otherwise, their last scores, and their courses."""
    head, lines = cells(runs)
    rows = [
        (one.id, [svg.word(value, 80) for value in line[1:-1]], printable(line[-1]))
        for one, line in zip(runs, lines, strict=True)
    ]
    seen = dict.fromkeys(witness(one.rounds[-1].witnessed) for one in runs if one.rounds)
    return {
        "title": "Runs beside each other",
        "version": "",
        "events": "",
        "head": [svg.word(name) for name in head[1:-1]],
        "rows": rows,
        "plans": len({one.settings["plan"] for one in runs}),
        "witness": ", ".join(filter(None, seen)),
        "curves": list(compared(runs).values()),
    }
