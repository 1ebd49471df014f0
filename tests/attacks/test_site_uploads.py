"""What one party may try that attends at a gateway, so that others lose their links."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.attacks.intruders import Attacked, Intruder, reply
from tests.attacks.test_sites import done
from tests.contracts.test_gateways import standing as relaying

from hansa.runtimes.sites.blobs import REQUESTS
from hansa.runtimes.sites.control import Ask, Held
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
            attacked.post().requests = REQUESTS
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
            attacked.post().requests = REQUESTS
            assert await fetched(mallory, "app") == 200
            assert await fetched(mallory, "another") == 503

    done(attack())


@pytest.mark.promise("P574")
@pytest.mark.guards("who fetches a bundle counts before it is there")
def test_who_fetches_a_bundle_counts_before_it_is_there(attacked: Attacked) -> None:
    async def attack() -> None:
        async with attacked.intruder() as mallory:
            assert await fetched(mallory, "none") == 404
            attacked.post().requests = REQUESTS
            assert await fetched(mallory, "none") == 429

    done(attack())
