"""The expression that builds a plan, and what differs between two.

Every piece of a plan has a repr that builds it again, so a plan is text too: a run keeps it beside
the digest, a report prints it, and where a run is resumed with another plan a person is told which
argument is another.
"""

from __future__ import annotations

from dataclasses import fields
from difflib import ndiff
from typing import Any

from ..plan import Plan


def expression(plan: Plan) -> str:
    """The expression that builds the plan, one argument in a line."""
    return f"Plan(\n{''.join(_argument(f.name, getattr(plan, f.name)) for f in fields(plan))})"


def _argument(name: str, value: Any) -> str:
    """An argument of a plan; of a tuple that holds something, each entry has a line of its own."""
    if isinstance(value, tuple) and value:
        entries = "".join(f"        {step!r},\n" for step in value)
        return f"    {name}=(\n{entries}    ),\n"
    return f"    {name}={value!r},\n"


def difference(old: str, new: str) -> str:
    """What differs between two expressions, in a sentence: `old` is what a run has stored, `new` is
    what the file has now.
    """
    lines = [line for line in ndiff(old.splitlines(), new.splitlines()) if line[:2] in ("- ", "+ ")]
    before, after = (
        [line[2:].strip().rstrip(",") for line in lines if line[0] == sign] for sign in "-+"
    )
    had = ", ".join(before) or "nothing"
    has = ", ".join(after) or "nothing"
    return f"It had {had} where the file has {has}."
