"""RayGateways: gateways before a server, each in an actor of a Ray cluster.

    site ── TLS ──▶ actor ── TLS ──▶ server        its kit lies where the actor is, and travels
                      └── Σ of its own clients      nowhere: Ray is told its path

The sums are exact, so how many actors there are changes no byte. One that is lost is started anew
by Ray, with the same kit; its sites dial again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from ...errors import AppError, PlanError
from ...kits import Kit
from ...private import harden
from ..ray import check_cores, joined, ray
from .standing import standing

Listens = tuple[str, int]


class Standing:
    """A gateway, for as long as its actor lives.

    kit: its folder, on this machine. The rest as `standing` has it; AppError for the kit of another
    role.
    """

    def __init__(self, kit: str, upstream: str, listen: Listens):
        harden()
        own = Kit.load(kit)
        if own.role != "gateway":
            raise AppError(
                f"{kit} is the kit of {own.who}, a {own.role}.",
                "A server takes no other for a gateway.",
                "Enrol one: hansa enroll --name gateway-1 --role gateway --out gateway-1/",
            )
        self._held = ExitStack()
        self._port = self._held.enter_context(standing(own, upstream, listen))
        self._staying = self._port.begin()

    def address(self) -> str:
        """Where it listens, as host:port; RefusedError where the server does not take it."""
        if self._staying.done():
            self._staying.result()
        here = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        return f"{here}:{self._port.port}"


class RayGateways:
    """Gateways in actors, one for each kit; a context manager.

    kits: their folders, each on the machine of its actor. upstream: where the server itself
    listens, as host:port. listen: where each of them does; port 0 takes a free one. address: of the
    cluster, as `RayCluster` has it. PlanError where there is none, or no CPU for each.
    """

    def __init__(
        self,
        kits: Sequence[str | Path],
        upstream: str,
        listen: Listens = ("0.0.0.0", 7443),
        address: str | None = None,
    ):
        if not kits:
            raise PlanError(
                "RayGateways has no kit.",
                "Each gateway is somebody on the roster.",
                "Write RayGateways(['gateway-1/', 'gateway-2/'], upstream='10.0.0.5:7444').",
            )
        self._started = joined(len(kits), address)
        check_cores(len(kits), f"RayGateways with {len(kits)} kits")
        kind = ray.remote(max_restarts=-1, max_task_retries=-1, num_cpus=1)(Standing)
        paths = [os.path.abspath(kit) for kit in kits]
        self._actors: list[Any] = [kind.remote(path, upstream, listen) for path in paths]

    def addresses(self) -> list[str]:
        """Where each listens now, for what passes TCP on: it may be another machine after a loss.

        What keeps one from standing is raised.
        """
        return list(ray.get([actor.address.remote() for actor in self._actors]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the actors, and Ray where it was started here."""
        for actor in self._actors:
            ray.kill(actor)
        self._actors = []
        if self._started:
            ray.shutdown()
