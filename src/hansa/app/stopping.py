"""Early stopping: when a run ends before its last round, and which model was the best until then.

Both are functions of the history and of nothing else, so that a run that was killed ends in the
same round, and keeps the same model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from ..errors import AppError, Fault, number, refuse
from ..explain.rounds import ROUNDS
from ..explain.words import Section
from ..metrics import DEFINED
from ..plan import Plan
from ..plan.layout import reported
from ..rounds import BEGUN, TEST, Round

# of metrics whose names end so it is known which way is better
MODES = {
    "loss": "min",
    "error": "min",
    "accuracy": "max",
    "auc": "max",
    "f1": "max",
    "precision": "max",
    "r2": "max",
    "recall": "max",
}


@dataclass(frozen=True)
class EarlyStopping:
    """The run ends when a metric has not become better in `patience` rounds, one after another.

        better:   m < best − min_delta  with mode "min",   m > best + min_delta  with mode "max"

    The best is the last that was better. A round without the metric, or where it is no number, is
    not (Goodfellow, Bengio, Courville 2016, algorithm 7.1, where a round is n steps).

    metric   a name as `Round.witnessed` has it: test_… on the test data, val_… and personal_… on
             what clients keep from training, or the loss of training
    mode     may be left out where the name ends as that of a loss, an error, an accuracy, …

    A mean of what clients report is in the sum already, with its noise, and has no ε of its own.
    PlanError for values that mean nothing.
    """

    metric: str
    patience: int = 5
    min_delta: float = 0.0
    mode: str | None = None

    def __post_init__(self) -> None:
        instead = "Write for example EarlyStopping('val_loss', patience=5, min_delta=0.001)."
        known = self.mode or mode_of(self.metric)
        faults: list[Fault] = [
            (
                not number(self.patience, whole=True) or self.patience < 1,
                f"EarlyStopping(patience={self.patience!r}) never waits.",
                "It counts rounds without a better value, and is 1 at least.",
                instead,
            ),
            (
                not number(self.min_delta) or not 0 <= self.min_delta < math.inf,
                f"EarlyStopping(min_delta={self.min_delta!r}) tells nothing apart.",
                "By more than that a value must be better: a number from 0.",
                instead,
            ),
            (
                known not in ("min", "max"),
                f"EarlyStopping({self.metric!r}, mode={self.mode!r}) knows no better value.",
                "It is known of names that end in " + ", ".join(MODES) + ".",
                "Write mode='min' where less is better, and mode='max' where more is.",
            ),
        ]
        refuse(faults)

    def best(self, rounds: Sequence[Round]) -> Round | None:
        """The round in which the best value was seen; None where none was."""
        found = None
        for one in rounds:
            if self._better(one, found):
                found = one
        return found

    def model(self, rounds: Sequence[Round]) -> int | None:
        """The round that led to the model which has the best value; 0 for the first weights.

        Scores of clients are those of the model that a round begins with: of the round before. With
        `buffered` clients of one round may have begun with several, and that is about their time.
        """
        best = self.best(rounds)
        if best is None:
            return None
        return best.round - self.metric.startswith(BEGUN)

    def over(self, rounds: Sequence[Round]) -> bool:
        """Does the run end after these rounds?"""
        return self._since(rounds) >= self.patience

    def why(self, rounds: Sequence[Round]) -> str:
        """Why the run ends after these."""
        since = self._since(rounds)
        if self.best(rounds) is None:
            return f"none had a {self.metric}"
        return f"no better {self.metric} for {since} round{'s' * (since != 1)}"

    def told(self, rounds: Sequence[Round]) -> str:
        """Which model was the best, in a sentence; nothing where none was."""
        best = self.best(rounds)
        if best is None:
            return ""
        whose = "the first weights, which are not kept"
        if at := self.model(rounds):
            whose = f"the model of round {at}"
        return f"The best {self.metric}, {best.witnessed[self.metric]:.4g}, is that of {whose}."

    def _since(self, rounds: Sequence[Round]) -> int:
        """How many of these rounds came after the best one."""
        best = self.best(rounds)
        if best is None:
            return len(rounds)
        return sum(one.round > best.round for one in rounds)

    def _better(self, one: Round, best: Round | None) -> bool:
        """Is a round better than the best before?"""
        value = one.witnessed.get(self.metric, math.nan)
        if not math.isfinite(value):
            return False
        if best is None:
            return True
        gain = value - best.witnessed[self.metric]
        if (self.mode or mode_of(self.metric)) == "min":
            gain = -gain
        return gain > self.min_delta


def mode_of(metric: str) -> str:
    """Which way is better, by how a name ends; nothing where nobody knows."""
    return next((mode for end, mode in MODES.items() if str(metric).lower().endswith(end)), "")


def check_metric(stop: EarlyStopping, plan: Plan, tested: bool) -> None:
    """AppError where no round of the plan can have the metric.

    tested: is there test data?
    """
    there = [name for name in reported(plan) if not name.endswith(f"_{DEFINED}")]
    if tested:
        there += [f"{TEST}{name}" for name in plan.model.metrics]
    if stop.metric in there:
        return
    near = get_close_matches(stop.metric, there, 1)
    raise AppError(
        f"App(stop={stop!r}): no round of this plan has a {stop.metric!r}.",
        f"It has {', '.join(there) or 'no metric'}.",
        "Training(validation=0.2) gives val_…, and App(test=…) gives test_…"
        + (f"; or did you mean {near[0]!r}?" if near else "."),
    )


def explained_with(stop: EarlyStopping, section: Section) -> Section:
    """The section with a line on when the rounds end, if it is that of the rounds."""
    if section.title != ROUNDS:
        return section
    what = "It is in the sum already, with its noise, and has no ε of its own"
    if stop.metric.startswith(TEST):
        what = "It is taken on the server's test data, and no client is asked for it"
    when = f"when {stop.metric} has not become better for {stop.patience} rounds. {what}"
    first, *others = section.rows
    return replace(section, rows=(first, ("ends early", when), *others))
