"""Attacks on a server by who has a certificate of its federation: each over a real connection."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from tests.attacks.fuzzing import Fuzzer
from tests.attacks.intruders import Attacked, blob_of, patience, reply
from tests.attending import HOST

from hansa import codec
from hansa.crypto.identity import Roster
from hansa.crypto.keys import SigningKey
from hansa.errors import ProtocolError
from hansa.kits.authority import Authority
from hansa.messages import SessionId
from hansa.runtimes.sites import door, posts, revoking
from hansa.runtimes.sites.blobs import REQUESTS
from hansa.runtimes.sites.control import Ask, Blob, Held, Hello, Said, Send, Session, Settle, encode
from hansa.runtimes.sites.door import CONNECTIONS
from hansa.sums import Total


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    one = Attacked(tmp_path_factory.mktemp("attacked"))
    yield one
    one.gateway.close()


def done(work: Coroutine[Any, Any, None]) -> None:
    """Attack, for a minute at most."""

    async def within() -> None:
        async with patience(60):
            await work

    asyncio.run(within())


# ── posing as another ──


@pytest.mark.promise("P506")
@pytest.mark.guards("a reply is its own party's", "a reply is of its turn")
@pytest.mark.parametrize("field", ["who", "run", "epoch", "number", "round", "turn"])
def test_nobody_answers_for_another_or_elsewhere(attacked: Attacked, field: str) -> None:
    async def attack() -> None:
        async with attacked.intruder() as mallory:
            await mallory.attend()
            session = attacked.ask()
            other = {"run": SessionId("x", *session[1:]), "epoch": session._replace(epoch=1)}
            other["number"] = session._replace(number=10**6)
            told: dict[str, Any] = {"who": "north", "round": 1, "turn": 1}
            more = {field: told[field]} if field in told else {}
            await mallory.answer(session, reply(other.get(field, session), **more))
            found = await attacked.reply()
            attacked.end(session)
        assert (found.session, found.round, found.who, found.turn) == (session, 0, ("mallory",), 0)
        assert (found.body, found.why) == (None, "invalid")

    done(attack())


@pytest.mark.promise("P506")
@pytest.mark.guards("a blob is for whom it was told")
def test_nobody_fetches_what_another_was_told(attacked: Attacked) -> None:
    async def attack() -> None:
        async with attacked.intruder() as mallory, attacked.intruder("south") as south:
            await mallory.attend()
            await south.attend()
            session = attacked.ask("south", body={"for": "south alone"})
            blob = (await south.until(Ask)).body
            assert (await mallory.get(blob))[0] == 404
            status, data = await south.get(blob)
            assert status == 200 and b"south alone" in data
            attacked.end(session)

    done(attack())


@pytest.mark.promise("P506")
@pytest.mark.guards("an upload is its own party's")
def test_nobody_sends_anothers_answer(attacked: Attacked) -> None:
    async def attack() -> None:
        async with attacked.intruder() as mallory, attacked.intruder("south") as south:
            await mallory.attend()
            await south.attend()
            session = attacked.ask("south")
            data = reply(session, "south")
            await south.say(session, blob_of(data))
            await south.until(Send)
            assert await mallory.put(blob_of(data), data) == 404
            assert attacked.spooled("south") == attacked.spooled() == 0
            await mallory.say(session, None, why="refused")  # of a session that it was not asked in
            assert isinstance(await mallory.until(Held), Held)
            assert await south.put(blob_of(data), data) == 202
            assert (await attacked.reply()).body is not None
            attacked.end(session)

    done(attack())


@pytest.mark.promise("P507")
@pytest.mark.guards("a link that was replaced says nothing of its party")
def test_the_newest_link_counts(attacked: Attacked, caplog: pytest.LogCaptureFixture) -> None:
    """Three at once: the first two end, and the party attends."""

    async def attack() -> None:
        async with attacked.intruder() as one, attacked.intruder() as two, attacked.intruder() as three:
            for link in (one, two, three):
                await link.attend()
            assert await one.ended() and await two.ended()
            await asyncio.sleep(0.3)
            assert "mallory" in attacked.gateway.desk.present
            session = attacked.ask()
            await three.answer(session, reply(session))
            assert (await attacked.reply()).body is not None
            attacked.end(session)

    with caplog.at_level(logging.WARNING, "hansa.sites"):
        done(attack())
    assert caplog.text.count("attends a second time") == 2


# ── answers that are none ──


def hostile(session: SessionId) -> dict[str, bytes]:
    """Bytes that are no answer."""
    rng = np.random.default_rng(3)
    head = b'{"__metadata__":{"hansa":"{\\"array\\":\\"v\\"}"},"v":{"dtype":"F64","shape":%s,"data_offsets":[0,0]}}'

    def framed(words: bytes) -> bytes:
        words += b" " * (-len(words) % 8)
        return len(words).to_bytes(8, "little") + words

    deep: Any = 0
    for _ in range(30):
        deep = [deep]
    whole = reply(session)
    return {
        "random": rng.bytes(300),
        "one byte": b"\0",
        "a head without end": b"\xff" * 8 + b"{" * 200,
        "a huge shape": framed(head % b"[1099511627776,1099511627776]"),
        "nothing of a huge shape": framed(head % b"[0,4611686018427387904,4611686018427387904]"),
        "many dimensions": framed(head % (b"[" + b"0," * 99 + b"0]")),
        "deep JSON": framed(b"[" * 500 + b"]" * 500),
        "deep values": codec.dumps(deep),
        "another value": codec.dumps({"hansa": "hansa reply 1"}),
        "a part": whole[:-8],
        "more": whole + b"\0" * 8,
        "NaN": whole,
    }


@pytest.mark.promise("P508")
@pytest.mark.guards("what is no reply is invalid")
@pytest.mark.parametrize("name", hostile(SessionId()))
def test_what_is_no_answer_is_invalid(attacked: Attacked, name: str) -> None:
    async def attack() -> None:
        async with attacked.intruder() as mallory:
            await mallory.attend()
            session = attacked.ask()
            data = hostile(session)[name]
            blob = blob_of(data)
            await mallory.say(session, blob)
            if blob.size <= attacked.runtime._most("mallory", 0):
                await mallory.until(Send)
                assert await mallory.put(blob, data) == 202
            try:
                found = await attacked.reply()
            except ProtocolError as error:
                pytest.fail(f"the run ends: {error}")
            attacked.end(session)
        assert (found.who, found.body is None) == (("mallory",), name != "NaN")

    done(attack())


@pytest.mark.promise("P508")
@pytest.mark.guards("a party's answer is no sum of many")
def test_nobody_answers_with_a_sum_of_many(attacked: Attacked) -> None:
    async def attack() -> None:
        async with attacked.intruder() as mallory:
            await mallory.attend()
            session = attacked.ask()
            total = Total()
            total.add(np.full(1, 1e6))
            await mallory.answer(session, reply(session, body=total))
            found = await attacked.reply()
            attacked.end(session)
        assert (found.body, found.why) == (None, "invalid")

    done(attack())


@pytest.mark.promise("P508")
@pytest.mark.guards("bytes that are others are not asked for without end")
def test_bytes_that_are_others_are_not_asked_for_without_end(attacked: Attacked) -> None:
    async def attack() -> None:
        async with attacked.intruder() as mallory:
            await mallory.attend()
            session = attacked.ask(seconds=4)
            data = reply(session)
            blob = blob_of(data)
            await mallory.say(session, blob)
            sent = 0
            while isinstance(word := await mallory.until(Send | Held), Send):
                assert word.offset == 0
                await mallory.put(blob, data[::-1])
                sent += 1
            assert (await attacked.reply()).why == "invalid" and sent == posts.TRIES
            assert attacked.spooled() == 0
            attacked.end(session)

    done(attack())


@pytest.mark.promise("P508")
@pytest.mark.guards("an answer is to one question")
def test_one_answer_to_two_questions_ends_no_run(attacked: Attacked) -> None:
    """Read once, it would be missing the second time."""

    async def attack() -> None:
        async with attacked.intruder() as mallory:
            await mallory.attend()
            sessions = [attacked.ask(), attacked.ask()]
            data = reply(sessions[0])
            for one in sessions:
                await mallory.say(one, blob_of(data))
            assert await mallory.ended()
            await mallory.attend()
            await mallory.say(sessions[0], blob_of(data))
            await mallory.until(Send)
            await mallory.put(blob_of(data), data)
            found = [await attacked.reply() for _ in sessions]
            attacked.end(*sessions)
        assert sorted(one.why for one in found) == ["", "invalid"]

    done(attack())


@pytest.mark.promise("P508")
@pytest.mark.guards("what was settled since is not read")
def test_an_answer_whose_session_was_settled_ends_no_run(attacked: Attacked) -> None:
    async def attack() -> None:
        async with attacked.intruder() as mallory:
            await mallory.attend()
            session = attacked.ask()
            await mallory.answer(session, reply(session))
            attacked.gateway.soon(attacked.gateway.desk.settle, session, ())
            await mallory.until(Settle)
            try:
                assert (await attacked.reply()).why == "invalid"
            except FileNotFoundError:
                pytest.fail("the run ends")

    done(attack())


# ── too much ──


@pytest.mark.promise("P509")
@pytest.mark.guards("an answer is no larger than it may be")
def test_what_is_too_large_is_refused_before_its_first_byte(attacked: Attacked) -> None:
    async def attack() -> None:
        most = attacked.runtime._most("mallory", 0)
        for size in (most + 1, 2**40, 2**63 - 1):
            async with attacked.intruder() as mallory:
                await mallory.attend()
                session = attacked.ask(seconds=3)
                blob = Blob("a" * 64, size)
                await mallory.say(session, blob)
                assert (await attacked.reply()).why == "invalid"
                assert await mallory.ended()
                assert await mallory.put(blob, b"x", f"0-0/{size}") == 404
                attacked.end(session)

    done(attack())


@pytest.mark.promise("P509")
@pytest.mark.guards("a part is of what was announced", "a part is no longer than it says", "parts follow one another")
def test_parts_that_are_none_are_refused_and_the_answer_comes_all_the_same(attacked: Attacked) -> None:
    async def attack() -> None:
        async with attacked.intruder() as mallory:
            await mallory.attend()
            session = attacked.ask()
            data = reply(session)
            blob, n = blob_of(data), len(data)
            await mallory.say(session, blob)
            await mallory.until(Send)
            for span in (f"0-{n}/{n}", f"0-7/{n + 1}", f"9-3/{n}", f"{2**63}-{2**64}/{n}", f"0-7/{'9' * 19}", "0-7/*"):
                assert await mallory.put(blob, b"x" * 8, span) == 400, span
            assert await mallory.put(blob, b"x" * 9, f"0-7/{n}") in (400, 0)  # longer than its range
            assert attacked.spooled() <= 8
            await mallory.say(session, None if attacked.spooled() else blob)
            attacked.end(session)
            session = attacked.ask()
            data = reply(session)
            blob = blob_of(data)
            await mallory.say(session, blob)
            await mallory.until(Send)
            assert await mallory.put(blob, data[:100], f"0-99/{n}") == 202
            assert await mallory.put(blob, data[50:150], f"50-149/{n}") == 409  # overlaps
            assert await mallory.put(blob, data[:100], f"0-99/{n}") == 409  # goes back
            assert await mallory.put(blob, data[200:300], f"200-299/{n}") == 409  # leaves some out
            assert await mallory.put(blob, data[100:], f"100-{n - 1}/{n}") == 202
            assert (await attacked.reply()).body is not None
            attacked.end(session)

    done(attack())


@pytest.mark.promise("P509")
@pytest.mark.guards("the newest upload of an answer counts")
def test_two_uploads_of_one_part_do_not_make_it_longer(attacked: Attacked) -> None:
    """Side by side they would grow beyond the answer, and nobody could go on behind that."""

    async def attack() -> None:
        async with attacked.intruder() as mallory:
            await mallory.attend()
            session = attacked.ask(seconds=6)
            data = reply(session)
            blob = blob_of(data)
            await mallory.say(session, blob)
            await mallory.until(Send)
            reader, writer = await mallory.half(blob, blob.size)
            assert await mallory.put(blob, data[:100], f"0-99/{blob.size}") == 202
            writer.write(data)
            assert b" 409 " in await reader.readline()
            assert attacked.spooled() == 100
            assert await mallory.put(blob, data[100:], f"100-{blob.size - 1}/{blob.size}") == 202
            assert (await attacked.reply()).body is not None
            attacked.end(session)

    done(attack())


@pytest.mark.promise("P509")
@pytest.mark.guards("an upload ends with its session")
def test_no_upload_outlives_its_session(attacked: Attacked) -> None:
    """A byte at a time, without a length and without end."""

    async def attack() -> None:
        async with attacked.intruder() as mallory:
            await mallory.attend()
            session = attacked.ask(seconds=1.5)
            blob = blob_of(reply(session))
            await mallory.say(session, blob)
            await mallory.until(Send)

            async def slow() -> AsyncIterator[bytes]:
                yield b"x"
                await asyncio.sleep(8)

            begun = time.monotonic()
            status = await mallory.put(blob, slow())
            took = time.monotonic() - begun
            assert (status in (0, 404, 408), took < 5, attacked.post().requests) == (True, True, 0)
            assert (await attacked.reply()).why == "late"
            attacked.end(session)

    done(attack())


@pytest.mark.promise("P509")
@pytest.mark.guards("a part is no longer than it says")
def test_a_body_without_end_ends(attacked: Attacked) -> None:
    async def attack() -> None:
        async with attacked.intruder() as mallory:
            await mallory.attend()
            session = attacked.ask()
            blob = blob_of(reply(session))
            await mallory.say(session, blob)
            await mallory.until(Send)
            sent = 0

            async def endless() -> AsyncIterator[bytes]:
                nonlocal sent
                while sent < 2**26:
                    sent += 2**16
                    yield bytes(2**16)

            assert await mallory.put(blob, endless()) in (0, 400)
            assert attacked.spooled() <= blob.size
            attacked.end(session)

    done(attack())


@pytest.mark.promise("P509")
@pytest.mark.guards("nothing that was packed is unpacked")
def test_what_unpacks_to_more_is_not_unpacked(attacked: Attacked) -> None:
    import zlib

    async def attack() -> None:
        async with attacked.intruder() as mallory:
            await mallory.attend()
            session = attacked.ask()
            data = reply(session)
            blob = blob_of(data)
            await mallory.say(session, blob)
            await mallory.until(Send)
            packed = zlib.compress(data)
            await mallory.put(blob, packed, f"0-{blob.size - 1}/{blob.size}", **{"Content-Encoding": "deflate"})
            assert attacked.gateway.inbox.empty() and attacked.spooled() <= len(packed)
            attacked.end(session)

    done(attack())


@pytest.mark.promise("P509")
@pytest.mark.guards("what is announced anew takes the place of what was")
def test_announcing_again_and_again_fills_no_disk(attacked: Attacked) -> None:
    async def attack() -> None:
        async with attacked.intruder() as mallory:
            await mallory.attend()
            session = attacked.ask()
            size = attacked.runtime._most("mallory", 0)
            half = size // 2
            for i in range(6):
                blob = Blob(f"{i:064x}", size)
                await mallory.say(session, blob)
                await mallory.until(Send)
                assert await mallory.put(blob, bytes(half), f"0-{half - 1}/{size}") == 202
            assert attacked.spooled() <= size
            assert len(attacked.post().spool._digests) <= 1
            attacked.end(session)

    done(attack())


@pytest.mark.promise("P509")
@pytest.mark.guards("a party has few requests under way")
def test_many_requests_at_a_time_are_refused(attacked: Attacked) -> None:
    async def attack() -> None:
        async with attacked.intruder() as mallory:
            await mallory.attend()
            session = attacked.ask()
            blob = blob_of(reply(session))
            await mallory.say(session, blob)
            await mallory.until(Send)
            halves = [await mallory.half(blob, blob.size) for _ in range(REQUESTS)]
            assert attacked.post().requests == REQUESTS
            reader, _ = await mallory.half(blob, blob.size)
            async with patience(5):
                assert b" 429 " in await reader.readline()
            assert await attacked.lives()
            for _, writer in halves:
                writer.transport.abort()
            attacked.end(session)

    done(attack())


@pytest.mark.promise("P509")
@pytest.mark.guards("what is fetched counts as well")
def test_who_fetches_much_and_reads_nothing_is_refused(attacked: Attacked) -> None:
    async def attack() -> None:
        async with attacked.intruder() as mallory:
            await mallory.attend()
            session = attacked.ask(told=({"x": np.zeros(12_000_000)}, ()))
            blob = (await mallory.until(Ask)).broadcast
            url = mallory.url(f"/v1/blobs/{blob.sha256}")
            responses = [await mallory.http.get(url) for _ in range(REQUESTS + 4)]
            assert [one.status for one in responses] == [200] * REQUESTS + [429] * 4
            for one in responses:
                one.close()
            attacked.end(session)

    done(attack())


@pytest.mark.promise("P509")
@pytest.mark.guards("a party has few connections")
def test_many_sockets_are_cut(attacked: Attacked, monkeypatch: pytest.MonkeyPatch) -> None:
    async def attack() -> None:
        context = attacked.sites.kits["mallory"].client_context()
        port = attacked.gateway.port
        many = [await asyncio.open_connection(HOST, port, ssl=context) for _ in range(2 * CONNECTIONS)]
        await asyncio.sleep(2.5)
        there = 0
        for reader, writer in many:
            try:
                writer.write(b"GET /v1/none HTTP/1.1\r\nHost: x\r\n\r\n")
                there += bool(await asyncio.wait_for(reader.read(10), 5))
            except (ConnectionError, ssl.SSLError, TimeoutError):
                continue
            finally:
                writer.transport.abort()
        assert 0 < there <= CONNECTIONS
        assert await attacked.lives()

    done(attack())


@pytest.mark.promise("P509")
@pytest.mark.guards("messages are small")
@pytest.mark.parametrize("kind", ["large", "binary", "garbage", "deep", "unknown field", "hello", "no number"])
def test_messages_that_are_none_end_the_link_alone(attacked: Attacked, kind: str) -> None:
    said = encode(Said(Session("run", 0, 1), 0, why="refused"))
    words = {
        "large": said[:-1] + " " * 2**18 + "}",
        "garbage": "\x1b[2J",
        "deep": "[" * 50_000,
        "unknown field": said[:-1] + ',"who":"north"}',
        "hello": '{"type":"hello","wire":[1,0],"version":"0"}',
        "no number": said.replace('"turn":0', '"turn":-1'),
    }

    async def attack() -> None:
        async with attacked.intruder() as mallory:
            await mallory.attend()
            if kind == "binary":
                await mallory.socket.send_bytes(b"\0" * 100)
            else:
                await mallory.socket.send_str(words[kind])
            assert await mallory.ended()
        assert await attacked.lives()

    done(attack())


@pytest.mark.promise("P564")
@pytest.mark.guards("a server speaks with whom it understands")
@pytest.mark.parametrize("wire", [(0, 9), (1, 1), (2, 0), (2**40, 0)])
def test_a_party_of_another_version_is_not_spoken_with(
    attacked: Attacked, wire: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    """It hears a welcome that says both numbers, and no more; so does the log, once."""

    async def attack() -> None:
        async with attacked.intruder() as mallory:
            with caplog.at_level(logging.WARNING, "hansa.sites"):
                await mallory.attend(encode(Hello(wire, "0"))[:-1] + ',"of":"a later version"}')
                assert await mallory.hear() is None
            assert "mallory" not in attacked.gateway.desk.present
        assert await attacked.lives()

    done(attack())
    told = [one.getMessage() for one in caplog.records if "mallory" in one.getMessage()]
    assert told == [f"mallory speaks version {wire[0]}.{wire[1]} of the messages, and this is 1.0"]


@pytest.mark.promise("P509")
@pytest.mark.guards("who does not listen is not heard")
def test_who_does_not_listen_is_not_heard(attacked: Attacked) -> None:
    """Else what it is to be told would heap up at the server."""

    async def attack() -> None:
        async with attacked.intruder() as mallory:
            await mallory.attend()
            said = encode(Said(Session("\U0001f600" * 256, 0, 1), 0, why="refused"))
            sent = 0
            try:
                async with asyncio.timeout(8):
                    for _ in range(60_000):
                        await mallory.socket.send_str(said)
                        sent += 1
            except (TimeoutError, ConnectionError):
                pass
            assert sent < 60_000
        assert await attacked.lives()

    done(attack())


@pytest.mark.promise("P509")
@pytest.mark.control("all defences together, against what nobody thought of")
def test_what_makes_no_sense_leaves_the_server_as_it_was(tmp_path: Path) -> None:
    """`python -m tests.evidence.fuzz_sites` says thirty times as much."""
    logging.disable(logging.CRITICAL)  # each would be kept by this test
    one = Attacked(tmp_path)
    fuzzer = Fuzzer(one, seed=0)
    try:
        found = asyncio.run(fuzzer.run(3000, 1000))
        one.end(fuzzer.session)
        assert max(found) - found[0] < 8 and asyncio.run(one.lives())
    finally:
        one.gateway.close()
        logging.disable(logging.NOTSET)
    assert fuzzer.count["answers"] and fuzzer.count["no answers"] and fuzzer.count["links"] > 100


@pytest.mark.promise("P565")
@pytest.mark.guards("what is not heard yet is kept")
def test_the_end_of_one_session_takes_no_answer_of_another(attacked: Attacked) -> None:
    """Where rounds overlap, what came for the next is there before this one is settled."""

    async def attack() -> None:
        async with attacked.intruder() as mallory:
            await mallory.attend()
            first, second = attacked.ask(), attacked.ask()
            for session in (first, second):
                await mallory.answer(session, reply(session))
                await mallory.until(Held)
            assert (await attacked.reply()).body is not None
            attacked.gateway.do(settled(attacked, first))
            found = await attacked.reply()
            assert found.session == second and found.body is not None
            attacked.gateway.do(settled(attacked, second))
            assert attacked.spooled() == 0

    done(attack())


async def settled(attacked: Attacked, session: SessionId) -> None:
    attacked.gateway.desk.settle(session, ())


# ── who was revoked ──


@pytest.mark.promise("P510")
@pytest.mark.guards("a link that ended ends no look at the others")
def test_a_link_that_is_ending_keeps_nobody_on_the_roster(attacked: Attacked) -> None:
    """Else who closes its own at the right moment could not be revoked any more."""

    async def looked() -> bool:
        assert attacked.gateway._runner.server is not None
        for one in attacked.gateway._runner.server.connections:
            one.transport.close()
            one.transport.close()
        try:
            attacked.gateway._look()
        except AttributeError:
            return False
        return True

    async def attack() -> None:
        async with attacked.intruder() as mallory:
            await mallory.attend()
            assert await asyncio.to_thread(attacked.gateway.do, looked())
            assert await mallory.ended()

    done(attack())


@pytest.mark.promise("P510")
@pytest.mark.guards("who is revoked is cut off", "a gateway takes the newest roster alone")
def test_who_is_revoked_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the file in the server's kit; its link ends, and it comes in no more. The owner reads why."""
    monkeypatch.setattr(revoking, "LOOK", 0.05)
    monkeypatch.setattr(door, "LOOK", 0.2)
    one = Attacked(tmp_path)
    own = one.sites.kits["server"]
    before = one.gateway.roster
    authority = Authority.load(tmp_path / "pki")

    async def attack() -> None:
        async with one.intruder() as mallory, one.intruder("north") as north:
            await mallory.attend()
            await north.attend()
            session = one.ask()
            blob = blob_of(reply(session))
            await mallory.say(session, blob)
            await mallory.until(Send)
            own.with_roster(authority.revoke("mallory").roster)
            assert await mallory.ended()
            assert await mallory.put(blob, reply(session)) == 403
            assert (await one.reply()).why == "absent"
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await mallory.attend()
            assert refused.value.status == 403
            assert one.gateway.desk.present == ["north"] and list(one.runtime.roster()) == ["north", "south"]

    attendant = one.sites.attend("mallory")
    one.sites.wait("mallory")
    with revoking.following(one.gateway, own.folder / "roster.json"):
        attendant.stop()
        done(attack())
        link = one.sites.attend("mallory")
        link._thread.join(20)
        assert not link._thread.is_alive() and "revoked" in str(link.error)
    for roster in (before, Roster.signed(dict(before), 9, SigningKey.fresh(), before.until)):
        with pytest.raises(ProtocolError):
            one.gateway.with_roster(roster)
    assert "mallory" not in one.gateway.roster
    one.gateway.close()


@pytest.mark.promise("P510")
@pytest.mark.control("who was never on a roster has no name there")
def test_a_certificate_on_no_roster_comes_nowhere(attacked: Attacked, tmp_path: Path) -> None:
    members = {who: one for who, one in attacked.gateway.roster.items() if who != "mallory"}
    whole, attacked.gateway.roster = attacked.gateway.roster, Roster(members, 1, b"")

    async def attack() -> None:
        async with attacked.intruder() as mallory:
            for path in ("/v1/attend", f"/v1/blobs/{'a' * 64}"):
                async with mallory.http.get(mallory.url(path)) as response:
                    assert response.status == 403
            assert await mallory.put(Blob("a" * 64, 8), b"x" * 8) == 403

    try:
        done(attack())
    finally:
        attacked.gateway.roster = whole
