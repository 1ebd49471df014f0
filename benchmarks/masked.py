"""Masked sums on one core: what a client and the server compute and send, for n clients and vectors of d words.

Conversations are real ones: see peers/hansa_masks.py. Some clients prepare, and vanish before their vector, which costs
the server most. Where all clients together would take too long, three are measured: the others say random words in
place of a masked vector, of which the server's work does not depend, and all else as it is. Where none is made up, the
sum is checked.

Beside each client, and the server, and in turn with them: the AES-CTR streams that its masks are made of, and their
additions, alone, in plain counter mode; masks take the faster of two ways to such a stream. Seconds are those of the
processor, medians. Memory is measured by itself, for it takes time.

    python benchmarks/masked.py             all n and d, and Flower's SecAgg+ (benchmarks/peers.sh flower installs it)
    python benchmarks/masked.py 100 1e6     one n and d, which is not kept
    python benchmarks/masked.py memory      memory
    python benchmarks/masked.py flower      Flower
    python benchmarks/masked.py plot        draws what was measured
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import gc
import json
import secrets
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, ROOT, save
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from peers.hansa_masks import Cohort, MadeUp, Took, Watch, Wire, round_of

import hansa as h

CLIENTS, NUMBERS, GONE = (10, 100, 300), (10**5, 10**6, 10**7), (0.0, 0.1, 0.3)
REAL = 10**10  # n²·d up to which all clients mask their vectors
PAIR = 5 * 10**5  # words that are masked in the time that a pair takes for its keys and shares
WORK = 6 * 10**10  # words that are masked in all turns of a row, where one takes less
CHUNK = 2**18  # bytes of a stream at a time, as many as stay in the cache
STREAMS = 500  # that are timed alone; what takes more of them is scaled up
TURNS = ("prepare", "vector", "agree", "open")
PEERS = Path(os.environ.get("HANSA_PEERS", ROOT / "benchmarks" / ".peers"))
FLOWER = PEERS / "flower" / "bin" / "python"
PLOT = ROOT / "docs" / "masked.svg"
COLOURS = ("#0b6e99", "#d1762b", "#1d2733")  # of 10, 100 and 300 clients


def streams(d: int, count: int) -> float:
    """Seconds of so many AES-CTR streams of d words, and of their additions to one vector, alone."""
    v, zeros, buffer = np.zeros(d, np.uint16), memoryview(bytes(CHUNK)), np.empty(CHUNK, np.uint8)
    words = buffer.view(np.uint16)
    few = min(count, STREAMS)
    begin = time.process_time()
    found = [Cipher(algorithms.AES(secrets.token_bytes(16)), modes.CTR(bytes(16))).encryptor() for _ in range(few)]
    for start in range(0, d, len(words)):
        part = v[start : start + len(words)]
        for stream in found:
            stream.update_into(zeros[: part.nbytes], buffer)
            part += words[: len(part)]
    return (time.process_time() - begin) * count / few


def rounds(n: int, d: int) -> Iterator[dict[str, Any]]:
    """A row for each share of clients that vanish."""
    cohort = Cohort.of(n, d)
    names = sorted(cohort.identities)
    everybody = n * n * d <= REAL
    real = names if everybody else names[:3]
    first = round_of(cohort, [], names[:1])  # of the run: compiles, and agrees on channels
    for share in GONE:
        gone = names[n - round(share * n) :]
        count = (n - len(gone)) * (1 + len(gone))  # streams that the server takes off
        work = n * n * PAIR + d * (len(real) * n + count)
        found = []
        for _ in range(max(1, min(7, WORK // work))):
            took = round_of(cohort, gone, real)
            found.append((took, streams(d, n), streams(d, count)))
        yield row_of(n, d, len(gone), real, found)
        del took, found
    yield {"what": "first round", "n": n, "d": d, "client_s": sum(first.clients[names[0]])}


def row_of(
    n: int, d: int, gone: int, real: Sequence[str], found: Sequence[tuple[Took, float, float]]
) -> dict[str, Any]:
    """Medians over the turns, and over the clients of each."""
    clients = [statistics.median(sum(one) for one in took.clients.values()) for took, _, _ in found]
    steps = [statistics.median(one[i] for took, _, _ in found for one in took.clients.values()) for i in range(4)]
    watch = found[-1][0].watch
    up, down = watch.up[real[0]], watch.down[real[0]]
    row: dict[str, Any] = {"what": "round", "n": n, "d": d, "gone": gone, "real": len(real), "turns": len(found)}
    row |= {"client_s": statistics.median(clients), "server_s": statistics.median(took.server for took, _, _ in found)}
    row["client_over_streams"] = statistics.median(a / b for a, (_, b, _) in zip(clients, found, strict=True))
    row["server_over_streams"] = statistics.median(took.server / b for took, _, b in found)
    row |= {f"client_{turn}_s": seconds for turn, seconds in zip(TURNS, steps, strict=True)}
    row |= {
        "up_bytes": sum(up),
        "down_bytes": down,
        "vector_bytes_per_number": up[1] / d,
        "up_bytes_per_number": sum(up) / d,
    }
    return row


# ── Flower ──


def beside(n: int, d: int, turns: int = 9) -> Iterator[dict[str, Any]]:
    """Whole rounds of hansa and of Flower's SecAgg+ in turns, on the same core: from real numbers to their sum."""
    if not FLOWER.is_file():
        print(f"There is no {FLOWER}: benchmarks/peers.sh flower makes it, and a row is missing.")
        return
    program = ROOT / "benchmarks" / "peers" / "flower_masks.py"
    for gone in (0, 3 * n // 10):
        cohort = Cohort.of(n, d, h.Clip(1.0), h.Quantize(16, of="sum", clients=n))
        names = sorted(cohort.identities)
        command = [FLOWER, program, str(n), str(d), str(gone)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
            assert peer.stdin and peer.stdout
            pairs = []
            for _ in range(turns + 1):
                ours = round_of(cohort, names[n - gone :], names)
                print("go", file=peer.stdin, flush=True)
                pairs.append((ours, json.loads(peer.stdout.readline())))
            peer.stdin.close()
        pairs = pairs[1:]  # the first compiles, and imports
        yield pair_of(n, d, gone, pairs)


def pair_of(n: int, d: int, gone: int, pairs: Sequence[tuple[Took, Mapping[str, Any]]]) -> dict[str, Any]:
    """Medians over the turns; with what makes integers of numbers, and numbers of integers, and without."""
    watch, theirs = pairs[-1][0].watch, pairs[-1][1]
    alone = [(ours.whole, flower["round_s"] - flower["quantizing_s"]) for ours, flower in pairs]
    whole = [(ours.whole + ours.encoding, flower["round_s"]) for ours, flower in pairs]
    row: dict[str, Any] = {"what": "flower", "n": n, "d": d, "gone": gone, "turns": len(pairs)}
    for name, found in (("masks", alone), ("round", whole)):
        row[f"{name}_s"], row[f"flower_{name}_s"] = (statistics.median(one) for one in zip(*found, strict=True))
        row[f"{name}_times"] = statistics.median(b / a for a, b in found)
    row |= {"up_bytes": sum(map(sum, watch.up.values())) // n, "down_bytes": sum(watch.down.values()) // n}
    row |= {f"flower_{way}_bytes": theirs[way] // n for way in ("up", "down")}
    return row | {"flower": theirs["version"]}


# ── memory ──


class Held(Wire):
    """A wire on which messages pass as they are, and which looks at what everybody holds in Python's memory."""

    client = server = theirs = 0

    def as_completed(self, bodies: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """What they answer, each."""
        turn, self.turn = self.turn, self.turn + 1
        for who, body in bodies.items():
            if not turn or who not in self.gone:
                self.look()
                before, _ = tracemalloc.get_traced_memory()
                said = self.answer(who, body)
                after, peak = tracemalloc.get_traced_memory()
                self.client = max(self.client, peak - before)
                self.theirs += after - before
                tracemalloc.reset_peak()
                yield who, said

    def look(self) -> None:
        """The most that the server has held since somebody else was looked at."""
        _, peak = tracemalloc.get_traced_memory()
        self.server = max(self.server, peak - self.theirs)
        tracemalloc.reset_peak()


def memory(n: int, d: int) -> dict[str, Any]:
    """The most that a client holds, from before its vector is encoded on, and the server beside what it is sent.

    The client's vector counts; what all others say is made up, and was there before.
    """
    cohort, watch, task = Cohort.of(n, d), Watch(), secrets.token_bytes(32)
    some = np.random.default_rng(0).integers(0, 2**16, d, np.uint16)
    names = sorted(cohort.identities)
    made_up = {name: (lambda: some, MadeUp()) for name in names}
    found = dict[str, Any]()
    for who, real in (("client", {names[0]: (some.copy, h.MaskedSum())}), ("server", {})):
        clients = {name: cohort.client(name, task, *one, watch) for name, one in (made_up | real).items()}
        wire = Held(clients, names[n - n // 10 :], n, watch)
        gc.collect()
        tracemalloc.start()
        cohort.server(wire, task, watch)
        wire.look()
        tracemalloc.stop()
        found[f"{who}_bytes"] = getattr(wire, who)
    more = {f"{who}_beyond_vector_bytes": found[f"{who}_bytes"] - 2 * d for who in ("client", "server")}
    return {"what": "memory", "n": n, "d": d} | found | more


# ── all ──


def plot(rows: list[dict[str, Any]]) -> None:
    """Seconds over numbers: of a client, beside its streams alone; of the server, where some vanish."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "hansa", "font.size": 9}
    from matplotlib import pyplot

    figure, (client, server) = pyplot.subplots(1, 2, figsize=(7.2, 3.2), sharey=True, layout="constrained")
    for n, colour in zip(CLIENTS, COLOURS, strict=True):
        for share, line in zip(GONE, ("-", "--", ":"), strict=True):
            here = [row for row in rows if row["what"] == "round" and (row["n"], row["gone"]) == (n, round(share * n))]
            d = [row["d"] for row in here]
            seconds = [row["client_s"] for row in here]
            if not share:
                client.plot(d, seconds, "o-", color=colour, label=f"{n} clients")
                streams = [row["client_s"] / row["client_over_streams"] for row in here]
                client.plot(d, streams, ":", color=colour)
            server.plot(d, [row["server_s"] for row in here], line, color=colour, marker="o")
    vanished = "; ".join(f"{name} {share:.0%} gone" for name, share in zip(("dashed", "dotted"), GONE[1:], strict=True))
    for axes, title in ((client, "one client; dotted: its streams alone"), (server, f"the server; {vanished}")):
        axes.set(xscale="log", yscale="log", xlabel="numbers of a vector")
        axes.set_title(title, loc="left", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    client.legend(frameon=False, loc="upper left")
    client.set_ylabel("seconds of one core in a round")
    figure.savefig(PLOT, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    """Measure, print, save; draw."""
    if sys.argv[1:] != ["plot"]:
        measure()
    if sys.argv[1:] in ([], ["plot"]):
        plot(json.loads((RESULTS / "masked.json").read_text("utf-8"))["rows"])


def measure() -> None:
    """Measure, print; save, where all was measured."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:1])
    round_of(Cohort.of(10, 1000), [], [])  # compiles
    gc.collect()
    gc.freeze()  # what was imported is nobody's
    rows = []
    for row in asked(sys.argv[1:]):
        rows.append(row)
        print({name: float(f"{v:.3g}") if isinstance(v, float) else v for name, v in row.items()}, flush=True)
    os.sched_setaffinity(0, cores)
    if not sys.argv[1:]:
        save("masked", rows)


def asked(words: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows that the command line asks for."""
    if not words or words == ["flower"]:
        yield from beside(10, 10**6)
    if not words or words == ["memory"]:
        yield from (memory(n, d) for n, d in ((10, 10**7), (100, 10**6), (300, 10**6), (10, 10**8)))
    if not words:
        yield from (row for n in CLIENTS for d in NUMBERS for row in rounds(n, d))
    elif len(words) == 2:
        yield from rounds(int(words[0]), int(float(words[1])))


if __name__ == "__main__":
    main()
