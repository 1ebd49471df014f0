"""A table of the rounds: rounds.csv, which any program reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..tables import as_csv
from . import Rounds, Tracked


@dataclass(frozen=True)
class Csv:
    """A CSV file with a row for each round, written anew after each; scores that come later have
    their column, too.

    path: the file; by default rounds.csv in the folder of the run.
    """

    path: str | Path | None = None

    def track(self, run: Tracked, rounds: Rounds) -> None:
        """Write what there is after each round, under another name first."""
        path = Path(self.path or run.folder / "rounds.csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        rows = []
        for one in rounds:
            rows.append(one.row)
            part.write_text(as_csv(rows), encoding="utf-8")
            part.replace(path)
