"""What layers hold beside parameters and buffers, such as counters and lists: as it was given, at
the start of each training.
"""

from __future__ import annotations

import copy
from collections import deque
from typing import Any

import numpy as np
from torch import Tensor, nn

from .checks import MODULE

PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic)
HELD = (list, tuple, set, frozenset, deque)


class Attributes:
    """The attributes of layers that are not PyTorch's own, as they were first.

    Numbers, text, arrays, tensors, and what holds nothing else, are put back as they were; any
    other object is put back as the same object. What a layer has made since is taken away.
    """

    def __init__(self, net: nn.Module):
        self._tensors = {t.data_ptr() for t in (*net.parameters(), *net.buffers())}
        layers = [one for one in net.modules() if not type(one).__module__.startswith("torch.")]
        self._first = [(vars(one), self._kept(one)) for one in layers]

    def _kept(self, layer: nn.Module) -> dict[str, tuple[Any, bool]]:
        """Name → a value, and whether a copy of it is to be put back."""
        found = dict[str, tuple[Any, bool]]()
        for name, one in vars(layer).items():
            if name not in MODULE:
                copied = not isinstance(one, PLAIN) and self._is_data(one)
                found[name] = (copy.deepcopy(one) if copied else one), copied
        return found

    def _is_data(self, one: Any) -> bool:
        """Are these numbers and no parts of the net?"""
        if isinstance(one, Tensor):
            return not one.requires_grad and one.data_ptr() not in self._tensors
        if isinstance(one, dict):
            return all(map(self._is_data, one.values()))
        if isinstance(one, HELD):
            return all(map(self._is_data, one))
        return isinstance(one, (np.ndarray, *PLAIN))

    @property
    def changed(self) -> bool:
        """Is a number another, or an attribute new?"""
        for held, first in self._first:
            plain = {name: one for name, (one, _) in first.items() if isinstance(one, PLAIN)}
            if held.keys() - first.keys() - MODULE or any(
                held.get(name) != one for name, one in plain.items()
            ):
                return True
        return False

    def reset(self) -> None:
        """All as they were first."""
        for held, first in self._first:
            for name in held.keys() - first.keys() - MODULE:
                del held[name]
            for name, (value, copied) in first.items():
                held[name] = copy.deepcopy(value) if copied else value
