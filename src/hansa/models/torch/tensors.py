"""Batches as the tensors that a net takes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...data.batches import Batch
from ...data.inputs import Types, parts
from ...spec import Vector

ALIGNED = 16  # bytes; see TorchModel on equal bytes


@dataclass(frozen=True)
class Tensors:
    """How batches of NumPy arrays become tensors.

    targets   the types in which a loss takes its targets
    device    where the net is
    """

    targets: Types
    device: torch.device

    def __call__(self, batch: Batch) -> tuple[list[Tensor], dict[str, Tensor], Tensor]:
        """What the net takes by position, what by name, and the targets."""
        inputs, named, y = parts(batch, self.targets)
        return (
            [self._tensor(a) for a in inputs],
            {name: self._tensor(a) for name, a in named.items()},
            self._tensor(y),
        )

    def _tensor(self, array: Vector) -> Tensor:
        """An array where the net is; on a CPU at a multiple of ALIGNED bytes, copied where it is
        not.
        """
        tensor = torch.from_numpy(array)
        if self.device.type != "cpu":
            return tensor.to(self.device, non_blocking=True)
        if tensor.data_ptr() % ALIGNED:
            return tensor.clone()
        return tensor
