"""What one party may try that attends at a gateway, so that others lose their links."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from tests.attacks.intruders import Attacked, Intruder, Liar, blob_of, patience, reply
from tests.attacks.test_site_gateways import standing
from tests.attacks.test_sites import done
from tests.contracts.test_gateways import standing as relaying

from hansa.runtimes.sites.between import Came
from hansa.runtimes.sites.blobs import REQUESTS
from hansa.runtimes.sites.control import Ask, Held
from hansa.runtimes.sites.moving import send_parts
from hansa.runtimes.sites.upstream import RelayPort


@pytest.fixture
def attacked(tmp_path: Path) -> Iterator[Attacked]:
    found = Attacked(tmp_path)
    yield found
    found.gateway.close()


@pytest.fixture
def relay(attacked: Attacked) -> Iterator[RelayPort]:
    """A gateway before it."""
    with relaying(attacked.sites, "gateway") as found:
        yield found


@contextlib.asynccontextmanager
async def behind(attacked: Attacked, relay: RelayPort, who: str) -> AsyncIterator[Intruder]:
    """A party that dials the gateway."""
    async with Intruder(attacked.sites.kits[who], f"127.0.0.1:{relay.port}") as one:
        yield one


async def fetched(one: Intruder, name: str) -> int:
    """The status of what somebody hears that fetches a bundle."""
    async with one.http.get(one.url(f"/v1/bundles/{name}")) as response:
        await response.read()
        return response.status


@pytest.mark.promise("P574")
@pytest.mark.guards("an upload that is refused ends no link of others")
def test_who_has_too_much_under_way_ends_no_link_of_others(attacked: Attacked, relay: RelayPort) -> None:
    """Mallory has as many requests under way at the server as it may, when its answer comes there."""

    async def attack() -> None:
        async with behind(attacked, relay, "mallory") as mallory, behind(attacked, relay, "north") as north:
            await mallory.attend()
            await north.attend()
            await attacked.until(lambda: len(attacked.gateway.desk.present) == 2)
            session = attacked.ask("mallory", "north")
            await mallory.until(Ask)
            await north.until(Ask)
            attacked.post().requests = 2 * REQUESTS  # one may be just ending
            await mallory.answer(session, reply(session))
            link = relay.relay.server
            await asyncio.sleep(1.5)
            await north.answer(session, reply(session, "north"))
            assert (await attacked.reply()).who == ("north",)
            attacked.post().requests = 0
            assert (await attacked.reply()).who == ("mallory",)
            assert await mallory.until(Held) is not None
            assert relay.relay.server is link
            attacked.end(session)

    done(attack())


@pytest.mark.promise("P574")
@pytest.mark.guards("of one bundle a server is asked once")
def test_of_one_bundle_a_server_is_asked_once(attacked: Attacked, relay: RelayPort) -> None:
    attacked.gateway.bundles["app"] = b"all of it"

    async def attack() -> None:
        async with behind(attacked, relay, "mallory") as mallory:
            assert await fetched(mallory, "app") == 200
            attacked.post().requests = 2 * REQUESTS  # one may be just ending
            assert await fetched(mallory, "app") == 200
            assert await fetched(mallory, "another") == 503

    done(attack())


@pytest.mark.promise("P574")
@pytest.mark.guards("who fetches a bundle counts before it is there")
def test_who_fetches_a_bundle_counts_before_it_is_there(attacked: Attacked) -> None:
    async def attack() -> None:
        async with attacked.intruder() as mallory:
            assert await fetched(mallory, "none") == 404
            attacked.post().requests = 2 * REQUESTS  # one may be just ending
            assert await fetched(mallory, "none") == 429

    done(attack())


@pytest.mark.promise("P574")
@pytest.mark.control("a question's time is over while its answer is sent: no link ends for that")
@pytest.mark.parametrize("status", [404, 408])
def test_what_is_not_expected_any_more_is_not_sent_to_its_end(status: int, attacked: Attacked) -> None:
    async def attack() -> None:
        blob = blob_of(b"answer")
        async with Liar(attacked.sites.kits["server"], takes=status) as liar, patience():
            context = attacked.sites.kits["north"].client_context()
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as http:
                url = f"https://{liar.address}/v1/blobs/{blob.sha256}"
                await send_parts(http, url, [b"answer"], blob, 0)
        assert liar.sent == [b"answer"]

    done(attack())


@pytest.mark.promise("P574")
@pytest.mark.control("who moves to a gateway does nothing that is told as a fault")
def test_who_moves_to_a_gateway_attends_once(attacked: Attacked, caplog: pytest.LogCaptureFixture) -> None:
    async def attack() -> None:
        async with standing(attacked) as gateway, attacked.intruder("north") as north:
            await north.attend()
            await gateway.say(Came("north"))
            assert await north.ended()
            assert "second time" not in caplog.text
            async with attacked.intruder("south") as one, attacked.intruder("south") as two:
                await one.attend()
                await two.attend()
                assert await one.ended()
            assert caplog.text.count("south attends a second time") == 1

    with caplog.at_level(logging.INFO, "hansa.sites"):
        done(attack())
