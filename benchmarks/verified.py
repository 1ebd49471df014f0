"""Verified sums on one core: what a client and the aggregators compute and send, for vectors of d numbers.

Each variant is timed in turns with the others, in seconds of processor time, so that what else the machine does weighs
on all alike; what counts is the median of the ratios within a turn. The prototype is pine_nb2.py, a script that was
written to see how fast the draft's Pine64HmacSha256Aes128 can be; it is looked for beside the public data, and its
column is missing where it is not there. draft02 takes the prototype's chunks, so both send the same bytes, which is
checked; product is what `VerifiedSum` uses. Then the first use, with nothing compiled, and memory.

    python benchmarks/verified.py             d = 1e5, 1e6, 1e7
    python benchmarks/verified.py 1e5         another d
    python benchmarks/verified.py batches     many reports at once, on one core and on two
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import importlib.util
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, ROOT, save
from numpy.typing import NDArray

from hansa.aggregators.verified.claims import FINE, Norm
from hansa.aggregators.verified.share import Share
from hansa.crypto import vdaf
from hansa.crypto.keys import SEALED
from hansa.crypto.pine import DRAFT02, Pine

PROTOTYPE = DATA.parent / "design" / "prototypes" / "pine_nb2.py"
KEY, CONTEXT = bytes(32), bytes(32)
STEPS = ("shard", "leader", "helper", "decide")
CORES = sorted(os.sched_getaffinity(0))
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Prototype:
    """The prototype's report, with the names that `Pine` uses."""

    it: Any
    rand_size = 7 * 32

    def shard(self, x: Integers, nonce: bytes, rand: bytes) -> tuple[bytes, list[bytes]]:
        """Vectors and proofs."""
        made: tuple[bytes, list[bytes]] = self.it.shard(x, nonce, rand)
        return made

    def prepare(self, key: bytes, who: int, nonce: bytes, public: bytes, share: bytes) -> tuple[Any, Any]:
        """One aggregator's part."""
        made: tuple[Any, Any] = self.it.prep_init(key, who, nonce, public, share)
        return made

    def decide(self, reply: list[Any]) -> bytes:
        """Both aggregators' seeds."""
        return b"".join(self.it.finish(reply))


def prototype() -> Any:
    """Its module, or None."""
    if not PROTOTYPE.is_file():
        return None
    folder = Path(tempfile.mkdtemp())  # it keeps what it compiles beside itself
    spec = importlib.util.spec_from_file_location("pine_nb2", shutil.copy(PROTOTYPE, folder))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["pine_nb2"] = module
    spec.loader.exec_module(module)
    return module


def product(d: int) -> Pine:
    """The sum that `VerifiedSum` takes for one block of d numbers."""
    return Norm(("delta",), d, FINE, (1.0,), True, 2, CONTEXT).sum


