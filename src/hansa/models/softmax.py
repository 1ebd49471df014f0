"""Softmax regression in NumPy: the reference that every other model is held against."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data import pair
from ..data.batches import relative, weighed
from ..data.examples import Examples
from ..errors import DataError, PlanError, number
from ..metrics import LOSS, RATE, groups, weighted
from ..rand import Key
from ..spec import Vector
from ..training import Training
from . import NO_LOCAL, Drift, Local, Model, Takes, TrainResult, Traits, consecutive
from .parts import moves, paces

SCORES = {"loss": LOSS, "accuracy": RATE}


@dataclass(frozen=True)
class Softmax(Model):
    """Multinomial logistic regression:  p = softmax(W·[a, 1]),  loss = −log p_y,  ∂loss/∂W = (p −
    1_y)[a, 1]ᵀ.

    Inputs [n, …] of `features` numbers each, labels [n] in 0 … classes − 1; the vector is W row by
    row, bias last.
    """

    features: int
    classes: int
    metrics = SCORES
    takes = Takes(private=True, only=True, clip=True, rates=True)
    traits = Traits(draws=False)

    def __post_init__(self) -> None:
        counts = number(self.features, whole=True) and number(self.classes, whole=True)
        if not counts or self.features < 1 or self.classes < 2:
            raise PlanError(
                f"{self!r} has nothing to tell apart.",
                "It needs at least one feature and two classes.",
                "Write for example Softmax(features=784, classes=10).",
            )

    @property
    def size(self) -> int:  # type: ignore[override]
        """(features + 1) · classes."""
        return (self.features + 1) * self.classes

    def start(self, key: Key) -> Vector:
        """Zeros: the loss is convex, so every start is as good."""
        return np.zeros(self.size)

    def plan(self, training: Training) -> None:
        """SGD, and no other optimizer."""
        if training.optimizer != "sgd":
            raise PlanError(
                f"Softmax trains with SGD alone, not {training.optimizer!r}.",
                "It is the reference, kept as plain as can be.",
                "Write Training(optimizer='sgd'), or use TorchModel.",
            )

    def train(
        self,
        x: Vector,
        data: Examples,
        training: Training,
        drift: Drift,
        key: Key,
        local: Local = NO_LOCAL,
    ) -> TrainResult:
        """Plain SGD on the mean loss of each batch; with `private`, on clipped gradients with
        noise.

            W ← W − η (g + pull·(W − X₀) + λW + shift)          W [features + 1, classes]

        PerExample's noise is added to the sum, over b, the number of examples on average.
        """
        W = np.array(x, np.float64).reshape(self.features + 1, self.classes)
        x0 = np.asarray(drift.about(x)).reshape(W.shape)
        pulls = drift.pulls
        pull: Any = drift.alike
        if drift.apart is not None:
            pull = drift.apart.reshape(W.shape)
        rate: Any = training.learning_rate
        if training.only or training.rates:
            rate = rate * paces(self, training).reshape(W.shape)
        decay = training.weight_decay
        private = training.private
        parts = self._normed(training)
        losses = []
        b = 0
        clip = math.inf
        if private:
            b = training.counts(len(data))[0]
            clip = private.clip
        for step, batch in enumerate(data.batches(training, key)):
            batch, w = weighed(batch)
            A, y = pair(batch)
            if not private:
                w = relative(w)
            loss, g = self._gradient(W, A, y, clip, b, parts, w)
            if private:
                g += private.drawn(g.shape, key.child("noise", step)) / b
            if training.clip is not None:
                self._clip(g, training.clip, parts)
            if pulls:
                g += pull * (W - x0)
            if decay:
                g += decay * W
            if drift.shift is not None:
                g += drift.shift.reshape(W.shape)
            g *= rate
            W -= g
            losses.append(loss)
        return TrainResult(W.ravel(), len(losses), sum(losses) / len(losses))

    def _normed(self, training: Training) -> tuple[bool, bool]:
        """Are weights, and biases, among the numbers whose norm is taken, if one is?"""
        if not training.private and training.clip is None:
            return True, True
        moved = moves(self, training)
        return moved.get("weight", True), moved.get("bias", True)

    def _gradient(
        self,
        W: Vector,
        A: Vector,
        y: Vector,
        clip: float,
        b: int,
        moved: tuple[bool, bool] = (True, True),
        w: Vector | None = None,
    ) -> tuple[float, Vector]:
        """The mean loss, and the sum of gradients over b (0 = as many as there are), each of norm
        `clip` at most; each loss and gradient times its w.

        That of one example has the norm w·‖p − 1_y‖·‖[a, 1]‖, and counts as 0 where it is not
        finite; without a or 1 where weights or biases are not `moved`.
        """
        A = A.reshape(len(y), self.features).astype(np.float64, copy=False)  # once for two products
        rows = np.arange(len(y))
        P = self._probabilities(W, A)
        losses = np.log(P[rows, y] + 1e-12)
        P[rows, y] -= 1
        if w is not None:
            losses *= w
            P *= w[:, None]
        loss = -losses.sum() / max(len(y), 1)
        if clip < math.inf:
            weight, bias = moved
            norms = np.sqrt((P**2).sum(1) * ((A**2).sum(1) * weight + bias))
            P *= (clip / np.maximum(norms, clip))[:, None]
            P[~np.isfinite(norms)] = 0
        P /= b or len(y)
        g = np.empty_like(W)
        np.matmul(A.T, P, out=g[:-1])
        P.sum(0, out=g[-1])
        return float(loss), g

    def _clip(self, g: Vector, clip: float, moved: tuple[bool, bool]) -> None:
        """g ← g · min(1, C/‖g‖₂), in place; the norm is that of what is `moved`."""
        weight, bias = moved
        norm = math.sqrt((g[:-1] ** 2).sum() * weight + (g[-1] ** 2).sum() * bias)
        if norm > clip:
            g *= clip / norm

    def _probabilities(self, W: Vector, A: Vector) -> Vector:
        """p = softmax(A·W + β) of each row [n, classes]; the largest exponent is 0, so none
        overflows.
        """
        Z = A @ W[:-1] + W[-1]
        Z -= Z.max(1, keepdims=True)
        np.exp(Z, out=Z)
        Z /= Z.sum(1, keepdims=True)
        return np.asarray(Z)

    def slices(self) -> dict[str, slice]:
        """All weights, and the biases behind them."""
        return consecutive([("weight", self.features * self.classes), ("bias", self.classes)])

    def tensors(self, x: Vector, local: Local = NO_LOCAL) -> dict[str, Vector]:
        """The weights [features, classes], and the biases [classes]."""
        W = np.reshape(x, (-1, self.classes))
        return {"weight": W[:-1], "bias": W[-1]}

    def score(self, x: Vector, data: Examples, local: Local = NO_LOCAL) -> dict[str, float]:
        """Mean loss and accuracy.

        By weight, where examples have such: Σ w·l / Σ w. l = −log(p_y + 10⁻¹²).
        """
        W = np.asarray(x).reshape(self.features + 1, self.classes)
        sums = dict[float, Any]()
        for batch in data.whole():
            batch, w = weighed(batch)
            A, y = pair(batch)
            P = self._probabilities(W, A.reshape(len(y), -1))
            right = P.argmax(1) == y
            losses = np.log(P[np.arange(len(y)), y] + 1e-12)
            for weight, rows in groups(w):
                n, loss, hits = sums.get(weight, (0, 0.0, 0))
                some = right[rows]
                total = float(losses[rows].sum())
                sums[weight] = n + len(some), loss - total, hits + int(some.sum())
        n, loss, hits = weighted(sums)
        return {"loss": loss / n, "accuracy": hits / n}

    def predict(self, x: Vector, data: Examples, local: Local = NO_LOCAL) -> Vector:
        """The probability of each class [n, classes]."""
        W = np.asarray(x).reshape(self.features + 1, self.classes)
        found = []
        for batch in data.whole():
            A, y = pair(weighed(batch)[0])
            found.append(self._probabilities(W, A.reshape(len(y), -1)))
        return np.concatenate(found)

    def check(self, data: Examples, who: str, training: Training | None = None) -> None:
        """Shapes and labels of all examples."""
        for batch in data.whole():
            self._check(*pair(weighed(batch)[0]), who)

    def _check(self, A: Any, y: Any, who: str) -> None:
        """DataError for inputs [n, …] of another size, and for labels that are no whole numbers in
        0 … classes − 1.
        """
        if isinstance(A, tuple | dict) or A.size != len(A) * self.features:
            raise DataError(
                f"{who}'s inputs have shape {getattr(A, 'shape', 'of several parts')}.",
                f"{self!r} takes {self.features} numbers for each example.",
                f"Give it one array of shape ({len(y)}, {self.features}), or write "
                "Softmax(features=…) to suit.",
            )
        if y.dtype.kind not in "iu" or y.ndim != 1 or y.min() < 0 or y.max() >= self.classes:
            more = ""
            if y.max() >= self.classes:
                more = f", or write Softmax(…, classes={int(y.max()) + 1})"
            raise DataError(
                f"{who}'s labels have type {y.dtype}, shape {y.shape}, and lie in {y.min()} … "
                f"{y.max()}.",
                f"{self!r} takes one integer from 0 to {self.classes - 1} for each example.",
                f"Number the classes from 0, as integers{more}.",
            )
