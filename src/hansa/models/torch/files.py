"""Named arrays as a file of PyTorch's."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import torch


def of_arrays(arrays: Mapping[str, Any]) -> bytes:
    """A plain dict of tensors by name, which torch.load(…, weights_only=True) reads; of a
    TorchModel it is the state_dict.
    """
    buffer = BytesIO()
    torch.save({name: torch.from_numpy(array.copy()) for name, array in arrays.items()}, buffer)
    return buffer.getvalue()
