"""A statement for whoever answers for a client's data: in the terminal, and as one page to print.

The page holds everything it shows: no script runs, nothing is loaded from elsewhere, and names from
clients and apps are text in it. It ends with a block to sign, which names the SHA-256 of all that
was read, as `hansa explain --json` writes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..errors import AppError, printable
from ..explain.statement import Statement
from .terminal import explanation

SIGNED = (  # what whoever answers for the data fills in
    "name",
    "function, for whom",
    "place and date",
    "signature",
)
AGREED = "I have read this statement, and this client"
CHOICES = ("takes part on these terms", "does not take part", "takes part if:")
SAME = (
    # P699
    "SHA-256 of this statement, as the same command with --json writes it. Who gets another number "
    "has read another statement."
)


def title(found: Statement) -> str:
    """What a statement is called, in words that command nothing."""
    if found.client:
        return f"What is asked of {printable(found.client)}"
    return "What is asked of a client"


def terminal(found: Statement) -> Iterator[RenderableType]:
    """The statement as a terminal shows it: the facts, then sections and warnings.

    Its names command nothing.
    """
    yield Text(title(found), style="bold")
    facts = Table.grid(padding=(0, 2))
    for name, value in (*found.facts, ("SHA-256 of this", found.digest)):
        facts.add_row(Text(f"  {name}", "dim"), Text(printable(value), overflow="fold"))
    yield facts
    yield Text()
    yield from explanation(found.shown)


def html(found: Statement) -> str:
    """The page.

    jinja escapes each word, and a policy in its head lets nothing be loaded, so that not even a
    mistake of the template makes a name act. It prints on A4.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    tidy: Any = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined}
    pages = Environment(loader=PackageLoader("hansa", "ui"), autoescape=True, **tidy)
    return pages.get_template("statement.html.j2").render(
        title=title(found),
        found=found.shown,
        facts=[(name, printable(value)) for name, value in found.facts],
        digest=found.digest,
        agreed=AGREED,
        choices=CHOICES,
        signed=SIGNED,
        same=SAME,
    )


def put(path: Path, data: bytes) -> None:
    """Write a file, over one that is there; AppError where that fails.

    path: named by whoever gives the command, relative to where they are.
    """
    try:
        path.write_bytes(data)
    except OSError as error:
        raise AppError(
            f"{path} cannot be written.",
            f"{error.strerror or error}.",
            "Name a file in a folder that is there.",
        ) from error
