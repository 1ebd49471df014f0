"""Metrics: a server's numbers for Prometheus, and whether it lives and is ready, on a port beside
that of the parties.

    GET /metrics    hansa_round, hansa_parties{state}, hansa_session_seconds,
                    hansa_bytes_total{way}, hansa_lost_total{kind}, hansa_late_total,
                    hansa_spool_bytes, hansa_epsilon{unit}, hansa_certificate_days
    GET /livez      200 while the gateway answers
    GET /readyz     200 where the store can be written, the certificate counts and no drain is on

The port asks nobody who he is, and so names no party; of a secret sample it tells nothing that
hangs on who was drawn (`hansa.runtimes.sites.watch`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ...errors import AppError, HansaError, StoreError
from ...rounds import Round
from .desk import spooled
from .gateway import Gateway

try:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
    from prometheus_client.exposition import CONTENT_TYPE_LATEST
except ModuleNotFoundError as missing:
    raise AppError(
        "prometheus-client is not installed.",
        "Metrics are written by it.",
        "Install it: pip install 'hansa[sites]'.",
    ) from missing

DAY = 86_400
PATIENCE = 5.0  # seconds in which the store answers, or is taken for away


@dataclass(frozen=True)
class Health:
    """What metrics and readiness are of.

    last: the last committed round. write: raises a HansaError where the store cannot be written.
    until: when the certificate ends, in seconds since 1970.
    """

    gateway: Gateway
    last: Callable[[], Round | None]
    write: Callable[[], object]
    until: float

    @property
    def days(self) -> float:
        """How many days the certificate counts for; below 0 where it has ended."""
        return (self.until - time.time()) / DAY

    def collect(self) -> Iterator[Any]:
        """The numbers, as prometheus-client asks for them."""
        yield GaugeMetricFamily(
            "hansa_certificate_days", "Days until the certificate ends", self.days
        )
        yield from self._of_parties()
        yield from self._of_rounds()
        if not self.gateway.watch.hidden:
            yield from self._of_answers()

    def _of_parties(self) -> Iterator[Any]:
        """How many parties attend."""
        desk = self.gateway.desk
        there = len(desk.present)
        found = GaugeMetricFamily("hansa_parties", "Parties of the roster", labels=["state"])
        found.add_metric(["present"], there)
        found.add_metric(["away"], len(desk.posts) - there)
        yield found

    def _of_rounds(self) -> Iterator[Any]:
        """How far the run is, and what it has given away."""
        last = self.last()
        done = 0 if last is None else last.round
        yield GaugeMetricFamily("hansa_round", "Rounds that are committed", done)
        spent = GaugeMetricFamily(
            "hansa_epsilon", "Epsilon that is spent, for each client or example", labels=["unit"]
        )
        if last is not None:
            for unit, one in last.spent.items():
                spent.add_metric([unit], one.epsilon)
        yield spent

    def _of_answers(self) -> Iterator[Any]:
        """What hangs on who was asked."""
        watch = self.gateway.watch
        yield SummaryMetricFamily(
            "hansa_session_seconds", "From question to end", watch.sessions, watch.seconds
        )
        moved = CounterMetricFamily("hansa_bytes", "Bytes of questions and answers", labels=["way"])
        for way, number in watch.bytes.copy().items():
            moved.add_metric([way], number)
        yield moved
        lost = CounterMetricFamily("hansa_lost", "Questions without an answer", labels=["kind"])
        for kind, number in watch.lost.copy().items():
            lost.add_metric([kind], number)
        yield lost
        yield CounterMetricFamily("hansa_late", "Answers after their time", watch.late)
        yield GaugeMetricFamily(
            "hansa_spool_bytes", "Bytes that wait on the disk", spooled(self.gateway.desk)
        )


class Metrics:
    """The port for operators; a context manager."""

    def __init__(self, health: Health, address: tuple[str, int]):
        self._health = health
        self._gateway = health.gateway
        self._address = address
        self._collectors = CollectorRegistry()
        self._collectors.register(health)
        self._asking = asyncio.Lock()  # one at a time asks the store, however often it is asked

    def __enter__(self) -> Metrics:
        self._gateway.do(self._start())
        return self

    def __exit__(self, *exc: object) -> None:
        self._gateway.do(self._runner.cleanup())

    async def _start(self) -> None:
        """Open the port."""
        app = web.Application(client_max_size=0)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/livez", self._live)
        app.router.add_get("/readyz", self._ready)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        host, port = self._address
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise StoreError(
                f"Nobody can listen at {host}:{port}.",
                f"{error.strerror}.",
                "End what listens there, or name another port: --metrics 9464.",
            ) from error
        self.port = self._runner.addresses[0][1]

    async def _metrics(self, _: web.Request) -> web.Response:
        """The numbers; 503 where the store does not give them."""
        try:
            text = await self._ask(lambda: generate_latest(self._collectors))
        except (HansaError, TimeoutError):
            raise web.HTTPServiceUnavailable(text="the store does not answer\n") from None
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _live(self, _: web.Request) -> web.Response:
        """Whoever hears this heard it from a thread that is alive."""
        return web.Response(text="alive\n")

    async def _ready(self, _: web.Request) -> web.Response:
        """Can a round be carried out now?"""
        why = ""
        if self._gateway.draining:
            why = "it is ending"
        elif self._health.days <= 0:
            why = "its certificate has ended"
        else:
            try:
                await self._ask(self._health.write)
            except (HansaError, TimeoutError):
                why = "its store cannot be written"
        if why:
            raise web.HTTPServiceUnavailable(text=f"not ready: {why}\n")
        return web.Response(text="ready\n")

    async def _ask(self, work: Callable[[], Any]) -> Any:
        """Ask the store, in a thread of its own; TimeoutError where it does not answer."""
        async with asyncio.timeout(PATIENCE), self._asking:
            return await asyncio.to_thread(work)
