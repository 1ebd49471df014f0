"""Devices: where JAX computes on this machine."""

from __future__ import annotations

import jax


def named() -> str:
    """Each device that it sees, by its kind, those of the default backend."""
    found = [one.device_kind for one in jax.devices()]
    if {one.platform for one in jax.devices()} == {"cpu"}:
        return "the CPU alone"
    return ", ".join(found)
