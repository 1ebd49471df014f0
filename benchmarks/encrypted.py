"""Sums under encryption on one core: what encryption, sharing and opening take for vectors of d words of 16 bits.

Each step is timed in turn with the others, and with TenSEAL and OpenFHE where they can be imported (benchmarks/peers.sh
tenseal; OpenFHE has wheels for some versions of Python alone), in
seconds of processor time, so that what else the machine does weighs on all alike; what counts is the median. `products`
are the transforms that an encryption contains, alone. What is opened is checked. Then memory, beside what has to be
there.

    python benchmarks/encrypted.py          d = 1e6 and 1e7; writes benchmarks/results/encrypted.json
    python benchmarks/encrypted.py 1e5      another d, which is not kept
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import json
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, save

from hansa.aggregators.encrypted import EncryptedSum
from hansa.aggregators.hidden.terms import needed, sharing_of
from hansa.crypto.field import Field64
from hansa.crypto.lattice import Key, add, decrypt, fits, product, ready, rows
from hansa.crypto.packing import DEGREE, packing

NUMBERS, CLIENTS = (10**6, 10**7), (10, 100)
BINDING = bytes(32)
PEERS = Path(os.environ.get("HANSA_PEERS", ROOT / "benchmarks" / ".peers"))
PLOT = ROOT / "docs" / "encrypted.svg"
SCRIPTS = {"tenseal": "tenseal_ckks.py", "openfhe": "openfhe_ckks.py"}


class Peer:
    """Another library in a process of its own, with its own interpreter."""

    def __init__(self, name: str, d: int):
        script = ROOT / "benchmarks" / "peers" / SCRIPTS[name]
        command = [str(interpreter(name)), str(script), str(d)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def turn(self) -> dict[str, Any]:
        """What one turn took."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = next(line for line in self.process.stdout if line.startswith("{"))  # it warns, too
        found: dict[str, Any] = json.loads(answer)
        return found

    def close(self) -> None:
        """No more is asked."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def interpreter(name: str) -> Path:
    """Of a peer: its own, or where there is none this one."""
    own = PEERS / name / "bin" / "python"
    return own if own.exists() else Path(sys.executable)


@cache
def importable(name: str) -> bool:
    """Has its interpreter the library?"""
    tried = subprocess.run([str(interpreter(name)), "-c", f"import {name}"], capture_output=True)
    return tried.returncode == 0


def timed(step: Callable[[], Any]) -> float:
    """Seconds of the processor."""
    begin = time.process_time()
    step()
    return time.process_time() - begin


def row(n: int, d: int) -> dict[str, Any]:
    """All steps for one n and d."""
    way = packing(16, n, d)
    v = np.random.default_rng(n).integers(0, 2**16, d, np.uint16)
    key = Key.fresh()
    sharing = sharing_of(EncryptedSum.scheme, n, needed(2 / 3, n))
    shares = sharing.share(key.s)
    c = key.encrypt(v, BINDING, way)
    total = np.zeros(way.coefficients, np.uint64)
    add(total, c)
    opened, _ = decrypt(total, key.s, BINDING, way)
    assert np.array_equal(opened, v)
    drawn = list(rows(BINDING, min(way.coefficients, 100 * DEGREE)))  # as many as a cache would hold do not count
    transforms = -(-way.coefficients // DEGREE)
    places = range(1, sharing.t + 1)
    steps: Mapping[str, Callable[[], Any]] = {
        "encrypt": lambda: key.encrypt(v, BINDING, way),
        "products": lambda: [product(drawn[i % len(drawn)], prepared) for i in range(transforms)],
        "share": lambda: sharing.share(key.s),
        "add": lambda: [fits(c, way), add(total, c)],
        "open key": lambda: sharing.open(places, shares[: sharing.t], DEGREE),
        "open": lambda: decrypt(total, key.s, BINDING, way),
    }
    prepared = ready(key.s)
    peers = {name: Peer(name, d) for name in SCRIPTS if importable(name)}
    took: dict[str, list[float]] = {name: [] for name in steps}
    theirs: dict[str, list[dict[str, Any]]] = {name: [] for name in peers}
    for _ in range(7 if d <= 10**6 else 3):
        for name, step in steps.items():
            took[name].append(timed(step))
        for name, peer in peers.items():
            theirs[name].append(peer.turn())
    found = {name: statistics.median(one) for name, one in took.items()}
    found |= {"bytes": c.nbytes, "bytes a number": c.nbytes / d, "shares": 8 * n * shares.shape[1]}
    found["encrypt / products"] = statistics.median(
        a / b for a, b in zip(took["encrypt"], took["products"], strict=True)
    )
    beside: dict[str, Any] = {}
    for name in SCRIPTS:
        if name not in peers:
            beside[name] = "not importable here"
            continue
        peers[name].close()
        turns = theirs[name]
        ratios = [one["encrypt"] / mine for one, mine in zip(turns, took["encrypt"], strict=True)]
        beside[name] = {
            step: statistics.median(one[step] for one in turns) for step in ("encrypt", "add", "open", "bytes")
        }
        beside[name] |= {"times the time": statistics.median(ratios), "times the bytes": turns[0]["bytes"] / c.nbytes}
    return {"n": n, "d": d, "each": way.each, **found, **beside}


def memory(d: int) -> dict[str, Any]:
    """Bytes that an encryption and an opening hold beside the vector, the ciphertext and the sum."""
    way = packing(16, 10, d)
    v = np.zeros(d, np.uint16)
    key = Key.fresh()
    c = key.encrypt(v[:DEGREE], BINDING, packing(16, 10, DEGREE))
    tracemalloc.start()
    c = key.encrypt(v, BINDING, way)
    encrypting = tracemalloc.get_traced_memory()[1] - c.nbytes
    tracemalloc.stop()
    total = np.zeros(way.coefficients, np.uint64)
    add(total, c)
    tracemalloc.start()
    opened, _ = decrypt(total, Field64.integers(Field64.signed(key.s)), BINDING, way)
    opening = tracemalloc.get_traced_memory()[1] - opened.nbytes
    tracemalloc.stop()
    return {"d": d, "beside encrypting": encrypting, "beside opening": opening}


def plot(rows: list[dict[str, Any]]) -> None:
    """Bars: what one ciphertext takes, step by step, beside its transforms alone."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "hansa", "font.size": 9}
    from matplotlib import pyplot

    here = [row for row in rows if row.get("d") == 10**6 and "n" in row]
    steps = ("products", "encrypt", "share", "add", "open key", "open")
    figure, axes = pyplot.subplots(figsize=(7.2, 2.4), layout="constrained")
    for k, row in enumerate(here):
        places = np.arange(len(steps))[::-1] + 0.2 - 0.4 * k
        axes.barh(places, [1e3 * row[step] for step in steps], 0.38, label=f"{row['n']} clients")
    axes.set_yticks(np.arange(len(steps))[::-1], ["transforms alone", *steps[1:]])
    axes.set_xlabel("milliseconds of one core, for a million numbers")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(PLOT, metadata={"Date": None})
    pyplot.close(figure)


if __name__ == "__main__":
    sizes = [int(float(one)) for one in sys.argv[1:]]
    found = list[dict[str, Any]]()
    for d in sizes or NUMBERS:
        for n in CLIENTS:
            found.append(row(n, d))
            print(found[-1], flush=True)
    for d in sizes or (*NUMBERS, 10**8):
        found.append(memory(d))
        print(found[-1], flush=True)
    if not sizes:
        save("encrypted", found)
        plot(found)
