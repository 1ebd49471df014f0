"""Logs: one line for each event between sites, for people or as JSON, on stderr.

14:03:12  round 8: sent 45 kB in 0.8 s
{"time": "2026-01-02T14:03:12.345Z", "event": "sent", "run": "9f3c…", "round": 8, …}
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from ..errors import printable

NAME = "hansa.sites"  # the log of all that happens between sites


def begin(as_json: bool, verbose: bool) -> None:
    """Write down what happens from here on; `verbose`: also what was told before, such as each try
    to reach a server.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(Lines() if as_json else People())
    logging.basicConfig(handlers=[handler], force=True)
    logging.captureWarnings(as_json)
    logging.getLogger(NAME).setLevel(logging.DEBUG if verbose else logging.INFO)


class People(logging.Formatter):
    """Time and words, on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return f"{datetime.fromtimestamp(record.created):%H:%M:%S}  {_one_line(record)}"


class Lines(logging.Formatter):
    """JSON: time, event, and its fields; what is no event is told in words."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        about = {"time": time.replace("+00:00", "Z"), "level": record.levelname.lower()}
        name = getattr(record, "event", None)
        if name is None:
            return json.dumps({**about, "event": "words", "words": _one_line(record)})
        return json.dumps({**about, "event": name, **getattr(record, "fields", {})})


def _one_line(record: logging.LogRecord) -> str:
    """What was said, without what would command a terminal or begin another line."""
    return " ".join(printable(record.getMessage()).split())
