"""Defences of losses that see more than outputs and targets."""

from __future__ import annotations

from tests.attacks.defence import Defence

SEEN, ASKS = "models/torch/seen.py", "asks.py"
NEVER = "if False:"

FEATURES = (
    Defence("the global net computes in eval mode", SEEN, "deepcopy(net, shared).eval()", "deepcopy(net, shared)"),
    Defence("a net of its own has tensors of its own", "models/torch/flat.py", "one.detach().clone()", "one.detach()"),
    Defence(
        "a net of its own computes with its own weights",
        SEEN,
        "if not torch.allclose(loaded, apart, 1e-3, 1e-5, equal_nan=True):",
        NEVER,
    ),
    Defence(
        "a loss is a mean over examples where they are hidden",
        "models/checks.py",
        "if not abs(loss - mean) <= 1e-3 * (1 + abs(mean)):",
        NEVER,
    ),
    Defence(
        "a loss is a mean over examples in a training too",
        "models/torch/private.py",
        "if objective.others or objective.told:",
        NEVER,
    ),
    Defence(
        "a loss that sees more is trained one by one",
        "models/torch/__init__.py",
        "if self._first or names:  # such",
        "if self._first:  # such",
    ),
    Defence(
        "a second training says which net was the last",
        ASKS,
        "_check_last(isinstance(ask, Train) and again and LAST in local)",
        "_check_last(False)",
    ),
    Defence(
        "what is told is not passed by", "models/__init__.py", "if told and not model.takes.told:", NEVER, only="moon"
    ),
    Defence(
        "what is told is not passed by, side by side",
        ASKS,
        "takes = model.takes.told or not any(ask.told for ask in trainings)",
        "takes = True",
        only="cohort",
    ),
)
