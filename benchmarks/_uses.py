"""Tables and plots of docs/uses, from benchmarks/results/uses.json: `python benchmarks/_uses.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "uses.json"
PAGES = Path(__file__).resolve().parents[1] / "docs" / "uses"
BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->\n"
COLUMNS = {
    "health": {"accuracy": "accuracy", "auc": "AUC", "calibration": "calibration error"},
    "driving": {"r2": "mean R²", **{f"driver {i}": f"driver {i}" for i in range(1, 6)}},
    "homes": {"error": "mean error", "10 %": "10 % of homes below", "50 %": "50 % below", "90 %": "90 % below"},
    "keyboard": {"accuracy": "accuracy"},
}


def found() -> dict[str, Any]:
    """The results."""
    return json.loads(RESULTS.read_text("utf-8"))


def uses() -> list[str]:
    """Those that have results."""
    there = {row["use"] for row in found()["rows"]}
    return [use for use in COLUMNS if use in there]


def runs(use: str) -> dict[str, list[dict[str, Any]]]:
    """row → its runs, one of each seed."""
    every: dict[str, list[dict[str, Any]]] = {}
    for row in found()["rows"]:
        if row["use"] == use:
            every.setdefault(row["row"], []).append(row)
    return every


def table(use: str) -> str:
    """Mean ± standard deviation over the seeds; wall seconds are medians."""
    return BEGIN + "\n".join(_lines(use)) + "\n" + END


def _lines(use: str) -> Iterator[str]:
    columns = COLUMNS[use]
    yield "| " + " | ".join(["", *columns.values(), "wall seconds"]) + " |"
    yield "|---" * (len(columns) + 2) + "|"
    every = runs(use)
    for name, rows in every.items():
        cells = [_span([row["scores"][one] for row in rows if one in row["scores"]]) for one in columns]
        seconds = np.median([row["seconds"] for row in rows])
        took = "of the same training" if name.startswith("personal") else f"{seconds:.1f}"
        yield "| " + " | ".join([name, *cells, took]) + " |"
    seeds = max(map(len, every.values()))
    machine = found()["machine"]
    yield ""
    times = "One seed" if seeds == 1 else f"{seeds} seeds"
    yield f"*{times}; {machine['cpu']}, {machine['cores']} cores, which other programs used as well.*"


def _span(values: list[float]) -> str:
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ± {np.std(values):.3f}"


def with_table(page: str, use: str) -> str:
    """The page with its measured part written anew."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return before + table(use) + after


def plot(use: str) -> None:
    """The plot of one page."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "hansa", "font.size": 9}
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, 2 if use == "health" else 1, figsize=(7.2, 2.6), layout="constrained", squeeze=False
    )
    PLOTS[use](runs(use), *axes[0])
    figure.savefig(PAGES / f"{use}.svg", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def _health(every: dict[str, list[dict[str, Any]]], left: Any, right: Any) -> None:
    """Calibration of three models, and the AUC of each hospital that has one."""
    names = ("alone", "federated", "personal")
    left.plot([0, 1], [0, 1], color="0.8")
    for name in names:
        bins = [row["scores"]["bins"] for row in every[name]]
        ill, healthy = (np.sum([one[part] for one in bins], 0) for part in ("ill", "healthy"))
        known = ill + healthy > 0
        left.plot((np.arange(10) + 0.5)[known] / 10, (ill[known] / (ill + healthy)[known]), "o-", ms=3, label=name)
    left.set(xlabel="told probability of disease", ylabel="share that is ill")
    left.legend(frameon=False)
    _bars(every, names, [one for one in every["alone"][0]["scores"] if one.startswith("auc of ")], right)
    right.set(ylabel="AUC", ylim=(0.5, 1.1))


def _driving(every: dict[str, list[dict[str, Any]]], axis: Any) -> None:
    """R² of each driver."""
    _bars(every, ("alone", "federated", "personal", "a new driver"), [f"driver {i}" for i in range(1, 6)], axis)
    axis.set(ylabel="R²", ylim=(0, 1.25))


def _bars(every: dict[str, list[dict[str, Any]]], names: Any, scores: list[str], axis: Any) -> None:
    """A group of bars for each score."""
    for i, name in enumerate(names):
        means = [np.mean([row["scores"][one] for row in every[name]]) for one in scores]
        axis.bar(np.arange(len(scores)) + i / (len(names) + 1), means, 1 / (len(names) + 1), label=name)
    axis.set_xticks(np.arange(len(scores)) + 0.3, [one.removeprefix("auc of ") for one in scores], fontsize=7)
    axis.legend(frameon=False, ncols=2, fontsize=7)


def _homes(every: dict[str, list[dict[str, Any]]], axis: Any) -> None:
    """The errors below which a tenth of the homes, half and nine tenths lie."""
    _bars(every, list(every), ["10 %", "50 %", "90 %"], axis)
    axis.set(xlabel="of homes have less", ylabel="mean error / mean load", ylim=(0, 1))


def _keyboard(every: dict[str, list[dict[str, Any]]], axis: Any) -> None:
    """Accuracy by round."""
    for name, rows in every.items():
        for row in rows[:1]:
            course = row["scores"].get("course")
            if course:
                axis.plot([one[0] for one in course], [one[1] for one in course], "o-", ms=3, label=name)
    axis.set(xlabel="round", ylabel="accuracy")
    axis.legend(frameon=False, fontsize=7)


PLOTS = {"health": _health, "driving": _driving, "homes": _homes, "keyboard": _keyboard}


def main() -> None:
    """Write the tables and draw the plots of all uses that have results."""
    for use in uses():
        page = PAGES / f"{use}.md"
        page.write_text(with_table(page.read_text("utf-8"), use), "utf-8")
        plot(use)


if __name__ == "__main__":
    main()
