"""Devices: where PyTorch can train on this machine."""

from __future__ import annotations

import torch


def named() -> str:
    """Each GPU that it sees, by its name."""
    found = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join(found) or "the CPU alone"
