"""A neighbour that cheats among real nodes, and strangers: what they say moves nothing, and is told in one line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType
from tests.meeting import NAMES, ONE, Village
from tests.operating import HOST, free_port

import hansa as h
from hansa.codec import dumps, frames
from hansa.errors import AppError, PlanError, PolicyError, WorkerError
from hansa.kits import Kit
from hansa.kits.provision import KITS, Design, provision
from hansa.parties.database import Database
from hansa.runtimes.peers.gate import PENDING
from hansa.runtimes.peers.mail import TABLES, Mail
from hansa.runtimes.peers.mesh import Mesh, lead, mesh_of, told_of
from hansa.runtimes.peers.part import check_new, leave
from hansa.runtimes.peers.port import most_of
from hansa.runtimes.peers.talk import FAULTS, PIECE, Held, In, Message, Refused, Send, Words, decoded, encode
from hansa.runtimes.sites.backup import backup, restore
from hansa.runtimes.sites.control import MOST, Blob
from hansa.runtimes.sites.link import Way, dialled
from hansa.runtimes.sites.runs import Runs
from hansa.runtimes.sites.spool import Spool

FIVE = (*NAMES, "zoe")
LENGTH = 10  # of what a node says here: softmax of 4 features and 2 classes


@dataclass
class Speaker:
    """A neighbour's end of a link, that says what it likes."""

    socket: ClientWebSocketResponse

    async def hear(self) -> Message | None:
        """What it is answered; None where the link is ended."""
        async with asyncio.timeout(20):
            message = await self.socket.receive()
        return decoded(message.data) if message.type is WSMsgType.TEXT else None

    async def announce(self, round: int, blob: Blob) -> Message | None:
        await self.socket.send_str(encode(Words(round, blob)))
        return await self.hear()

    async def say(self, round: int, words: Any) -> Message | None:
        """Announce this, and send it where it is wanted."""
        data = words if isinstance(words, bytes) else dumps(words)
        answer = await self.announce(round, Spool.named([data]))
        if isinstance(answer, Send):
            await self.socket.send_bytes(data[answer.offset :])
            answer = await self.hear()
        return answer


@contextlib.asynccontextmanager
async def speaking(kit: Kit, address: str, run: str) -> AsyncIterator[Speaker]:
    """Dial a node with this kit."""
    way = Way(address, kit.client_context(), kit.federation, host=HOST)
    async with dialled(way, "/v1/peer", MOST) as (_, socket):
        await socket.send_str(encode(In(run)))
        speaker = Speaker(socket)
        await speaker.hear()
        yield speaker


def among(there: Village, cheats: Callable[[Speaker, Any], Awaitable[Any]], who: str = "west") -> Any:
    """What comes of it when a neighbour of east cheats, which waits for its neighbours."""

    async def live() -> Any:
        task = there.start("east")
        while "east" not in there.nodes or not there.nodes["east"].port.port:
            if task.done():
                task.result()
            await asyncio.sleep(0.01)
        node = there.nodes["east"]
        try:
            async with speaking(there.kit(who), there.pki.roster["east"].address, node.desk.run) as speaker:
                return await cheats(speaker, node)
        finally:
            await there.end("east")

    return asyncio.run(live())


def lines(caplog: Any, words: str) -> list[str]:
    return [one.getMessage() for one in caplog.records if words in one.getMessage()]


@pytest.fixture
def there(tmp_path: Path, caplog: Any) -> Village:
    caplog.set_level(logging.INFO, "hansa.sites")
    return Village(tmp_path, h.Ring(), pipe=ONE)


@pytest.mark.guards("who is not heard here is refused")
@pytest.mark.promise("P622")
def test_a_peer_of_the_roster_that_is_no_neighbour_is_refused(tmp_path: Path, caplog: Any) -> None:
    """South is two places from east on a ring of five."""
    caplog.set_level(logging.INFO, "hansa.sites")
    there = Village(tmp_path, h.Ring(), FIVE)

    async def cheats(speaker: Speaker, node: Any) -> Any:
        return await speaker.say(0, np.zeros(LENGTH))

    with pytest.raises(aiohttp.WSServerHandshakeError):
        among(there, cheats, "south")
    assert len(lines(caplog, "is not heard here")) == 1


