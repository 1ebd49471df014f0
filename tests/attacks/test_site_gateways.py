"""What a party may try that says it is a gateway, and what a gateway may not decide."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import ClientWebSocketResponse
from tests.attacks.intruders import PLAN, Attacked, Intruder, blob_of, patience, reply
from tests.attacks.test_sites import done

import hansa as h
from hansa import codec
from hansa.aggregators import PROVEN
from hansa.errors import KINDS, ProtocolError
from hansa.kits.authority import Authority
from hansa.messages import Reply, SessionId
from hansa.runtimes.sites import between, control
from hansa.runtimes.sites.between import Came, Folded, For, From
from hansa.runtimes.sites.control import Ask, Held, Hello, Said, Send, Session
from hansa.runtimes.sites.spool import Spool
from hansa.sums import Total


@pytest.fixture
def attacked(tmp_path: Path) -> Iterator[Attacked]:
    found = Attacked(tmp_path)
    yield found
    found.gateway.close()


class Standing:
    """A gateway's link, on which anything can be said."""

    def __init__(self, one: Intruder, socket: ClientWebSocketResponse):
        self.one, self.socket = one, socket

    async def say(self, message: Any) -> None:
        await self.socket.send_str(between.encode(message))

    async def until(self, who: str, kind: type[Any]) -> Any:
        """The next message of a kind for a party; None where the link ends before."""
        while True:
            async with patience():
                message = await self.socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                return None
            told = between.to_gateway(message.data)
            if isinstance(told, For) and told.who == who and isinstance(told.message, kind):
                return told.message


@contextlib.asynccontextmanager
async def standing(attacked: Attacked, who: str = "gateway") -> AsyncIterator[Standing]:
    """A link of this certificate to where gateways dial."""
    async with attacked.intruder(who) as one, one.http.ws_connect(one.url("/v1/relay"), max_msg_size=0) as socket:
        await socket.send_str(control.encode(Hello(control.WIRE, "0")))
        await socket.receive()
        yield Standing(one, socket)


def added(session: SessionId, who: tuple[str, ...]) -> bytes:
    """The sum of a vector of ones of each, as a reply."""
    total = Total()
    for _ in who:
        total.add(np.ones(PLAN.encoded_spec.size))
    return b"".join(Reply(session, 0, who, total).encode())


@pytest.mark.promise("P574")
@pytest.mark.guards("a gateway alone dials as one")
def test_a_party_is_no_gateway(attacked: Attacked) -> None:
    async def attack() -> None:
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            async with standing(attacked, "mallory"):
                pass

    done(attack())


@pytest.mark.promise("P574")
@pytest.mark.guards("a gateway alone speaks for others")
def test_a_party_speaks_for_no_other(attacked: Attacked) -> None:
    """What north has announced, mallory would send in its place."""

    async def attack() -> None:
        async with attacked.intruder("north") as north, attacked.intruder() as mallory:
            await north.attend()
            session = attacked.ask("north")
            data = reply(session, "north")
            await north.say(session, blob_of(data))
            await north.until(Send)
            assert await mallory.put(blob_of(data), data, **between.headers("north")) == 404
            attacked.end(session)

    done(attack())


@pytest.mark.promise("P574")
@pytest.mark.guards("of who attends elsewhere a gateway says nothing")
def test_of_who_attends_elsewhere_a_gateway_says_nothing(attacked: Attacked) -> None:
    async def attack() -> None:
        async with standing(attacked) as gateway, attacked.intruder("north") as north:
            await gateway.say(Came("north"))
            await north.attend()
            session = attacked.ask("north")
            await north.until(Ask)
            await gateway.say(From("north", Said(Session.of(session), 0, why="bug")))
            await asyncio.sleep(0.2)
            await north.answer(session, reply(session, "north"))
            assert (await attacked.reply()).body is not None
            attacked.end(session)

    done(attack())


