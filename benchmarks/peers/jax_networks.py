"""The networks of networks.py in JAX."""

from __future__ import annotations

from typing import Any

import numpy as np
from jax import Array, lax, nn
from jax import numpy as jnp

SHAPES = {
    "lr": ((784, 10),),
    "2nn": ((784, 200), (200, 200), (200, 10)),
    "cnn": ((5, 5, 1, 32), (5, 5, 32, 64), (3136, 512), (512, 10)),
}


def weights(name: str, seed: int) -> list[Any]:
    """A pair (w, b) for each layer, as PyTorch draws them: U(±1/√k), where each output has k inputs."""
    rng, found = np.random.default_rng(seed), []
    for shape in SHAPES[name]:
        most = np.prod(shape[:-1]) ** -0.5
        found.append(tuple(rng.uniform(-most, most, size).astype(np.float32) for size in (shape, shape[-1:])))
    return found


def forward(name: str, layers: list[Any], x: Array) -> Array:
    """Outputs [n, 10] of images [n, 28, 28]."""
    if name == "cnn":
        x = x[..., None]
        for w, b in layers[:2]:
            x = lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + b
            x = lax.reduce_window(nn.relu(x), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        layers = layers[2:]
    x = x.reshape(len(x), -1)
    for w, b in layers[:-1]:
        x = nn.relu(x @ w + b)
    w, b = layers[-1]
    return x @ w + b
