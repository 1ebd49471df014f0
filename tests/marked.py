"""Which tests are marked with which words, read from their source."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@cache
def functions() -> dict[str, dict[str, list[str]]]:
    """Test, as path::function → mark → what the mark says."""
    found = dict[str, dict[str, list[str]]]()
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found[f"{file.relative_to(ROOT)}::{node.name}"] = _marks(node)
    return found


@cache
def marked(name: str) -> dict[str, set[str]]:
    """Word → the tests that a mark of that name says it of."""
    found = dict[str, set[str]]()
    for test, marks in functions().items():
        for word in marks.get(name, []):
            found.setdefault(word, set()).add(test)
    return found


def _marks(node: ast.FunctionDef) -> dict[str, list[str]]:
    marks = dict[str, list[str]]()
    for one in node.decorator_list:
        if isinstance(one, ast.Call):
            words = [word.value for word in one.args if isinstance(word, ast.Constant)]
            mark = ast.unparse(one.func).removeprefix("pytest.mark.")
            marks.setdefault(mark, []).extend(word for word in words if isinstance(word, str))
    return marks
