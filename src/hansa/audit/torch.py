"""Gradient inversion of PyTorch models by descent: which record would have given this gradient?

Any network is inverted so that has derivatives of second order; how well depends on its depth and
on how many records the gradient is the mean of. A better search may find more.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..rand import Key
from ..spec import Vector

if TYPE_CHECKING:
    from ..models.torch import TorchModel

STARTS = 2  # of the descent; the one that comes closest counts
STEPS = 300
RATE = 0.1
POLISH = 100
SMOOTH = 1e-4  # weight of the total variation, for images


def descended(model: TorchModel, x: Vector, g: Vector, true: Vector, y: Vector) -> Vector:
    """The record a that is least in a distance of gradients, by Adam from N(0, 1) and then L-BFGS.

        1 − cos(∂loss(a, y)/∂x, g) + α·TV(a)

    g: the gradient that was seen. y: the label, which is known. true: of whose shape alone is used.
    TV, of images only, is the mean distance of neighbouring pixels. Of STARTS beginnings the one
    that comes closest counts.   (Geiping et al. 2020, eq. 4; Zhu et al. 2019)
    """
    net = copy.deepcopy(model.net).cpu().double()
    net.load_state_dict(model.state_dict(x))
    weights = [p for p in net.parameters() if p.requires_grad]
    aim = torch.from_numpy(np.array(g[: model.trainable], np.float64))
    kind = torch.float64
    if y.dtype.kind in "iub":
        kind = torch.int64
    label = torch.from_numpy(np.array(y)).to(kind)

    def apart(a: Tensor) -> Tensor:
        """How far the gradient of this record is from the one that was seen."""
        parts = torch.autograd.grad(model.loss(net(a), label), weights, create_graph=True)
        here = torch.cat([part.reshape(-1) for part in parts])
        return 1 - F.cosine_similarity(here, aim, dim=0, eps=1e-30) + SMOOTH * _variation(a)

    before = torch.get_num_threads()
    found = list[tuple[float, Vector]]()
    torch.set_num_threads(model.threads)
    try:
        with torch.enable_grad():
            for start in range(STARTS):
                a = torch.from_numpy(Key.of(start).child("start").normal((1, *true.shape)))
                found.append(_descend(a.requires_grad_(), apart))
    finally:
        torch.set_num_threads(before)
    return min(found, key=lambda pair: pair[0])[1]


def _descend(a: Tensor, apart: Callable[[Tensor], Tensor]) -> tuple[float, Vector]:
    """How far apart the gradients are in the end, and for which record.

    Adam comes near from afar, and L-BFGS ends what it has begun.
    """
    adam = torch.optim.Adam([a], RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, STEPS)
    for _ in range(STEPS):
        a.grad = torch.autograd.grad(apart(a), a)[0]
        adam.step()
        schedule.step()
    polish = torch.optim.LBFGS([a], max_iter=POLISH, history_size=50, line_search_fn="strong_wolfe")

    def again() -> float:
        loss = apart(a)
        a.grad = torch.autograd.grad(loss, a)[0]
        return float(loss.detach())

    polish.step(again)  # type: ignore[no-untyped-call]
    return again(), np.asarray(a.detach()[0].numpy(), np.float64)


def _variation(a: Tensor) -> Tensor:
    """TV of an image [1, channels, height, width]; 0 for what is none."""
    if a.ndim != 4:
        return torch.zeros((), dtype=a.dtype)
    return (a[..., 1:, :] - a[..., :-1, :]).abs().mean() + (a[..., 1:] - a[..., :-1]).abs().mean()
