"""What goes wrong, on stderr: an error is one paragraph, and only a bug has a traceback.

found, why, what to do     an error of hansa's own (`hansa.errors`), which a user can mend
frames and a paragraph     any other, with the user's own frames where there are some

Texts of errors hold names from clients, apps and databases: what a terminal would obey is taken out
of them, and none of it is markup.
"""

from __future__ import annotations

import re
import sys
import sysconfig
import traceback
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ..errors import AppError, HansaError, printable


def say(text: str) -> None:
    """Some lines on stderr, as they are: no markup, and nothing that commands the terminal."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(printable(text), markup=False)


def complain(error: HansaError) -> None:
    """An error as one paragraph on stderr: what was found, why it cannot work, what to do next; its
    notes after it.
    """
    text = " ".join(
        part.strip()
        for part in [*str(error).split("\n"), *getattr(error, "__notes__", ())]
        if part.strip()
    )
    # whole lines for what reads them
    console = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())
    console.print(Text.assemble(("error:", "bold red"), f" {printable(text)}"))


def bug(error: Exception) -> None:
    """An error that nobody foresaw: the frames of the user's own code, or all where there are none,
    and a paragraph.

    Of an error in a worker the frames are the worker's, which its text has. Notes stand last, as
    that rounds are stored and how to go on.
    """
    notes = error.__dict__.pop("__notes__", [])
    trace = "".join(traceback.format_exception(error)).rstrip()
    if isinstance(error, RuntimeError) and "Traceback (most recent call last)" in str(error):
        trace = str(error)[str(error).index("Traceback") :].rstrip()  # that of a worker
    own = theirs(trace)
    say(own or trace)
    why = "This is a bug in hansa, and not yours."
    instead = "Please report it with the lines above."
    if own:
        why = "It comes from the lines above, which are not hansa's."
        instead = "Mend them and run again."
    told = AppError(trace.split("\n")[-1].strip().rstrip(".") + ".", why, instead)
    for skipped in notes:
        told.add_note(skipped)
    complain(told)


def theirs(trace: str) -> str:
    """The frames of a traceback that are neither hansa's nor a library's, with the error at its
    end; "" for none.
    """
    libraries = {
        str(Path(__file__).parents[1]),
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    }
    kept = [
        match.group()
        for match in re.finditer(r'^  File "(.+?)", line .*\n(?:    .*\n)*', trace, re.M)
        if not match.group(1).startswith((*libraries, "<frozen"))
    ]
    if not kept:
        return ""
    error = trace.rstrip().split("\n")[-1]
    return f"Traceback in your code (most recent call last):\n{''.join(kept)}{error}"