@pytest.mark.guards("a node looks on the roster who dials")
@pytest.mark.promise("P622")
def test_who_is_revoked_or_of_another_federation_is_refused(there: Village) -> None:
    roster = there.pki.revoke("west").roster

    async def live() -> list[int]:
        task = there.start("east")
        while "east" not in there.nodes or not there.nodes["east"].port.port:
            assert not task.done()
            await asyncio.sleep(0.01)
        node = there.nodes["east"]
        node.desk.with_roster(roster)
        listens = {who: f"{HOST}:{free_port()}" for who in NAMES}
        provision(Design("study", "", parties=dict.fromkeys(NAMES, "peer"), addresses=listens), there.folder / "other")
        refused = []
        for kit in (there.kit("west"), Kit.load(there.folder / "other" / KITS / "west")):
            try:
                async with speaking(kit, there.pki.roster["east"].address, node.desk.run):
                    refused.append(0)
            except aiohttp.WSServerHandshakeError as error:
                refused.append(error.status)
            except (aiohttp.ClientError, OSError):
                refused.append(1)  # no handshake
        await there.end("east")
        return refused

    assert asyncio.run(live()) == [403, 1]


@pytest.mark.guards("a node says nothing to who is not its neighbour")
@pytest.mark.promise("P622")
def test_a_peer_that_listens_in_a_neighbours_place_hears_nothing(there: Village, caplog: Any) -> None:
    """South has a certificate for the same host, and answers where west should."""
    south = there.kit("south")
    heard = []

    async def live() -> None:
        from aiohttp import web

        from hansa.runtimes.sites.greeting import greet

        async def attend(request: web.Request) -> web.WebSocketResponse:
            link = web.WebSocketResponse()
            await link.prepare(request)
            await greet("study", "east", link)
            with contextlib.suppress(TimeoutError):
                message = await link.receive()
                if message.type is WSMsgType.TEXT:
                    heard.append(message.data)
            return link

        app = web.Application()
        app.router.add_get("/v1/peer", attend)
        runner = web.AppRunner(app)
        await runner.setup()
        host, port = there.pki.roster["west"].address.split(":")
        await web.TCPSite(runner, host, int(port), ssl_context=south.server_context()).start()
        there.start("east")
        while not lines(caplog, "west is not reached: it is not that neighbour"):
            if heard:
                break
            await asyncio.sleep(0.02)
        await there.end("east")
        await runner.cleanup()

    asyncio.run(asyncio.wait_for(live(), 30))
    assert not heard


@pytest.mark.guards("a node reads no more than a vector of the plan has")
@pytest.mark.promise("P623")
def test_words_that_are_too_large_are_refused_before_they_are_sent(there: Village, caplog: Any) -> None:
    """A hundred megabytes, and one byte more than can be."""

    async def cheats(speaker: Speaker, node: Any) -> Any:
        huge = Blob("a" * 64, 100 * 2**20)
        assert await speaker.announce(0, huge) == Refused(0, "large")
        assert not isinstance(await speaker.announce(0, huge), Send)
        return await speaker.announce(1, Blob("b" * 64, most_of(LENGTH) + 1))

    assert among(there, cheats) == Refused(1, "large")
    assert len(lines(caplog, FAULTS["large"])) == 1


@pytest.mark.guards("a node reads no more than was announced")
@pytest.mark.promise("P623")
def test_who_sends_more_than_it_has_announced_is_cut_off(there: Village, monkeypatch: Any) -> None:
    written = []
    whole = Spool.whole
    monkeypatch.setattr(Spool, "whole", lambda self, blob: (written.append(blob), whole(self, blob))[1])

    async def cheats(speaker: Speaker, node: Any) -> Any:
        blob = Spool.named([dumps(np.zeros(LENGTH))])
        assert isinstance(await speaker.announce(0, blob), Send)
        await speaker.socket.send_bytes(bytes(PIECE))
        return await speaker.hear(), node.desk.latest

    assert among(there, cheats) == (None, {})
    assert not written


