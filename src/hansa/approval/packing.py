"""Packing: which files of an app's folder are in its bundle. They are read, and none is run.

    import words, from words import common     words.py, or words/__init__.py, and so on from there
    BUNDLE = ("stopwords.txt",)                 data files, one by one, in the app file

A data file is in it where the app file says so by name: what else lies in the folder may be
somebody's records.
"""

from __future__ import annotations

import ast
import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..errors import AppError, ApprovalError, message
from .bundle import LARGEST, Bundle, too_large
from .names import check_names

LISTED = "BUNDLE"  # the name of the list in an app file


def pack(app: Path) -> Bundle:
    """The bundle of an app file.

    The files are sorted by name, so the same folder gives the same bundle. Modules of other
    folders, such as those that are installed, are not in it.

    ApprovalError for a link, a name that leads out of the folder, and too much; AppError where a
    file is not there, or is no Python.
    """
    folder = app.parent
    files = dict[str, bytes]()
    left = [app.name]
    while left:
        name = left.pop()
        if name in files:
            continue
        files[name] = _read(folder, name)
        if sum(map(len, files.values())) > LARGEST:
            raise too_large(f"more than {LARGEST:,} bytes")
        if name == app.name:
            left += _listed(name, _tree(name, files[name]))
        if name.endswith(".py"):
            left += _imported(folder, name, _tree(name, files[name]))
    return Bundle(app.name, dict(sorted(files.items())))


def left_out(app: Path, bundle: Bundle) -> list[str]:
    """Files of the folder that the bundle's modules name in a text, and that are not in it.

    Only for a hint: a name that a module puts together of parts is not found.
    """
    texts = {
        node.value
        for name, data in bundle.files.items()
        if name.endswith(".py")
        for node in ast.walk(_tree(name, data))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    short = {text for text in texts if 0 < len(text) < 256 and text.isprintable()}
    there = {text for text in short if (app.parent / text).is_file()}
    return sorted(there - bundle.files.keys())


def _read(folder: Path, name: str) -> bytes:
    """The bytes of a file below the folder, on whose way no link lies."""
    check_names([name])
    path = folder
    try:
        for part in PurePosixPath(name).parts:
            path = path / part
            if stat.S_ISLNK(os.lstat(path).st_mode):
                raise ApprovalError(
                    f"{path} is a link.",
                    "What it leads to may be elsewhere, and another thing tomorrow.",
                    "Put the file itself there.",
                )
        if not path.is_file():
            raise AppError(f"{path} is no file.", "A bundle holds files.", "Name each of them.")
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            return file.read(LARGEST + 1)
    except OSError as error:
        raise AppError(
            f"{path} cannot be read.",
            f"{error.strerror}.",
            "Name files that lie in the folder of the app.",
        ) from error


def _tree(name: str, data: bytes) -> ast.Module:
    """The syntax of a Python file; AppError where it has none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise AppError(
            f"{name} is no Python: {message(error)}",
            "The modules that it imports are looked for in it.",
            "Mend it.",
        ) from error


def _listed(name: str, tree: ast.Module) -> list[str]:
    """The data files that an app file lists; AppError where its list is more than texts.

    The first assignment to BUNDLE at the top of the file counts.
    """
    for node in tree.body:
        if not isinstance(node, ast.Assign) or LISTED not in map(ast.unparse, node.targets):
            continue
        try:
            found = ast.literal_eval(node.value)
        except ValueError:
            found = None
        if not isinstance(found, tuple | list) or not all(isinstance(one, str) for one in found):
            raise AppError(
                f"{name}, line {node.lineno}: {LISTED} is no list of names.",
                "It is read without running anything, so it holds texts, one for each file.",
                f'Write for example {LISTED} = ("stopwords.txt",).',
            )
        return list(found)
    return []


def _imported(folder: Path, name: str, tree: ast.Module) -> Iterator[str]:
    """The files of the folder that a module imports, and those of the packages above them."""
    package = PurePosixPath(name).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(folder, tuple(alias.name.split(".")))
        if isinstance(node, ast.ImportFrom):
            above: tuple[str, ...] = ()
            if node.level:
                above = package[: len(package) + 1 - node.level]
            module = (*above, *(node.module or "").split("."))
            origin = tuple(part for part in module if part)
            for alias in node.names:
                yield from _files(folder, (*origin, alias.name))


def _files(folder: Path, module: tuple[str, ...]) -> Iterator[str]:
    """The files of a dotted name: its last part may be no module, but something in one."""
    for count in range(1, len(module) + 1):
        stem = "/".join(module[:count])
        for name in (f"{stem}.py", f"{stem}/__init__.py"):
            if os.path.lexists(folder / name):
                yield name