def revoke(attacked: Attacked, who: str) -> None:
    """Give the server a roster without this party."""
    authority = Authority.load(attacked.sites.folder / "pki")
    attacked.gateway.with_roster(authority.revoke(who).roster)


@pytest.mark.promise("P510")
@pytest.mark.guards("who is revoked comes back through no gateway")
def test_who_is_revoked_comes_back_through_no_gateway(attacked: Attacked) -> None:
    """A gateway that has not read the new roster says that north attends."""

    async def attack() -> None:
        async with standing(attacked) as gateway:
            await gateway.say(Came("north"))
            await attacked.until(lambda: attacked.gateway.desk.present == ["north"])
            revoke(attacked, "north")
            await attacked.until(lambda: not attacked.gateway.desk.present)
            await gateway.say(Came("north"))
            await gateway.say(Came("south"))
            await attacked.until(lambda: "south" in attacked.gateway.desk.present)
            assert attacked.gateway.desk.present == ["south"]

    done(attack())


@pytest.mark.promise("P510")
@pytest.mark.guards("for who is revoked no gateway speaks")
def test_for_who_is_revoked_nothing_is_fetched_through_a_gateway(attacked: Attacked) -> None:
    attacked.gateway.bundles["app"] = b"all of it"

    async def attack() -> None:
        async with attacked.intruder("gateway") as one:

            async def fetched() -> int:
                async with one.http.get(one.url("/v1/bundles/app"), headers=between.headers("north")) as response:
                    return response.status

            assert await fetched() == 200
            revoke(attacked, "north")
            assert await fetched() == 403

    done(attack())


@pytest.mark.promise("P574")
@pytest.mark.guards("what is to be heard one by one is not added up")
def test_a_gateway_adds_up_nothing_that_is_to_be_heard_one_by_one(attacked: Attacked) -> None:
    async def attack() -> None:
        both = ("north", "south")
        async with standing(attacked) as gateway:
            for who in both:
                await gateway.say(Came(who))
            session = attacked.ask(*both)
            await gateway.until("south", Ask)
            data = added(session, both)
            await gateway.say(Folded(list(both), Said(Session.of(session), 0, blob_of(data))))
            assert await gateway.until("north", Send) is None
            attacked.end(session)

    done(attack())


@pytest.mark.promise("P574")
@pytest.mark.guards("in a sum are answers that are waited for")
def test_who_is_not_waited_for_is_in_no_sum(attacked: Attacked) -> None:
    """South is heard where it attends by then: in the sum of its gateway before, it would be there twice."""

    async def attack() -> None:
        both = ("north", "south")
        async with standing(attacked) as gateway, attacked.intruder("south") as south:
            for who in both:
                await gateway.say(Came(who))
            session = attacked.ask(*both, fold=True)
            await gateway.until("south", Ask)
            data = added(session, both)
            blob = blob_of(data)
            await gateway.say(Folded(list(both), Said(Session.of(session), 0, blob)))
            await gateway.until("north", Send)
            await south.attend()
            await south.answer(session, reply(session, "south"))
            assert (await attacked.reply()).who == ("south",)
            await gateway.one.put(blob, data, **between.headers("north"))
            await gateway.say(From("north", Said(Session.of(session), 0, why="bug")))
            found = await attacked.reply()
            assert (found.who, found.body) == (("north",), None)
            attacked.end(session)

    done(attack())


@pytest.mark.promise("P591")
@pytest.mark.guards("nobody is banned by a word")
@pytest.mark.parametrize("way", ["a gateway's", "its own"])
def test_nobody_is_banned_by_a_word_that_is_said(attacked: Attacked, way: str) -> None:
    """The reason for which a client is out for the run, said as that for which north gives no answer."""

    async def attack() -> None:
        async with standing(attacked) as gateway, attacked.intruder("north") as north:
            await north.attend()
            if way == "a gateway's":
                await gateway.say(Came("north"))
                await attacked.until(lambda: "north" in attacked.gateway._gateways._at)
            session = attacked.ask("north")
            said = Said(Session.of(session), 0, why=PROVEN)  # type: ignore[arg-type]  # which is not looked at here
            if way == "a gateway's":
                await gateway.say(From("north", said))
            else:
                await north.socket.send_str(control.encode(said))
            await attacked.until(lambda: not attacked.gateway.desk.present)  # who speaks so is not listened to
            await north.attend()
            await north.answer(session, reply(session, "north"))
            assert (await attacked.reply()).body is not None
            attacked.end(session)

    done(attack())


