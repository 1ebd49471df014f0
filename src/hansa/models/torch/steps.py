"""What happens to PyTorch's tensors of parameters, and to their gradients, in each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...training import MOMENTUM, Training

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # of Adam
MOMENTS = {"sgd": 0, "momentum": 1}  # and Adam's two


class Step(NamedTuple):
    """How a step moves: optimizer, η, λ, a drift, its vectors flat, and which numbers it moves.

    `moves` is None for all of them.
    """

    optimizer: str
    eta: float
    decay: float
    pull: float | Tensor
    centre: Tensor | None
    shift: Tensor | None
    moves: Tensor | None = None


def stepped(
    name: str, y: Tensor, g: Tensor, moments: Sequence[Tensor], t: Any, eta: Any, decay: Any
) -> tuple[Tensor, list[Tensor]]:
    """The t-th step of an optimizer from y along g, and its moments; `decay` is None for none."""
    if decay is not None:
        y, g = (y - eta * decay * y, g) if name == "adamw" else (y, g + decay * y)
    if name == "sgd":
        return y - eta * g, []
    if name == "momentum":
        m = MOMENTUM * moments[0] + g
        return y - eta * m, [m]
    m = BETA1 * moments[0] + (1 - BETA1) * g
    v = BETA2 * moments[1] + (1 - BETA2) * g * g
    a, b = (-torch.expm1(t * math.log(beta)) for beta in (BETA1, BETA2))  # 1 − βᵗ
    return y - eta / a * m / ((v / b).sqrt() + EPSILON), [m, v]


def correction(y: Tensor, step: Step) -> Callable[[], Any] | None:
    """What adds pull·(y − x₀) + shift to the gradient of y; None where there is nothing to add."""
    g = y.grad
    centre = step.centre
    shift = step.shift
    assert g is not None
    if centre is None:
        return None if shift is None else partial(g.add_, shift)
    apart = torch.empty_like(y)

    def correct() -> None:
        torch.sub(y, centre, out=apart)
        if isinstance(step.pull, Tensor):
            g.addcmul_(apart, step.pull)
        else:
            g.add_(apart, alpha=step.pull)
        if shift is not None:
            g.add_(shift)

    return correct


def stepper(y: Tensor, training: Training, moves: Tensor | None) -> Callable[[], Any]:
    """One step of the local optimizer, in place on y; where it does not move, y stays."""
    step = _optimizer(y, training)
    if moves is None:
        return step
    before = y.clone()

    def part() -> None:
        step()
        torch.where(moves, y, before, out=y)

    return part


def _optimizer(y: Tensor, training: Training) -> Callable[[], Any]:
    rate = training.learning_rate
    decay = training.weight_decay
    g = y.grad
    assert g is not None
    if training.optimizer == "momentum":
        return torch.optim.SGD([y], rate, momentum=MOMENTUM, weight_decay=decay, fused=True).step
    if training.optimizer == "adam":
        return torch.optim.Adam([y], rate, weight_decay=decay, fused=True).step
    if training.optimizer == "adamw":
        return torch.optim.AdamW([y], rate, weight_decay=decay, fused=True).step
    if decay:
        return lambda: y.add_(g.add_(y, alpha=decay), alpha=-rate)
    return partial(y.add_, g, alpha=-rate)
