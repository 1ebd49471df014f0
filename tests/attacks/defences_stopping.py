"""Defences of what is said of a run that stops early, and of its best model."""

from __future__ import annotations

from tests.attacks.defence import Defence

STOP = "app/stopping.py"

STOPPING = (
    Defence("clients score the model of the round before", STOP, " - self.metric.startswith(BEGUN)", ""),
    Defence("nobody guesses which way is better", STOP, 'known not in ("min", "max"),', "False,"),
    Defence("a metric that no round has is refused", STOP, "if stop.metric in there:", "if True:"),
    Defence("what is no number is no better", STOP, "if not math.isfinite(value):", "if False:"),
    Defence("a client's own model is of the last round", "app/personal.py", "state.round != last,", "False,"),
    Defence(
        "all are compared after as many rounds",
        "app/compare.py",
        "self.done * self.plan",
        "self.plan.rounds * self.plan",
    ),
    Defence(
        "another best is kept as such no longer",
        "store/commits.py",
        "c.execute(update(db.files).where(was)",
        "(update(db.files).where(was)",
    ),
    Defence("who names no best leaves it as it was", "store/commits.py", "if best is not None:", "if True:"),
)
