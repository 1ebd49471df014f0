"""Weights in files for other programs, each in the form that its ending names.

    .safetensors, .npz   any model, as named arrays
    .pt                  the same as tensors of PyTorch, where that is installed
    .keras               a Keras model, whole

Nothing that is written here is read again: no file of weights is ever unpickled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from safetensors import numpy as safetensors

from .. import private
from ..errors import AppError
from ..models import NO_LOCAL, Local, Model
from ..spec import Vector
from . import files

KERAS = ".keras"


def export(
    x: Vector, path: str | Path, model: Model | None = None, local: Local = NO_LOCAL
) -> None:
    """Write weights to a file in the form that its ending names: as `model` names them, for a
    PyTorch model the entries of its state_dict; of a client's own model also what it keeps of it,
    `local`.

    Without a model, and for one without names, the file holds one tensor "x" [size]. AppError for
    an ending that this model is not written with; it names those that it is.
    """
    if check_ending(path, model) == KERAS:
        _write(path, import_module("..models.keras.files", __package__).whole(model, x, local))
    else:
        write_tensors({"x": x} if model is None else model.tensors(x, local), path)


def write_tensors(tensors: Mapping[str, Any], path: str | Path) -> None:
    """Write arrays by their names; AppError for an ending that is none of arrays."""
    write = ARRAYS[check_ending(path)]
    _write(path, write({name: np.array(tensor, order="C") for name, tensor in tensors.items()}))


def check_ending(path: str | Path, model: Model | None = None) -> str:
    """The ending of a file of weights; AppError where none is written so."""
    ending = Path(path).suffix.lower()
    known = [one for one in ARRAYS if one != ".pt" or find_spec("torch") is not None]
    if _of_keras(model):
        known.append(KERAS)
    if ending in known:
        return ending
    raise AppError(
        f"{Path(path).name} does not end as a file that these weights are written to.",
        f"They are written as {', '.join(known)}.",
        f"Name it {Path(path).stem}.safetensors, say.",
    )


def _of_keras(model: Model | None) -> bool:
    """Is it a Keras model, and not the part of one that travels?"""
    room = f"{Model.__module__}.keras"
    return any(f"{kind.__module__}.".startswith(f"{room}.") for kind in type(model).__mro__)


def _npz(arrays: Mapping[str, Any]) -> bytes:
    """As numpy.savez writes them, which takes no array that is called "file"."""
    buffer = BytesIO()
    with ZipFile(buffer, "w") as held:
        for name, array in arrays.items():
            with held.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return buffer.getvalue()


def _pt(arrays: Mapping[str, Any]) -> bytes:
    """As torch.save writes a dict of tensors."""
    found: bytes = import_module("..models.torch.files", __package__).of_arrays(arrays)
    return found


def _write(path: str | Path, data: bytes) -> None:
    """All of a file, or nothing."""
    files.write(Path(path), [data])
    private.settle(Path(path).parent)


ARRAYS: Mapping[str, Callable[[Mapping[str, Any]], bytes]] = {
    ".safetensors": lambda arrays: safetensors.save(dict(arrays)),
    ".npz": _npz,
    ".pt": _pt,
}
