"""Defences of local training: nothing that a plan says of it is passed over."""

from __future__ import annotations

from tests.attacks.defence import Defence

NEVER = "if False:"

TRAINING = (
    Defence(
        "a model that knows no clip is refused",
        "models/parts.py",
        "if training.clip is not None and not model.clips:",
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
    Defence("a schedule is not stretched", "cli/started.py", "if before != now:", NEVER),
)
