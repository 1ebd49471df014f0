"""The expression that builds a plan, and what differs between two."""

from __future__ import annotations

from dataclasses import fields
from difflib import ndiff

from ..plan import Plan


def expression(plan: Plan) -> str:
    """The expression that builds the plan, one argument in a line."""
    lines = []
    for f in fields(plan):
        value = getattr(plan, f.name)
        held = "".join(f"        {step!r},\n" for step in value) if isinstance(value, tuple) else ""
        lines.append(f"    {f.name}=(\n{held}    ),\n" if held else f"    {f.name}={value!r},\n")
    return f"Plan(\n{''.join(lines)})"


def difference(old: str, new: str) -> str:
    """What differs between two expressions, in a sentence."""
    lines = [line for line in ndiff(old.splitlines(), new.splitlines()) if line[:2] in ("- ", "+ ")]
    before, after = (
        [line[2:].strip().rstrip(",") for line in lines if line[0] == sign] for sign in "-+"
    )
    had = ", ".join(before) or "nothing"
    has = ", ".join(after) or "nothing"
    return f"It had {had} where the file has {has}."
