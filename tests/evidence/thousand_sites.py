"""A thousand sites that attend at one process, of which two hundred are asked in a round: 1e5 numbers each, over TLS.

python -m tests.evidence.thousand_sites [CLIENTS [ROUNDS [GATEWAYS]]]

writes benchmarks/results/thousand_sites.json; with gateways before the server thousand_sites_N_gateways.json, in which
the server's seconds are those of the server alone, and the gateways' those of all of them.

The sites live in eight processes on this machine, each site with a kit, a book and a link of its own; they are in
memory where this system has /dev/shm, for a thousand books on one disk are no thousand disks. What the server keeps
lies on the disk. A row holds seconds of a round, processor seconds of the server in it, its memory at the end of the
round and at its peak, who was not in the sum, and how many warnings server and sites have written so far.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing as mp
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.common import save

import hansa as h
from hansa.kits import Kit
from hansa.kits.provision import KITS, Design, provision
from hansa.runtimes.sites import Gateway, SiteRuntime
from hansa.runtimes.sites.link import Link, Way
from hansa.runtimes.sites.site import Site

HOST = "127.0.0.1"
FEATURES, CLASSES = 10_000, 10
HOMES = 8
QUICK = "/dev/shm" if Path("/dev/shm").is_dir() else None
PATIENCE = 1800.0  # seconds until all attend


def plan(cohort: int, rounds: int) -> h.Plan:
    """A linear model of 1e5 numbers."""
    sample = h.Uniform(cohort, quorum=cohort // 2, deadline=600)
    return h.Plan(h.Softmax(FEATURES, CLASSES), training=h.Training(batch=8), sample=sample, rounds=rounds)


def noted(path: Path) -> None:
    """Let this process write its warnings into a file that all have in common."""
    logging.basicConfig(level=logging.WARNING, filename=path, format="%(process)d %(message)s")


def noted_no_more() -> None:
    """What ends with the sites, which were killed, is no warning."""
    logging.disable(logging.CRITICAL)


def standing(gateways: int) -> list[str]:
    """The names of so many gateways."""
    return [f"gateway {i}" for i in range(gateways)]


def admitted(folder: Path, names: list[str], gateways: int) -> None:
    """Kits for all."""
    roles = dict.fromkeys(names, "client") | dict.fromkeys(standing(gateways), "gateway")
    parties: dict[str, Any] = {"server": "server", **roles}
    provision(Design("thousand", f"{HOST}:7443", parties=parties), folder / "pki")


@contextlib.contextmanager
def stand(folder: Path, server: int, gateways: int) -> Iterator[tuple[list[int], list[int]]]:
    """So many gateways before a server, each a process: their ports, or the server's own, and the processes."""
    ports, running = [], []
    for who in standing(gateways):
        with socket.socket() as one:
            one.bind((HOST, 0))
            ports.append(int(one.getsockname()[1]))
        kit = str(folder / "pki" / KITS / who)
        told = [f"--upstream={HOST}:{server}", f"--listen={HOST}:{ports[-1]}"]
        running.append(subprocess.Popen([sys.executable, "-m", "hansa", "gateway", "--kit", kit, *told]))
    try:
        yield ports or [server], [one.pid for one in running]
    finally:
        for one in running:
            one.kill()


def processor_of(pids: list[int]) -> float:
    """Seconds that other processes have computed."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def live(names: list[str], folder: Path, port: int, p: h.Plan) -> None:
    """Many sites in one process."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    noted(folder / "warnings")
    rng = np.random.default_rng(zlib.crc32(names[0].encode()))
    data = rng.normal(size=(8, FEATURES)).astype(np.float32), rng.integers(0, CLASSES, 8)

    def link(who: str) -> Link:
        kit = Kit.load(folder / "pki" / KITS / who)
        site = Site(kit.folder, lambda plan, found: h.Client(who, p, data, secret=kit.secret))
        return Link(Way(f"{HOST}:{port}", kit.client_context(), kit.federation), site, kit.folder)

    async def main() -> None:
        links = [link(who) for who in names]
        await asyncio.gather(*(one.attend() for one in links))

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())


