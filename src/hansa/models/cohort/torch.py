"""Many clients at once: their parameters are the rows of one matrix, and a step moves all of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from ...errors import PlanError
from .. import faults
from ..fused.torch import MOMENTS, Step, stepped
from ..losses.torch import Loss

MOST, NUMBERS = 64, 2**27  # clients at once, and numbers in their parameters together
GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15 - 2**64, 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


def width(size: int, device: torch.device) -> int:
    """How many clients of so many numbers train at once where nobody says: one on a CPU, many on a GPU."""
    return 1 if device.type == "cpu" else max(1, min(MOST, NUMBERS // size))


# ── random numbers of each client's own ──────────────────────────────────────────────────────────────────────────────


class Drop(nn.Module):
    """Dropout whose draws are a function of `seed` and of the place of the number, on every device.

    u = mix(mix(seed) + i·γ), mix that of SplitMix64   (Steele, Lea and Flood 2014)
    """

    def __init__(self, p: float):
        super().__init__()
        self.p, self.seed = p, torch.zeros((), dtype=torch.int64)

    def forward(self, x: Tensor) -> Tensor:
        """x/(1 − p) where u ≥ p, else 0."""
        if not self.training or not self.p:
            return x
        places = torch.arange(x.numel(), device=x.device)
        u = _mixed(_mixed(self.seed) + places * GOLDEN) >> 40 & 0xFFFFFF
        return torch.where(u.reshape(x.shape) >= self.p * 2**24, x / (1 - self.p), 0.0)


def _mixed(z: Tensor) -> Tensor:
    """SplitMix64's finaliser, modulo 2⁶⁴."""
    z = (z ^ _right(z, 30)) * FIRST
    z = (z ^ _right(z, 27)) * SECOND
    return z ^ _right(z, 31)


def _right(z: Tensor, n: int) -> Tensor:
    return z >> n & (1 << 64 - n) - 1


def keyed(net: nn.Module) -> nn.Module:
    """A copy of the net whose dropout is drawn by `Drop`."""
    found = copy.deepcopy(net)
    for part in list(found.modules()):
        for name, child in part.named_children():
            if type(child) is nn.Dropout:
                setattr(part, name, Drop(child.p))
    return found


# ── training ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Lane:
    """One client among many: where it starts, its batches (inputs by position and name, targets), how, its seed."""

    start: Tensor
    rows: Iterator[list[Tensor]]
    step: Step
    seed: int


class Lanes:
    """A net and its loss, for `width` clients at once; fewer are filled up, so that no bits depend on how many."""

    def __init__(self, net: nn.Module, loss: Loss, width: int):
        self.net, self.loss, self.width = keyed(net).train(), loss, width
        self._drops = [part for part in self.net.modules() if isinstance(part, Drop)]
        self._params = {name: p.shape for name, p in self.net.named_parameters() if p.requires_grad}

    def train(self, lanes: Sequence[Lane], inputs: int, named: tuple[str, ...]) -> list[tuple[Tensor, int, float]]:
        """Where each client ends, in how many steps, and the sum of their losses; all step alike.

        In each turn those whose next batch has the largest shape go on; the others wait, so that any loss is right.
        """
        each, how = [*lanes, *[lanes[0]] * (self.width - len(lanes))], lanes[0].step
        y = torch.stack([lane.start for lane in each])
        state = y, [torch.zeros_like(y) for _ in range(MOMENTS.get(how.optimizer, 2))]
        t, total = torch.zeros((2, self.width), dtype=torch.double, device=y.device)
        seeds = torch.tensor([lane.seed for lane in each], device=y.device)
        centre, shift = (_stacked([getattr(lane.step, name) for lane in each]) for name in ("centre", "shift"))
        ahead = {i: row for i, lane in enumerate(lanes) if (row := next(lane.rows, None)) is not None}
        while ahead:
            shape = max(map(_shape, ahead.values()))
            now = {i: row for i, row in ahead.items() if _shape(row) == shape}
            filled = next(iter(now.values()))
            batch = [torch.stack(part) for part in zip(*(now.get(i, filled) for i in range(self.width)), strict=True)]
            g, values = self._gradients(state[0], batch, inputs, named, seeds + t.long() * FIRST)
            if centre is not None:
                g = g + how.pull * (state[0] - centre)
            if shift is not None:
                g = g + shift
            on = torch.tensor([i in now for i in range(self.width)]).to(y.device)
            t = t + on
            after = stepped(how.optimizer, state[0], g, state[1], t[:, None].to(y), how.eta, how.decay or None)
            state = after if len(now) == self.width else _where(on[:, None], after, state)
            total = total + values.double().where(on, 0.0)
            later = {i: next(lanes[i].rows, None) for i in now}
            ahead = {i: row for i, old in ahead.items() if (row := later.get(i) if i in now else old) is not None}
        done = zip(state[0], t.tolist(), total.tolist(), strict=True)
        return [(y, int(steps), loss) for y, steps, loss in islice(done, len(lanes))]

    def _gradients(self, y: Tensor, batch: list[Tensor], count: int, named: tuple[str, ...], seeds: Tensor) -> Any:
        """Each client's gradient [width, d] and loss [width]."""

        def alone(y: Tensor, parts: list[Tensor], seed: Tensor) -> Tensor:
            *inputs, target = parts
            for i, drop in enumerate(self._drops):
                drop.seed = seed + i * SECOND
            cut = torch.split(y, [math.prod(shape) for shape in self._params.values()])
            tensors = {name: v.view(shape) for (name, shape), v in zip(self._params.items(), cut, strict=True)}
            by_name = dict(zip(named, inputs[count:], strict=True))
            return self.loss(functional_call(self.net, tensors, tuple(inputs[:count]), by_name), target)

        return vmap(grad_and_value(alone), randomness="error")(y, batch, seeds)


def _stacked(some: list[Tensor | None]) -> Tensor | None:
    given = [one for one in some if one is not None]
    return torch.stack(given) if given else None


def _where(
    on: Tensor, new: tuple[Tensor, list[Tensor]], old: tuple[Tensor, list[Tensor]]
) -> tuple[Tensor, list[Tensor]]:
    """The new state of those who are on."""
    return new[0].where(on, old[0]), [m.where(on, before) for m, before in zip(new[1], old[1], strict=True)]


def _shape(row: list[Tensor]) -> tuple[Any, ...]:
    return len(row[-1]), *(tuple(part.shape) for part in row)


def placed(net: nn.Module, device: torch.device) -> nn.Module:
    """A copy of the net on a device."""
    try:
        return copy.deepcopy(net).to(device)
    except Exception as error:
        raise faults.uncopied(net, error) from error


def device_of(name: str | None) -> torch.device:
    """The device of that name; PlanError where there is none."""
    try:
        device = torch.get_default_device() if name is None else torch.device(name)
    except (RuntimeError, TypeError):
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise PlanError(f"device={name!r}.", "Models train on CPUs and CUDA.", "Write device='cpu' or device='cuda:0'.")
    if device.type == "cpu":
        return device
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (device.index or 0) >= count:
        raise PlanError(
            f"device={name!r} is asked for, and PyTorch sees {count} CUDA devices here.",
            "It needs a GPU, its driver, and a build of PyTorch for CUDA.",
            "Write device='cpu', or see what torch.cuda.device_count() says.",
        )
    return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
