"""The comparison as one value: rows that are computed when they are asked for, and kept.

Whoever goes through it again gets the same rows, and none is computed twice.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import HansaError
from ..notebook import paragraph, table
from .compare import OUTSIDE, Row


class Comparison(Iterator[Row]):
    """Rows of scores, each trained for when it is asked for; a notebook shows all of them.

    for row in app.compare(state): …        from the first row, whatever was shown before
    next(…)                                 the next that nobody has asked for
    """

    def __init__(self, rows: Iterator[Row]):
        self._rows = rows
        self._why = ""  # there are no more, if it could not be gone on with
        self.rows = list[Row]()  # those that were asked for so far

    def __iter__(self) -> Iterator[Row]:
        yield from self.rows
        while (row := next(self, None)) is not None:
            yield row

    def __next__(self) -> Row:
        row = next(self._rows)
        self.rows.append(row)
        return row

    def _repr_html_(self) -> str:
        """All rows as a table: on what each model was trained, and its scores; beneath it why there
        are no more, if so, for what shows a value raises nothing.
        """
        try:
            self.rows = list(self)
        except HansaError as error:
            self._why = str(error)
        names = list(dict.fromkeys(name for row in self.rows for name in row.scores))
        lines = [
            (row.name, row.examples, *(_figure(row.scores.get(name)) for name in names))
            for row in self.rows
        ]
        said = paragraph(OUTSIDE) if any(row.outside for row in self.rows) else ""
        failed = paragraph(self._why) if self._why else ""
        return table(lines, ("trained on", "examples", *names)) + said + failed


def _figure(value: float | None) -> str:
    """A score with four figures; nothing where a row has none."""
    return "" if value is None else f"{value:.4g}"