@pytest.mark.guards("a node hears vectors of its plan alone")
@pytest.mark.promise("P623")
@pytest.mark.parametrize(
    "words",
    [np.full(LENGTH, np.nan), np.zeros(LENGTH - 1), np.zeros(LENGTH, np.float32), {"x": np.zeros(LENGTH)}, b"\x80abc"],
    ids=("NaN", "short", "float32", "a dict", "no value"),
)
def test_what_is_no_vector_of_the_plan_is_silence(there: Village, caplog: Any, words: Any) -> None:
    """It is told once, is not mixed, and is not waited for either."""

    async def cheats(speaker: Speaker, node: Any) -> Any:
        answer = await speaker.say(0, words)
        return answer, node.desk.latest, node.desk.mail.said_by(node.desk.run, "west", 0)

    answer, latest, mixed = among(there, cheats)
    assert answer == Refused(0, "invalid") and latest == {"west": 0} and mixed is None
    assert lines(caplog, "west says") == [f"refused: west says {FAULTS['invalid']}"]


@pytest.mark.guards("a round is heard once")
@pytest.mark.promise("P623")
def test_a_round_is_said_once_and_in_order(there: Village, caplog: Any) -> None:
    first, other = np.zeros(LENGTH), np.ones(LENGTH)

    async def cheats(speaker: Speaker, node: Any) -> Any:
        found = [await speaker.say(round, words) for round, words in ((1, first), (1, first), (1, other), (0, other))]
        return found, np.array(node.desk.mail.said_by(node.desk.run, "west", 1))

    answers, kept = among(there, cheats)
    assert answers == [Held(1), Held(1), Refused(1, "other"), Refused(0, "late")]
    assert np.array_equal(kept, first)
    assert len(lines(caplog, "refused: west says")) == 2


@pytest.mark.guards("a round is one of the run")
@pytest.mark.promise("P623")
def test_rounds_that_the_run_has_not_are_refused(there: Village) -> None:
    async def cheats(speaker: Speaker, node: Any) -> Any:
        return [await speaker.say(round, np.zeros(LENGTH)) for round in (4, 2**40)], node.desk.latest

    assert among(there, cheats) == ([Refused(4, "late"), Refused(2**40, "late")], {})


@pytest.mark.guards("one that lies about its round moves nobody")
@pytest.mark.promise("P624")
def test_one_that_says_it_is_far_ahead_moves_nobody(tmp_path: Path) -> None:
    """West says its last round at once; east goes through all of its rounds beside north all the same."""
    there = Village(tmp_path, h.Ring(), pipe=ONE, deadline=1.0, rounds=6)

    async def live() -> list[int]:
        others = [there.start(who) for who in ("east", "north", "south")]
        while "east" not in there.nodes or not there.nodes["east"].port.port:
            await asyncio.sleep(0.01)
        node = there.nodes["east"]
        south = there.nodes["south"]
        for one in (node, south):
            one.desk.met("west")
            async with speaking(
                there.kit("west"), there.pki.roster[one.desk.kit.who].address, node.desk.run
            ) as speaker:
                await speaker.say(5, np.zeros(LENGTH))
        for one in others:
            await asyncio.wait_for(one, 60)
        return [there.runs(who) for who in ("east", "north", "south")]

    assert asyncio.run(live()) == [6, 6, 6]


@pytest.mark.guards("nobody skips on nonsense", "nobody skips while a source is in step")
@pytest.mark.promise("P624")
def test_nobody_skips_on_one_voice_or_on_nonsense(there: Village) -> None:
    """East hears north and west: both are far ahead, but north is late, or speaks nonsense; then it speaks."""

    async def cheats(speaker: Speaker, node: Any) -> list[bool]:
        desk = node.desk

        async def skips() -> bool:
            desk.round = 1
            found = await node._skipped()
            desk.round = 0  # else it would go on by itself
            return bool(found)

        assert await speaker.say(3, np.zeros(LENGTH)) == Held(3)
        found = [await skips()]
        async with speaking(there.kit("north"), there.pki.roster["east"].address, desk.run) as north:
            await north.say(2, np.full(LENGTH, np.nan))
            found.append(await skips())
            await north.say(3, np.zeros(LENGTH))
        return [*found, await skips()]

    assert among(there, cheats) == [False, False, True]


