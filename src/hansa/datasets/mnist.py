"""MNIST, 70,000 handwritten digits, and the two partitions of McMahan et al. 2017."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..data.partition import iid, numbered, shards
from ..errors import DataError
from ..rand import Key
from . import folder

FILES = {  # SHA-256 of the files before packing
    "train-images-idx3-ubyte.gz": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    "train-labels-idx1-ubyte.gz": (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
URLS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

Examples = tuple[NDArray[np.float32], NDArray[np.int64]]  # X [n, 28, 28] in 0 … 1, y [n] in 0 … 9


def mnist() -> tuple[Examples, Examples]:
    """(train, test): 60,000 and 10,000 digits, each (X float32 [n, 28, 28], y int64 [n]).

        x = pixel / 255

    (LeCun, Cortes, Burges, "The MNIST database of handwritten digits", 1998)
    """
    place = folder("mnist", FILES, URLS)
    return _part(place, "train"), _part(place, "t10k")


def mnist_clients(
    split: Literal["iid", "shards"] = "iid", clients: int = 100, key: Key = Key.of(0)
) -> tuple[dict[str, Examples], Examples]:
    """(clients, test): 100 clients of 600 digits each, at random or in two shards.

    A shard holds 300 neighbours of all digits sorted by their label, so that most clients see two
    digits only: the paper's pathological non-IID partition.   (McMahan et al. 2017, §3)
    """
    if split not in ("iid", "shards"):
        raise DataError(
            f"split={split!r}.", "MNIST is dealt out in two ways.", "Write 'iid' or 'shards'."
        )
    (X, y), test = mnist()
    if split == "iid":
        parts = iid(len(y), clients, key)
    else:
        parts = shards(y, clients, 2, key)
    dealt = zip(numbered(clients), parts, strict=True)
    return {name: (X[rows], y[rows]) for name, rows in dealt}, test


def _part(place: Path, part: str) -> Examples:
    """The images and labels of "train" or "t10k"."""
    images = _idx(place / f"{part}-images-idx3-ubyte.gz").astype(np.float32)
    images /= 255
    return images, _idx(place / f"{part}-labels-idx1-ubyte.gz").astype(np.int64)


def _idx(path: Path) -> NDArray[Any]:
    """The array in an idx file of bytes.

    0, 0, 8, number of dimensions ‖ the dimensions, uint32, big-endian ‖ the bytes
    """
    with gzip.open(path) as file:
        content = file.read()
    shape = np.frombuffer(content, ">u4", content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
