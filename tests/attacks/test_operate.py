"""Who reads a server's logs and metrics, or comes by its port for operators: what they do not learn."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import aiohttp
import pytest
from tests.attending import SECRET, Sites
from tests.contracts.test_site_runtime import DATA, plan
from tests.operating import get

import hansa as h
from hansa.cli.operating import host_and_port, watched
from hansa.runtimes.sites import Gateway, desk
from hansa.runtimes.sites.metrics import Health, Metrics
from hansa.store import Store
from hansa.ui.logs import Lines, People

HIDDEN = plan(
    pipe=(h.Clip(1.0, side=10.0), h.Weigh("one"), h.GaussianNoise(1.0)),
    sample=h.Poisson(0.5, quorum=1, deadline=20),
    rounds=6,
)


def health(gateway: Gateway) -> Health:
    return Health(gateway, lambda: None, lambda: None, 2e9)


@pytest.mark.guards("metrics are for this machine")
def test_metrics_are_not_at_all_addresses_unless_somebody_says_so(tmp_path: Path) -> None:
    assert host_and_port("0.0.0.0:9464", "--metrics", "127.0.0.1") == ("0.0.0.0", 9464)
    run = Store(tmp_path / "runs").new("plan", "digest", "app.py", {}, 3)
    with Sites(tmp_path, plan(), {}) as sites, watched(sites.gateway, run, sites.kits["server"], "0") as port:
        assert {host for host, *_ in port._runner.addresses} == {"127.0.0.1"}
        assert get(port.port, "/readyz") == (200, "ready\n")


@pytest.mark.guards("who was in a secret sample is not told")
@pytest.mark.promise("P547")
def test_a_secret_sample_is_in_no_metrics_and_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One is away all the time: each round that loses it has drawn it. Nothing changes when it is."""
    monkeypatch.setattr(desk, "GRACE", 0.0)
    away = sorted(DATA)[0]
    with (
        caplog.at_level(logging.DEBUG, "hansa.sites"),
        Sites(tmp_path, HIDDEN, DATA) as sites,
        Metrics(health(sites.gateway), ("127.0.0.1", 0)) as port,
    ):
        sites.attendants[away].stop()
        sites.wait(*sorted(DATA)[1:])
        with sites.runtime() as runtime:
            before = numbers(port.port)
            caplog.clear()
            drawn = []
            for state in h.synchronous(HIDDEN, runtime, secret=SECRET):
                drawn.append(away in state.asked)
                assert numbers(port.port) == before
    assert set(drawn) == {True, False}  # else nothing was tried
    server = [one for one in caplog.records if getattr(one, "event", "") in ("heard", "lost", "settled", "came")]
    told = [json.loads(Lines().format(one)) for one in server]
    assert not [one for one in told if one["event"] in ("heard", "lost")]
    settled = [one for one in told if one["event"] == "settled"]
    assert [one["round"] for one in settled] == [1, 2, 3, 4, 5, 6]
    assert not [one for one in settled if one.keys() != {"time", "level", "event", "run", "session", "round"}]


@pytest.mark.guards("a log has no words of a party")
@pytest.mark.promise("P540")
def test_a_party_writes_nothing_into_the_log_of_another(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its version is its own words; the server's log has a kind of reason, and no more."""
    with caplog.at_level(logging.DEBUG, "hansa.sites"), Sites(tmp_path, plan(), DATA) as sites:
        caplog.clear()
        liar(sites, '{"type":"hello","wire":7,"version":"SECRET of a record"}')
        liar(sites, '{"type":"said","SECRET":1}')
    rejected = [one for one in caplog.records if getattr(one, "event", "") == "rejected"]
    assert len(rejected) == 2
    assert not [one for one in caplog.records if "SECRET" in People().format(one) + Lines().format(one)]


def liar(sites: Sites, said: str) -> None:
    """A party that begins with these words."""
    kit = sites.kits[sorted(DATA)[0]]

    async def dial() -> None:
        connector = aiohttp.TCPConnector(ssl=kit.client_context())
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.ws_connect(f"https://{sites.address}/v1/attend") as link,
        ):
            await link.send_str(said)
            while not link.closed:
                await link.receive()

    asyncio.run(dial())


def numbers(port: int) -> list[str]:
    """What metrics say, but for the days of the certificate."""
    status, text = get(port, "/metrics")
    assert status == 200
    return [line for line in text.splitlines() if not line.startswith(("#", "hansa_certificate_days"))]
