"""Many clients at once: their parameters are the rows of one matrix, and a step moves all of
them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from ...data.batches import Batch, pick, target
from ...data.inputs import Types, parts
from ...data.turns import Ints, Kind, Steps, kind, turns
from ...errors import PlanError
from ...spec import Vector
from . import checks
from .attributes import Attributes
from .losses import Loss
from .steps import MOMENTS, Step, clipping, stepped

MOST, NUMBERS = 64, 2**27  # clients at once, and numbers in their parameters together
# bytes of examples on a device in a training, or else in a turn; rows in a turn
HELD, TURN, ROWS = 2**30, 2**26, 2**22
GOLDEN = 0x9E3779B97F4A7C15 - 2**64
FIRST = 0xBF58476D1CE4E5B9 - 2**64
SECOND = 0x94D049BB133111EB - 2**64


def width(size: int, device: torch.device) -> int:
    """How many clients of so many numbers train at once where nobody says: one on a CPU, many on a
    GPU.
    """
    if device.type == "cpu":
        return 1
    return max(1, min(MOST, NUMBERS // size))


# ── random numbers of each client's own ───────────────────────────────────────────────────────────


class KeyedDropout(nn.Module):
    """Dropout whose draws are a function of `seed` and of the place of the number, on every device.

    u = mix(mix(seed) + i·γ), mix that of SplitMix64   (Steele, Lea and Flood 2014)
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p
        self.seed = torch.zeros((), dtype=torch.int64)

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
    """z shifted right by n bits as an unsigned number; PyTorch's own shift keeps the sign."""
    return z >> n & (1 << 64 - n) - 1


def keyed(net: nn.Module) -> nn.Module:
    """A copy of the net whose dropout is `KeyedDropout`."""
    found = copy.deepcopy(net)
    for part in list(found.modules()):
        for name, child in part.named_children():
            if type(child) is nn.Dropout:
                setattr(part, name, KeyedDropout(child.p))
    return found


# ── what a step reads and writes ──────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class ClientJob:
    """One client among many: where it starts, its arrays, the rows of its batches, how it steps,
    its seed.

    `draws` is the number of examples in all its batches.

    rows gives the rows of one batch after the other, which the key has drawn; `seed` is that of its
    dropout.
    """

    start: Tensor
    data: Batch
    rows: Iterator[Ints]
    draws: int
    step: Step
    seed: int


class Form(NamedTuple):
    """What a step is made of; all else are numbers that enter it.

    All clients that train at once have one form.
    """

    optimizer: str
    decays: bool
    pulls: bool
    shifts: bool
    clip: float | None = None


@dataclass(frozen=True)
class State:
    """Tensors that steps read and write where they lie, a row for each client.

    y, moments, drift  [width, d]; the drift is centre, pull and shift, None where there is none; a
                       pull is [width, 1] where it is the same for all numbers
    rates              η and λ
    seeds, t, total    [width]: of dropout, the steps done, the sum of their losses
    on                 [width], who steps
    moves              [d], which numbers a step moves; None for all
    shares             [d], the share of η that each number has; None where all have η
    """

    y: Tensor
    moments: list[Tensor]
    drift: tuple[Tensor | None, Tensor | None, Tensor | None]
    rates: Tensor
    seeds: Tensor
    t: Tensor
    total: Tensor
    on: Tensor
    moves: Tensor | None = None
    shares: Tensor | None = None


