"""How a command ends where something is wrong: with one paragraph on stderr, and an exit code.

what Typer cannot read     found, how the command is written, what lists the rest     2
an error of hansa's own    found, why, what to write instead                          its own
any other error            frames of the user's own code, and a paragraph             1

    hansa run mine.py --frob
    error: No such option: --frob. It is written hansa run [OPTIONS] [APP.py|CONFIG.toml]. See: …

`Commands` is the group of all commands, which has what Typer says; `told` stands around the body of
each. So a program that calls hansa reads one form, and tells wrong input (2) from what was begun
and has failed (1).
"""

from __future__ import annotations

import errno
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import typer
from typer.core import TyperGroup

from ..errors import AppError, Aside, HansaError, WorkerError

USUAL = warnings.formatwarning


class Commands(TyperGroup):
    """The commands: what Typer has to say of a wrong command line is said in hansa's own form."""

    def main(self, *given: Any, **more: Any) -> Any:
        """Run a command and end the process with its exit code: 2 for what Typer cannot read, and
        for no words at all the help.

        given, more: as Typer has them. With standalone_mode=False errors are raised, and nothing
        ends.
        """
        alone = more.pop("standalone_mode", True)
        words = given[0] if given else more.pop("args", None)
        words = list(sys.argv[1:] if words is None else words) or ["--help"]
        if not alone:
            return super().main(words, standalone_mode=False, **more)
        try:
            _check_output()
            code = super().main(words, standalone_mode=False, **more)
        except typer.Abort:
            _ended(AppError("Nothing was done.", "It was not answered with yes."))
            code = 1
        except typer.TyperException as error:
            code = _ended(_misread(error, words[0]))
        except AppError as error:
            code = _ended(error)
        except OSError as error:
            code = _ended(_full(error))
        sys.exit(code or 0)


def _ended(error: HansaError) -> int:
    """Tell an error in one paragraph, and give the exit code that is its own.

    error: one that a user can mend. What prints it is imported here, so that --help is quick.
    """
    from ..ui.errors import complain

    complain(error)
    return error.code


def _check_output() -> None:
    """AppError where nothing can be printed: standard output was closed before."""
    if sys.stdout is None:
        raise AppError(
            "Standard output is closed.",
            "What comes of a command is printed there.",
            "Write > /dev/null where nobody reads it.",
        )


def _full(error: OSError) -> HansaError:
    """The error for a disk, or an output, that takes no more; any other is raised as it is.

    What is left of the output is dropped, else it would fail again when the process ends.
    """
    if error.errno != errno.ENOSPC:
        raise error
    if error.filename is None:
        sys.stdout = StringIO()
    return WorkerError(
        f"Nothing more can be written: {error.strerror}.",
        "The output of the command is full, or the disk that its folder is on.",
        "Make room, or name another place, and run it again.",
    )


def _misread(error: typer.TyperException, first: str) -> AppError:
    """What Typer says of a command line, with how the command is written and what lists the rest.

    error: Typer's own, which has mostly the context of its command. first: the first word after
    `hansa`, the command where that is not known. Typer quotes names of arguments and options as
    they stand in the help, and what was given as it was.
    """
    found = " ".join(error.format_message().replace("Value error, ", "").split())
    if not found.endswith((".", "?", "!")):
        found = f"{found}."
    context = getattr(error, "ctx", None)
    if context is None:
        return AppError(found, "So it cannot be read.", f"See: hansa {first} --help")
    written = " ".join(context.get_usage().removeprefix("Usage:").split()).rstrip(".")
    return AppError(found, f"It is written {written}.", f"See: {context.command_path} --help")


@contextmanager
def told() -> Iterator[None]:
    """Tell an error in one paragraph: a user's mistake without traceback, a bug with the frames of
    their own code.

    A bug ends with exit code 1, an error with its own. What ends a command on purpose passes
    through: Ctrl-C, what Typer cannot read, a reader of the output that has gone.
    """
    usual = warnings.formatwarning
    warnings.formatwarning = _as_it_is
    try:
        yield
    except HansaError as error:
        raise typer.Exit(_ended(error)) from None
    except (BrokenPipeError, typer.Exit, typer.Abort, KeyboardInterrupt, typer.TyperException):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        from ..ui.errors import bug

        bug(error)
        raise typer.Exit(1) from None
    finally:
        warnings.formatwarning = usual


def _as_it_is(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> str:
    """What a client says of itself, without the line of hansa's code that heard it; other warnings
    as ever.

    It stands in the place of `warnings.formatwarning` while a command runs.
    """
    if issubclass(category, Aside):
        return f"{message}\n"
    return USUAL(message, category, *where, **more)