@pytest.mark.guards("neighbours share no spool", "what came wrong is asked for again")
@pytest.mark.promise("P623")
def test_a_neighbour_does_not_touch_what_another_says(there: Village, caplog: Any) -> None:
    """West announces north's words and sends others; it is cut off, and north is heard, and then west too."""
    data = dumps(np.ones(LENGTH))
    blob = Spool.named([data])

    async def cheats(west: Speaker, node: Any) -> Any:
        address = there.pki.roster["east"].address
        assert await west.announce(0, blob) == Send(0)
        await west.socket.send_bytes(bytes(len(data) - 1))
        async with speaking(there.kit("north"), address, node.desk.run) as north:
            found = [await north.say(0, data)]
        await west.socket.send_bytes(bytes(1))
        found.append(await west.hear())
        async with speaking(there.kit("west"), address, node.desk.run) as again:
            await again.announce(0, blob)
            await again.socket.send_bytes(data)
            found.append(await again.hear())
        return found

    assert among(there, cheats) == [Held(0), None, Held(0)]


@pytest.mark.guards("pieces are not empty")
@pytest.mark.promise("P623")
def test_pieces_without_a_byte_end_a_link(there: Village) -> None:
    async def cheats(speaker: Speaker, node: Any) -> Any:
        await speaker.announce(0, Spool.named([dumps(np.zeros(LENGTH))]))
        await speaker.socket.send_bytes(b"")
        try:
            return await asyncio.wait_for(speaker.hear(), 3)
        except TimeoutError:
            return "it waits for more"

    assert among(there, cheats) is None


@pytest.mark.guards("what a neighbour causes is told in few lines")
@pytest.mark.promise("P623")
def test_a_liar_does_not_fill_the_log(there: Village, caplog: Any) -> None:
    async def cheats(speaker: Speaker, node: Any) -> None:
        for round in range(4, 105):
            await speaker.say(round, np.zeros(LENGTH))

    among(there, cheats)
    assert lines(caplog, FAULTS["late"]) == [
        f"refused: west says {FAULTS['late']}",
        f"west, 10 times: {FAULTS['late']}",
        f"west, 100 times: {FAULTS['late']}",
    ]


@pytest.mark.guards("a revoked neighbour's words are in no last model", "nothing is owed to who is revoked")
@pytest.mark.promise("P622")
def test_who_is_revoked_is_in_no_last_model_and_is_owed_nothing(there: Village) -> None:
    roster = there.pki.revoke("west").roster

    async def cheats(speaker: Speaker, node: Any) -> Any:
        desk, course = node.desk, node.course
        await speaker.say(0, np.full(LENGTH, 1e6))
        await desk.do(node._mail.say, course.run, 0, frames(np.zeros(LENGTH)), {}, course.mesh)
        desk.round = 1
        desk.with_roster(roster)
        await node._forgive()
        inbox, _ = await desk.do(node._opened)
        x = course.party.model(1, inbox, {}, course.mesh)
        return abs(x).max() < 1e3, [node._mail.owed(course.run, who) for who in ("north", "west")]

    assert among(there, cheats) == (True, [0, None])


@pytest.mark.guards("connections without a certificate are bounded")
@pytest.mark.promise("P629")
def test_connections_without_a_certificate_are_bounded(there: Village) -> None:
    """Three hundred that say nothing; a neighbour is heard behind them, and all but the last of them have ended."""

    async def cheats(speaker: Speaker, node: Any) -> Any:
        host, port = there.pki.roster["east"].address.split(":")
        strangers = [await asyncio.open_connection(host, int(port)) for _ in range(300)]
        async with speaking(there.kit("north"), there.pki.roster["east"].address, node.desk.run) as north:
            found = await north.say(0, np.zeros(LENGTH))
        await asyncio.sleep(0.2)
        left = [reader for reader, _ in strangers if not reader.at_eof() and reader.exception() is None]
        for _, writer in strangers:
            writer.close()
        return found, len(left) <= PENDING, len(left) > 0

    assert among(there, cheats) == (Held(0), True, True)


