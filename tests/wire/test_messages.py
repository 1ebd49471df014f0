"""Requests and replies come back from their bytes as they were; whatever is no such message is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.memory import peak

from hansa import codec, messages
from hansa.errors import ProtocolError
from hansa.messages import HEAD, LARGEST, NAME, Reply, Request, SessionId, largest
from hansa.sums import Total

RUN = "5e3b" * 16
SESSION = SessionId(RUN, 1, 7)
LAST = SessionId("\U0001f600" * NAME, LARGEST, LARGEST)
ASKED = Request("d" * 64, 3, SESSION, ({"x": np.arange(5.0)}, (None, 0.5)), {"north": None, "south": {"a": b"1"}})
SAID = Reply(SESSION, 3, ("north",), np.arange(5.0), turn=2)


def folded(kind: type = np.float64, count: int = 2) -> Reply:
    """A sum of so many vectors."""
    total = Total()
    for i in range(count):
        total.add(np.arange(5).astype(kind) + kind(i))
    return Reply(SESSION, 3, tuple(f"site-{i}" for i in range(count)), total)


def sent(message: Request | Reply) -> bytes:
    """The bytes of a message."""
    return b"".join(message.encode())


def spelt(message: Request | Reply, **more: Any) -> bytes:
    """The bytes of a message with other fields, or without those that are ABSENT."""
    fields = codec.loads(sent(message)) | more
    return codec.dumps({name: value for name, value in fields.items() if value is not ABSENT})


ABSENT = object()


# ── what is said comes back ──


@pytest.mark.parametrize("deadline", [math.inf, 0.5, 60])
@pytest.mark.parametrize("fold", [True, False])
def test_a_request_comes_back_with_the_message_of_each_party(deadline: float, fold: bool) -> None:
    session = SessionId("", LARGEST, 0)
    asked = Request(ASKED.plan, 0, session, ASKED.broadcast, ASKED.bodies, deadline=deadline, turn=2, fold=fold)
    found = Request.decode(sent(asked))
    assert (found.plan, found.round, found.session, found.turn) == (asked.plan, 0, session, 2)
    assert type(found.session) is SessionId
    assert (found.deadline, found.fold, dict(found.bodies)) == (deadline, fold, asked.bodies)
    assert [found.question(who) for who in found.bodies] == [asked.question(who) for who in asked.bodies]


def test_a_reply_comes_back() -> None:
    found = Reply.decode(sent(SAID), len(sent(SAID)))
    assert (found.session, found.round, found.who, found.why, found.turn) == (SESSION, 3, ("north",), "", 2)
    assert found.body.tolist() == SAID.body.tolist()
    lost = Reply(SESSION, 3, ("north", "south"), None, "late")
    assert Reply.decode(sent(lost), 1000) == lost


@pytest.mark.parametrize("kind", [np.float64, np.uint16, np.uint32, np.uint64])
def test_a_sum_comes_back_exactly_and_goes_on(kind: type) -> None:
    reply = folded(kind)
    found = Reply.decode(sent(reply), 2000).body
    v = np.array([0.1, 2.0**-40, 1e6, -1e-9, 3.0]).astype(kind)
    whole, parts = Total(), Total()
    for i in range(2):
        whole.add(np.arange(5).astype(kind) + kind(i))
    whole.add(v)
    parts.add(v)
    parts.merge(found)
    assert (found.count, parts.count) == (2, 3)
    assert parts.value().tobytes() == whole.value().tobytes()


def test_a_large_reply_is_mapped_and_not_copied(tmp_path: Path) -> None:
    d, path = 10**6, tmp_path / "reply"
    reply = Reply(SESSION, 3, ("north",), np.ones(d))
    frames, written = peak(reply.encode)
    path.write_bytes(b"".join(frames))
    found, mapped = peak(lambda: Reply.decode(path, 9 * d))
    assert found.body.sum() == d
    assert written < d and mapped < d


# ── what is too large ──


@pytest.mark.guards("a reply is no larger than it may be")
def test_a_reply_of_one_byte_more_is_refused_before_it_is_read() -> None:
    data = sent(SAID)
    with pytest.raises(ProtocolError, match="bytes came"):
        Reply.decode(data, len(data) - 1)
    with pytest.raises(ProtocolError, match="bytes came"):
        Reply.decode(b"garbage" * 10, 69)


@pytest.mark.guards("the head of a reply is short")
def test_a_reply_with_a_long_head_is_refused_before_it_is_read() -> None:
    """A million lists in lists are a few megabytes of JSON, and a hundred times as much memory."""
    data = spelt(SAID, body=[[]] * (HEAD // 3))
    with pytest.raises(ProtocolError, match="before its arrays"):
        Reply.decode(data, len(data))
    with pytest.raises(ProtocolError, match="beside its arrays"):
        Reply(SESSION, 3, ("north",), [[]] * (HEAD // 3)).encode()


@pytest.mark.parametrize("d", [1, 9, 10, 99, 1000, 12345])
@pytest.mark.parametrize("kind", [np.float64, np.uint16])
def test_the_largest_reply_is_as_large_as_it_can_be(d: int, kind: type) -> None:
    """Reached by the longest name of letters that take most bytes, and by no other."""
    body = np.zeros(d, kind)
    most = largest(body)
    names = ["\U0001f600" * NAME, "\U0001f600" * (NAME - 1), "\u1234" * NAME, "a\\\"'" * (NAME // 4), "north"]
    sizes = [len(sent(Reply(LAST, LARGEST, (name,), body, turn=LARGEST))) for name in names]
    assert sizes[0] == most
    assert max(sizes[1:]) < most
    lost = [Reply(LAST, LARGEST, (names[0],), None, why, LARGEST) for why in messages.KINDS]
    assert max(len(sent(reply)) for reply in lost) <= most


# ── what is no message ──

UNNAMED = ["", "a" * (NAME + 1), "two\nlines", "\x1b[2J", 3, None, b"north", ["north"], np.zeros(2)]
UNCOUNTED = [-1, LARGEST + 1, 2.0, True, None, "1", np.int64(1), np.zeros(2), [1]]
OTHERS: dict[str, list[Any]] = {
    "hansa": ["hansa reply 2", "hansa request 2", "", None, 1, np.zeros(2), ABSENT],
    "round": [*UNCOUNTED, ABSENT],
    "epoch": [*UNCOUNTED, ABSENT],
    "number": [*UNCOUNTED, ABSENT],
    "run": [*UNNAMED[1:], ABSENT],
    "turn": [*UNCOUNTED, ABSENT],
    "more": [None, 1],
}
OF_REQUEST: dict[str, list[Any]] = {
    **OTHERS,
    "plan": [*UNNAMED, ABSENT],
    "broadcast": [ABSENT],
    "bodies": [{}, None, [], ["north"], dict.fromkeys(UNNAMED[:1]), {UNNAMED[1]: None}, {"a\nb": None}, ABSENT],
    "deadline": [0.0, -1.0, math.nan, -math.inf, 60, None, "1", np.float64(1), ABSENT],
    "fold": [0, 1, None, "yes", np.True_, ABSENT],
}
OF_REPLY: dict[str, list[Any]] = {
    **OTHERS,
    "who": [(), ("a", "a"), ("north", "south"), ["north"], "north", None, *((name,) for name in UNNAMED), ABSENT],
    "body": [None, ABSENT],
    "why": ["my records are", "LATE", None, 3, "late", np.zeros(2), ABSENT],
    "folded": [0, 1, None, True, ABSENT],
}


@pytest.mark.guards("a message has its fields and no others", "a field keeps to its bound")
@pytest.mark.parametrize("message, changes", [(ASKED, OF_REQUEST), (SAID, OF_REPLY)], ids=["request", "reply"])
def test_a_field_that_cannot_be_is_refused_and_not_repeated(message: Any, changes: dict[str, list[Any]]) -> None:
    decode = decoder(message)
    decode(spelt(message))
    for name, values in changes.items():
        for value in values:
            with pytest.raises(ProtocolError) as error:
                decode(spelt(message, **{name: value}))
            assert "records" not in str(error.value), name


@pytest.mark.guards("a sum has the parts of a sum")
def test_parts_that_are_no_sum_are_refused() -> None:
    real, words = folded().body.parts(), folded(np.uint32).body.parts()
    half = np.zeros(5)
    wrong = [
        None, {}, [], half, {**real, "more": 1}, {**real, "count": 3}, {**real, "count": 2.0}, {**real, "count": -1},
        {**real, "since": 0}, {**real, "since": 3}, {**real, "since": 2**13}, {**real, "since": True},
        {**real, "fine": None}, {**real, "fine": half[:4]}, {**real, "fine": half.astype(np.float32)},
        {**real, "coarse": half.reshape(5, 1)}, {**real, "coarse": None}, {**real, "coarse": half.astype(">f8")},
        {**words, "fine": words["coarse"]}, {**words, "coarse": np.zeros(5, np.uint8)},
        {**words, "coarse": np.zeros(5, np.int32)}, {**words, "coarse": np.zeros((5, 1), np.uint32)},
    ]  # fmt: skip
    Reply.decode(spelt(folded(), body=words), 2000)
    for parts in wrong:
        with pytest.raises(ProtocolError):
            Reply.decode(spelt(folded(), body=parts), 4000)


@pytest.mark.guards("who is named is in the sum")
def test_a_sum_is_that_of_all_who_are_named() -> None:
    for who in (("site-0",), ("site-0", "site-1", "site-2")):
        with pytest.raises(ProtocolError):
            Reply.decode(spelt(folded(), who=who), 2000)
        with pytest.raises(ProtocolError):
            Reply(SESSION, 3, who, folded().body).encode()


@pytest.mark.parametrize(
    "message",
    [
        Reply(SessionId(RUN, -1, 7), 3, ("north",), 1), Reply(SESSION, 3, ("north",), 1, turn=-1),
        Reply(SESSION, 3, (), 1), Reply(SESSION, 3, ("a\nb",), 1), Reply(SESSION, 3, ("north",), None),
        Reply(SESSION, 3, ("north",), 1, "late"), Reply(SESSION, 3, ("a", "b"), 1), Reply(SESSION, 3, ("north",), len),
        Request("", 3, SESSION, None, {"north": None}), Request("d", 3, SESSION, None, {}),
        Request("d", 3, SESSION, len, {"north": None}), Request("d", 3, SESSION, None, {"north": None}, turn=-1),
        Request("d", 3, SESSION, None, {"north": None}, deadline=0.0),
    ],
    ids=lambda message: "",
)  # fmt: skip
def test_what_nobody_would_read_is_not_written(message: Request | Reply) -> None:
    with pytest.raises(ProtocolError):
        message.encode()


@pytest.mark.parametrize("message", [ASKED, SAID, folded(), folded(np.uint16)], ids=lambda message: "")
@given(noise=st.binary(max_size=60), where=st.integers(0, 10**6))
def test_no_byte_brings_the_reader_down(message: Request | Reply, noise: bytes, where: int) -> None:
    good = sent(message)
    at = where % len(good)
    with suppress(ProtocolError):
        decoder(message)(good[:at] + noise + good[at + len(noise) :])


def decoder(message: Request | Reply) -> Callable[[bytes], Any]:
    """What reads such bytes."""
    return Request.decode if isinstance(message, Request) else lambda data: Reply.decode(data, 10**4)
