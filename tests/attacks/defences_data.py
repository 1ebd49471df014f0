"""Defences of numbers: data that would be read as something else is told from what it looks like."""

from __future__ import annotations

from tests.attacks.defence import Defence

NEVER = "if False:"

DATA = (
    Defence(
        "a transform is its owner's view",
        "data/foreign.py",
        ' or form["format_kwargs"]',
        "",
        also=(('(None, "pandas"', '(None, "custom", "pandas"'),),
    ),
    Defence(
        "an example is no batch",
        "data/items.py",
        "if data and _like_a_batch(flat(data[0])):",
        NEVER,
        also=(("    if data and not alike:", f"    {NEVER}"), ("    check_kind(data)", "    pass", "data/examples.py")),
    ),
    Defence("a column is a number", "data/frames.py", "    if not odd:\n", "    if odd or not odd:\n"),
    Defence("no score is in no mean", "algorithms/reports.py", "found[name] = value / share", "found[name] = value"),
    Defence(
        "a fitted estimator fits", "models/sklearn.py", "        _check_start(own, self._linear, self._start)\n", ""
    ),
    Defence(
        "a measurement is no label",
        "data/partition.py",
        "if fractions or 2 * distinct > max(len(column), 2 * FEW):",
        NEVER,
    ),
)
