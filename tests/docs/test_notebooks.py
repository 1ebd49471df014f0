"""The notebooks of examples/ run from top to bottom, and hold nothing of the machine that they were written on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
HOSTILE = "<script>alert(1)</script>"


@pytest.mark.promise("P705")
def test_the_notebooks_run(absent: Callable[[str], NoReturn], tmp_path: Path) -> None:
    try:
        import nbformat
        from nbclient import NotebookClient
    except ModuleNotFoundError:
        absent("no nbclient (extra: dev)")
    shown = dict[str, str]()
    for path in sorted(EXAMPLES.glob("*.ipynb")):
        book = nbformat.read(path, as_version=4)
        cells = [cell for cell in book.cells if cell.cell_type == "code"]
        assert not any(cell.outputs or cell.execution_count for cell in cells), f"{path.name}: clear its outputs"
        NotebookClient(book, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
        pages = [one.get("data", {}).get("text/html", "") for cell in cells for one in cell.outputs]
        shown[path.stem] = "".join(pages)
    assert shown.keys() == {"privacy", "start"}
    for words in ("trained on", "rural hospital alone", "fingerprint", "round 8 of 8"):
        assert words in shown["start"], words
    for words in ("Who sees what", "What is kept where", "Canary", "round 4 of 4"):
        assert words in shown["privacy"], words
