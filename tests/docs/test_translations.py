"""Pages in Chinese are in step with the English ones: the same code, the same links, as many sections and rows."""

from __future__ import annotations

import os.path
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"README.zh-CN.md": "README.md", "docs/zh/index.md": "docs/index.md", "docs/zh/tutorial.md": "docs/tutorial.md"}
ELSEWHERE = {"README.md", "README.zh-CN.md", "docs/index.md", "docs/zh/index.md"}  # each links to the other


def code(page: str) -> list[str]:
    """Blocks of code without what a reader alone reads: comments."""
    text = (ROOT / page).read_text("utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```|^((?:    [^\n]*\n)+)", text, re.MULTILINE | re.DOTALL)
    return [re.sub(r" *#.*", "", fenced or indented) for fenced, indented in blocks]


def inline(page: str) -> list[str]:
    """Code within rows of tables, in their order."""
    lines = (ROOT / page).read_text("utf-8").splitlines()
    return [word for line in lines if line.startswith("|") for word in re.findall(r"`([^`]+)`", line)]


def links(page: str) -> set[str]:
    """Where the page leads, from the root; a page in both languages counts once."""
    found = re.findall(r"\]\(([^)#\s]+)", (ROOT / page).read_text("utf-8"))
    whole = {os.path.normpath(Path(page).parent / link) for link in found}
    return {PAGES.get(link, link) for link in whole - ELSEWHERE}


@pytest.mark.promise("P712")
@pytest.mark.parametrize("chinese", PAGES)
def test_a_translation_is_in_step(chinese: str) -> None:
    english = PAGES[chinese]
    assert code(chinese) == code(english)
    assert inline(chinese) == inline(english)
    assert links(chinese) == links(english)
    assert shape(chinese) == shape(english)


def shape(page: str) -> list[tuple[str, int]]:
    """Levels of its headings and rows of its tables, in their order."""
    lines = (ROOT / page).read_text("utf-8").splitlines()
    return [(line[0], len(line) - len(line.lstrip("#"))) for line in lines if re.match(r"#+ |\|", line)]
