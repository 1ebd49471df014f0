"""Each module can be imported first, and hansa's own names can be looked through whatever is installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

import hansa

# A package is imported in a process of its own, and what lies in it, and is not there yet, beside each other in
# further ones; libraries are there before, for they are not looked at.
ALONE = """
import os, pkgutil, sys
from importlib import import_module
import jinja2, numpy, rich.live, rich.table, sqlalchemy, tomlkit, typer

def visit(name):
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 0
    try:
        here = import_module(name)
        inner = [f"{name}.{one.name}" for one in pkgutil.iter_modules(getattr(here, "__path__", []))]
        code = max([visit(one) for one in inner if one not in sys.modules and "migrations" not in one], default=0)
    except Exception as error:
        print(f"{name}: {error!r}", flush=True)
        code = 1
    os._exit(code)

sys.exit(max([visit(name) for name in sys.argv[1:]]))
"""
ROOMS = [f"hansa.{room}" for room in ("app", "cli", "config", "explain", "store", "ui")]


def test_each_module_can_be_imported_first() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE, *ROOMS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_name_with_a_dot_or_none_is_no_name() -> None:
    for name in ("a.b", "", "models.torch", "nothing"):
        assert not hasattr(hansa, name)


def test_names_without_their_library_are_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks at all that is listed meets no error; whoever asks for the name is told what to install."""
    assert hansa.LIBRARIES.keys() <= set(dir(hansa))
    for library in hansa.LIBRARIES.values():
        monkeypatch.setitem(sys.modules, library, None)
    assert hansa.LIBRARIES.keys().isdisjoint(dir(hansa))
    assert set(hansa.__all__) - hansa.LIBRARIES.keys() <= set(dir(hansa))
