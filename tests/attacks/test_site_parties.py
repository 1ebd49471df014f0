"""Attacks on a party at its place by the server of its federation, and what goes wrong of itself."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from tests.attacks.intruders import (
    DATA,
    PLAN,
    Attacked,
    Attending,
    Liar,
    attending,
    blob_of,
    impatient,
    patience,
    question,
    reply,
    started,
)
from tests.attending import Sites

import hansa as h
from hansa import codec
from hansa.analytics import Mean
from hansa.cli.worker import Work
from hansa.data.sites import Source
from hansa.errors import DeadlineError, ProtocolError, RefusedError, StoreError
from hansa.messages import Reply, Request, SessionId
from hansa.runtimes.sites import gateway, link
from hansa.runtimes.sites.control import Begin, Blob, Held, Send, Session, Settle, Settled, encode, understand
from hansa.runtimes.sites.fetch import fetch
from hansa.runtimes.sites.gateway import Gateway
from hansa.runtimes.sites.site import Site

RUN = SessionId("run", 0, 1)
LIES = "hansa.sites"


@dataclass
class Stage:
    """A federation of kits, the server's among them, and what the party's owner reads."""

    sites: Sites
    text: Callable[[], str]

    def liar(self, **more: Any) -> Liar:
        return Liar(self.sites.kits["server"], **more)

    def party(self, liar: Liar, make: Any = None) -> Any:
        return attending(liar, self.sites.kits["north"], make or (lambda plan, found: self.sites.party("north")))


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Stage]:
    caplog.set_level(logging.DEBUG)
    sites = Sites(tmp_path, PLAN, DATA)
    sites.gateway.close()
    with impatient(monkeypatch):
        yield Stage(sites, lambda: caplog.text)


def done(work: Coroutine[Any, Any, None]) -> None:
    async def within() -> None:
        async with patience(60):
            await work

    asyncio.run(within())


async def answered(liar: Liar, party: Attending, session: SessionId, run: str = "run") -> bool:
    """Does the party live, and answer an honest question?"""
    await liar.tell(Begin(run, PLAN.digest))
    found = await liar.answer(question(session, liar.offer(started())))
    return party.lives and isinstance(found, bytes) and Reply.decode(bytearray(found), 2**20).who == ("north",)


async def until(so: Callable[[], bool]) -> None:
    async with patience():
        while not so():
            await asyncio.sleep(0.01)


# ── a server that lies ──


@pytest.mark.promise("P511")
@pytest.mark.control("the book and the app refuse, as in a simulation; here it is seen that the party lives on")
def test_a_server_that_asks_otherwise_gets_one_answer(stage: Stage) -> None:
    """In other words, out of turn, of a session that is over, of another plan or run: a kind of refusal each."""

    async def attack() -> None:
        async with stage.liar() as liar, stage.party(liar) as party:
            await liar.tell(Begin("run", PLAN.digest))
            told = liar.offer(started())
            first = await liar.answer(question(RUN, told))
            assert await liar.answer(question(RUN, told)) == first  # asked again, it says the same
            x, memo = started()
            other = liar.offer(({"x": x["x"] + 1}, memo))
            assert await liar.answer(question(RUN, other)) == "refused"
            assert await liar.answer(question(RUN, None, turn=5)) == "refused"
            assert await liar.answer(question(RUN._replace(number=2), None, turn=3)) == "restarted"
            assert await liar.answer(question(RUN._replace(number=2), told, plan="f" * 64)) == "refused"
            await liar.tell(Begin("another", PLAN.digest), Begin("x\x1b[2J", "0" * 64))
            assert await liar.answer(question(SessionId("another", 0, 9), told)) == "refused"
            for one in (RUN, SessionId("never", 3, 3)):
                await liar.tell(Settle(Session.of(one), True))
                assert isinstance(await liar.hear(), Settled)
            assert await liar.answer(question(RUN, told)) == "refused"
            assert party.lives and len(liar.sent) == 2
        assert "another run of the plan" in stage.text() and "\x1b" not in stage.text()

    done(attack())


@pytest.mark.promise("P511")
@pytest.mark.guards("a party fetches what its plan can need", "a survey finds no more than it can")
def test_what_is_larger_than_a_plan_needs_is_not_fetched(stage: Stage) -> None:
    async def attack() -> None:
        async with stage.liar() as liar, stage.party(liar) as party:
            await liar.tell(Begin("run", PLAN.digest))
            for size in (2**26, 2**45, 2**63 - 1):
                large = Blob("a" * 64, size)
                assert await liar.answer(question(RUN, large)) == "refused"
                assert await liar.answer(question(RUN, None, body=large)) == "refused"
            await liar.tell(Begin("more", PLAN.digest, Blob("b" * 64, 2**27)))
            assert await answered(liar, party, RUN)
            assert "b" * 64 not in liar.asked_for and "a" * 64 not in liar.asked_for
        assert "nothing was fetched" in stage.text()

    done(attack())


@pytest.mark.promise("P511")
@pytest.mark.guards("a question is of a run that is taken part in")
def test_nothing_is_fetched_for_a_run_that_is_not_taken_part_in(stage: Stage) -> None:
    async def attack() -> None:
        async with stage.liar() as liar, stage.party(liar) as party:
            await liar.tell(Begin("run", PLAN.digest))
            other = question(SessionId("another", 0, 1), liar.offer(started()))
            assert await liar.answer(other) == "refused"
            assert not liar.asked_for and party.lives

    done(attack())


def served(kind: str) -> Callable[[web.Request], Any]:
    """What a server gives instead of a part."""

    async def give(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=206)
        if kind == "endless":
            response.enable_chunked_encoding()
        await response.prepare(request)
        for _ in range(10**6 if kind == "endless" else 0):
            await response.write(bytes(2**16))
        return response

    return give


@pytest.mark.promise("P511")
@pytest.mark.guards("a part is no more than was asked for", "a part is no less than was asked for")
@pytest.mark.parametrize("kind", ["endless", "nothing"])
def test_parts_without_end_and_parts_of_nothing_end_the_link_alone(stage: Stage, kind: str) -> None:
    async def attack() -> None:
        async with stage.liar(serves=served(kind)) as liar, stage.party(liar) as party:
            await liar.tell(Begin("run", PLAN.digest), question(RUN, liar.offer(started())))
            await until(lambda: liar.links > 1)  # it ends the link, and comes back
            assert party.lives and len(liar.asked_for) < 100
            coming = stage.sites.kits["north"].folder / "coming"
            assert sum(one.stat().st_size for one in coming.iterdir()) < 2**20
            liar.serves = None
            assert await answered(liar, party, RUN)

    done(attack())


@pytest.mark.promise("P511")
@pytest.mark.control("the hash says so; here it is seen that the party lives on")
def test_other_bytes_are_not_trained_on(stage: Stage) -> None:
    async def attack() -> None:
        async with stage.liar() as liar, stage.party(liar) as party:
            await liar.tell(Begin("run", PLAN.digest))
            told = liar.offer(started())
            liar.blobs[told.sha256] = liar.blobs[told.sha256][::-1]
            assert await liar.answer(question(RUN, told)) == "refused"
            nonsense = liar.offer({"x": 1})
            assert await liar.answer(question(RUN, nonsense)) in ("refused", "bug")
            bytes_alone = b"\xff" * 64
            liar.blobs[blob_of(bytes_alone).sha256] = bytes_alone
            assert await liar.answer(question(RUN._replace(number=2), blob_of(bytes_alone))) == "refused"
            assert await answered(liar, party, RUN._replace(number=3))

    done(attack())


@pytest.mark.promise("P511")
@pytest.mark.guards("a party outlives nonsense")
@pytest.mark.parametrize(
    "words", ["\x1b[2J", "{}", "welcome", "[" * 9000, '{"type":"ended","run":"' + "x" * 300 + '"}']
)
def test_nonsense_ends_the_link_alone(stage: Stage, words: str) -> None:
    async def attack() -> None:
        async with stage.liar() as liar, stage.party(liar) as party:
            welcome = '{"type":"welcome","wire":[1,0],"version":"0","federation":"study"}'
            await liar.tell(welcome if words == "welcome" else words)
            await until(lambda: liar.links > 1 or not party.lives)
            assert party.lives and await answered(liar, party, RUN)
        assert stage.text().count("no message of this version") + stage.text().count("welcome twice") == 1

    done(attack())


@pytest.mark.promise("P564")
@pytest.mark.guards("a party attends a server that it understands")
def test_a_server_of_another_version_is_not_attended(stage: Stage) -> None:
    """One of an earlier minor version knows not what this party says; a later one does."""
    assert [understand(server, (1, 1)) for server in ((0, 2), (1, 0), (1, 1), (1, 2), (2, 2))] == [0, 0, 1, 1, 0]

    async def attack() -> None:
        async with stage.liar(wire=(2, 0)) as liar, stage.party(liar) as party:
            await until(lambda: not party.lives)
            error = party.task.exception()
            assert isinstance(error, RefusedError) and not liar.said
            assert "speaks version 2.0" in str(error) and "this is version 1.0" in str(error)

    done(attack())


@pytest.mark.promise("P511")
@pytest.mark.guards("a server is that of the kit's federation")
def test_the_server_of_another_federation_is_not_attended(stage: Stage) -> None:
    async def attack() -> None:
        async with stage.liar(federation="another") as liar, stage.party(liar) as party:
            await liar.tell(Begin("run", PLAN.digest), question(RUN, liar.offer(started())))
            await until(lambda: liar.links > 2)
            assert party.lives and not liar.said and not liar.asked_for
        assert "another federation" in stage.text()

    done(attack())


@pytest.mark.promise("P511")
@pytest.mark.guards("a party is sent nowhere else")
@pytest.mark.parametrize("where", ["attend", "fetch"])
def test_a_server_sends_its_parties_nowhere_else(stage: Stage, where: str) -> None:
    """There would be no certificate: a machine within the site's own network, or somebody in the middle."""
    strangers: list[str] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        strangers.append((await reader.readline()).decode())
        writer.close()

    async def attack() -> None:
        elsewhere = await asyncio.start_server(note, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{elsewhere.sockets[0].getsockname()[1]}/inside"

        async def send_on(request: web.Request) -> web.StreamResponse:
            tries.append(1)
            raise web.HTTPTemporaryRedirect(url)

        tries: list[int] = []
        more = {"attends": send_on} if where == "attend" else {"serves": send_on}
        async with stage.liar(**more) as liar, stage.party(liar) as party:
            if where == "fetch":
                await liar.tell(Begin("run", PLAN.digest), question(RUN, liar.offer(started())))
            await until(lambda: len(tries) > 1 or liar.links > 1 or bool(strangers))
            assert not strangers and party.lives
        elsewhere.close()

    done(attack())


@pytest.mark.promise("P511")
@pytest.mark.guards("an answer is sent a few times alone")
def test_an_answer_is_not_sent_without_end(stage: Stage) -> None:
    async def attack() -> None:
        async with stage.liar() as liar, stage.party(liar) as party:
            ask = question(RUN, liar.offer(started()))
            await liar.tell(Begin("run", PLAN.digest), ask)
            said = await liar.hear()
            for _ in range(20):
                await liar.tell(Send(ask.session, 0, 0), Held(Session("x", 0, 0), 3))
                await asyncio.sleep(0.05)
                if liar.links > 1:
                    break
            assert party.lives and liar.links > 1 and len(liar.sent) < 12
            assert {blob_of(one).sha256 for one in liar.sent} == {said.blob.sha256}

    done(attack())


def read(path: Path) -> Any:
    return np.loadtxt(path, delimiter=",", dtype=np.float32), np.zeros(4, int)


@pytest.mark.promise("P511")
@pytest.mark.guards("what a survey has found is its answer")
def test_what_no_survey_finds_is_not_believed(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "north.csv").write_text("1,2\n3,4\n5,6\n7,8\n")
    first = h.survey({"mean": Mean(0, 10)}, most=8, aggregator=h.Sum(), quorum=1, deadline=8)

    def planned(found: Any) -> h.Plan:
        return h.Plan(h.Softmax(2, 2), seed=int(found["mean"] * 0), sample=h.Everyone(deadline=8))

    app = h.App(plan=planned, data=h.Sites(read, str(tmp_path / "*.csv")), first=first)
    work = Work(app, "north", tmp_path / "north.csv")

    def make(plan: str, found: Any) -> h.Client:
        return work.client({"plan": plan, "found": found, "read": b""})

    for found in ("nonsense", np.zeros(99), np.zeros(3, np.int8), {"x": 1}, 7):
        with pytest.raises(ProtocolError, match="cannot find"):
            make("0" * 64, found)

    async def attack() -> None:
        async with stage.liar() as liar, stage.party(liar, make) as party:
            nan = np.full(first.start().x.shape, np.nan)
            for i, found in enumerate(("nonsense", np.zeros(99), nan)):
                await liar.tell(Begin(f"run {i}", "0" * 64, liar.offer(found)))
            await liar.tell(Settle(Session.of(RUN), True))
            assert isinstance(await liar.hear(), Settled) and party.lives

    done(attack())


# ── words ──

SECRET = "471123"  # what no server may read


class Bad(h.Softmax):
    """Its code fails on one site's examples, and tells of them."""

    def train(self, x: Any, data: Any, *job: Any) -> Any:
        if float(np.max(next(iter(data.whole()))[0])) > 1e5:
            raise RuntimeError(f"patient {SECRET}")
        return super().train(x, data, *job)


def broken() -> Any:
    raise ValueError(f"line 7: patient {SECRET}")


@contextmanager
def overheard(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Every byte that arrives at the server, and at its parties, as TLS gives it; control messages unmasked as well."""
    whole, decoded = ssl.SSLObject.read, gateway.decoded
    server: list[bytes] = []
    parties: list[bytes] = []

    def noted(self: ssl.SSLObject, n: int = 1024, buffer: Any = None) -> Any:
        got = whole(self, n, buffer)  # type: ignore[arg-type]
        data = got if buffer is None else bytes(buffer[:got])
        (server if self.server_side else parties).append(data)
        return got

    def unmasked(data: str) -> Any:
        server.append(data.encode())
        return decoded(data)

    monkeypatch.setattr(ssl.SSLObject, "read", noted)
    monkeypatch.setattr(gateway, "decoded", unmasked)
    yield server, parties


@pytest.mark.promise("P512")
@pytest.mark.guards("a bug at a site is told as its kind")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["data", "reader", "policy", "bug"])
def test_no_words_of_a_party_reach_its_server(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    x, y = DATA["mallory"]
    bad = {"data": (x, y + int(SECRET)), "reader": Source(broken), "bug": (x + int(SECRET), y)}.get(kind, (x, y))
    policy = h.Policy(min_cohort=int(SECRET)) if kind == "policy" else h.Policy()
    plan = h.Plan(Bad(4, 3), rounds=1, training=h.Training(batch=8), sample=h.Everyone(quorum=2, deadline=30))
    sites = Sites(tmp_path, plan, DATA)

    def made(plan_: str, found: Any) -> Any:
        party = sites.party("mallory")
        return h.Client("mallory", plan, bad, policy, secret=party.secret, identity=party.identity, roster=party.roster)

    with overheard(monkeypatch) as (server, parties), sites, sites.runtime() as runtime:
        sites.attendants["mallory"].site._make = made
        (state,) = h.synchronous(plan, runtime)
        assert sites.attendants["mallory"]._thread.is_alive()
    wanted = {"data": "data", "reader": "data", "policy": "refused", "bug": "bug"}[kind]
    assert state.excluded == {"mallory": wanted} and set(state.participants) == {"north", "south"}
    assert SECRET.encode() not in b"".join(server)
    assert f'"why":"{wanted}"'.encode() in b"".join(server)  # what was overheard is what came
    log = [one for one in caplog.records if one.threadName in ("gateway", "MainThread")]
    assert log and not [one for one in log if SECRET in one.getMessage()]
    heard = b"".join(parties)
    assert not [who for who in DATA if who.encode() in heard]


@pytest.mark.promise("P512")
@pytest.mark.control("no line of the code writes one; a line that did would be seen here")
def test_no_secret_is_in_any_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    pipe = (h.Finite(), h.Clip(1.0, side=10.0), h.Weigh("examples", cap=64))
    plan = h.Plan(
        h.Softmax(4, 3),
        rounds=1,
        training=h.Training(batch=8),
        sample=h.Everyone(quorum=2, deadline=60),
        pipe=pipe,
        aggregator=h.VerifiedSum(helpers=("auditor",)),
    )
    sites = Sites(tmp_path, plan, DATA)
    with sites, sites.runtime() as runtime:
        (state,) = h.synchronous(plan, runtime)
    assert len(state.participants) == 3 and "attends" in caplog.text
    for kit in sites.kits.values():
        identity = json.loads((kit.folder / "identity.json").read_text())
        secrets = [identity["signing"], identity["agreement"], kit.secret.secret.hex(), repr(kit.secret.secret)]
        secrets += (kit.folder / "tls.key").read_text().splitlines()[1:-1]
        assert len(secrets) > 5 and not [one for one in secrets if one in caplog.text]


@pytest.mark.promise("P570")
@pytest.mark.guards("a proxy's password is in no log and no error")
def test_a_proxy_learns_nothing_but_its_own_password_and_nobody_else_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy that refuses hears CONNECT and nothing else, and what is said of it is without the URL that it has."""
    caplog.set_level(logging.DEBUG)
    sites = Sites(tmp_path, PLAN, DATA)
    kit = sites.kits["north"]
    heard: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def both() -> str:
        proxy = await asyncio.start_server(refuse, "127.0.0.1", 0)
        url = f"http://ward:tulip-9931@127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        way = link.Way(sites.address, kit.client_context(), kit.federation, url)
        with pytest.raises(DeadlineError):
            await link.Link(way, None, tmp_path / "else", patience=0.0).attend()  # type: ignore[arg-type]
        with pytest.raises(DeadlineError) as error:
            await fetch(way, "heart")
        proxy.close()
        return str(error.value)

    told = asyncio.run(both())
    sites.gateway.close()
    assert "the proxy wants to know user and password" in caplog.text and "the proxy answers 407" in told
    assert heard and all(one.startswith(f"CONNECT {sites.address} HTTP/1.1\r\n".encode()) for one in heard)
    assert "tulip-9931" not in caplog.text + told


# ── what goes wrong of itself ──

BIG = h.Plan(h.Softmax(4, 20_000), rounds=1, sample=h.Everyone(quorum=2, deadline=20))


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """No file may grow beyond this, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.promise("P513")
@pytest.mark.guards("a full disk at the server ends the run", "room is looked for before bytes come")
def test_a_full_disk_at_the_server_ends_the_run_with_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Attacked(tmp_path, BIG)

    async def attack() -> None:
        async with one.intruder() as mallory:
            await mallory.attend()
            session = one.ask()
            body = np.zeros(BIG.encoded_spec.size, BIG.encoded_spec.word)
            data = reply(session, body=body)
            await mallory.say(session, blob_of(data))
            await mallory.until(Send)
            with small_files(2**18):
                assert await mallory.put(blob_of(data), data) == 507
            with pytest.raises(StoreError, match="cannot be written to"):
                await one.reply()
            free = shutil.disk_usage(tmp_path)
            monkeypatch.setattr(shutil, "disk_usage", lambda path: free._replace(free=1000))
            session = one.ask()
            await mallory.say(session, blob_of(reply(session, body=body)))
            with pytest.raises(StoreError, match="has room for 1,000 bytes"):
                await one.reply()

    try:
        done(attack())
    finally:
        one.gateway.close()


@pytest.mark.promise("P513")
@pytest.mark.control("nothing is said that is not written down; here it is seen that the party lives on")
def test_a_full_disk_at_a_site_costs_it_the_round(stage: Stage) -> None:
    plan = BIG
    stage.sites.plan = plan
    stage.sites.data = {"north": DATA["north"]}

    async def attack() -> None:
        async with stage.liar() as liar, stage.party(liar) as party:
            await liar.tell(Begin("run", plan.digest))
            told = liar.offer(started(plan))
            with small_files(2**18):
                assert await liar.answer(question(RUN, told, plan.digest)) == "bug"
            found = await liar.answer(question(RUN, told, plan.digest))
            assert isinstance(found, bytes) and party.lives

    done(attack())


@pytest.mark.promise("P513")
@pytest.mark.control("a book is held by one process, as everywhere")
def test_what_another_process_holds_is_not_opened(tmp_path: Path) -> None:
    one = Attacked(tmp_path)
    own = one.sites.kits["server"]
    with pytest.raises(StoreError, match="End who else has it open"):
        Gateway(own.roster, own.server_context(), ("127.0.0.1", 0), tmp_path / "server", "study", own.enrolment)
    one.gateway.close()


@pytest.mark.promise("P513")
@pytest.mark.control("sessions are timed by a clock that nobody sets")
def test_a_clock_that_jumps_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, jump = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: whole() + jump[0])
    with Sites(tmp_path, PLAN, DATA) as sites, sites.runtime() as runtime:
        states = h.synchronous(PLAN, runtime)
        next(states)
        for jump[0] in (86_400.0, -3_000.0):
            pass
        second = next(states)
    assert len(second.participants) == 3


@pytest.mark.promise("P513")
@pytest.mark.control("each answer counts once, as everywhere")
def test_what_is_said_twice_is_heard_once(tmp_path: Path) -> None:
    one = Attacked(tmp_path)

    async def attack() -> None:
        async with one.intruder() as mallory:
            await mallory.attend()
            session = one.ask()
            data = reply(session)
            for _ in range(3):
                await mallory.say(session, blob_of(data))
            await mallory.until(Send)
            await mallory.put(blob_of(data), data)
            await mallory.say(session, blob_of(data))
            await mallory.say(session, None, why="refused")
            assert (await one.reply()).body is not None
            one.gateway.soon(one.gateway.desk.settle, session, ("mallory",))
            await mallory.until(Settle)
            for _ in range(3):
                await mallory.socket.send_str(encode(Settled(Session.of(session))))
            await mallory.say(session, blob_of(data))
            assert isinstance(await mallory.until(Held), Held) and one.gateway.inbox.empty()
            await one.until(lambda: not one.post().unsettled)  # it is written down beside the loop

    try:
        done(attack())
    finally:
        one.gateway.close()


@pytest.mark.promise("P513")
@pytest.mark.guards("what is settled before a run goes on counts")
def test_what_is_settled_before_a_run_goes_on_counts(tmp_path: Path) -> None:
    """A party that starts again hears of its session's end before it hears of its run."""
    plan = h.Plan(h.Softmax(4, 3), rounds=2, training=h.Training(batch=8), algorithm=h.Scaffold())

    def made(plan_: str, found: Any) -> h.Client:
        return h.Client("north", plan, DATA["north"])

    request = Request(plan.digest, 0, RUN, started(plan), {"north": None})
    kept = []
    for early in (False, True):
        folder = tmp_path / f"{early}"
        folder.mkdir()
        site = Site(folder, made)
        site.begin("run", plan.digest, None)
        assert site.answer(request).body is not None
        site.close()
        site = Site(folder, made)
        for step in ("settle", "begin") if early else ("begin", "settle"):
            if step == "begin":
                site.begin("run", plan.digest, None)
            else:
                site.settle(RUN, True)
        assert site._memory is not None
        kept.append(codec.dumps(site._memory.of(["north"])["north"] if site._memory.of(["north"]) else None))
        assert site.answer(request).why == "refused"  # the session is over
        site.close()
    assert kept[0] == kept[1] != codec.dumps(None)


@pytest.mark.promise("P513")
@pytest.mark.control("the book is written before anything is said; here it is cut at every write")
def test_a_party_that_is_killed_at_any_write_answers_once(tmp_path: Path) -> None:
    """SIGKILL before and after statements that its files get: at every fourth instant, and where kills are what
    is tried at all of them. Then it is asked in other words first.
    """
    every = "1" if "HANSA_KILLS" in os.environ else "4"
    done = subprocess.run(
        [sys.executable, "-m", "tests.attacks.dying", str(tmp_path), every], capture_output=True, text=True, timeout=600
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0 and found["kills"] > 10, done.stderr
    assert found["twice"] == [], found
