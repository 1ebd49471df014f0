"""A table of the rounds: rounds.csv, which any program reads."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from ...errors import AppError
from ..tables import as_csv
from . import Rounds, Tracked


@dataclass(frozen=True)
class Csv:
    """A CSV file with a row for each round, written anew after each; scores that come later have
    their column, too.

    path: the file; by default rounds.csv in the folder of the run. AppError where it holds anything
    else than this run, so that no run of a sweep writes over another.
    """

    path: str | Path | None = None

    def track(self, run: Tracked, rounds: Rounds) -> None:
        """Write what there is after each round, under another name first."""
        path = Path(self.path or run.folder / "rounds.csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        rows = []
        for one in rounds:
            rows.append({"run": run.id, **one.row})
            _check_ours(path, run.id)
            part.write_text(as_csv(rows), encoding="utf-8")
            part.replace(path)


def _check_ours(path: Path, run: str) -> None:
    """AppError where a file is there that is not this run's."""
    if not path.exists():
        return
    with open(path, encoding="utf-8", newline="") as file:
        there = next(csv.DictReader(file), {})
    if there.get("run") != run:
        raise AppError(
            f"{path} holds {there.get('run') or 'something else'}, and no round of {run}.",
            "It would be written over.",
            "Name another file, or write Csv(), whose file is in the folder of the run.",
        )
