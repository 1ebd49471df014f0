"""Linear models as vectors, and the losses of their margins, as scikit-learn has them; it is not
imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..spec import Vector

# of the margin m = ±z, positive on the right side
LOSSES: Mapping[str, Callable[[Vector], Vector]] = {
    "log_loss": lambda m: np.logaddexp(0, -m),
    "hinge": lambda m: np.maximum(0, 1 - m),
    "squared_hinge": lambda m: np.maximum(0, 1 - m) ** 2,
    "modified_huber": lambda m: np.where(m < -1, -4 * m, np.maximum(0, 1 - m) ** 2),
    "perceptron": lambda m: np.maximum(0, -m),
}


@dataclass(frozen=True)
class Linear:
    """z = w·a + β   of each row, and what it loses.

    A classifier of three classes or more has a row for each class against the rest; of two classes
    one row, for class 1; a regressor has one row, and `classes` is None. The vector is
    [w row by row, β].
    """

    loss: str
    features: int
    classes: int | None

    @property
    def rows(self) -> int:
        """How many rows there are."""
        if self.classes is None or self.classes == 2:
            return 1
        return self.classes

    @property
    def size(self) -> int:
        """(features + 1) · rows."""
        return (self.features + 1) * self.rows

    def weights(self, x: Vector) -> tuple[Vector, Vector]:
        """w [rows, features] and β [rows]; w of a regressor is [features]."""
        W = x[: -self.rows].reshape(self.rows, self.features)
        if self.classes is None:
            W = W[0]
        return W.astype(np.float64, copy=True), x[-self.rows :].astype(np.float64, copy=True)

    def decisions(self, x: Vector, A: Vector) -> Vector:
        """z = w·a + β of each example   [n, rows]."""
        return np.asarray(A @ x[: -self.rows].reshape(self.rows, -1).T + x[-self.rows :])

    def losses(self, z: Vector, y: Vector) -> Vector:
        """Of each example [n], summed over rows; a regressor's is the square."""
        if self.classes is None:
            return np.asarray((z[:, 0] - y) ** 2)
        labels = np.arange(self.classes)
        if self.rows == 1:
            labels = labels[1:]
        m = np.where(y[:, None] == labels, 1.0, -1.0) * z
        of_margin = LOSSES.get(self.loss, _square)
        return np.asarray(of_margin(m).sum(1))

    def right(self, z: Vector, y: Vector) -> Vector:
        """Does each example get its label? [n]; the largest z is the class, or the sign of one."""
        if self.rows == 1:
            return np.asarray((z[:, 0] > 0) == y)
        return np.asarray(z.argmax(1) == y)

    def outputs(self, z: Vector) -> Vector:
        """What metrics get: z [n] of one row; of several [n, rows], and of log_loss log p of each
        against the rest, p = 1/(1 + e⁻ᶻ).
        """
        if self.rows == 1:
            return z[:, 0]
        if self.loss == "log_loss":
            return np.asarray(-np.logaddexp(0, -z))
        return z


def _square(m: Vector) -> Vector:
    """(1 − m)², of every loss that scikit-learn has for numbers."""
    return np.asarray((1 - m) ** 2)