@pytest.mark.promise("P591")
@pytest.mark.guards("nobody is banned by a word")
def test_nobody_is_banned_by_a_word_that_is_sent(attacked: Attacked) -> None:
    """The same in the bytes of a reply, which a gateway can make up."""

    async def attack() -> None:
        async with standing(attacked) as gateway:
            await gateway.say(Came("north"))
            session = attacked.ask("north")
            await gateway.until("north", Ask)
            fields = codec.read(b"".join(Reply(session, 0, ("north",), None, "bug").encode()))
            data = b"".join(bytes(one) for one in codec.frames({**fields, "why": PROVEN}))
            await gateway.say(From("north", Said(Session.of(session), 0, blob_of(data))))
            await gateway.until("north", Send)
            assert await gateway.one.put(blob_of(data), data, **between.headers("north")) == 202
            found = await attacked.reply()
            assert (found.body, found.why) == (None, "invalid")
            attacked.end(session)

    assert PROVEN not in KINDS
    done(attack())


@pytest.mark.promise("P572")
@pytest.mark.control("an honest sum, which what is refused beside it is not")
def test_a_sum_of_two_is_heard_as_that(attacked: Attacked) -> None:
    async def attack() -> None:
        both = ("north", "south")
        async with standing(attacked) as gateway:
            for who in both:
                await gateway.say(Came(who))
            session = attacked.ask(*both, fold=True)
            await gateway.until("south", Ask)
            data = added(session, both)
            await gateway.say(Folded(list(both), Said(Session.of(session), 0, blob_of(data))))
            await gateway.until("north", Send)
            assert await gateway.one.put(blob_of(data), data, **between.headers("north")) == 202
            found = await attacked.reply()
            assert found.who == both and isinstance(found.body, Total)
            assert await gateway.until("south", Held) is not None
            attacked.end(session)

    done(attack())


@pytest.mark.promise("P574")
@pytest.mark.control("what does not fit is not refused: it goes on to the server, who names its sender")
def test_vectors_of_another_kind_are_not_added_up() -> None:
    """What is no vector of the plan goes to the server as it came, which names who has said it."""
    words = between.Folding.of(h.Plan(h.Softmax(4, 3)).encoded_spec)
    assert words.fits(np.zeros(words.size)) and words.fits(np.zeros(words.size, np.float32))
    for v in (np.zeros(1), np.zeros(words.size, np.uint64), np.zeros((1, words.size)), 0.0, None):
        assert not words.fits(v)
    whole = between.Folding(3, "uint32")
    assert whole.fits(np.zeros(3, np.uint32))
    assert not whole.fits(np.zeros(3, np.uint64)) and not whole.fits(np.zeros(3))


@pytest.mark.promise("P508")
@pytest.mark.control("a race of one party with itself, which must end no run")
def test_an_answer_that_is_let_go_while_it_is_hashed_is_no_fault_of_the_disk(tmp_path: Path) -> None:
    """Who announces another answer at that instant ends no run."""
    spool = Spool(tmp_path / "spool")
    blob = blob_of(b"answer")
    with spool.appending(blob, 0) as append:
        append(b"answer")
    hashed = spool._hashed

    def meanwhile(*about: Any) -> Any:
        spool.drop(blob)
        return hashed(*about)

    spool._hashed = meanwhile  # type: ignore[method-assign]
    with pytest.raises(ProtocolError, match="not those that were announced"):
        spool.whole(blob)
