"""Traces of a server, as a real collector receives them."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from aiohttp import web
from tests.attacks.intruders import PLAN, Attacked, reply
from tests.attending import HOST

from hansa.messages import SessionId, Settle
from hansa.runtimes.sites.control import Ask, Held

ATTRIBUTES = {"run", "session", "round", "party", "turn", "bytes", "kind"}


@pytest.fixture(autouse=True)
def otel(absent: Callable[[str], NoReturn]) -> None:
    if importlib.util.find_spec("opentelemetry") is None:
        absent("no OpenTelemetry: opentelemetry-sdk is not installed (extra: otel)")


@contextmanager
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """A collector of OTLP over HTTP: its address, and what it has received."""
    received: list[bytes] = []

    async def take(request: web.Request) -> web.Response:
        assert request.content_type == "application/x-protobuf"
        received.append(await request.read())
        return web.Response(content_type="application/x-protobuf")

    async def start() -> int:
        app = web.Application()
        app.router.add_post("/v1/traces", take)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        return int(runner.addresses[0][1])

    loop = asyncio.new_event_loop()
    port = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{port}/v1/traces", received
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def spans_of(received: list[bytes]) -> list[Any]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found = []
    for data in received:
        for resource in ExportTraceServiceRequest.FromString(data).resource_spans:
            found += [span for scope in resource.scope_spans for span in scope.spans]
    return found


def said_by(span: Any) -> dict[str, Any]:
    """The attributes of a span, by name."""
    values = {one.key.removeprefix("hansa."): one.value for one in span.attributes}
    return {name: value.string_value or value.int_value for name, value in values.items()}


async def a_round(attacked: Attacked) -> str:
    """Two are asked; one fetches and answers, with the traceparent that it hears, and one says that it refuses."""
    async with attacked.intruder() as mallory, attacked.intruder("north") as north:
        await mallory.attend()
        await north.attend()
        session = attacked.ask("mallory", "north")
        asked = await mallory.until(Ask)
        async with mallory.http.get(mallory.url(f"/v1/blobs/{asked.broadcast.sha256}")) as response:
            heard = response.headers.get("traceparent", "")
        await mallory.answer(session, reply(session))
        await north.say(session, None, why="refused")
        await north.until(Held)
        for _ in range(2):
            await attacked.reply()
        attacked.runtime.send(Settle(SessionId(*session), ("mallory",)))
    return heard


@pytest.mark.promise("P566")
def test_a_collector_receives_a_span_of_each_session_and_of_each_party_in_it(tmp_path: Path) -> None:
    """With names, numbers and kinds, and no more; the party hears of its own."""
    from hansa.runtimes.sites.traces import Traces

    attacked = Attacked(tmp_path, PLAN)
    with collector() as (url, received):
        with Traces.to(url) as traces:
            attacked.gateway.watch.traces = traces
            heard = asyncio.run(a_round(attacked))
        attacked.gateway.close()
        spans = spans_of(received)
    (session,) = [one for one in spans if one.name == "session"]
    answers = {said_by(one)["party"]: one for one in spans if one.name == "answer"}
    assert len(spans) == 3 and set(answers) == {"mallory", "north"}
    assert all(one.parent_span_id == session.span_id for one in answers.values())
    assert said_by(session) == {"run": "run", "session": "0.1", "round": 1}
    sizes = said_by(answers["mallory"])
    assert sizes.pop("bytes") > 100 and sizes == {"party": "mallory", "turn": 0}
    assert said_by(answers["north"]) == {"party": "north", "turn": 0, "kind": "refused"}
    assert {name for one in spans for name in said_by(one)} == ATTRIBUTES
    assert not any(one.events or one.links for one in spans)
    mine = answers["mallory"]
    assert heard.rpartition("-")[0] == f"00-{session.trace_id.hex()}-{mine.span_id.hex()}"


@pytest.mark.promise("P566")
def test_who_names_no_collector_loads_nothing() -> None:
    program = "import sys, hansa.cli.sites, hansa.runtimes.sites.link as _; print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