def memory() -> dict[str, float]:
    """MiB of this process: now, and at most since it was asked the last time."""
    lines = Path("/proc/self/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    found = {word: int(status[name].split()[0]) / 1024 for word, name in (("now", "VmRSS"), ("peak", "VmHWM"))}
    Path("/proc/self/clear_refs").write_text("5")
    return {word: round(mib, 1) for word, mib in found.items()}


def processor() -> float:
    """Seconds that this process has computed."""
    return sum(os.times()[:2])


def rounds_of(gateway: Gateway, p: h.Plan, warnings: Path, pids: list[int]) -> list[dict[str, Any]]:
    """The rounds of a run, a row for each."""
    rows = []
    memory()
    clock, used, theirs = time.perf_counter(), processor(), processor_of(pids)
    for state in h.synchronous(p, SiteRuntime(gateway, p)):
        found = memory()
        row = {
            "round": state.round,
            "participants": len(state.participants),
            "lost": len(state.excluded),
            "seconds": round(time.perf_counter() - clock, 2),
            "server_processor_seconds": round(processor() - used, 2),
            "gateways_processor_seconds": round(processor_of(pids) - theirs, 2),
            "server_mib": found["now"],
            "server_peak_mib": found["peak"],
            "warnings": len(warnings.read_text().splitlines()),
            "load": round(os.getloadavg()[0], 1),
        }
        print(row, flush=True)
        rows.append(row)
        clock, used, theirs = time.perf_counter(), processor(), processor_of(pids)
    return rows


def main(clients: int = 1000, rounds: int = 5, gateways: int = 0) -> int:
    """Provision, attend, run; 1 where a client was lost, or somebody had to warn."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    mp.set_start_method("spawn")
    cohort = clients // 5
    p = plan(cohort, rounds)
    names = [f"site {i:04}" for i in range(clients)]
    with tempfile.TemporaryDirectory(dir=QUICK) as made, tempfile.TemporaryDirectory() as disk:
        folder = Path(made)
        noted(folder / "warnings")
        start = time.perf_counter()
        making = mp.Process(target=admitted, args=(folder, names, gateways))
        making.start()
        making.join()
        about: dict[str, Any] = {"clients": clients, "cohort": cohort, "numbers": p.model.size, "gateways": gateways}
        about["seconds_for_kits"] = round(time.perf_counter() - start)
        own = Kit.load(folder / "pki" / KITS / "server")
        before = memory()["now"]
        about_port = (own.roster, own.server_context(), (HOST, 0), Path(disk), own.federation, own.enrolment)
        with Gateway(*about_port) as gateway, stand(folder, gateway.port, gateways) as (ports, pids):
            dials = [ports[i % len(ports)] for i in range(HOMES)]
            homes = [mp.Process(target=live, args=(names[i::HOMES], folder, dials[i], p)) for i in range(HOMES)]
            start = time.perf_counter()
            for home in homes:
                home.start()
            while len(gateway.desk.present) < clients:
                assert time.perf_counter() - start < PATIENCE, f"{len(gateway.desk.present)} attend"
                time.sleep(0.1)
            about["seconds_until_all_attend"] = round(time.perf_counter() - start)
            about["server_mib_before"] = before
            about["server_mib_when_all_attend"] = memory()["now"]
            print(about, flush=True)
            rows = rounds_of(gateway, p, folder / "warnings", pids)
            said = (folder / "warnings").read_text()
            noted_no_more()
            for home in homes:
                home.kill()
                home.join()
        print(said[-2000:])
    name = f"thousand_sites_{gateways}_gateways" if gateways else "thousand_sites"
    save(name, [{**about, **row} for row in rows])
    return int(any(row["lost"] or row["warnings"] for row in rows))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
