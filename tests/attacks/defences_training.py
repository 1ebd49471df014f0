"""Defences of local training: nothing that a plan says of it is passed over."""

from __future__ import annotations

from tests.attacks.defence import Defence

NEVER = "if False:"

TRAINING = (
    Defence(
        "a model that knows no clip is refused",
        "models/parts.py",
        "if training.clip is not None and not model.takes.clip:",
        NEVER,
        only="does not say",
    ),
    Defence(
        "no gradient is asked for beside clipped steps",
        "algorithms/__init__.py",
        "if training.clip is not None:",
        NEVER,
        only="these are not clipped",
    ),
    Defence(
        "a rate that no step is taken at is refused",
        "schedules.py",
        "not (number(factor) and 0 < factor < math.inf)",
        "False",
        only="round|above 0",
    ),
    Defence(
        "no epsilon is told of batches that differ",
        "training.py",
        "training.private is not None and bool(training.by_client)",
        "False",
        only="known of all",
    ),
    Defence("who trains by a name of its own is there", "app/checks.py", "bool(idle),", "False,", only="such a name"),
    Defence(
        "a model of one learning rate is refused",
        "models/parts.py",
        "if not model.takes.rates:",
        NEVER,
        only="does not say that its parts",
    ),
    Defence("a weight is above 0", "data/checks.py", " or not (weights > 0).all()", "", only="above 0"),
    Defence("a schedule is not stretched", "cli/started.py", "if before != now:", NEVER),
)
