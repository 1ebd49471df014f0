"""Templates: files that a new app starts from, which lie in `hansa/templates`, a folder for each.

A file called name.template there is written as name.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from ..errors import AppError

TEMPLATES = Path(__file__).parents[1] / "templates"


def templates() -> Mapping[str, str]:
    """What can be begun with: the name of each template, and what it is about in a sentence."""
    found = {}
    for folder in sorted(path for path in TEMPLATES.iterdir() if path.is_dir()):
        (app,) = folder.glob("*.py.template")
        told = ast.get_docstring(ast.parse(app.read_text(encoding="utf-8"))) or ""
        found[folder.name] = " ".join(told.split("\n\n")[0].split())
    return found


def create_from_template(template: str, folder: Path) -> list[Path]:
    """Write the files of a template into a new folder, and give their paths, the app file first.

    AppError where there is no such template, the folder holds something, or cannot be written.
    """
    there = list(templates())
    if template not in there:
        near = [*get_close_matches(template, there, 1), "hospitals"]
        raise AppError(
            f"There is no template {template!r}.",
            f"There is {', '.join(there)}.",
            f"Write hansa new {near[0]} {folder}.",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise AppError(
            f"{folder} is there already.", "Nothing is overwritten.", "Name a new folder."
        )
    made = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(
            (TEMPLATES / template).iterdir(), key=lambda path: ".py" not in path.suffixes
        ):
            made.append(folder / path.name.removesuffix(".template"))
            made[-1].write_bytes(path.read_bytes())
    except OSError as error:
        raise AppError(
            f"{error.filename} cannot be written.",
            f"{error.strerror}.",
            "Name a folder where you may write.",
        ) from None
    return made
