"""What is made when the pages are built: llms.txt, a list of all pages for programs that read.

llms.txt    title, what hansa is, and for each section of the navigation its pages with their first
            sentence

The form is that of llmstxt.org. It is written into the site, so it is never older than the pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

FIRST = "Start"  # the section of pages that stand alone in the navigation
DECISIONS = "Decisions"  # a page each; their index is enough


def llms(title: str, about: str, nav: Sequence[Any], docs: Path) -> str:
    """The text of llms.txt. nav: as mkdocs.yml has it. docs: the folder of the pages."""
    lines = [f"# {title}", "", f"> {about}", ""]
    for section, pages in _sections(nav).items():
        lines += [f"## {section}", ""]
        for page in pages:
            path = docs / page
            lines.append(f"- [{_title(path)}]({_address(page)}): {_first_sentence(path)}")
        lines.append("")
    return "\n".join(lines)


def on_post_build(config: Any, **_: Any) -> None:
    """Write llms.txt beside the pages."""
    text = llms(config.site_name, config.site_description, config.nav, Path(config.docs_dir))
    (Path(config.site_dir) / "llms.txt").write_text(text, encoding="utf-8")


def _sections(nav: Sequence[Any]) -> Mapping[str, list[str]]:
    """Section → its pages, in their order."""
    found: dict[str, list[str]] = {FIRST: []}
    for entry in nav:
        name, below = _named(entry)
        if isinstance(below, str):
            found[FIRST].append(below)
        else:
            found[name] = [page for _, page in map(_named, below)]
    found[DECISIONS] = found.get(DECISIONS, [])[:1]
    return found


def _named(entry: Any) -> tuple[str, Any]:
    """Name and page, or name and list of pages, of an entry."""
    if isinstance(entry, str):
        return "", entry
    ((name, below),) = entry.items()
    return name, below


def _title(page: Path) -> str:
    """The heading of a page."""
    (title,) = re.findall(r"\A# (.+)", page.read_text(encoding="utf-8").lstrip())
    return str(title)


def _address(page: str) -> str:
    """Where the built page lies, from the top of the site."""
    return f"{page.removesuffix('.md')}.html"


def _first_sentence(page: Path) -> str:
    """The first sentence of a page's first paragraph, without markup."""
    for paragraph in _paragraphs(page.read_text(encoding="utf-8")):
        plain = re.sub(r"<!--.*?-->|[*`]|!?\[|\]\([^)]*\)", "", " ".join(paragraph.split()))
        return re.split(r"(?<=[.。]) |(?<=。)", plain)[0].strip()
    return ""


def _paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a page that are words: no heading, list, table, code or picture."""
    for part in re.split(r"\n\s*\n", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)):
        if part.strip() and not re.match(r"\s*(#|\||>|-|<|!|:::|\d+\.|--8<--|    )", part):
            yield part