def variants(d: int) -> dict[str, Any]:
    """What is timed."""
    chunk = -(-d // ((64 if d <= 10**5 else 256) - 1))
    found: dict[str, Any] = {"draft02": Pine(DRAFT02["Pine64HmacSha256Aes128"], d, FINE, 0, 128, chunk)}
    if theirs := prototype():
        found["prototype"] = Prototype(theirs.Pine64(FINE, 0, d, 128, chunk))
    return found | {"product": product(d)}


def vector(d: int, bound: int) -> Integers:
    """Integers of a norm a little below the bound."""
    v = np.random.default_rng(0).standard_normal(d)
    return np.asarray(np.rint(v * (0.99 * bound / np.linalg.norm(v)))).astype(np.int64)


def timed(do: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Seconds of processor time, and what came out."""
    begin = time.process_time()
    made = do(*arguments)
    return time.process_time() - begin, made


def turn(one: Any, x: Integers, nonce: bytes, rand: bytes) -> tuple[dict[str, float], dict[str, int], bytes]:
    """One report, from the client to the verdict: seconds, bytes, and what the aggregators get."""
    took = dict[str, float]()
    took["shard"], (public, shares) = timed(one.shard, x, nonce, rand[: one.rand_size])
    took["leader"], (_, own) = timed(one.prepare, KEY, 0, nonce, public, shares[0])
    took["helper"], (_, theirs) = timed(one.prepare, KEY, 1, nonce, public, shares[1])
    took["decide"], _ = timed(one.decide, [own, theirs])
    sizes = {"leader_bytes": len(shares[0]), "helper_bytes": len(public) + len(shares[1]) + SEALED + len(nonce)}
    if isinstance(own, bytes):
        sizes["verifier_bytes"] = len(own)
    return took, sizes, public + b"".join(shares)


def reports(d: int, turns: int) -> Iterator[dict[str, Any]]:
    """One row for each variant."""
    found, rng = variants(d), np.random.default_rng(1)
    took: dict[str, list[dict[str, float]]] = {name: [] for name in found}
    sizes: dict[str, dict[str, int]] = {}
    x = vector(d, FINE)
    for i in range(turns + 1):
        nonce, rand, sent = rng.bytes(16), rng.bytes(32 * 16), dict[str, bytes]()
        for name, one in found.items():
            seconds, sizes[name], sent[name] = turn(one, x, nonce, rand)
            if i:  # the first turn compiles
                took[name].append(seconds | {"verify": sum(seconds[step] for step in STEPS[1:])})
        assert "prototype" not in sent or sent["prototype"] == sent["draft02"]
    for name, rows in took.items():
        row: dict[str, Any] = {"what": "report", "d": d, "variant": name, "turns": turns} | sizes[name]
        row["leader_bytes_per_number"] = sizes[name]["leader_bytes"] / d
        for step in (*STEPS, "verify"):
            row[f"{step}_s"] = statistics.median(r[step] for r in rows)
            if theirs := took.get("prototype"):
                row[f"{step}_ratio"] = statistics.median(a[step] / b[step] for a, b in zip(rows, theirs, strict=True))
        yield row


def batch(d: int, count: int, wanted: int = 25, patience: float = 120.0) -> Iterator[dict[str, Any]]:
    """Checking `count` reports at once on one core and on two: the least seconds that pass, as others use the cores.

    As a control, two processes that share nothing are forked to do half of the work each.
    """
    bound = Norm(("delta",), d, FINE, (1.0,), True, 2, CONTEXT)
    x, made = vector(d, FINE), []
    for i in range(count):
        public, shares = bound.sum.shard(x, nonce := vdaf.nonce())
        made.append((str(i), nonce, [public], shares))
    for who, name in enumerate(("leader", "helper")):
        rows = [(client, nonce, public, [shares[who]]) for client, nonce, public, shares in made]
        turns, end = list[tuple[float, float, float]](), time.monotonic() + patience
        while len(turns) < wanted and (time.monotonic() < end or not turns):
            if free() or time.monotonic() > end:
                one, two = checked(bound, who, rows, CORES[:1]), checked(bound, who, rows, CORES[:2])
                turns.append((one, two, apart(bound, who, rows)))
        os.sched_setaffinity(0, CORES)
        one, two, control = (min(took) for took in zip(*turns, strict=True))
        yield {"what": "batch", "d": d, "who": name, "reports": count, "turns": len(turns)} | {
            "one_core_s": one,
            "speed_up": one / two,
            "speed_up_of_control": one / control,
            "over_control": statistics.median(b / c for _, b, c in turns),
        }


def free(span: float = 0.03) -> bool:
    """Are two cores to be had at this moment?"""
    child = os.fork()
    os.sched_setaffinity(0, [CORES[0 if child else 1]])
    begin, used = time.perf_counter(), time.process_time()
    while (passed := time.perf_counter() - begin) < span:
        pass
    ours = time.process_time() - used > 0.95 * passed
    if not child:
        os._exit(not ours)
    return os.waitpid(child, 0)[1] == 0 and ours


def checked(bound: Norm, who: int, rows: list[Any], cores: list[int]) -> float:
    """Seconds in which a batch is checked."""
    os.sched_setaffinity(0, cores)
    share, begin = Share((bound,), who, KEY), time.perf_counter()
    reply = share.prepare(rows)
    took = time.perf_counter() - begin
    assert all(isinstance(one, list) for one in reply.values())
    return took


def apart(bound: Norm, who: int, rows: list[Any]) -> float:
    """Seconds in which two processes check half of the batch each."""
    begin, children = time.perf_counter(), list[int]()
    for half, core in enumerate(CORES[:2]):
        if not (child := os.fork()):
            checked(bound, who, rows[half::2], [core])
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    return time.perf_counter() - begin


MEMORY = """
import sys
sys.path.insert(0, {path!r})
import verified
print(*verified.grown({d}, {count}))
"""


def grown(d: int, count: int) -> list[float]:
    """By how much this process grows when it checks reports as a leader and as a helper, in bytes for each."""
    bound, reply = Norm(("delta",), d, FINE, (1.0,), True, 2, CONTEXT), []
    made = [(str(i), bytes([i]) * 16, bound.sum.shard(vector(d, FINE), bytes([i]) * 16)) for i in range(count)]
    for j in (0, 1):
        share, rows = Share((bound,), j, KEY), [(who, nonce, [public], [own[j]]) for who, nonce, (public, own) in made]
        Share((bound,), j, KEY).prepare(rows[:1])
        before = resident()
        share.prepare(rows)
        reply.append((resident() - before) / count)
    return reply


def resident() -> int:
    """Bytes of memory in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def memory(d: int, count: int) -> dict[str, Any]:
    """What a report takes in memory while it is checked, beside its own bytes."""
    code = MEMORY.format(path=str(ROOT / "benchmarks"), d=d, count=count)
    reply = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    leader, helper = map(float, reply.stdout.split())
    return {"what": "memory", "d": d, "reports": count, "leader_bytes": leader, "helper_bytes": helper}


FIRST = """
import time
begin, used = time.perf_counter(), time.process_time()
from hansa.crypto.field import kernels
kernels()
print(time.perf_counter() - begin, time.process_time() - used)
"""


def first() -> dict[str, Any]:
    """The first use, in a copy of the package that holds nothing compiled, and the second; medians of three."""
    fresh, again, says = [], [], ""
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(ROOT / "src", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            for took in (fresh, again):
                env = os.environ | {"PYTHONPATH": folder}
                run = subprocess.run([sys.executable, "-c", FIRST], env=env, capture_output=True, text=True, check=True)
                took.append([float(word) for word in run.stdout.split()])
                says += run.stderr
    (passed, used), (later, _) = (map(statistics.median, zip(*took, strict=True)) for took in (fresh, again))
    return {"what": "first use", "seconds": passed, "processor_s": used, "second_use_s": later, "says": says}


def batches() -> list[dict[str, Any]]:
    """Short vectors and long ones."""
    if len(CORES) < 2:
        raise SystemExit("Here is one core; to compare one with two takes two.")
    rows = []
    for d, count in ((10**5, 32), (10**6, 6)):
        for row in batch(d, count):
            rows.append(row)
            print(row, flush=True)
    return rows


def alone(sizes: list[int]) -> list[dict[str, Any]]:
    """All that is measured on one core."""
    rows = [first(), memory(10**6, 16)]
    os.sched_setaffinity(0, CORES[:1])
    print(*rows, sep="\n", flush=True)
    if not PROTOTYPE.is_file():
        print(f"There is no prototype in {PROTOTYPE.parent}, and so there are no ratios to it.")
    for d in sizes:
        for row in reports(d, turns=max(5, min(25, 10**7 // d))):
            rows.append(row)
            shown = " ".join(f"{step} {row[f'{step}_s']:.3f}" for step in (*STEPS, "verify"))
            ratios = f"shard ×{row.get('shard_ratio', 0):.2f} verify ×{row.get('verify_ratio', 0):.2f}"
            print(f"{d:>9} {row['variant']:10} {shown} {ratios} {row['leader_bytes_per_number']:.3f} B", flush=True)
    return rows


def main() -> None:
    """Measure, print, save."""
    if sys.argv[1:] == ["batches"]:
        save("verified_batches", batches())
    else:
        rows = alone([int(float(word)) for word in sys.argv[1:]] or [10**5, 10**6, 10**7])
        os.sched_setaffinity(0, CORES)
        save("verified", rows)


if __name__ == "__main__":
    main()
