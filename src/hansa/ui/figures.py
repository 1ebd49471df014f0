"""The plots of a run, of its rounds: for a report, and for the live page.

name of a score      its course over rounds, one line for each side that has seen it

and apart from these, since a score may have any name:

privacy              ε spent after each round, for each client; privacy-examples for each example
participation        who took part, was asked in vain or not asked; of many clients their number
comparison           each client alone, the federation, all data pooled
seconds              how long each round took

Of several runs, `compared` draws each score with a line for each run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

from markupsafe import Markup

from ..app.compare import Row
from ..rounds import Round, Unit
from . import SIDES, curves, figure, scores, svg
from .overlay import Compared

MOST_CLIENTS = 40  # of more, the number in each round is drawn instead of a strip for each
MOST_ROUNDS = 400
STATES = ("not asked", "took part", "not in the sum")
# name → whose ε it draws
PRIVACY: Mapping[str, Unit] = {"privacy": "client", "privacy-examples": "example"}


def figures(
    rounds: Sequence[Round],
    clients: Sequence[str],
    rows: Sequence[Row] = (),
    budget: float | None = None,
) -> tuple[dict[str, Markup], dict[str, Markup]]:
    """Two mappings, name → plot: of each score; and of ε where there is one, who took part,
    seconds, and the comparison where there is one.

    Who took part is drawn only where no round keeps that secret. budget: ε that no client may pass.
    """
    scored = dict[str, Markup]()
    found = dict[str, Markup]()
    for score, sides in curves(rounds).items():
        lines = {SIDES[side]: points for side, points in sides.items()}
        scored[score] = svg.curves(lines, score, show=partial(figure, score))
    limits = dict[str, tuple[str, float]]()
    if budget is not None:
        limits["privacy"] = ("budget", budget)
    for name, unit in PRIVACY.items():
        if spent := [(one.round, one.spent[unit].epsilon) for one in rounds if unit in one.spent]:
            title = f"ε spent, for each {unit}"
            found[name] = svg.curves({"spent": spent}, title, zero=True, limit=limits.get(name))
    if rounds and not any(one.hidden for one in rounds):
        found["participation"] = _participation(rounds, clients)
    seconds = [(one.round, one.seconds) for one in rounds]
    if any(math.isfinite(value) for _, value in seconds):
        found["seconds"] = svg.curves({"seconds": seconds}, "seconds a round", zero=True)
    if rows:
        found["comparison"] = _comparison(rows)
    return scored, found


def _participation(rounds: Sequence[Round], clients: Sequence[str]) -> Markup:
    """A strip for each client; for what has too many clients or rounds, how many in each round."""
    if len(clients) > MOST_CLIENTS or len(rounds) > MOST_ROUNDS:
        lines = {
            "took part": [(one.round, len(one.participants)) for one in rounds],
            "not in the sum": [(one.round, len(one.excluded)) for one in rounds],
        }
        return svg.curves(lines, f"who took part, of {len(clients)} clients", zero=True)
    strips = {who: [_did(who, one) for one in rounds] for who in clients}
    return svg.strips(strips, "who took part", STATES, rounds[0].round)


def _did(who: str, one: Round) -> int:
    """What a client did in a round, as its place in STATES."""
    if who in one.participants:
        return 1
    if who in one.excluded:
        return 2
    return 0


def _comparison(rows: Sequence[Row]) -> Markup:
    """A dot for each model, by the first score that is no loss; the federation's own stands out.

    rows: at least one; all have the same scores.
    """
    names = list(scores(rows[0].scores))
    by = next((name for name in names if name != "loss"), names[0])
    values = {row.name: scores(row.scores)[by] for row in rows}
    title = f"{by} on the central test"
    if rows[0].outside:
        title += ", outside ε"
    return svg.bars(values, title, partial(figure, by), zero=False, own=["federated"])


def compared(runs: Sequence[Compared]) -> dict[str, Markup]:
    """score → plot: its course in each of these runs, by the best witness of each."""
    found = dict[str, dict[str, list[tuple[int, float]]]]()
    for run in runs:
        for score, sides in curves(run.rounds).items():
            found.setdefault(score, {})[run.title] = next(iter(sides.values()))
    return {
        score: svg.curves(lines, score, show=partial(figure, score))
        for score, lines in found.items()
    }
