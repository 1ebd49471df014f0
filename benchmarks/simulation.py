"""Seconds of a simulated round and memory: hansa, a plain loop in PyTorch, pfl-research and Flower, in turns.

FedAvg, batches of 10, one epoch, plain SGD; 60,000 examples of MNIST's shape. `lr` (softmax regression, 7,850 numbers),
`2nn` (199,210) and `cnn` (1,663,370, McMahan et al. 2017): 100 clients of 600 examples, 10 in a round. `small`: the 2NN
with 600 clients of 100 examples, 100 in a round.

Each program is started once and stays alive; then all run some rounds each, one program at a time, block after block,
so that whatever else this machine does meets all of them. A round counts from its beginning to the next within the
program; starting, importing and compiling are in the first round, which is told apart, and after it come others that do
not count, until most clients have been met once. Where others compute on the same cores, seconds of the processor say
more than those of the clock.

    benchmarks/peers.sh                                             makes the peers' environments; once
    python benchmarks/simulation.py                                 everything
    python benchmarks/simulation.py lr small --blocks 2 --rounds 3  some of it
    python benchmarks/simulation.py plot                            draws what was measured
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from importlib import metadata
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
from common import RESULTS, ROOT, save
from peers.setting import SETTINGS, made

HERE = Path(__file__).resolve().parent
PEERS = Path(os.environ.get("HANSA_PEERS", HERE / ".peers"))
PLOT = ROOT / "docs" / "simulation.svg"
ROUNDS = {"lr": 100, "2nn": 20, "small": 10, "cnn": 3}  # in one turn: long enough that its beginning counts for little
WARM = {"lr": 50, "2nn": 30, "small": 20, "cnn": 2}  # before the first: hansa and pfl look at a client's data only once
COLOURS = {"hansa": "#0b6e99", "plain": "#8a94a0", "twice": "#c3c9cf", "pfl": "#d1762b", "flower": "#1d2733"}
TORCH = dict.fromkeys(("plain", "twice"), ("torch",))
PACKAGES = {"hansa": ("torch", "jax"), **TORCH, "pfl": ("pfl", "torch"), "flower": ("flwr", "ray", "torch")}
MLP = {
    **{f"hansa, JAX{where}": ("hansa", "jax", workers) for workers, where in enumerate(("", ", Processes(1)"))},
    "hansa, JAX, Processes(2)": ("hansa", "jax", 2),
    "hansa, PyTorch": ("hansa", "torch", 0),
    "hansa, PyTorch compiled": ("hansa", "compiled", 0),
    "hansa, PyTorch compiled, Processes(1)": ("hansa", "compiled", 1),
    "hansa, PyTorch compiled, Processes(2)": ("hansa", "compiled", 2),
    "plain PyTorch": ("plain", 1),
    "plain PyTorch, twice at once": ("twice",),
}
CNN = {
    "hansa, JAX": ("hansa", "jax", 0),
    "hansa, PyTorch": ("hansa", "torch", 0),
    "hansa, PyTorch, Processes(1)": ("hansa", "torch", 1),
    "hansa, PyTorch, Processes(2)": ("hansa", "torch", 2),
    "plain PyTorch": ("plain", 1),
    "plain PyTorch, twice at once": ("twice",),
    "plain PyTorch, 2 threads": ("plain", 2),
}
TWO = "pfl, 2 processes"
OTHERS = {"pfl": ("pfl", 1), "pfl, 2 threads": ("pfl", 2), TWO: ("pfl", 1), "Flower": ("flower",)}


# ── programs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Program:
    """A program of benchmarks/peers, started, which waits for its turns."""

    def __init__(self, title: str, setting: str, words: tuple[Any, ...], data: Path):
        self.title, self.library, self.turns = title, words[0], list[dict[str, Any]]()
        program = [str(HERE / "peers" / f"{self.library}_simulation.py"), setting, *map(str, words[1:])]
        if title == TWO:
            program = [str(HERE / "peers" / "ranks.py"), "2", *program]
        python = PEERS / self.library / "bin" / "python" if self.library in ("pfl", "flower") else sys.executable
        threads = str(words[1]) if self.library in ("pfl", "plain") else "1"
        paths = os.pathsep.join(map(str, (HERE / "peers", HERE, ROOT / "src")))
        self.log = (data / f"{setting} {title}.log").open("w+")
        self.process = subprocess.Popen(
            [python, *program],
            env=os.environ | {"PYTHONPATH": paths, "HANSA_SIMULATION": str(data), "OMP_NUM_THREADS": threads},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        self.begin = time.perf_counter()

    def warm(self, rounds: int) -> None:
        """Wait for the first round, and run some more."""
        self.ask(1)
        self.start = time.perf_counter() - self.begin
        self.ask(rounds)

    def ask(self, what: Any) -> dict[str, Any]:
        """Its answer; SystemExit with its last words where it has ended."""
        assert self.process.stdin and self.process.stdout
        with suppress(BrokenPipeError):
            self.process.stdin.write(f"{what}\n")
            self.process.stdin.flush()
        if answer := self.process.stdout.readline():
            return dict(json.loads(answer))
        self.log.seek(0)
        raise SystemExit(f"{self.title} has ended.\n{self.log.read()[-3000:]}")

    def turn(self, rounds: int) -> None:
        """Run so many rounds."""
        before = processor(self.tree())
        seconds = self.ask(rounds)["seconds"]
        used = processor(self.tree()) - before
        self.turns.append({"seconds": seconds, "processor": used / rounds})

    def memory(self, rounds: int) -> int:
        """The most bytes that it holds while it runs so many rounds."""
        found, done = [held(self.tree())], Event()

        def look() -> None:
            while not done.wait(0.02):
                found.append(held(self.tree()))

        watch = Thread(target=look)
        watch.start()
        self.ask(rounds)
        done.set()
        watch.join()
        return max(found)

    def tree(self) -> list[int]:
        """The processes that it consists of."""
        parents = {}
        for file in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                parents[int(file.parent.name)] = int(file.read_text().rpartition(")")[2].split()[1])
        found = [self.process.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def end(self) -> None:
        """End it, and all that it has started."""
        if self.process.poll() is not None:
            return
        for pid in self.tree()[::-1]:
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        self.process.wait()
        self.log.close()

    def row(self, setting: str) -> dict[str, Any]:
        """What was measured."""
        seconds = [one for turn in self.turns for one in turn["seconds"]]
        used = [turn["processor"] for turn in self.turns]
        row = {"setting": setting, "program": self.title, "library": self.library, "rounds": len(seconds)}
        row |= {"seconds": statistics.median(seconds), "least": min(seconds), "processor_s": statistics.median(used)}
        row |= {"start_s": self.start - statistics.median(seconds), "loss": self.ask("loss")["loss"]}
        row["memory_mib"] = self.memory(max(1, round(1 / row["seconds"]))) / 2**20
        return row | {"versions": versions(self.library), "all_seconds": [round(one, 5) for one in seconds]}


def processor(tree: list[int]) -> float:
    """Seconds of the processor that these processes have used; of those that have ended, where one is their parent."""
    ticks = 0
    for pid in tree:
        with suppress(OSError):
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def held(tree: list[int]) -> int:
    """Bytes of memory: what processes have of their own, what they share once, and mapped files (libraries) once."""
    own, files = 0, [0]
    for pid in tree:
        with suppress(OSError):
            own += sum(_sizes(pid, "smaps_rollup", ("Pss_Anon:", "Pss_Shmem:")))
            files += _sizes(pid, "status", ("RssFile:",))
    return own + max(files)


def _sizes(pid: int, file: str, names: tuple[str, ...]) -> list[int]:
    lines = (line.split() for line in Path(f"/proc/{pid}/{file}").read_text().splitlines())
    return [1024 * int(words[1]) for words in lines if words and words[0] in names]


def versions(library: str) -> str:
    """Of what a program is made."""
    if library in ("pfl", "flower"):
        lines = (PEERS / library / "versions.txt").read_text("utf-8").splitlines()
        found = dict(line.split("==", 1) for line in lines if "==" in line)
    else:
        found = {name: metadata.version(name) for name in PACKAGES[library]}
    return ", ".join(f"{name} {found[name]}" for name in PACKAGES[library])


# ── measuring ────────────────────────────────────────────────────────────────────────────────────────────────────────


def chosen(setting: str, only: list[str], without: list[str]) -> dict[str, Any]:
    """The programs of a setting by title; those of peers that are not installed are left out."""
    found: dict[str, Any] = {}
    for title, words in ((CNN if setting == "cnn" else MLP) | OTHERS).items():
        if not any(one in title for one in only) or any(one in title for one in without):
            continue
        if words[0] in ("pfl", "flower") and not (PEERS / words[0]).exists():
            print(f"{title} is left out: benchmarks/peers.sh {words[0]} installs it.")
        else:
            found[title] = words
    return found


def measure(setting: str, wanted: dict[str, Any], blocks: int, rounds: int, data: Path) -> Iterator[dict[str, Any]]:
    """One row for each program."""
    with ExitStack() as ends:
        programs = []
        for title, words in wanted.items():
            programs.append(Program(title, setting, words, data))
            ends.callback(programs[-1].end)
            programs[-1].warm(2 if programs[-1].library == "flower" else WARM[setting])  # Flower has nothing to warm
            print(f"{setting} {title} is ready after {programs[-1].start:.1f} s", flush=True)
        for _ in range(blocks):
            for program in programs:
                program.turn(rounds)
        for program in programs:
            row = program.row(setting)
            print(
                f"{setting:5} {program.title:38} {row['seconds']:8.4f} s, least {row['least']:8.4f}, processor "
                f"{row['processor_s']:8.4f}; {row['memory_mib']:6.0f} MiB, loss {row['loss']:.4f}",
                flush=True,
            )
            yield row
            program.end()


def compare(rows: list[dict[str, Any]]) -> Iterator[str]:
    """How many times as fast the best of hansa's programs is as the best of each library's; scaling; memory."""
    for measure in ("seconds", "least", "processor_s"):
        best = {
            library: min((row for row in rows if row["library"] == library), key=lambda row: row[measure])
            for library in dict.fromkeys(row["library"] for row in rows)
        }
        ours = best.pop("hansa", None)
        if ours:
            ratios = (f"{name} {row[measure] / ours[measure]:.2f} ({row['program']})" for name, row in best.items())
            yield f"  {measure}: {ours['program']} over {', '.join(ratios)}"
    found = {row["program"]: row for row in rows}
    for title, row in found.items():
        if title.endswith("Processes(2)") and (one := found.get(title.replace("(2)", "(1)"))):
            median, least = (one[name] / row[name] / 2 for name in ("seconds", "least"))
            yield f"  {title}: efficiency {median:.0%}, of the least times {least:.0%}"
    if {"plain", "twice"} <= {row["library"] for row in rows}:
        plain, twice = found["plain PyTorch"], found["plain PyTorch, twice at once"]
        median, least = (plain[name] / twice[name] for name in ("seconds", "least"))
        yield f"  two that share nothing: {median:.0%}, of the least times {least:.0%}"


def plot(results: dict[str, list[dict[str, Any]]]) -> None:
    """A bar for each program: seconds of a round."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "hansa", "font.size": 8}
    from matplotlib import pyplot

    heights = [len(rows) for rows in results.values()]
    figure, axes = pyplot.subplots(
        len(results), figsize=(7.2, 0.9 + 0.23 * sum(heights)), height_ratios=heights, layout="constrained"
    )
    for ax, (setting, rows) in zip(np.atleast_1d(axes), results.items(), strict=True):
        names, seconds = [row["program"] for row in rows][::-1], [row["seconds"] for row in rows][::-1]
        bars = ax.barh(names, seconds, color=[COLOURS[row["library"]] for row in rows][::-1])
        ax.bar_label(bars, [f"{one:.3g}" for one in seconds], padding=3)
        ax.set_xlim(0, 1.12 * max(seconds))
        net, clients, examples, cohort = SETTINGS[setting]
        ax.set_title(f"{setting}: {net.upper()}, {cohort} of {clients} clients, {examples} examples each", loc="left")
        ax.spines[["top", "right"]].set_visible(False)
    np.atleast_1d(axes)[-1].set_xlabel("seconds of a round, median")
    figure.savefig(PLOT, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    """Measure, print and save; draw."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("settings", nargs="*", help="lr, 2nn, small, cnn; or plot")
    ask.add_argument("--blocks", type=int, default=4, help="turns of each program")
    ask.add_argument("--rounds", type=int, help="in each turn")
    ask.add_argument("--only", nargs="*", default=[], help="programs with one of these words; nothing is saved then")
    ask.add_argument("--without", nargs="*", default=[], help="no programs with one of these words")
    it = ask.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # which ends what was started, too
    for setting in [] if it.settings == ["plot"] else it.settings or SETTINGS:
        with tempfile.TemporaryDirectory() as folder:
            made(Path(folder))
            wanted = chosen(setting, it.only or [""], it.without)
            rows = list(measure(setting, wanted, it.blocks, it.rounds or ROUNDS[setting], Path(folder)))
        print("\n".join(compare(rows)), flush=True)
        if not it.only:
            save(f"simulation_{setting}", rows)
    if not it.only:
        files = {name: RESULTS / f"simulation_{name}.json" for name in SETTINGS}
        plot({name: json.loads(file.read_text("utf-8"))["rows"] for name, file in files.items() if file.exists()})


if __name__ == "__main__":
    main()
