"""The pages are found: each is in the navigation, llms.txt lists them, and their search needs no server."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def config() -> dict[str, Any]:
    """mkdocs.yml, as it is read."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    return found


def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text() -> str:
    about = config()
    return str(hooks().llms(about["site_name"], about["site_description"], about["nav"], DOCS))


@pytest.mark.promise("P710")
def test_llms_txt_lists_every_page_with_its_title_and_a_sentence() -> None:
    """Of the decisions the index alone, for each is reached from it."""
    lines = re.findall(r"^- \[(.+)\]\((.+)\): (.*)$", text(), re.MULTILINE)
    listed = {address.removesuffix(".html") + ".md": (title, sentence) for title, address, sentence in lines}
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    decisions = {page for page in pages if page.startswith("decisions/")} - {"decisions/index.md"}
    assert listed.keys() == pages - decisions
    for page, (title, sentence) in listed.items():
        assert (DOCS / page).read_text("utf-8").startswith(f"# {title}\n"), page
        assert sentence and "<!--" not in sentence and "](" not in sentence, page


@pytest.mark.promise("P710")
def test_llms_txt_has_its_form() -> None:
    """One title, one quotation, then sections with lists of links alone (llmstxt.org)."""
    first, quotation, *rest = [line for line in text().splitlines() if line]
    assert first == "# hansa" and quotation.startswith("> Federated learning")
    assert rest[0].startswith("## ") and all(line.startswith(("## ", "- [")) for line in rest)


@pytest.mark.promise("P710")
def test_the_search_needs_no_server() -> None:
    """The index is a script, and what reads it from disk lies among the pages and is asked from nowhere else."""
    about = config()
    assert "offline" in about["plugins"] and any("search" in one for one in about["plugins"])
    (script,) = about["extra"]["polyfills"]
    assert "iframe-worker" in script and "://" not in script
    source = (DOCS / script).read_text("utf-8")
    assert 'location.protocol==="file:"' in source and "Permission is hereby granted" in source


def test_titles_have_the_words_that_people_search_for() -> None:
    titles = " ".join(re.findall(r"^- \[(.+)\]\(", text(), re.MULTILINE)).lower()
    for word in (
        "secure aggregation",
        "differential privacy",
        "membership inference",
        "lora",
        "homomorphic encryption",
    ):
        assert word in titles, word


@pytest.mark.parametrize("page", ["README.md", *(str(one.relative_to(ROOT)) for one in sorted(DOCS.rglob("*.md")))])
def test_what_is_installed_by_name_is_installed_from_a_checkout_too(page: str) -> None:
    """There is no release yet: beside each name stands what works in the folder of the sources."""
    if page in ("docs/how-to/sites.md",) or "decisions" in page:  # that page says it at its beginning
        return
    whole = " ".join((ROOT / page).read_text("utf-8").split())
    for extra in re.findall(r"pip install 'hansa(\[[^']+\])'", whole):
        assert f"pip install '.{extra}'" in whole, page
