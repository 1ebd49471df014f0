"""How densely the package is written: measured on its tokens, held by ceilings that only ever come down.

python -m tests.test_density        the table of rooms, and what stands above the goals
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from tests.shape import SOURCE, room, sources, tree

# What every file is to come down to, and what a room in DONE has come down to.
GOALS = {"tuple assignments": 8.0, "conditional expressions": 20.0, "file": 4_000, "members": 20, "width": 100}
DOCSTRINGS = 0.18  # of all lines, at least
DONE = (  # rooms that stand at the goals
    "aggregators",
    "analytics",
    "app",
    "approval",
    "asks",
    "audit",
    "backups",
    "cli",
    "codec",
    "config",
    "crypto",
    "data",
    "datasets",
    "digest",
    "errors",
    "explain",
    "graphs",
    "kits",
    "known",
    "loops",
    "messages",
    "metrics",
    "models",
    "native",
    "notebook",
    "optim",
    "parties",
    "plan",
    "privacy",
    "private",
    "progress",
    "rand",
    "record",
    "rounds",
    "runtimes",
    "sample",
    "sandbox",
    "schedules",
    "spec",
    "state",
    "store",
    "sums",
    "testing",
    "training",
    "transforms",
    "ui",
)

# Where the package stands: a change may lower these, and raises none.
TOKENS = 456_500  # it grows with what hansa does, and with nothing else
TUPLE_ASSIGNMENTS = 0.6  # in 1,000 lines of code
CONDITIONAL_EXPRESSIONS = 7.2  # in 1,000 lines of code
TOKENS_A_LINE = 8.8
WIDE_LINES = 0  # of more than 100 characters
LEAST_DOCSTRINGS = 0.186
LONGEST_FILE = 4_000  # tokens
MOST_MEMBERS = 20
LARGEST_FOLDER = 0.20  # of the tokens of the package

# In these the paper's own density serves: its equations stand beside the code.
DENSE = {
    f"crypto/{name}.py" for name in ("field", "flp", "pine", "norms", "circuits", "kernels", "lattice", "ringkernels")
}

LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


@dataclass(frozen=True)
class Density:
    """Counts of one file, or of several together."""

    lines: int = 0
    code: int = 0  # lines that hold a token and no docstring
    docstrings: int = 0  # lines
    tokens: int = 0  # all but comments and layout
    tuples: int = 0  # a, b = c, d
    conditionals: int = 0  # a if b else c
    wide: int = 0  # lines of more than 100 characters

    def __add__(self, other: Density) -> Density:
        return Density(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    def per_thousand(self, count: int) -> float:
        """How many of these in 1,000 lines of code."""
        return 1000 * count / max(1, self.code)


@cache
def density(path: Path) -> Density:
    """What one file holds."""
    text = path.read_text(encoding="utf-8")
    tokens = [one for one in tokenize.generate_tokens(io.StringIO(text).readline) if one.type not in LAYOUT]
    nodes = list(ast.walk(tree(path)))
    docstrings = {line for node in nodes for line in _docstring(node)}
    code = {line for one in tokens for line in range(one.start[0], one.end[0] + 1)}
    lines = text.splitlines()
    return Density(
        lines=len(lines),
        code=len(code - docstrings),
        docstrings=len(docstrings),
        tokens=len(tokens),
        tuples=sum(map(_packs, nodes)),
        conditionals=sum(isinstance(node, ast.IfExp) for node in nodes),
        wide=sum(len(line) > GOALS["width"] for line in lines),
    )


def whole(paths: Iterable[Path]) -> Density:
    """Several files together."""
    return sum(map(density, paths), Density())


def members(node: ast.ClassDef) -> int:
    """Methods, properties and fields of a class."""
    return sum(isinstance(line, ast.FunctionDef | ast.AsyncFunctionDef | ast.AnnAssign) for line in node.body)


def _docstring(node: ast.AST) -> range:
    """The lines of a node's docstring."""
    spoken = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    if not spoken or ast.get_docstring(node) is None:
        return range(0)
    first = node.body[0]
    return range(first.lineno, (first.end_lineno or first.lineno) + 1)


