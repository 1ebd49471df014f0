"""Sites behind a proxy: squid passes CONNECT on, and no other way leads to the server."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from tests.approving import hansa, study
from tests.attending import SECRET, Sites
from tests.proxies import NAME, PASSWORD, SQUID, Squid, squid

import hansa as h
from hansa.approval.packing import pack
from hansa.errors import AppError, DeadlineError
from hansa.runtimes.sites import away, link
from hansa.runtimes.sites.proxy import proxy_to


async def tried(sites: Sites, proxy: str | None) -> None:
    """Attend by another way, for a second and not longer."""
    kit = sites.kits["a"]
    way = link.Way(sites.address, kit.client_context(), kit.federation, proxy)
    await link.Link(way, None, sites.folder / "else", patience=1.0).attend()  # type: ignore[arg-type]


@pytest.mark.promise("P570")
def test_a_site_takes_part_through_a_proxy_and_by_no_other_way(
    tmp_path: Path, absent: Callable[[str], NoReturn], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if SQUID is None:
        absent("squid is not installed")
    monkeypatch.setattr(away, "FIRST", 0.1)
    caplog.set_level(logging.DEBUG)
    rng = np.random.default_rng(0)
    data = {who: (rng.normal(size=(8, 20_000)).astype(np.float32), rng.integers(0, 16, 8)) for who in ("a", "b")}
    sample = h.Everyone(quorum=2, deadline=60)
    p = h.Plan(h.Softmax(20_000, 16), training=h.Training(batch=8), rounds=2, sample=sample)
    wanted = list(h.synchronous(p, h.InProcess([h.Client(who, p, one, secret=SECRET) for who, one in data.items()])))
    with squid() as proxy:
        sites = Sites(tmp_path, p, data, host=NAME, proxy=proxy.url())
        with sites, sites.runtime() as runtime:
            sites.wait("a", "b")
            found = list(h.synchronous(p, runtime, secret=SECRET))
            for way in (None, proxy.url(password="guessed")):
                with pytest.raises(DeadlineError):
                    asyncio.run(tried(sites, way))
            fetched(sites, proxy, monkeypatch)
        passed = tunnels(proxy)
    assert [state.x.tobytes() for state in found] == [state.x.tobytes() for state in wanted]
    vector = 4 * found[-1].x.size
    assert {(method, where) for method, where, *_ in passed} == {("CONNECT", sites.address)}
    assert {result for _, _, result, _ in passed} == {"TCP_TUNNEL/200", "TCP_DENIED/407"}
    assert sum(size for *_, size in passed) > 2 * len(data) * vector
    assert PASSWORD not in caplog.text and "guessed" not in caplog.text


def fetched(sites: Sites, proxy: Squid, monkeypatch: pytest.MonkeyPatch) -> None:
    """`hansa fetch` goes the way that the environment names."""
    app = study(sites.folder / "study")
    offered = pack(app)
    sites.gateway.bundles[offered.name] = offered.encode()
    about = sites.kits["a"].folder / "kit.toml"
    about.write_text(about.read_text().replace(f"{NAME}:7443", sites.address))
    monkeypatch.chdir(sites.folder)
    assert hansa("fetch", offered.name, "--kit", sites.kits["a"].folder).exit_code != 0
    monkeypatch.setenv("HTTPS_PROXY", proxy.url())
    told = hansa("fetch", offered.name, "--kit", sites.kits["a"].folder)
    assert told.exit_code == 0 and Path(f"{offered.name}.bundle").exists(), told.output
    shutil.rmtree(app.parent)


def tunnels(proxy: Squid) -> list[tuple[str, str, str, int]]:
    """What the proxy has passed, once all of that has ended."""
    until = time.monotonic() + 20
    while sum(row[2] == "TCP_TUNNEL/200" for row in proxy.passed) < 5 and time.monotonic() < until:
        time.sleep(0.1)
    return [row for row in proxy.passed if row[0] != "-"]


@pytest.mark.promise("P570")
def test_the_proxy_is_the_one_that_is_named_or_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    address = "fl.example.org:7443"
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert proxy_to(address, None) is None
    assert proxy_to(address, "proxy.example.org:3128") == "http://proxy.example.org:3128"
    monkeypatch.setenv("https_proxy", "http://proxy.example.org:3128")
    assert proxy_to(address, None) == "http://proxy.example.org:3128"
    assert proxy_to(address, "http://[2001:db8::7]:80") == "http://[2001:db8::7]:80"
    assert proxy_to(address, "") is None
    monkeypatch.setenv("no_proxy", "localhost,.example.org")
    assert proxy_to(address, None) is None


@pytest.mark.parametrize("url", ["socks5://u:tulip-9931@a:1", "http://u:tulip-9931@", "http://u:tulip-9931@a:99999"])
def test_what_is_no_proxy_is_refused_before_anything_is_dialled(url: str) -> None:
    with pytest.raises(AppError, match="is no URL of an HTTP proxy") as error:
        proxy_to("fl.example.org:7443", url)
    assert "tulip-9931" not in str(error.value)
