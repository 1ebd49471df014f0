"""App files: Python programs that define an `app`.

Whoever names one runs it, with all rights; it asks nobody while it is read.
"""

from __future__ import annotations

import sys
import traceback
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from ..analytics import none_asked
from ..errors import AppError, HansaError, message
from . import App
from .clients import MODULE

EXTRAS = ("torch", "keras", "sklearn", "xgboost")  # libraries that come with hansa[name]


def load(path: str | Path) -> App:
    """The `app` of an app file, which is run as a program, with its own folder to import from.

    AppError where it is none, or defines no `app`; an error that it raises names its file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise AppError(
            f"There is no file {path}.",
            "An app is a Python file.",
            "Name one; `hansa new hospitals DIR` makes one.",
        )
    with none_asked():
        module = _module(path)
    app = getattr(module, "app", None)
    if not isinstance(app, App):
        found = "defines no `app`"
        if hasattr(module, "app"):
            found = f"defines an `app` of type {type(app).__name__}"
        raise AppError(
            f"{path} {found}.",
            "A command takes the plan and the data from the App that the file calls `app`.",
            "Write app = hansa.App(plan=…, data={…}, test=…).",
        )
    return app


def _module(path: Path) -> ModuleType:
    """Run an app file as a module; whatever it raises says in which of its lines."""
    path = path.resolve()
    name = MODULE + path.stem
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise AppError(
            f"{path.name} is no Python file.",
            "An app is a Python file, and its name ends in .py.",
            "Rename it.",
        )
    module = sys.modules[name] = module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except HansaError as error:
        raise type(error)(
            f"{_where(path, error)}: {error.found}", error.why, error.instead
        ) from error
    except (Exception, SystemExit) as error:
        raise AppError(
            f"{_where(path, error)}: {type(error).__name__}: {message(error)}",
            "The app file is a Python program, and it stopped there.",
            _advice(path, error),
        ) from error
    return module


def _where(path: Path, error: BaseException) -> str:
    """File and line: the innermost line of the app file itself, as the frames below it are hansa's
    or a library's; of what is no Python, the line that cannot be parsed.
    """
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(path)
    ]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    if not lines:
        return str(path)
    return f"{path}, line {lines[-1]}"


def _advice(path: Path, error: BaseException) -> str:
    """What to do about an error: install what the file imports, or mend the line."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.split(".")[0]
        if package in EXTRAS:
            package = f"hansa[{package}]"
        return f"Install it: pip install '{package}'."
    return f"Mend that line; `{Path(sys.executable).name} {path}` shows the way that led there."