class Examples:
    """The examples of many clients on a device: all of them at once, or those of each turn.

    All at once where they take at most HELD bytes and are not more than the batches draw.
    """

    def __init__(self, lanes: Sequence[ClientJob], targets: Types, device: torch.device):
        self.lanes = lanes
        self.targets = targets
        self.device = device
        self.kinds = [kind(lane.data, targets) for lane in lanes]
        counts = [len(target(lane.data)) for lane in lanes]
        held = sum(n * one.nbytes for n, one in zip(counts, self.kinds, strict=True))
        whole = held <= HELD and sum(counts) <= sum(lane.draws for lane in lanes)
        self.most = ROWS
        if not whole:
            largest = max(1, *(one.nbytes for one in self.kinds))
            self.most = max(1, min(ROWS, TURN // largest))
        # where each one's examples begin among those of its kind
        self._tops = np.zeros(len(lanes), np.int64)
        self._whole: dict[Kind, list[Tensor]] = {}
        if whole:
            self._hold(counts)

    def _hold(self, counts: Sequence[int]) -> None:
        """Put all examples on the device, those of one kind behind each other."""
        for one in set(self.kinds):
            alike = [i for i, other in enumerate(self.kinds) if other == one]
            self._tops[alike] = np.cumsum([0, *(counts[i] for i in alike[:-1])])
            self._whole[one] = self._joined([self.lanes[i].data for i in alike])

    def find(self, turn: Steps) -> tuple[list[Tensor], Tensor]:
        """Tensors of examples, and which of these the turn's steps are on [steps, width·batch].

        A turn is some steps of all clients that take examples of one kind. Rows of who does not
        step are any, and are computed for nothing.
        """
        steps, _, size = turn.rows.shape
        if whole := self._whole.get(turn.kind):
            rows = turn.rows + self._tops[turn.whose][:, None]
            return whole, sent(rows.reshape(steps, -1), self.device)
        now = np.flatnonzero(turn.on)
        some = self._joined(
            [pick(self.lanes[i].data, turn.rows[:, i].ravel()) for i in now.tolist()]
        )
        tops = np.searchsorted(now, turn.whose) * (steps * size)
        rows = tops[:, None] + np.arange(steps * size).reshape(steps, 1, size)
        return some, sent(rows.reshape(steps, -1), self.device)

    def _joined(self, some: Sequence[Batch]) -> list[Tensor]:
        """Inputs by position, inputs by name and targets, each of all one behind the other."""
        each = [parts(batch, self.targets) for batch in some]
        columns = zip(*((*inputs, *named.values(), y) for inputs, named, y in each), strict=True)
        return [sent(np.concatenate(column), self.device) for column in columns]


def sent(array: Vector, device: torch.device) -> Tensor:
    """The array on a device, which the caller does not wait for.

    From pinned memory, so that the copy goes on beside what the GPU computes.
    """
    tensor = torch.from_numpy(array)
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


# ── training ──────────────────────────────────────────────────────────────────────────────────────


class ClientBatch:
    """A net and its loss, for `width` clients at once; fewer are filled up, so that no bits depend
    on how many.
    """

    def __init__(self, net: nn.Module, loss: Loss, width: int, targets: Types):
        self.net = keyed(net).train()
        self.loss = loss
        self.width = width
        self.targets = targets
        self._attributes = Attributes(self.net)
        self._drops = [part for part in self.net.modules() if isinstance(part, KeyedDropout)]
        self._params = {name: p.shape for name, p in self.net.named_parameters() if p.requires_grad}

    def train(self, lanes: Sequence[ClientJob]) -> list[tuple[Tensor, int, float]]:
        """Where each client ends, in how many steps, and the sum of their losses; all step
        alike.

        Each is (y [d] in float64, steps, Σ loss). PlanError for a net that changes its attributes
        while it computes, for these would be all clients' in common.
        """
        self._attributes.reset()
        form, state = self._begin(lanes)
        examples = Examples(lanes, self.targets, state.y.device)
        for turn in turns(examples.kinds, [lane.rows for lane in lanes], self.width, examples.most):
            data, rows = examples.find(turn)
            state.on.copy_(sent(turn.on, state.on.device))
            for row in rows:
                batch = [one[row].view(self.width, -1, *one.shape[1:]) for one in data]
                self.step(form, state, batch, turn.kind.takes)
        checks.check_counting(self._attributes.changed)
        done = zip(state.y.cpu(), state.t.tolist(), state.total.tolist(), strict=True)
        return [
            (y.to(torch.double, copy=True), int(steps), loss)
            for y, steps, loss in islice(done, len(lanes))
        ]

    def _begin(self, lanes: Sequence[ClientJob]) -> tuple[Form, State]:
        """The form of their steps, and the state before the first."""
        each = [*lanes, *[lanes[0]] * (self.width - len(lanes))]
        how = lanes[0].step
        pulls = any(lane.step.centre is not None for lane in lanes)
        shifts = any(lane.step.shift is not None for lane in lanes)
        apart = any(isinstance(lane.step.pull, Tensor) for lane in lanes)
        form = Form(how.optimizer, bool(how.decay), pulls, shifts, how.clip)
        state = self._state(form, lanes[0].start, apart)
        for i, lane in enumerate(each):
            state.y[i] = lane.start
            drift = (lane.step.centre, lane.step.pull, lane.step.shift)
            for matrix, row in zip(state.drift, drift, strict=True):
                if matrix is not None and row is not None:
                    matrix[i] = row
        moves = how.moves
        if form.decays and not (pulls or shifts):
            moves = self._reached(lanes[0], moves)
        state = replace(state, moves=moves, shares=how.shares)
        state.rates.copy_(torch.tensor([how.eta, how.decay], dtype=torch.double))
        state.seeds.copy_(torch.tensor([lane.seed for lane in each]))
        return form, state

    def _reached(self, lane: ClientJob, moves: Tensor | None) -> Tensor | None:
        """Of the numbers that a step moves, those that the loss reaches: PyTorch passes by all
        others, where a gradient of 0 would let them decay. vmap takes no net that does so by turns.
        """
        inputs, named, y = parts(pick(lane.data, slice(0, 2)), self.targets)
        device = lane.start.device
        arrays = [torch.tensor(one, device=device) for one in (*inputs, *named.values(), y)]
        by_name = dict(zip(named, arrays[len(inputs) : -1], strict=True))
        given = tuple(arrays[: len(inputs)])
        cut = torch.split(lane.start, [math.prod(shape) for shape in self._params.values()])
        shaped = zip(self._params.items(), cut, strict=True)
        tensors = {name: v.view(shape).clone().requires_grad_() for (name, shape), v in shaped}
        loss = self.loss(functional_call(self.net, tensors, given, by_name), arrays[-1])
        found = torch.autograd.grad(loss, list(tensors.values()), allow_unused=True)
        if None not in found:
            return moves
        each = [v.new_full(v.shape, g is not None) for v, g in zip(cut, found, strict=True)]
        reached = torch.cat(each).bool()
        if moves is not None:
            reached &= moves
        return reached

    def _state(self, form: Form, like: Tensor, apart: bool) -> State:
        """Zeros, where such steps read and write; are numbers pulled apart from each other?"""

        def made(*shape: int, dtype: torch.dtype = torch.double) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=like.device)

        def matrix(columns: int = like.numel()) -> Tensor:
            return made(self.width, columns, dtype=torch.float32)

        moments = [matrix() for _ in range(MOMENTS.get(form.optimizer, 2))]
        centre = pull = shift = None
        if form.pulls:
            centre = matrix()
            pull = matrix()
            if not apart:
                pull = matrix(1)
        if form.shifts:
            shift = matrix()
        drift = (centre, pull, shift)
        seeds = made(self.width, dtype=torch.int64)
        on = made(self.width, dtype=torch.bool)
        return State(
            matrix(), moments, drift, made(2), seeds, made(self.width), made(self.width), on
        )

    def step(self, form: Form, state: State, batch: list[Tensor], takes: tuple[str, ...]) -> None:
        """A step of those who are on, written over their state; nothing here waits for a value.

        g ← clip(∂loss/∂y) + pull·(y − centre) + shift
        y ← y + share·(optimizer(y, g) − y)                where one steps and is moved, else y
        """
        g, values = self._gradients(state.y, batch, takes, state.seeds + state.t.long() * FIRST)
        eta, decay = state.rates.unbind()
        centre, pull, shift = state.drift
        if form.clip is not None:
            g = g * clipping(g, form.clip, state.moves)
        if centre is not None and pull is not None:
            g = g + pull * (state.y - centre)
        if shift is not None:
            g = g + shift
        state.t.add_(state.on)
        t = state.t[:, None].to(state.y)
        decays: Tensor | None = decay
        if not form.decays:
            decays = None
        y, moments = stepped(form.optimizer, state.y, g, state.moments, t, eta, decays)
        if state.shares is not None:
            y = torch.lerp(state.y, y, state.shares)
        on = state.on[:, None]
        if state.moves is not None:
            on = on & state.moves
        for old, new in zip((state.y, *state.moments), (y, *moments), strict=True):
            torch.where(on, new, old, out=old)
        state.total.add_(values.double().where(state.on, 0.0))

    def _gradients(
        self, y: Tensor, batch: list[Tensor], takes: tuple[str, ...], seeds: Tensor
    ) -> Any:
        """Each client's gradient [width, d] and loss [width].

        The net is called by functional_call on rows of y, cut and shaped as its parameters; dropout
        draws by seed and layer. `takes` names the inputs, and is empty for those that go by
        position.
        """
        count = takes[:-1].count("")

        def alone(y: Tensor, parts: list[Tensor], seed: Tensor) -> Tensor:
            *inputs, target = parts
            for i, drop in enumerate(self._drops):
                drop.seed = seed + i * SECOND
            cut = torch.split(y, [math.prod(shape) for shape in self._params.values()])
            tensors = {
                name: v.view(shape)
                for (name, shape), v in zip(self._params.items(), cut, strict=True)
            }
            by_name = dict(zip(takes[count:-1], inputs[count:], strict=True))
            return self.loss(
                functional_call(self.net, tensors, tuple(inputs[:count]), by_name), target
            )

        return vmap(grad_and_value(alone), randomness="error")(y, batch, seeds)


def placed(net: nn.Module, device: torch.device) -> nn.Module:
    """A copy of the net on a device."""
    try:
        return copy.deepcopy(net).to(device)
    except Exception as error:
        raise checks.uncopied(net, error) from error


def device_of(name: str | None) -> torch.device:
    """The device of that name; PlanError where there is none.

    None is torch.get_default_device(); an index that is left out is the current one's.
    """
    try:
        device = torch.get_default_device()
        if name is not None:
            device = torch.device(name)
    except (RuntimeError, TypeError):
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise PlanError(
            f"device={name!r}.",
            "Models train on CPUs and CUDA.",
            "Write device='cpu' or device='cuda:0'.",
        )
    if device.type == "cpu":
        return device
    count = 0
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
    if (device.index or 0) >= count:
        raise PlanError(
            f"device={name!r} is asked for, and PyTorch sees {count} CUDA devices here.",
            "It needs a GPU, its driver, and a build of PyTorch for CUDA.",
            "Write device='cpu', or see what torch.cuda.device_count() says.",
        )
    if device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cuda", device.index)
