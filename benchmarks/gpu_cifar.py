"""CIFAR-10 among 1,000 users of 50 images, as pfl-research times it: cohort 50, one local epoch of batches of 10.

The network is theirs, of 1,626,442 numbers; SGD at 0.1, no augmentation, 10,000 test images scored every 10 rounds.
Two ways in turn: a cohort's clients one after another, which stops after a few rounds; as one batch. Images are those
packed as JPEG in $HANSA_DATA/cifar10_jpeg (which needs Pillow); without them, random ones of their shape, and the
result says so: then only the seconds mean anything.

    python benchmarks/gpu_cifar.py --save                      both ways on CUDA, the last for 1,500 rounds
    python benchmarks/gpu_cifar.py --rounds 1 --cohort 2       a look at whether it runs, on any machine
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from typing import Any

import numpy as np
import torch
from common import DATA, save
from torch import nn

import hansa as h

USERS, IMAGES, TEST, SCORED = 1000, 50, 10_000, 10
MEAN, DEVIATION = np.float32([0.491, 0.482, 0.447]), np.float32([0.247, 0.243, 0.262])


def network() -> nn.Module:
    """Two convolutions and two layers; Glorot's first weights."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(12_544, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, 10),
    )
    for part in net:
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)
    return net


def images(split: str, n: int, seed: int) -> tuple[Any, Any, str]:
    """n images [n, 3, 32, 32], shuffled, their labels, and where they are from."""
    file, rng = DATA / "cifar10_jpeg" / f"cifar10_{split}_jpeg.npz", np.random.default_rng(seed)
    if not file.is_file():
        return rng.standard_normal((n, 3, 32, 32), np.float32), rng.integers(0, 10, n), "random numbers"
    from PIL import Image

    with np.load(file, allow_pickle=False) as packed:
        jpeg, offset, label = packed["jpeg"], packed["offset"], packed["label"].astype(np.int64)
    rows = rng.permutation(len(label))[:n]
    pixels = [np.asarray(Image.open(io.BytesIO(jpeg[offset[i] : offset[i + 1]].tobytes()))) for i in rows]
    scaled = (np.stack(pixels).astype(np.float32) / 255 - MEAN) / DEVIATION
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)), label[rows], "CIFAR-10, from JPEG"


def main() -> None:
    """Train in each way, and save how long rounds take and how good the model is."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--rounds", type=int, default=1500, help="of the last way")
    ask.add_argument("--few", type=int, default=20, help="rounds of the others")
    ask.add_argument("--cohort", type=int, default=50, help="clients in a round")
    ask.add_argument("--together", type=int, nargs="*", help="of these, as one batch, in each way; 1 for one by one")
    ask.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    ask.add_argument("--save", action="store_true", help="write benchmarks/results/gpu_cifar.json")
    given = ask.parse_args()

    ways = given.together or ([1, given.cohort] if given.device != "cpu" else [1])
    train, test, rows = images("train", USERS * IMAGES, 1), images("test", TEST, 2)[:2], []
    for i, together in enumerate(ways, 1):
        rounds = given.rounds if i == len(ways) else min(given.few, given.rounds)
        model = h.TorchModel(network(), nn.functional.cross_entropy, device=given.device, cohort=together)
        rows.append(trained(model, train, test, rounds, given.cohort))
        print(rows[-1], flush=True)
        if given.save:
            save("gpu_cifar", rows)


def trained(model: h.TorchModel, train: tuple[Any, Any, str], test: Any, rounds: int, cohort: int) -> dict[str, Any]:
    """A run's row of the table."""
    plan = h.Plan(model, training=h.Training(batch=10, learning_rate=0.1), sample=h.Uniform(cohort), rounds=rounds)
    users = h.data.clients(train[:2], h.data.iid(USERS * IMAGES, USERS, h.Key.of(0)))
    runtime = h.InProcess(h.Client(who, plan, data) for who, data in users.items())

    seconds, scores, begin = [], {}, time.perf_counter()
    last = begin
    for state in h.synchronous(plan, runtime):
        now = time.perf_counter()
        seconds.append(now - last)
        if state.round % SCORED == 0 or state.round == plan.rounds:
            scores = model.score(state.x, test)
            print(f"round {state.round}: {statistics.median(seconds):.3f} s each, {scores}", flush=True)
        last = time.perf_counter()
    return {
        "device": torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else "cpu",
        "images": train[2],
        "numbers": model.size,
        "rounds": plan.rounds,
        "cohort": cohort,
        "together": model.cohort,
        "round_s": statistics.median(seconds),
        "all_s": last - begin,
        **scores,
    }


if __name__ == "__main__":
    main()
