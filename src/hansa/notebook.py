"""What a notebook shows of a value: a table, in which every word is text.

A class has `_repr_html_`, which a notebook asks for, and makes it of this. Names come from clients
and apps: none of them is markup, and what would turn text around or break a line is written out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from html import escape
from typing import Any

from .errors import printable

LONGEST = 2_000  # letters of a cell
CELL = "text-align:left;vertical-align:top;padding:.2em 1em .2em 0"


class Arguments:
    """A dataclass with a digest, which a notebook shows as a table of its arguments."""

    def _repr_html_(self) -> str:
        """A row for each argument, as the expression that builds it, and its fingerprint."""
        one: Any = self
        rows = [(field.name, repr(getattr(one, field.name))) for field in fields(one)]
        return table([*rows, ("fingerprint", one.digest)])


def text(words: object) -> str:
    """Words as HTML: nothing in them is markup; of very many the first."""
    line = printable(str(words))
    if len(line) > LONGEST:
        line = f"{line[:LONGEST]}…"
    return escape(line)


def paragraph(words: object, tag: str = "p") -> str:
    """Words in an element of their own."""
    return f"<{tag}>{text(words)}</{tag}>"


def table(rows: Iterable[Sequence[object]], head: Sequence[object] = ()) -> str:
    """Rows of cells, the first of each in bold; a head that is empty is left out."""
    lines = list[str]()
    if any(head):
        lines.append("".join(_cell("th", one) for one in head))
    for first, *rest in rows:
        lines.append(_cell("th", first) + "".join(_cell("td", one) for one in rest))
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _cell(tag: str, words: object) -> str:
    """One cell."""
    return f'<{tag} style="{CELL}">{text(words)}</{tag}>'
