"""Defences of what a person reads: names are text on pages, in pictures and in notebooks."""

from __future__ import annotations

from tests.attacks.defence import Defence

LOOKS = (
    Defence("statements escape names", "ui/statement.py", "autoescape=True", "autoescape=False"),
    Defence(
        "pictures escape names",
        "ui/mixes.py",
        "    return form.format(x, y, anchor, printable(text))",
        "    return form.format(x, y, anchor, Markup(text))",
    ),
    Defence("notebooks escape words", "notebook.py", "    return escape(line)", "    return line"),
    Defence(
        "stored runs count beside a plan",
        "app/statement.py",
        "    if epsilon <= policy.epsilon:",
        "    if alone <= policy.epsilon:",
    ),
)
