"""Defences of what a run is called, and of what its trackers hear."""

from __future__ import annotations

from tests.attacks.defence import Defence

FOLLOWING = "ui/trackers/following.py"
RAW = "TypeError|ValueError|AttributeError|KeyError|AppError"

TRACKING = (
    Defence(
        "what a tracker does to a round stays with it",
        FOLLOWING,
        "follower.rounds.put(_copy(one))",
        "follower.rounds.put(one)",
    ),
    Defence(
        "no report is sent unasked",
        "ui/trackers/mlflow.py",
        "if self.report and run.report is not None:",
        "if run.report is not None:",
    ),
    Defence(
        "nothing is no name of a run",
        "store/__init__.py",
        "[name for name in names if id and name.startswith(id)]",
        "[name for name in names if name.startswith(id)]",
    ),
    Defence(
        "a tracker hears what the store holds",
        FOLLOWING,
        "            return self.run.history(after=self.told)",
        "            return [] if state is None else [state.happened]",
    ),
    Defence(
        "a tracker without a store hears no more",
        FOLLOWING,
        "[] if state is None else [keepable(state).happened]",
        "[] if state is None else [state.happened]",
    ),
    Defence(
        "a tracker that fails is told and ends alone",
        FOLLOWING,
        "except BaseException as error:\n                self.error = error",
        "except ZeroDivisionError as error:\n                self.error = error",
    ),
    Defence(
        "the record holds no word of a tracker's error",
        FOLLOWING,
        'self.lost = f"failed by round {self.heard} ({kind})"',
        'self.lost = f"failed by round {self.heard} ({self.error})"',
    ),
    Defence(
        "what a run is called commands no terminal",
        "store/label.py",
        "if not isinstance(text, str) or len(text) > LONGEST or not text.isprintable():",
        "if not isinstance(text, str) or len(text) > LONGEST:",
    ),
    Defence(
        "a stored name stands on one line",
        "store/columns.py",
        "if not fits_line(text):",
        "if False:",
        ends=RAW,
        only="the name of a run",
    ),
    Defence(
        "stored tags stand on one line",
        "store/columns.py",
        'if not all(tag and fits_line(tag, ",") for tag in listed):',
        "if False:",
        ends=RAW,
        only="tags",
    ),
)