@pytest.mark.guards("a gate waits where no file is left")
@pytest.mark.promise("P629")
def test_a_gate_waits_where_no_file_is_left(there: Village, monkeypatch: Any) -> None:
    """Accepting fails three times, as where too many files are open."""
    loops: Any = asyncio.SelectorEventLoop
    accept = loops.sock_accept
    failed = []

    async def failing(self: Any, listener: Any) -> Any:
        if len(failed) < 3:
            failed.append(1)
            raise OSError(24, "Too many open files")
        return await accept(self, listener)

    monkeypatch.setattr(loops, "sock_accept", failing)

    async def cheats(speaker: Speaker, node: Any) -> Any:
        return await speaker.say(0, np.zeros(LENGTH))

    assert among(there, cheats) == Held(0) and len(failed) == 3


@pytest.mark.guards("a run is that of all who have agreed")
@pytest.mark.promise("P622")
def test_a_neighbour_in_another_run_is_not_heard(there: Village, caplog: Any) -> None:
    async def live() -> Any:
        there.start("east")
        while "east" not in there.nodes or not there.nodes["east"].port.port:
            await asyncio.sleep(0.01)
        async with speaking(there.kit("west"), there.pki.roster["east"].address, "f" * 64) as speaker:
            with contextlib.suppress(ConnectionError):
                await speaker.socket.send_str(encode(Words(0, Blob("a" * 64, 9))))
            answer = await speaker.hear()
        await there.end("east")
        return answer

    assert asyncio.run(live()) is None
    assert len(lines(caplog, "west is in another run")) == 1


@pytest.mark.guards("an owner's policy counts at a node")
@pytest.mark.promise("P625")
def test_a_policy_keeps_a_node_out(tmp_path: Path) -> None:
    """It says nothing, and no run has begun in its kit."""
    there = Village(tmp_path, h.Ring())
    there.policies["east"] = h.Policy(epsilon=0.1)

    async def live() -> None:
        task = there.start("east")
        await asyncio.wait([task], timeout=5)
        assert task.done(), "it takes part"
        task.result()

    with pytest.raises(PolicyError, match="east does not take part"):
        asyncio.run(live())
    assert "east" not in there.nodes


def told(there: Village, who: str) -> list[tuple[float, int | None]]:
    """What a node's runs give away, and how many rounds of each were answered."""
    with contextlib.closing(Runs(there.kit(who).folder / "runs")) as runs:
        return [(runs.total(h.Policy()), one.answers) for one in runs]


def away(there: Village, between: Callable[[Path], str]) -> tuple[str, int]:
    """West ends after some rounds, something happens to its kit, and it is refused when it comes back: why, and how
    many rounds it had said.
    """

    async def live() -> tuple[str, int]:
        for who in there.names:
            there.start(who)
        await there.until("west", 2)
        await there.end("west")
        said = there.nodes["west"].desk.round
        run = between(there.kit("west").folder)
        assert run in (there.nodes["west"].desk.run, "")
        try:
            await asyncio.wait_for(there.start("west"), 3)
            why = "it takes part"
        except AppError as error:
            why = str(error)
        except TimeoutError:
            why = "it takes part"
        for who in there.names:
            await there.end(who)
        return why, said

    return asyncio.run(live())


@pytest.mark.guards("who has left takes no part", "a node that has left counts what it has said")
@pytest.mark.promise("P628")
def test_who_has_left_takes_no_part_and_what_it_said_counts(tmp_path: Path) -> None:
    there = Village(tmp_path, h.Ring(), rounds=6)
    why, said = away(there, lambda folder: leave(folder, _only(folder)))
    ((_, answers),) = told(there, "west")
    assert "was left at" in why
    assert answers in (said, said + 1)
    with contextlib.closing(Database(there.kit("west").folder / "mail", TABLES)) as mail:
        assert [mail.execute(f"SELECT 1 FROM {name}") for name in ("heard", "said", "owed")] == [[], [], []]


