"""What happens to PyTorch's flat tensor of parameters, and to its gradient, in each step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .. import MOMENTUM, Training
from ..fused.torch import Step


def correction(y: Tensor, step: Step) -> Callable[[], Any] | None:
    """What adds pull·(y − x₀) + shift to the gradient of y; None where there is nothing to add."""
    g, centre, shift = y.grad, step.centre, step.shift
    assert g is not None
    if centre is None:
        return None if shift is None else partial(g.add_, shift)
    apart = torch.empty_like(y)

    def correct() -> None:
        torch.sub(y, centre, out=apart)
        g.add_(apart, alpha=step.pull)
        if shift is not None:
            g.add_(shift)

    return correct


def stepper(y: Tensor, training: Training) -> Callable[[], Any]:
    """One step of the local optimizer, in place on y."""
    rate, decay, g = training.learning_rate, training.weight_decay, y.grad
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
