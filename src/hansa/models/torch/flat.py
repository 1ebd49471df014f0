"""A net as one vector: all its parameters are views of one flat tensor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ...rand import Key
from ...spec import Vector
from .. import NO_LOCAL, Local, Model, consecutive
from ..checks import check_length
from ..statistics import lower_ends
from . import checks
from .attributes import Attributes


class FlatNet(Model):
    """A net, and the vector x = [trainable parameters, buffers that travel] that it is set to.

    A subclass says how it trains and scores at some x, which `_at` sets and takes back.
    """

    net: nn.Module  # the caller's own
    buffers: Literal["average", "local"]
    threads: int
    device: torch.device

    def _flatten(self, net: nn.Module) -> None:
        """Make all trainable parameters of `net`, and their gradients, views of one tensor each.

        The net is on its device already. A buffer travels where it is floating-point, starts finite
        and is in the state_dict, and where `buffers` is "average".
        """
        self._net = net.train()
        self._attributes = Attributes(net)
        self._weights = weights = [p for p in net.parameters() if p.requires_grad]
        self._flat = torch.cat([p.detach().reshape(-1) for p in weights])
        self._flat.grad = self._grad = torch.zeros_like(self._flat)
        i = 0
        for p in weights:
            p.data, p.grad = (
                whole[i : i + p.numel()].view(p.shape) for whole in (self._flat, self._grad)
            )
            i += p.numel()
        self._places = self._where()
        lasting = net.state_dict(keep_vars=True)
        self._first = {name: b.clone() for name, b in net.named_buffers() if name in lasting}
        moving = [
            name for name, b in self._first.items() if b.is_floating_point() and b.isfinite().all()
        ]
        self._carried = {
            name: self._first[name].numel() for name in moving if self.buffers == "average"
        }
        self._start = self._vector()
        self.size = len(self._start)
        if self._staying():
            self.traits = replace(self.traits, remembers=True, statistics=True)

    def _where(self) -> list[int]:
        """Where in memory the parameters lie, and their gradients; 0 for none."""
        return [0 if t is None else t.data_ptr() for p in self._weights for t in (p, p.grad)]

    @property
    def trainable(self) -> int:
        """How many of the numbers are trained: all but the buffers."""
        return self._flat.numel()

    @property
    def domain(self) -> Vector:
        """Every `running_var` is ≥ 0."""
        return lower_ends(self._carried.items())

    def start(self, key: Key) -> Vector:
        """The weights that `net` had when it was given: the caller's seed decides, not the
        plan's.
        """
        return self._start.copy()

    def _vector(self) -> Vector:
        """x [size] of the net as it is now, in memory of its own."""
        parts = [self._flat]
        if self._carried:
            now = dict(self._net.named_buffers())
            parts += [now[name].reshape(-1) for name in self._carried]
        copies = [part.detach().to("cpu", torch.float64, copy=True).numpy() for part in parts]
        if len(copies) == 1:
            return np.asarray(copies[0])
        return np.concatenate(copies)

    def _staying(self) -> dict[str, Vector]:
        """Copies of the buffers that stay with the client, as they are now."""
        if self.buffers != "local":
            return {}
        now = dict(self._net.named_buffers())
        return {
            name: now[name].detach().cpu().numpy().copy() for name in self._first if name in now
        }

    def _load(self, x: Vector, local: Local) -> None:
        """Set the net to x, and the buffers that do not travel to the client's own or the first
        ones.

        PlanError for a vector of another length. Attributes of layers are those that were given.
        """
        check_length(np.shape(x), self)
        self._attributes.reset()
        i = self.trainable
        self._flat.copy_(torch.from_numpy(np.array(x[:i], np.float32)))
        if not self._first:
            return
        now = dict(self._net.named_buffers())
        for name, first in self._first.items():
            if name in self._carried:
                part = np.array(x[i : i + self._carried[name]])
                now[name].detach().copy_(torch.from_numpy(part).view(first.shape))
                i += part.size
            else:
                own = first
                if name in local:
                    own = torch.from_numpy(np.array(local[name]))
                now[name].detach().copy_(own)

    @contextmanager
    def _at(self, x: Vector, seed: int, local: Local = NO_LOCAL) -> Iterator[None]:
        """The net at x, with its own random numbers and threads; the caller's are given back.

            seed     of PyTorch's generators, on the CPU and on the net's GPU

        PlanError where the net has moved its parameters meanwhile, out of the tensor that is
        trained.
        """
        before = torch.get_num_threads()
        cuda = [self.device.index] * (self.device.type == "cuda")
        with torch.random.fork_rng(devices=cuda):
            if before != self.threads:  # saying the same again takes longer than a small step
                torch.set_num_threads(self.threads)
            torch.default_generator.manual_seed(seed)  # torch.manual_seed takes 20 times as long
            for index in cuda:
                torch.cuda.default_generators[index].manual_seed(seed)
            try:
                self._load(x, local)
                yield
            finally:
                if before != self.threads:
                    torch.set_num_threads(before)
        checks.check_moving(self._where() != self._places, self.net)

    @contextmanager
    def _evaluated(self, x: Vector, local: Local) -> Iterator[None]:
        """The net at x, in eval mode."""
        # not inference_mode: what a net caches must be fit for training
        with self._at(x, 0, local), torch.no_grad():
            self._net.training and self._net.eval()
            yield

    def _apart(self, x: Vector, local: Local) -> dict[str, Tensor]:
        """Copies of the tensors that differ between nets, at x; the net is left there.

        So a second net can be called on them, by functional_call, while this one trains.
        """
        self._load(x, local)
        weights = {name: p for name, p in self._net.named_parameters() if p.requires_grad}
        tensors = {**weights, **dict(self._net.named_buffers())}
        return {name: one.detach().clone() for name, one in tensors.items()}

    def _here(self, v: Vector) -> Tensor:
        """The trained numbers of a vector, where the net is."""
        return torch.from_numpy(np.array(v[: self.trainable], np.float32)).to(self.device)

    def state_dict(self, x: Vector, local: Local = NO_LOCAL) -> dict[str, Tensor]:
        """The net's state_dict with the weights and travelling buffers of x; all else is the
        client's own, or as it was given. On the CPU.
        """
        with self._at(x, 0, local):
            state = dict(self._net.state_dict())
            for name, held in state.items():
                if isinstance(held, Tensor):
                    state[name] = held.detach().clone().cpu()
            return state

    def slices(self) -> dict[str, slice]:
        """The parameters that are trained, and the buffers that travel, as `net` names them."""
        named = self._net.named_parameters()
        trained = [(name, p.numel()) for name, p in named if p.requires_grad]
        return consecutive([*trained, *self._carried.items()])

    def tensors(self, x: Vector, local: Local = NO_LOCAL) -> dict[str, Vector]:
        """The tensors of `state_dict` as NumPy arrays."""
        found = dict[str, Vector]()
        for name, part in self.state_dict(x, local).items():
            if isinstance(part, Tensor):
                found[name] = _array(part)
        return found

    def load(self, x: Vector) -> nn.Module:
        """Put x into the module that was given, and return it.

        Buffers that do not travel stay as they were given.
        """
        with self._at(x, 0):
            self.net.load_state_dict(self._net.state_dict())
        return self.net


def _array(tensor: Tensor) -> Vector:
    """A tensor of the CPU in NumPy, which has no bfloat16: as float32."""
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    found: Vector = tensor.numpy()
    return found
