"""The gradients of single examples in PyTorch, each clipped, and their sum with noise."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad_and_value, vmap

from ...data.batches import Batch, length, pieces, weighed
from ...data.examples import Examples
from ...rand import Key
from ...training import Training
from .. import consecutive
from . import checks
from .scores import check_alone
from .seen import Objective
from .tensors import Tensors

GRADIENTS = 2**22  # numbers in the gradients of single examples that are held at once


class Clipped:
    """What adds PerExample's gradient of a batch to that of a net, some examples at a time.

        g = (Σᵢ gᵢ · min(1, C/‖gᵢ‖) + noise) / b

    gᵢ is the gradient of one example, by the parts that are `moved`, and counts as 0 where it is
    not finite; C the clip, b the number of examples that a batch has on average.
    """

    def __init__(
        self,
        net: nn.Module,
        objective: Objective,
        tensors: Tensors,
        training: Training,
        data: Examples,
        key: Key,
        moved: Mapping[str, bool],
    ):
        assert training.private is not None
        if objective.others or objective.told:  # more than it saw when it was checked
            net.eval()
            check_alone(net, objective, tensors, next(data.whole()), "the client")
            net.train()
        self._tensors = tensors
        self._private = training.private
        self._b = training.counts(len(data))[0]
        self._key = key
        self._steps = count()
        every = {name: p.detach() for name, p in net.named_parameters()}
        self._weights = {name: every[name] for name, moves in moved.items() if moves}
        sizes = ((name, every[name].numel()) for name in moved)
        self._places = consecutive(sizes)

        def alone(weights: Any, inputs: Any, named: Any, y: Tensor) -> Tensor:
            """The loss of one example, as a batch of one."""
            whole = {**every, **weights}
            return objective(net, inputs, named, y, whole)

        self._each = vmap(grad_and_value(alone), in_dims=(None, 0, 0, 0), randomness="different")

    def add(self, batch: Batch, total: Tensor) -> Tensor:
        """Add the gradient of the batch to `total` [trainable numbers]; its mean loss.

        Weights count before the clip, so that none is worth more than C. A batch of none is a step
        of noise. GRADIENTS bounds how many numbers are held at once.
        """
        loss = torch.zeros((), device=total.device)
        for piece in pieces(batch, max(1, GRADIENTS // len(total))):
            piece, weights = weighed(piece)
            inputs, named, y = self._tensors(piece)
            one = (
                [a[:, None] for a in inputs],
                {name: a[:, None] for name, a in named.items()},
                y[:, None],
            )
            with checks.vmapped():
                found, losses = self._each(self._weights, *one)
            loss += losses.sum()
            parts = [found[name].reshape(len(y), -1) for name in self._weights]
            if weights is not None:
                w = torch.as_tensor(weights).to(losses)[:, None]
                parts = [w * g for g in parts]
            norms = torch.stack([g.norm(dim=1) for g in parts]).norm(dim=0)
            scale = self._private.clip / norms.clamp(min=self._private.clip)
            if not (good := norms.isfinite()).all():
                scale = scale.where(good, 0)
                parts = [g.where(good[:, None], 0) for g in parts]
            for name, g in zip(self._weights, parts, strict=True):
                total[self._places[name]] += scale @ g
        noise = self._private.drawn((len(total),), self._key.child("noise", next(self._steps)))
        total.add_(torch.from_numpy(noise).to(total)).div_(self._b)
        return loss / max(1, length(batch))
