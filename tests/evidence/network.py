"""A network for evidence: each party on a host of its own, that is a namespace of Linux at the end of a wire.

    hub  ── wire ── north        10.77.1.1 ── 10.77.1.2
      │  ── wire ── south        10.77.2.1 ── 10.77.2.2
      └ the server, and what stands between: 10.77.0.1

A wire is cut and joined again by the kernel, and TCP on both ends learns nothing of it. It takes the rights of root,
and leaves nothing behind. (Delays and losses of the kernel, by `tc netem`, need a module that not every machine has.)
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import Self

SERVER = "10.77.0.1"


def ip(*words: str) -> None:
    """One command of iproute2."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Network:
    """A hub, and a host for each of these; a context manager."""

    def __init__(self, parties: Sequence[str]):
        self._mark = f"hx{os.getpid() % 10_000}"
        self._hub = f"{self._mark}-hub"
        self._hosts = {who: f"{self._mark}-{i}" for i, who in enumerate(parties, 1)}

    def __enter__(self) -> Self:
        ip("netns", "add", self._hub)
        ip("-n", self._hub, "link", "set", "lo", "up")
        ip("-n", self._hub, "addr", "add", f"{SERVER}/32", "dev", "lo")
        for i, host in enumerate(self._hosts.values(), 1):
            ip("netns", "add", host)
            here, there = f"{self._mark}h{i}", f"{self._mark}p{i}"
            ip("link", "add", here, "netns", self._hub, "type", "veth", "peer", "name", there, "netns", host)
            for place, name, address in ((self._hub, here, f"10.77.{i}.1"), (host, there, f"10.77.{i}.2")):
                ip("-n", place, "addr", "add", f"{address}/30", "dev", name)
                ip("-n", place, "link", "set", name, "up")
            ip("-n", host, "link", "set", "lo", "up")
            ip("-n", host, "route", "add", "default", "via", f"10.77.{i}.1")
        return self

    def __exit__(self, *exc: object) -> None:
        for name in (*self._hosts.values(), self._hub):
            ip("netns", "del", name)

    def at(self, who: str = "") -> list[str]:
        """What a command begins with that runs at the host of a party, or at the hub."""
        return ["ip", "netns", "exec", self._hosts.get(who, self._hub)]

    def wire(self, who: str, state: str) -> None:
        """Cut a wire, "down", or join it again, "up"."""
        i = list(self._hosts).index(who) + 1
        ip("-n", self._hub, "link", "set", f"{self._mark}h{i}", state)
