"""Templates: files that a new app starts from, which lie in `hansa/templates`, a folder for each.

A file called name.template there is written as name.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import AppError

TEMPLATES = Path(__file__).parents[1] / "templates"


def create_from_template(template: str, folder: Path) -> list[Path]:
    """Write the files of a template into a new folder, and give their paths, the app file first.

    AppError where there is no such template, the folder holds something, or cannot be written.
    """
    there = sorted(path.name for path in TEMPLATES.iterdir() if path.is_dir())
    if template not in there:
        raise AppError(
            f"There is no template {template!r}.",
            f"There is {', '.join(there)}.",
            f"Write hansa new {there[0]} {folder}.",
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
