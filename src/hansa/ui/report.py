"""The report of a run: one HTML file that needs nothing else.

It can be sent to whoever decides: what happened in a few sentences, curves, what the plan asks of a
client, who was not in the sum and why, and all settings, so that the run can be done again.
Plots are part of the file, for light and for dark screens; no script runs, nothing is loaded from
elsewhere, and every text is escaped: names come from clients.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .. import __version__
from ..app.compare import OUTSIDE, Row
from ..errors import KINDS, StoreError
from ..explain import Explanation
from ..rounds import Round
from . import HIDDEN, figure, own_scores, passes, private, scores, template, witness
from .figures import figures

PACKAGES = ("numpy", "torch", "scikit-learn")


@dataclass(frozen=True)
class ReportData:
    """All that a report tells.

    A value of its own, so that a report can be written again without the app: rows and sets are
    scores that were taken, and `settings` are words.
    """

    title: str
    run: str  # its id
    rounds: tuple[Round, ...]
    planned: int
    clients: Sequence[str]
    explained: Explanation
    rows: tuple[Row, ...] = ()
    sets: tuple[Row, ...] = ()  # the model on test sets that have names
    own: tuple[Row, ...] = ()  # the clients' own models on their own examples
    settings: Mapping[str, str] = field(default_factory=dict)
    ended: str = ""  # why before the last round, if so, and which model was the best


def write(report_data: ReportData, folder: Path) -> Path:
    """Write report.html into the folder of a run, and say where it is.

    StoreError where the folder cannot be written; the run is not touched by that.
    """
    path = folder / "report.html"
    try:
        path.write_text(html(report_data), encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"The report cannot be written: {error}.",
            "The run itself is stored.",
            f"Make the folder writable; `hansa run --resume {report_data.run}` writes it again.",
        ) from None
    return path


def html(report_data: ReportData) -> str:
    """The page."""
    table = comparison(report_data.rows)
    scored, plots = figures(report_data.rounds, report_data.clients, report_data.rows)
    text: str = template("report.html.j2").render(
        report_data=report_data,
        scored=scored,
        plots=plots,
        facts=facts(report_data),
        summary=summary(report_data),
        excluded=excluded(report_data.rounds),
        head=table[0],
        rows=table[1],
        sets=comparison(report_data.sets, "tested on"),
        own=comparison(report_data.own, "clients"),
        versions=versions(),
        made=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC").lstrip("0"),
        outside=OUTSIDE if any(row.outside for row in report_data.rows) else "",
        own_outside=OUTSIDE if any(row.outside for row in report_data.own) else "",
        hidden=HIDDEN if any(one.hidden for one in report_data.rounds) else "",
    )
    return text


def facts(report_data: ReportData) -> list[tuple[str, str]]:
    """The few numbers at the top, as (figure, what it is): two scores, clients, rounds."""
    last = _last(report_data.rounds)
    found = [(figure(name, value), name) for name, value in scores(last).items() if name != "loss"]
    own = [(figure(name, value), name) for name, value in own_scores(last).items()]
    return [
        *found[:2],
        *[one for one in own if one[1] != "own loss"][:2],
        (str(len(report_data.clients)), "clients"),
        (f"{len(report_data.rounds)}", f"of {report_data.planned} rounds"),
    ]


def summary(report_data: ReportData) -> str:
    """What happened, in a few sentences: how long, how good, what it has given away, which rounds
    changed nothing, and what clients would have reached alone.
    """
    last = _last(report_data.rounds)
    done = len(report_data.rounds)
    told = " and ".join(f"{name} {figure(name, value)}" for name, value in scores(last).items())
    text = [
        f"{len(report_data.clients)} clients trained one model in {done} of {report_data.planned} "
        "rounds. No example was sent. This was a simulation: all clients, and their data, were on "
        "one machine."
    ]
    if report_data.ended:
        text.append(report_data.ended)
    if told:
        # clients score the model that they were given
        when = "In the last round it had"
        if any(name.startswith("test_") for name in last):
            when = "After the last round it has"
        text.append(f"{when} {told} on {witness(last)}.")
    if own := own_scores(last):
        told = " and ".join(f"{name} {figure(name, value)}" for name, value in own.items())
        text.append(f"For the clients' own models, on what they keep from training, it is {told}.")
    stated = report_data.explained.stated
    if report_data.rounds and (spent := private(report_data.rounds[-1], stated)):
        text.append(f"What it has given away is bounded: {spent}.")
    if void := [one for one in report_data.rounds if one.skipped]:
        why = void[-1].skipped.split("\n")[0].rstrip(".")
        text.append(
            f"In {len(void)} of the rounds the model stayed as it was, the last time because: "
            f"{why}."
        )
    if report_data.rows and not report_data.rows[0].outside:
        by = next((name for name in scores(report_data.rows[0].scores) if name != "loss"), None)
        alone = [row for row in report_data.rows if row.name.endswith(" alone")]
        if by and alone:
            values = {row.name: scores(row.scores)[by] for row in report_data.rows}
            low, high = (choose(values[row.name] for row in alone) for choose in (min, max))
            text.append(
                f"A client that trains alone reaches {figure(by, low)} to {figure(by, high)}; one "
                "model on all data, which nobody could have without sharing it, "
                f"{figure(by, values['all data pooled'])}."
            )
    return " ".join(text).replace(" %", "\u00a0%")


def excluded(rounds: Sequence[Round]) -> list[tuple[str, int, str]]:
    """(client, how often it was asked and not in the sum, the last reason), by name.

    Of a reason the first line; a word of hansa's own has its meaning beside it.
    """
    count: dict[str, tuple[int, str]] = {}
    for one in rounds:
        for who, why in one.excluded.items():
            count[who] = count.get(who, (0, ""))[0] + 1, why.split("\n")[0]
    return [
        (who, n, f"{why}: {KINDS[why]}" if why in KINDS else why)
        for who, (n, why) in sorted(count.items())
    ]


def comparison(
    rows: Sequence[Row], what: str = "trained on"
) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Head and lines of the comparison table, as texts; what: the head of its first column.

    Each line is (name of the row, its cells). Nothing, and no head, where there are no rows.
    """
    if not rows:
        return [], []
    columns = list(scores(rows[0].scores))
    counted = any(passes(row.passes) for row in rows)
    lines = list[tuple[str, list[str]]]()
    for row in rows:
        counts = [f"{row.examples}", *[passes(row.passes)] * counted]
        found = scores(row.scores)
        lines.append((row.name, [*counts, *(figure(name, found[name]) for name in columns)]))
    return [what, "examples", *["passes"] * counted, *columns], lines


def versions() -> list[tuple[str, str]]:
    """What the numbers were computed with: (package, version), of those that are installed."""
    found = [("hansa", __version__), ("Python", platform.python_version())]
    for name in PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return [*found, ("machine", f"{platform.system()} {platform.machine()}")]


def _last(rounds: Sequence[Round]) -> Mapping[str, float]:
    """The scores of the last round that has any."""
    return next((one.witnessed for one in reversed(rounds) if one.witnessed), {})