def _packs(node: ast.AST) -> bool:
    """Is it a, b = c, d: two assignments in one line?"""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Tuple):
        return False
    return any(isinstance(target, ast.Tuple) for target in node.targets)


def _loose() -> list[Path]:
    """All files but those in which a paper's density serves."""
    return [path for path in sources() if path.relative_to(SOURCE).as_posix() not in DENSE]


# ── the package may only become lighter ──────────────────────────────────────────────────────────────────────────────


def test_the_package_becomes_no_denser() -> None:
    """Tokens, packed lines and wide lines do not grow; docstrings do not shrink."""
    all_of_it, loose = whole(sources()), whole(_loose())
    assert all_of_it.tokens <= TOKENS
    assert loose.tokens / loose.code <= TOKENS_A_LINE
    assert loose.per_thousand(loose.tuples) <= TUPLE_ASSIGNMENTS
    assert loose.per_thousand(loose.conditionals) <= CONDITIONAL_EXPRESSIONS
    assert loose.wide <= WIDE_LINES
    assert all_of_it.docstrings / all_of_it.lines >= LEAST_DOCSTRINGS


def test_no_file_and_no_class_grows_beyond_the_largest() -> None:
    """A file is read in one sitting; a class has one business."""
    assert not [str(path) for path in _loose() if density(path).tokens > LONGEST_FILE]
    large = [
        f"{path.relative_to(SOURCE)} {node.name}: {members(node)}"
        for path in _loose()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef) and members(node) > MOST_MEMBERS
    ]
    assert not large


def test_no_folder_is_most_of_the_house() -> None:
    """No room holds more than a fifth."""
    tokens = whole(sources()).tokens
    shares = {name: whole(paths).tokens / tokens for name, paths in rooms().items()}
    assert not {name: share for name, share in shares.items() if share > LARGEST_FOLDER}


def test_rooms_that_are_done_stand_at_the_goals() -> None:
    """What was once brought to the goals stays there."""
    above = {name: found for name in DONE if (found := above_goals(name))}
    assert not above


def rooms() -> dict[str, list[Path]]:
    """The files of each room."""
    found: dict[str, list[Path]] = {}
    for path in sources():
        found.setdefault(room(path), []).append(path)
    return found


def above_goals(name: str) -> list[str]:
    """In what a room is above its goals."""
    paths = [path for path in rooms()[name] if path in _loose()]
    held = whole(paths)
    found = []
    if held.per_thousand(held.tuples) > GOALS["tuple assignments"]:
        found.append(f"{held.per_thousand(held.tuples):.1f} tuple assignments in 1,000 lines")
    if held.per_thousand(held.conditionals) > GOALS["conditional expressions"]:
        found.append(f"{held.per_thousand(held.conditionals):.1f} conditional expressions in 1,000 lines")
    if held.wide:
        found.append(f"{held.wide} lines of more than {GOALS['width']} characters")
    if held.lines and held.docstrings / held.lines < DOCSTRINGS:
        found.append(f"{held.docstrings / held.lines:.0%} docstrings")
    for path in paths:
        if density(path).tokens > GOALS["file"]:
            found.append(f"{path.relative_to(SOURCE)}: {density(path).tokens} tokens")
        classes = (node for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef))
        found += [f"{node.name}: {n} members" for node in classes if (n := members(node)) > GOALS["members"]]
    return found


if __name__ == "__main__":
    total = whole(sources())
    print(f"{'room':<14}{'tokens':>8}{'share':>7}{'a line':>7}{'tuples':>8}{'ifs':>6}{'wide':>6}{'docs':>6}")
    for name, paths in sorted((*rooms().items(), ("all", list(sources())))):
        one = whole(paths)
        print(
            f"{name:<14}{one.tokens:>8}{one.tokens / total.tokens:>7.0%}{one.tokens / max(1, one.code):>7.1f}"
            f"{one.per_thousand(one.tuples):>8.1f}{one.per_thousand(one.conditionals):>6.1f}{one.wide:>6}"
            f"{one.docstrings / max(1, one.lines):>6.0%}"
        )
    for name in rooms():
        for line in above_goals(name):
            print(f"{name}: {line}")
