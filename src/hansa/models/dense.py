"""What `dense.cpp` trains, and the call: a client's whole training, on one core, straight from its
arrays.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import native
from ..data.batches import Batch, relative, weighed
from ..data.blocks import aligned, picked
from ..progress import tell
from ..rand import Key
from ..spec import Vector
from ..training import Training
from . import Drift, TrainResult

SOURCE = Path(native.__file__).with_name("dense.cpp")
HEADER = SOURCE.with_name("products.hpp")

# by their numbers in dense.cpp, as are the others
ACTIVATIONS = ("identity", "relu", "tanh", "sigmoid")
LOSSES = (
    "cross_entropy",
    "mse_loss",
    "binary_cross_entropy_with_logits",
    "l1_loss",
    "smooth_l1_loss",
)
OPTIMIZERS = ("sgd", "momentum", "adam", "adamw")

log = logging.getLogger("hansa")


class Layer(NamedTuple):
    """a ↦ f(W a + b + skip): sizes, places of W [outputs, inputs] and b in the vector of
    parameters, f, what is added.

    −1 stands for no b, and for no W: then W a is a. `skip` is the number of an activation, 0 for
    the inputs, i for what the i-th layer gives; −1 for none.
    """

    inputs: int
    outputs: int
    weights: int
    bias: int
    activation: str
    skip: int = -1


class Net(NamedTuple):
    """Layers one after the other, and a mean loss; does it lay each example out flat first?

    A loss is one of LOSSES, without settings. Targets are labels [n] for cross_entropy, and numbers
    [n, outputs] for the others.
    """

    layers: tuple[Layer, ...]
    loss: str
    flattens: bool

    def examples(self, whole: Batch) -> tuple[Vector, Vector] | None:
        """Inputs [n, …] and targets as the program reads them; None where it cannot, and PyTorch
        will say why.

        Inputs are one array of floats whose examples have as many numbers as the first layer reads,
        targets are what the loss takes, and all examples count alike.
        """
        whole, weights = weighed(whole)
        if relative(weights) is not None:
            return None
        if isinstance(whole, Mapping):
            inputs = [array for name, array in whole.items() if name != "y"]
            y = whole.get("y", np.empty(0))
        else:
            *inputs, y = whole
        if len(inputs) != 1 or not len(y) or inputs[0].dtype.kind != "f" or inputs[0].ndim < 2:
            return None
        width = self.layers[0].inputs
        outputs = self.layers[-1].outputs
        if inputs[0][0].size != width or not (self.flattens or inputs[0].ndim == 2):
            return None
        if self.loss == "cross_entropy":
            if y.ndim != 1 or y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= outputs:
                return None
            y = np.ascontiguousarray(y, np.int64)
        elif y.shape != (len(y), outputs) or y.dtype.kind not in "fiub":
            return None
        else:
            y = np.ascontiguousarray(y, np.float32)
        return np.ascontiguousarray(inputs[0], np.float32), y


class Program:
    """The native training of one net.

    Its memory for activations is kept, and written over in each training.
    """

    def __init__(self, net: Net):
        self.net = net
        rows = [(*one[:4], ACTIVATIONS.index(one.activation), one.skip, 0) for one in net.layers]
        self._layers = np.array(rows, np.int64)
        self._work = aligned((0,))  # new memory for each client would cost more than its arithmetic

    def train(
        self,
        x: Vector,
        data: Batch,
        training: Training,
        drift: Drift,
        key: Key,
        fixed: Collection[int] = (),
    ) -> TrainResult | None:
        """What `Model.train` gives for arrays; None for such as the program cannot read, for a
        clip, rates or another optimizer, or without a compiler.

        fixed: where those tensors begin in x that stay as they are.
        """
        library = loaded()
        found = self.net.examples(data)
        moved = [v for v in (drift.centre, drift.shift, drift.apart) if v is not None]
        if (
            found is None
            or not isinstance(library, ctypes.CDLL)
            or training.clip is not None
            or training.rates
            or training.optimizer not in OPTIMIZERS
            or any(np.shape(v) != x.shape for v in moved)
        ):
            return None
        inputs, targets = found
        some = [
            (rows.reshape(-1), sizes)
            for rows, sizes in picked(len(targets), training, key, padded=False)
        ]
        rows, sizes = (np.concatenate(parts) for parts in zip(*some, strict=True))
        told = list(map(_doubles, drift.vectors(x)))
        step = Step(
            OPTIMIZERS.index(training.optimizer),
            training.learning_rate,
            training.weight_decay,
            drift.alike,
            *map(_place, told),
        )
        layers = self._with(fixed)
        net = _place(layers), len(self._layers), int(sizes.max()), ctypes.byref(step)
        if (room := library.room(*net)) > len(self._work):
            self._work = aligned((room,))
        start = np.ascontiguousarray(x, np.float64)
        end = np.empty(len(x))
        arrays = map(_place, (start, end, inputs, targets, rows, sizes))
        done = ctypes.c_int64()
        tell("step", done=lambda: done.value, total=len(sizes))
        more = len(sizes), _place(self._work), ctypes.byref(done)
        loss = library.train(*net, LOSSES.index(self.net.loss), *arrays, *more)
        return TrainResult(end, len(sizes), loss / len(sizes))

    def _with(self, fixed: Collection[int]) -> Vector:
        """The layers, with what of each stays as it is: 1 for W, 2 for b, and their sum."""
        if not fixed:
            return self._layers
        layers = self._layers.copy()
        layers[:, -1] = [
            (one.weights in fixed) + 2 * (one.bias in fixed) for one in self.net.layers
        ]
        return layers


class Step(ctypes.Structure):
    """`Step` of dense.cpp.

    The fields are those of the struct, in its order; a null pointer stands for a vector that is not
    there.
    """

    _fields_ = (
        ("optimizer", ctypes.c_int64),
        ("rate", ctypes.c_double),
        ("decay", ctypes.c_double),
        ("pull", ctypes.c_double),
        ("centre", ctypes.c_void_p),
        ("pulls", ctypes.c_void_p),
        ("shift", ctypes.c_void_p),
    )


def _doubles(v: Vector | None) -> Vector | None:
    """A vector as the program reads it; None stays what it is."""
    if v is None:
        return None
    return np.ascontiguousarray(v, np.float64)


def _place(array: Vector | None) -> Any:
    """Where an array lies in memory; the null pointer for none.

    The program reads there while the call lasts, so the caller holds the array until then.
    """
    if array is None:
        return None
    return array.ctypes.data


@cache
def loaded() -> ctypes.CDLL | str:
    """The native program of this machine, or why there is none, which is said once.

    It is compiled once for a machine and kept, see `native`. A text in its place is the compiler's
    reason.
    """
    library = native.loaded(SOURCE, HEADER)
    if isinstance(library, str):
        log.warning("Dense networks train without our own program: %s", library)
        return library
    place = ctypes.c_void_p
    whole = ctypes.c_int64
    net: list[Any] = [place, whole, whole, place]
    library.room.argtypes = net
    library.room.restype = whole
    library.train.argtypes = [*net, whole, *[place] * 6, whole, place, place]
    library.train.restype = ctypes.c_double
    return library
