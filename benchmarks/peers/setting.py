"""What every program of benchmarks/simulation.py is given: a setting, the same data, and turns to run its rounds in.

A program stays alive and waits while the others run. On a line with a number it runs so many rounds and answers with
their seconds, from round to round; on "loss" it answers with the mean loss of its model on the first examples. Only
NumPy is needed here, for each peer has an environment of its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

RATE, BATCH, SCORED = 0.05, 10, 1000  # learning rate, examples in a batch, examples that the last model is scored on


class Setting(NamedTuple):
    """One experiment: a network, how many clients with how many examples each, and how many are in a round."""

    net: str
    clients: int
    examples: int
    cohort: int


SETTINGS = {  # 60,000 examples of MNIST's shape in each
    "lr": Setting("lr", 100, 600, 10),
    "2nn": Setting("2nn", 100, 600, 10),
    "small": Setting("2nn", 600, 100, 100),
    "cnn": Setting("cnn", 100, 600, 10),
}


def made(folder: Path) -> None:
    """Write 60,000 images [28, 28] of random numbers, and classes that a softmax regression can learn of them."""
    rng = np.random.default_rng(0)
    x = rng.random((60_000, 28, 28), dtype=np.float32)
    y = ((x.reshape(len(x), -1) - 0.5) @ rng.standard_normal((784, 10), dtype=np.float32)).argmax(1)
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)


def read(setting: Setting, mapped: bool = False) -> tuple[Any, Any]:
    """Images [clients, examples, 28, 28] and classes [clients, examples]; in memory, or mapped from the file."""
    folder, shape = Path(os.environ["HANSA_SIMULATION"]), (setting.clients, setting.examples)
    x, y = (np.load(folder / f"{name}.npy", mmap_mode="c" if mapped else None) for name in "xy")
    return x.reshape(*shape, 28, 28), y.reshape(shape)


def turns(loss: Callable[[], float]) -> Iterator[None]:
    """Each `next` ends a round; between turns it waits. What libraries print goes to the standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        if line.strip() == "loss":
            print(json.dumps({"loss": loss()}), file=answers)
            continue
        seconds = []
        for _ in range(int(line)):
            begin = time.perf_counter()
            yield
            seconds.append(time.perf_counter() - begin)
        print(json.dumps({"seconds": seconds}), file=answers)
    os._exit(0)  # whatever the library would still do
