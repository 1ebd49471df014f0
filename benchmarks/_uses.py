"""Tables and plots of docs/uses and docs/how-to/personal.md, from benchmarks/results: `python benchmarks/_uses.py`.

A table stands between `<!-- measured NAME -->` and `<!-- /measured -->`; without a name it is that of the page's use.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = DOCS / "uses"
PERSONAL = DOCS / "how-to" / "personal.md"
MEASURED = re.compile(r"<!-- measured( \w+)? -->\n.*?<!-- /measured -->\n", re.DOTALL)
COLUMNS = {
    "health": {"accuracy": "accuracy", "auc": "AUC", "calibration": "calibration error"},
    "driving": {"r2": "mean R²", **{f"driver {i}": f"driver {i}" for i in range(1, 6)}},
    "homes": {"error": "mean error", "10 %": "10 % of homes below", "50 %": "50 % below", "90 %": "90 % below"},
    "keyboard": {"accuracy": "accuracy", "ratio": "noise / clip"},
}
SPREAD = "± their standard deviation (n − 1)"
KINDS = {"typical": "a typical home", "heat pump": "a typical home with a heat pump", "worst": "the worst home"}
TENTHS = COLUMNS["homes"]
OF_HOMES = {  # table → task of benchmarks/homes.py, and its columns
    "tomorrow": TENTHS,
    "hour": TENTHS,
    "heating": {"auc": "AUC", "accuracy": "accuracy"},
    "house": {"rmse": "RMSE / Wh", "mae": "MAE / Wh"},
}


def found(name: str = "uses") -> dict[str, Any]:
    """The results of one benchmark."""
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


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


def table(name: str) -> str:
    """What stands on the pages under a name."""
    written = TABLES[name]() if name in TABLES else _lines(runs(name), COLUMNS[name])
    begin = "<!-- measured -->" if name in COLUMNS else f"<!-- measured {name} -->"
    return "\n".join([begin, *written, "<!-- /measured -->", ""])


def _lines(every: dict[str, list[dict[str, Any]]], columns: dict[str, str], of: str = "uses") -> Iterator[str]:
    """Mean ± sample standard deviation over the seeds; of the uses themselves wall seconds, which are medians."""
    wall = of == "uses"
    yield "| " + " | ".join(["", *columns.values(), *["wall seconds"] * wall]) + " |"
    yield "|---" * (len(columns) + 1 + wall) + "|"
    for name, rows in every.items():
        cells = [_span([row["scores"][one] for row in rows if one in row["scores"]]) for one in columns]
        seconds = np.median([row["seconds"] for row in rows])
        took = "of the same training" if name.startswith("personal") else f"{seconds:.1f}"
        yield "| " + " | ".join([name, *cells, *[took] * wall]) + " |"
    yield ""
    yield _made([row for rows in every.values() for row in rows], max(map(len, every.values())), of)


def _made(rows: list[dict[str, Any]], seeds: int, of: str) -> str:
    """How often, and on what."""
    machine = found(of)["machine"]
    cpus = " and ".join(sorted({row.get("cpu", machine["cpu"]) for row in rows}))
    times = "One seed" if seeds == 1 else f"{seeds} seeds, {SPREAD}"
    return f"*{times}; {cpus}, {machine['cores']} cores, which other programs used as well.*"


def _span(values: list[float]) -> str:
    """Mean ± standard deviation of a sample; of one value itself."""
    if not values:
        return ""
    digits = 3 if max(values) < 10 else 1
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"


def _of_homes(task: str) -> Iterator[str]:
    """A task of benchmarks/homes.py."""
    every: dict[str, list[dict[str, Any]]] = {}
    for row in found("homes")["rows"]:
        if row["task"] == task:
            every.setdefault(row["row"], []).append(row)
    yield from _lines(every, OF_HOMES[task], "homes")


def _highway() -> Iterator[str]:
    """Where policies get to."""
    yield "| | crashes | m/s | does the same | of each action |"
    yield "|---|---|---|---|---|"
    rows = found("highway")["rows"]
    for row in rows:
        scores = f"{row['accuracy']:.2f} | {row['balanced']:.2f}"
        yield f"| {row['row']} | {row['crashes']} of {row['trips']} | {row['speed']:.1f} | {scores} |"
    yield ""
    yield _made(rows, len({row["seed"] for row in rows}), "highway")


def _personal() -> Iterator[str]:
    """Every method on two tasks."""
    yield "| | patients: accuracy | AUC | homes: mean error | 90 % of homes below |"
    yield "|---|---|---|---|---|"
    rows = found("personal")["rows"]
    for name in dict.fromkeys(row["row"] for row in rows):
        cells = []
        for task, score in (("heart", "accuracy"), ("heart", "auc"), ("homes", "error"), ("homes", "90 %")):
            cells.append(_span([row["scores"][score] for row in rows if (row["task"], row["row"]) == (task, name)]))
        yield "| " + " | ".join([name, *cells]) + " |"
    yield ""
    seeds = [sum(row["task"] == task for row in rows if row["row"] == "FedAvg") for task in ("heart", "homes")]
    yield f"Patients: {seeds[0]} seeds, {SPREAD}; homes: {seeds[1]}."


def _choice() -> Iterator[str]:
    """How the health app's settings were chosen."""
    columns = ("federated accuracy", "federated AUC", "own accuracy", "own AUC")
    yield "| | " + " | ".join(columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for row in found("health_choice")["rows"]:
        scores = [f"{row['scores'][one]:.3f}" for one in columns]
        if row["choice"] == "noise":
            scores[2:] = ["", ""]
        yield "| " + " | ".join([row["row"], *scores]) + " |"
    yield ""


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    **{task: lambda task=task: _of_homes(task) for task in OF_HOMES},
    "choice": _choice,
    "highway": _highway,
    "personal": _personal,
}


def with_tables(page: str, use: str = "") -> str:
    """The page with its measured parts written anew."""
    return MEASURED.sub(lambda part: table((part[1] or use).strip()), page)


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


def plot_forecasts() -> None:
    """Two weeks of three homes: what was used, and what was told an hour before."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "hansa", "font.size": 9}
    from matplotlib import pyplot

    shown = [row for row in found("homes")["rows"] if row["task"] == "forecasts"]
    figure, axes = pyplot.subplots(len(shown), 1, figsize=(7.2, 4.8), layout="constrained", sharex=True)
    for row, axis in zip(shown, axes, strict=True):
        scores = row["scores"]
        days = np.arange(len(scores["truth"])) / 24
        axis.plot(days, scores["truth"], color="0.6", lw=0.8, label="used")
        axis.plot(days, scores["forecast"], color="C0", lw=0.8, label="forecast")
        axis.set_title(f"{KINDS[row['row']]}: error {scores['error']:.2f}", fontsize=9, loc="left")
        axis.set(ylabel="load / mean", ylim=(0, None))
    axes[0].legend(frameon=False, ncols=2, fontsize=7, loc="upper right")
    axes[-1].set(xlabel="day", xlim=(0, 14))
    figure.savefig(PAGES / "forecasts.svg", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def main() -> None:
    """Write the tables and draw the plots of all uses that have results."""
    for use in uses():
        page = PAGES / f"{use}.md"
        page.write_text(with_tables(page.read_text("utf-8"), use), "utf-8")
        plot(use)
    PERSONAL.write_text(with_tables(PERSONAL.read_text("utf-8")), "utf-8")
    plot_forecasts()


if __name__ == "__main__":
    main()