@pytest.mark.guards("a node does not go on from a backup")
@pytest.mark.promise("P628")
def test_a_kit_that_was_put_back_says_nothing_twice(tmp_path: Path) -> None:
    """Not in the run that it knows, nor in one that it may have forgotten; and if it leaves, all rounds count."""
    there = Village(tmp_path, h.Ring(), rounds=6)

    def put_back(folder: Path) -> str:
        backup(folder, tmp_path / "backup")
        shutil.rmtree(folder)
        restore(tmp_path / "backup", folder)
        return ""

    why, _ = away(there, put_back)
    assert "put back from a backup" in why
    folder = there.kit("west").folder
    with contextlib.closing(Mail(folder)) as mail, contextlib.closing(Runs(folder / "runs")) as runs:
        plan = there.app.known_plan.digest
        with pytest.raises(AppError, match="--number 3"):
            check_new(runs, mail, plan, 2)
        check_new(runs, mail, plan, 3)
    leave(folder, _only(folder))
    assert told(there, "west")[0][1] == 6


@pytest.mark.guards("a node without its mail begins no run again")
@pytest.mark.promise("P628")
def test_a_node_without_its_mail_begins_no_run_again(tmp_path: Path) -> None:
    there = Village(tmp_path, h.Ring(), rounds=6)

    def lose(folder: Path) -> str:
        for path in folder.glob("mail*"):
            path.unlink()
        return ""

    why, _ = away(there, lose)
    assert "its mail is not in the kit" in why


def _only(folder: Path) -> str:
    """The one run of a kit."""
    with contextlib.closing(Runs(folder / "runs")) as runs:
        (one,) = runs
        return one.run


@pytest.mark.guards("a worker's graph names peers of the roster")
@pytest.mark.promise("P622")
def test_a_worker_cannot_name_whom_a_node_dials(tmp_path: Path) -> None:
    told = {"graph": "Ring()", "rounds": told_of(h.Ring().among(NAMES)), "length": 3}
    assert mesh_of("east", NAMES, told).heard(0) == ("north", "west")
    ((hearers, heard, weights),) = told["rounds"]
    beyond, below = heard.copy(), hearers.copy()
    beyond[0], below[0] = 4, -1
    for rounds in (
        [(hearers, beyond, weights)],
        [(below, heard, weights)],
        [(hearers, heard, weights * 9)],
        [],
        [None],
    ):
        with pytest.raises(WorkerError):
            mesh_of("east", NAMES, {**told, "rounds": rounds})


@pytest.mark.control("how far ahead one may be who does not lie")
def test_how_far_a_neighbour_may_be_ahead() -> None:
    """On graphs in which links go both ways by one round; on a directed ring by as many as it is long."""
    ring = h.Ring().among(NAMES)
    assert lead(ring, "north", "east") == 1 and lead(ring, "south", "east") == 2
    circle = h.Given({"east": ["north"], "north": ["south"], "south": ["west"], "west": ["east"]}).among(NAMES)
    assert lead(circle, "east", "north") == 1 and lead(circle, "north", "east") == 3
    assert Mesh("east", circle, 3).leads == {"north": 3, "west": 1}


@pytest.mark.guards("nodes refuse what needs a middle")
@pytest.mark.promise("P626")
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"aggregator": h.Passing()}, "Who has the model next"),
        ({"aggregator": h.PushSum()}, "its share is lost"),
        ({"aggregator": h.Choco(0.3, 0.5)}, "its share is lost"),
        ({"quorum": 3}, "not how many took part"),
        ({"deadline": float("inf")}, "without end"),
    ],
    ids=str,
)
def test_plans_that_need_a_middle_are_refused(tmp_path: Path, given: Any, words: str) -> None:
    from hansa.runtimes.peers.mesh import check_nodes

    sample = h.Everyone(quorum=given.pop("quorum", 1), deadline=given.pop("deadline", 60))
    plan = h.Plan(h.Softmax(4, 2), pipe=ONE, sample=sample, rounds=2, **given)
    with pytest.raises(PlanError) as error:
        check_nodes(plan, NAMES, "east")
    assert words in str(error.value)
