"""Defences of what is measured: the right number, or none."""

from __future__ import annotations

from tests.attacks.defence import Defence

CHECKS, TORCH, LOSSES = "models/checks.py", "models/torch/__init__.py", "models/torch/losses.py"

MEASURED = (
    Defence(
        "a loss of one's own is scored on all rows",
        LOSSES,
        "        return Whole(loss, bound)\n",
        "        return Mean(loss, bound)\n",
        only="torch",
    ),
    Defence(
        "Keras scores a loss of one's own on all rows",
        "models/keras/scores.py",
        "self.whole = kept and",
        "self.whole = False and",
        only="keras",
    ),
    Defence(
        "Keras counts the loss of each example by its weight",
        "models/keras/checks.py",
        "if not apart <= 2e-3 * float(np.ptp(each)) + 2e-6 * abs(plain):",
        "if False:",
        only="one number for each",
    ),
    Defence("weights of classes weigh pieces", LOSSES, 'total = held["weight"][counts].sum()', "pass"),
    Defence(
        "ranks do not round to 1",
        "metrics/library.py",
        "            return z[:, 1] - z[:, 0]\n        return _margins(z)\n",
        "            return _softmax(z)[:, 1]\n        return _softmax(z)\n",
    ),
    Defence(
        "what is undefined is in no mean", "algorithms/reports.py", "found[name] = value / share", "found[name] = value"
    ),
    Defence(
        "a mean that may be undefined has a flag of its own",
        "metrics/__init__.py",
        "if not one.everywhere)",
        "if not isinstance(one, Mean))",
    ),
    Defence("PerExample takes no class weights", TORCH, "checks.check_weighted(self._known, self.loss)", "pass"),
    Defence("examples are mixed near the start too", CHECKS, "SHAKE = 0.1", "SHAKE = 0.0", only="deviation"),
    Defence(
        "examples that change each other's losses are found",
        "models/jax/__init__.py",
        "checks.check_mixed(apart > 1e-3 * (1 + abs(loss)))",
        "pass",
    ),
)
