"""A model of Keras' with the weights of a vector, as a file of Keras' own."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from ...rand import Key
from ...spec import Vector
from .. import Local
from .flat import FlatKeras
from .variables import put, value


def whole(model: FlatKeras, x: Vector, local: Local) -> bytes:
    """The model with its weights, for `keras.saving.load_model`; the caller's own is as it was
    when this returns.

    It is saved as the caller has compiled it, and not as it trains here, where it has no optimizer.
    """
    net = model.net
    with model._at(x, Key.of(0), local):
        values = [(v, value(v)) for v in net.weights]
    before = [(v, value(v)) for v in net.weights]
    put(values)
    try:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            net.save(path)
            return path.read_bytes()
    finally:
        put(before)
