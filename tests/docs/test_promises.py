"""docs/promises.md names every promise and the tests of it: anchors in texts and marks of tests are read both ways.

An anchor is `<!-- P7 -->` in a page, right after the words, and `# P7` in a program, above the words or behind them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from tests.marked import marked

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "promises.md"
SOURCE = ROOT / "src" / "hansa"
NUMBER = r"P\d+(?:, P\d+)*"
WORDS = re.compile(
    r"(?i)\b(never|nobody|nothing|always|cannot|only|no record|"
    r"byte for byte|bit for bit|same bytes|exact(ly)?|refuse[sd]?)\b"
)
TOLD_ELSEWHERE = {  # page → why its words are no promises
    "decisions": "why a thing is as it is; what holds is promised where it is used",
    "measured.md": "numbers, written from results by a program",
    "promises.md": "the promises themselves",
    "extend.md": "what a reader's own piece has to do",
}
NO_PROMISES = ROOT / "tests" / "docs" / "no_promises.txt"


@dataclass(frozen=True)
class Promise:
    """A row of the page."""

    number: str
    texts: frozenset[str]
    tests: frozenset[str]


@cache
def promises() -> dict[str, Promise]:
    """The rows of the page, by number."""
    found = dict[str, Promise]()
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if row := re.fullmatch(r"\| (P\d+) \| .+ \| (.+) \| (.+) \|", line):
            number, *lists = row.groups()
            assert number not in found, f"{number} is promised twice"
            texts, tests = (frozenset(re.findall(r"`([^`]+)`", one)) for one in lists)
            found[number] = Promise(number, texts, tests)
    return found


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@cache
def said() -> dict[str, set[str]]:
    """Number → the files in which an anchor has it."""
    found = dict[str, set[str]]()
    forms = {file: rf"<!-- ({NUMBER}) -->" for file in pages() if file != PAGE}
    forms |= dict.fromkeys(sorted(SOURCE.rglob("*.py")), rf"(?m)# ({NUMBER})$")
    for file, form in forms.items():
        for numbers in re.findall(form, file.read_text(encoding="utf-8")):
            for number in numbers.split(", "):
                found.setdefault(number, set()).add(str(file.relative_to(ROOT)))
    return found


def test_every_promise_is_on_the_page_and_none_is_on_the_page_alone() -> None:
    assert promises()
    assert said().keys() == promises().keys()
    assert {number: sorted(files) for number, files in said().items()} == {
        one.number: sorted(one.texts) for one in promises().values()
    }


def test_every_promise_has_a_test_and_every_marked_test_is_on_the_page() -> None:
    assert all(one.tests for one in promises().values())
    assert {number: sorted(tests) for number, tests in marked("promise").items()} == {
        one.number: sorted(one.tests) for one in promises().values()
    }


# ── no promise slips in ──


def sentences(page: Path) -> Iterator[str]:
    """The sentences, points of lists and rows of tables of a page, without its programs."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE)
    for block in re.split(r"\n\s*\n|\n(?=[-*] |\d+\. |\||#)", text):
        block = " ".join(block.split())
        if block.startswith("|"):
            yield block
        elif not block.startswith("#"):
            block = re.sub(rf"([.!?]\)?(?:\*\*)?)((?: <!-- {NUMBER} -->)+)", r"\2\1", block)
            yield from re.split(r"(?<=[.!?])\s+(?=[^a-z(])|(?<=[.!?][*)])\s+|(?<=[.!?]\*\*)\s+", block)


def promising() -> Iterator[tuple[Path, str]]:
    """What sounds like a promise."""
    for page in pages():
        if not TOLD_ELSEWHERE.keys() & {page.name, *page.parts}:
            yield from ((page, one) for one in sentences(page) if WORDS.search(re.sub(r"<!--.*?-->|`[^`]*`", "", one)))


def excepted() -> list[str]:
    """Words that sound like a promise and are none; the lines that begin with # say why."""
    lines = NO_PROMISES.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_what_sounds_like_a_promise_is_one_or_is_listed_with_a_reason() -> None:
    bare = [(page.name, one) for page, one in promising() if not re.search(rf"<!-- {NUMBER} -->", one)]
    loose = [f"{name}: {one}" for name, one in bare if not any(words in one for words in excepted())]
    assert not loose, "give it an anchor and a row in docs/promises.md, or list it with a reason:\n" + "\n".join(loose)
    unused = [words for words in excepted() if not any(words in one for _, one in bare)]
    assert not unused, f"{NO_PROMISES.name} excepts what no page says"


@pytest.mark.parametrize(
    ("page", "title", "begins"),
    [
        ("README.md", "Why one would trust it", "- "),
        ("docs/verified/for-data-protection.md", "Who sees what", "| "),
        ("docs/verified/for-cryptographers.md", "Who could break what", "| "),
    ],
)
def test_each_point_of_what_one_trusts_is_a_promise(page: str, title: str, begins: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8").split(f"## {title}\n")[1].split("\n## ")[0]
    points = [one for one in re.split(r"\n(?=[-|] )", text) if one.startswith(begins)]
    points = points[1:] if begins == "| " else points  # the head of a table
    assert len(points) > 2
    assert not [one for one in points if not re.search(rf"<!-- {NUMBER} -->", one)]


def test_an_anchor_begins_no_line() -> None:
    """There it would end the paragraph."""
    for page in pages():
        assert not re.search(rf"^\s*<!-- {NUMBER} -->", page.read_text(encoding="utf-8"), re.MULTILINE), page.name


def anchored(lines: list[str], node: ast.expr | ast.stmt) -> bool:
    """Does an anchor stand in these lines, or right above?"""
    return any(re.search(rf"# {NUMBER}$", line) for line in lines[node.lineno - 2 : node.end_lineno])


def abstract(function: ast.FunctionDef) -> bool:
    """Is this the explanation of a transform that has no words of its own, but its docstring?"""
    return "__doc__" in ast.unparse(function)


def told(path: Path) -> Iterator[ast.expr | ast.stmt]:
    """What a program tells of what is seen, done and not protected: rows of sees(), clauses of explain(), warnings."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FunctionDef):
            continue
        body = [one for line in node.body for one in ast.walk(line)]
        if node.name == "visibility":
            yield from (one for one in body if isinstance(one, ast.Tuple) and len(one.elts) == 3)
        if node.name == "exposure":
            yield from (one for one in body if isinstance(one, ast.Return) and ast.unparse(one) != "return ''")
        if node.name == "tolerance" and path.name == "robust.py":
            yield from (one for one in body if isinstance(one, ast.Return))
        if node.name == "explain" and path.parent.name == "transforms" and not abstract(node):
            yield node
        if path.parent.name == "explain" and node.returns and ast.unparse(node.returns) == "Iterator[str]":
            yield from (one for one in body if isinstance(one, ast.Yield))


def test_what_a_plan_tells_of_itself_is_promised() -> None:
    loose = []
    for path in sorted(SOURCE.rglob("*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        loose += [f"{path.relative_to(ROOT)}:{one.lineno}" for one in told(path) if not anchored(lines, one)]
    assert not loose
