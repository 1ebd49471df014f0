"""What happens to PyTorch's tensors of parameters, and to their gradients, in each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...training import MOMENTUM, RHO, TINY, Training

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # of Adam
MOMENTS = {"sgd": 0, "momentum": 1, "rmsprop": 1}  # and Adam's two


class Step(NamedTuple):
    """How a step moves: optimizer, η, λ, a drift, its vectors flat, which numbers it moves, the
    norm C of its gradient, and the share of η that each number has.

    `moves` is None for all of them, `clip` for any norm, `shares` for η.
    """

    optimizer: str
    eta: float
    decay: float
    pull: float | Tensor
    centre: Tensor | None
    shift: Tensor | None
    moves: Tensor | None = None
    clip: float | None = None
    shares: Tensor | None = None


def clipping(g: Tensor, clip: float, moves: Tensor | None) -> Tensor:
    """min(1, C/‖g‖₂) of each row of g […, d], whose norm is that of what is moved: […, 1]."""
    if moves is not None:
        g = g.where(moves, 0.0)
    norm: Tensor = g.norm(dim=-1, keepdim=True)
    return (clip / norm).clamp(max=1.0)


def stepped(
    name: str, y: Tensor, g: Tensor, moments: Sequence[Tensor], t: Any, eta: Any, decay: Any
) -> tuple[Tensor, list[Tensor]]:
    """The t-th step of an optimizer from y along g, and its moments; `decay` is None for none.

        sgd       y ← y − ηg
        momentum  m ← βm + g,  y ← y − ηm
        rmsprop   v ← αv + (1 − α)g²,  y ← y − η g/(√v + ε)
        adam      y ← y − η m̂/(√v̂ + ε),  m̂ = m/(1 − β₁ᵗ),  v̂ = v/(1 − β₂ᵗ)

    λ goes into g, and for adamw into y. Tensors are [width, d], η, λ and t numbers or [width, 1];
    see TorchModel for the sources.
    """
    if decay is not None and name == "adamw":
        y = y - eta * decay * y
    elif decay is not None:
        g = g + decay * y
    if name == "sgd":
        return y - eta * g, []
    if name == "momentum":
        m = MOMENTUM * moments[0] + g
        return y - eta * m, [m]
    if name == "rmsprop":
        v = RHO * moments[0] + (1 - RHO) * g * g
        return y - eta * g / (v.sqrt() + TINY), [v]
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
        if shift is None:
            return None
        return partial(g.add_, shift)
    apart = torch.empty_like(y)

    def correct() -> None:
        """g ← g + pull·(y − x₀) + shift, in place."""
        torch.sub(y, centre, out=apart)
        if isinstance(step.pull, Tensor):
            g.addcmul_(apart, step.pull)
        else:
            g.add_(apart, alpha=step.pull)
        if shift is not None:
            g.add_(shift)

    return correct


def stepper(
    y: Tensor, training: Training, how: Step, reach: Reach | None = None
) -> Callable[[], Any]:
    """One step of the local optimizer, in place on y; where it does not move, y stays.

    reach: what knows whose gradient is no gradient, but 0 in its place; None where all have one.
    """
    if how.shares is not None:
        training = replace(training, learning_rate=how.eta)
    step = _stepping(y, training)
    if reach is not None:
        step = Passing(y, training, reach).step
    if how.shares is not None:
        step = _slowed(y, step, how.shares)
    moves = how.moves
    if moves is None:
        return step
    before = y.clone()

    def part() -> None:
        """A step, of which what does not move is taken back."""
        step()
        torch.where(moves, y, before, out=y)

    return part


def _slowed(y: Tensor, step: Callable[[], Any], shares: Tensor) -> Callable[[], Any]:
    """y ← y + share·(step(y) − y); at a share of 1 or 0 it is the one or the other, bit for bit."""
    before = torch.empty_like(y)

    def slowed() -> None:
        """A step, of which each number takes its share."""
        before.copy_(y)
        step()
        torch.lerp(before, y, shares, out=y)

    return slowed


class Reach:
    """Which parameters a backward pass has reached: PyTorch passes by those that it has not.

    All gradients lie in one tensor, where no gradient is 0 as well.
    """

    def __init__(self, weights: Sequence[Tensor]):
        self.weights = weights
        self._reached = list[Tensor]()
        every: Any = weights  # PyTorch types no hooks
        see = self._reached.append
        self.hooks = [p.register_post_accumulate_grad_hook(see) for p in every]

    def unreached(self) -> list[Tensor]:
        """Those that the last pass has not reached."""
        missing = []
        if len(self._reached) != len(self.weights):
            reached = set(map(id, self._reached))
            missing = [p for p in self.weights if id(p) not in reached]
        self._reached.clear()
        return missing


@contextmanager
def reaching(weights: Sequence[Tensor], training: Training, drifts: bool) -> Iterator[Reach | None]:
    """What sees in a training which gradients there are; None where a step is the same for a
    gradient of 0: plain SGD, a drift, which is one of all numbers, and noise.
    """
    plain = training.optimizer == "sgd" and not training.weight_decay
    if plain or drifts or training.private is not None:
        yield None
        return
    reach = Reach(weights)
    try:
        yield reach
    finally:
        for hook in reach.hooks:
            hook.remove()


class Passing:
    """Steps that pass by each parameter without a gradient, with its decay and its moments.

    As long as all have one, they are steps of the one tensor y; from then on of each parameter.
    """

    def __init__(self, y: Tensor, training: Training, reach: Reach):
        self._reach = reach
        self._training = training
        self._whole = optimizer(training, [y])
        self._each: torch.optim.Optimizer | None = None
        self._y = y

    def step(self) -> None:
        """One step, by the gradients that there are.

        A gradient that is none is taken out of its parameter for the step, and put back.
        """
        missing = self._reach.unreached()
        if self._each is None and missing:
            self._each = self._apart()
        if self._each is None:
            self._whole.step()
            return
        views = [p.grad for p in missing]
        for p in missing:
            p.grad = None
        self._each.step()
        for p, view in zip(missing, views, strict=True):
            p.grad = view

    def _apart(self) -> torch.optim.Optimizer:
        """An optimizer of the parameters, which goes on where that of y stands.

        Its moments are views of the same memory, cut as the parameters are; step counters are
        copied.
        """
        each = optimizer(self._training, self._reach.weights)
        i = 0
        for p in self._reach.weights:
            place = slice(i, i + p.numel())
            each.state[p] = {
                name: value[place].view(p.shape) if value.ndim else value.clone()
                for name, value in self._whole.state[self._y].items()
            }
            i += p.numel()
        return each


def optimizer(training: Training, ys: Sequence[Tensor]) -> torch.optim.Optimizer:
    """PyTorch's own of that name.

    Of one tensor it is the fused one, which moves it in one pass. λ is its weight_decay.
    """
    rate = training.learning_rate
    decay = training.weight_decay
    fused = len(ys) == 1  # of several its SGD wants a momentum of all, or of none
    if training.optimizer == "adam":
        return torch.optim.Adam(ys, rate, weight_decay=decay, fused=fused)
    if training.optimizer == "adamw":
        return torch.optim.AdamW(ys, rate, weight_decay=decay, fused=fused)
    if training.optimizer == "rmsprop":
        return torch.optim.RMSprop(ys, rate, weight_decay=decay)
    beta = MOMENTUM * (training.optimizer == "momentum")
    return torch.optim.SGD(ys, rate, momentum=beta, weight_decay=decay, fused=fused)


def _stepping(y: Tensor, training: Training) -> Callable[[], Any]:
    """One step of y along its gradient: plain SGD in one operation, and all others by PyTorch's
    optimizer.
    """
    rate = training.learning_rate
    decay = training.weight_decay
    g = y.grad
    assert g is not None
    if training.optimizer != "sgd":
        return optimizer(training, [y]).step
    if decay:
        return lambda: y.add_(g.add_(y, alpha=decay), alpha=-rate)
    return partial(y.add_, g, alpha=-rate)
