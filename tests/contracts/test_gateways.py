"""Gateways before a server: the bytes of one process, whatever their number, and whichever of them ends."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.attending import HOST, SECRET, Sites
from tests.contracts.test_site_runtime import BOUNDED, DATA, WHOLE, alike, clients, plan

import hansa as h
from hansa.messages import Reply
from hansa.runtimes.sites import SiteRuntime
from hansa.runtimes.sites.link import Way
from hansa.runtimes.sites.upstream import RelayPort
from hansa.sums import Total

NAMES = ("gateway-1", "gateway-2")
PLANS = {
    "sum": plan(),
    "words": plan(pipe=WHOLE),
    "scaffold": plan(algorithm=h.Scaffold()),
    "median": plan(aggregator=h.Median()),
    "verified": plan(pipe=BOUNDED, aggregator=h.VerifiedSum(helpers=("auditor",))),
    "masked": plan(pipe=WHOLE, aggregator=h.MaskedSum()),
}


class Listening(SiteRuntime):
    """It keeps how many clients each answer was of."""

    sizes: list[int]

    def receive(self) -> Reply:
        reply = super().receive()
        self.sizes.append(len(reply.who))
        assert isinstance(reply.body, Total) == (len(reply.who) > 1)
        return reply


def heard(sites: Sites) -> Listening:
    """A runtime that keeps that."""
    runtime = Listening(sites.gateway, sites.plan)
    runtime.sizes = []
    return runtime


@contextmanager
def standing(sites: Sites, name: str, port: int = 0) -> Iterator[RelayPort]:
    """A gateway before a server, in this process."""
    own = sites.kits[name]
    way = Way(f"{HOST}:{sites.gateway.port}", own.server_listed(), own.federation, host=HOST)
    folder = sites.folder / name
    folder.mkdir(exist_ok=True)
    about = (own.roster, own.server_context(), (HOST, port), folder, own.federation, own.enrolment)
    with RelayPort(way, *about) as found:
        staying = found.begin()
        while found.relay.server is None:
            time.sleep(0.01)
        yield found
        staying.cancel()


def spread(sites: Sites, ports: list[int]) -> None:
    """Let parties dial these ports in turn."""
    parties = [who for who, kit in sites.kits.items() if kit.role in ("client", "helper")]
    sites.dials = {who: f"{HOST}:{ports[i % len(ports)]}" for i, who in enumerate(parties)}


@pytest.mark.promise("P572")
@pytest.mark.parametrize("name", PLANS)
def test_the_bytes_are_those_of_one_process_behind_two_gateways(name: str, tmp_path: Path) -> None:
    p = PLANS[name]
    wanted = list(h.synchronous(p, h.InProcess(clients(p), secret=SECRET), secret=SECRET))
    sites = Sites(tmp_path, p, DATA, gateways=NAMES)
    with ExitStack() as stack:
        spread(sites, [stack.enter_context(standing(sites, one)).port for one in NAMES])
        stack.enter_context(sites)
        sites.wait(*sites.dials)
        assert not sites.gateway._links  # nobody dials the server itself
        runtime = heard(sites)
        assert alike(list(h.synchronous(p, runtime, secret=SECRET)), wanted)
    folded = {"sum", "words", "scaffold"}
    assert (max(runtime.sizes) > 1) == (name in folded)


def free() -> int:
    """A port at which nobody listens."""
    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])


def gateway(sites: Sites, name: str, port: int) -> subprocess.Popen[str]:
    """A gateway as a process."""
    kit = sites.kits[name].folder
    upstream = f"--upstream={HOST}:{sites.gateway.port}"
    command = [sys.executable, "-m", "hansa", "gateway", "--kit", str(kit), upstream, f"--listen={HOST}:{port}"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"})


@pytest.mark.promise("P572", "P573")
@pytest.mark.parametrize("count", [1, 2])
def test_gateways_are_processes_and_one_that_is_killed_costs_no_byte(count: int, tmp_path: Path) -> None:
    p = plan()
    wanted = list(h.synchronous(p, h.InProcess(clients(p), secret=SECRET), secret=SECRET))
    sites = Sites(tmp_path, p, DATA, gateways=NAMES)
    ports = [free() for _ in range(count)]
    running = [gateway(sites, name, port) for name, port in zip(NAMES, ports, strict=False)]
    try:
        spread(sites, ports)
        with sites:
            sites.wait(*DATA)
            runtime = heard(sites)
            states = h.synchronous(p, runtime, secret=SECRET)
            found: list[Any] = [next(states)]
            running[0].kill()
            running[0].wait()
            running[0] = gateway(sites, NAMES[0], ports[0])
            found += states
        assert alike(found, wanted) and max(runtime.sizes) == len(DATA) // count
    finally:
        for one in running:
            one.terminate()
    for one in running:
        assert one.wait(20) == 0 and one.stderr is not None
        assert not re.search("error|warning|Traceback", one.stderr.read())
