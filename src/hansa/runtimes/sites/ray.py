"""RayGateways: gateways before a server, each in an actor of a Ray cluster.

    site ── TLS ──▶ actor ── TLS ──▶ server        its kit lies where the actor is, and travels
                      └── Σ of its own clients      nowhere: Ray is told its path

The sums are exact, so how many actors there are changes no byte. One that is lost is started anew
by Ray, on whichever machine, with the kit that lies there under the same path; its sites dial
again. One that cannot stand says why for a while, ends its process, and so is started anew, too.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from ...errors import AppError, PlanError, printable
from ...kits import Kit
from ...private import harden
from ..ray import check_cores, joined, ray
from .events import log
from .standing import standing

Listens = tuple[str, int]
AGAIN = 5.0  # seconds in which one that cannot stand says why, before its process ends


class Standing:
    """A gateway, for as long as its actor lives.

    kit: its folder, on this machine. The rest as `standing` has it.
    """

    def __init__(self, kit: str, upstream: str, listen: Listens):
        harden()
        self._fault: BaseException | None = None
        self._held = ExitStack()
        try:
            self._begin(kit, upstream, listen)
        except Exception as error:  # Ray starts none again whose start has failed
            self._end(error)

    def _begin(self, kit: str, upstream: str, listen: Listens) -> None:
        """Stand there; AppError for the kit of another role."""
        own = Kit.load(kit)
        if own.role != "gateway":
            raise AppError(
                f"{kit} is the kit of {own.who}, a {own.role}.",
                "A server takes no other for a gateway.",
                "Enrol one: hansa enroll --name gateway-1 --role gateway --out gateway-1/",
            )
        self._port = self._held.enter_context(standing(own, upstream, listen))
        self._port.begin().add_done_callback(self._over)

    def _over(self, staying: Future[None]) -> None:
        """Its link to the server is over, for good."""
        if not staying.cancelled() and (error := staying.exception()) is not None:
            self._end(error)

    def _end(self, error: BaseException) -> None:
        """End this process a little later, so that Ray starts it again."""
        log.error("%s", printable(str(error)))
        self._fault = error
        threading.Timer(AGAIN, os._exit, (1,)).start()

    def address(self) -> str:
        """Where it listens, as host:port; what keeps it from standing is raised, as RefusedError
        where the server does not take it.
        """
        if self._fault is not None:
            raise self._fault
        here = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        return f"{here}:{self._port.port}"


class RayGateways:
    """Gateways in actors, one for each kit; a context manager.

    kits: their folders, by a path that leads to them on each machine of the cluster on which an
    actor may stand, as on a disk that all share. upstream: where the server itself listens, as
    host:port. listen: where each of them does; port 0 takes a free one, as several kits need.
    address: of the cluster, as `RayCluster` has it. PlanError where there is no kit, one port for
    several, or no CPU for each.
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
        if len(kits) > 1 and listen[1]:
            raise PlanError(
                f"{len(kits)} gateways would listen at the port {listen[1]}.",
                "Ray may put two of them on one machine, where one alone has it.",
                "Write port 0 and ask for .addresses(); or one RayGateways for each, with a port "
                "of its own.",
            )
        self._started = joined(len(kits), address)
        check_cores(len(kits), f"RayGateways with {len(kits)} kits")
        kind = ray.remote(max_restarts=-1, max_task_retries=-1, num_cpus=1)(Standing)
        paths = [os.path.abspath(kit) for kit in kits]
        self._actors: list[Any] = [kind.remote(path, upstream, listen) for path in paths]

    def addresses(self) -> list[str]:
        """Where each listens now, for what passes TCP on: it may be another machine after a loss.

        What keeps one from standing is raised, as it is raised there.
        """
        try:
            return list(ray.get([actor.address.remote() for actor in self._actors]))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None

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
