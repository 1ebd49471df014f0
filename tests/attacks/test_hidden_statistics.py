"""What a server sees of a hidden vector: uniform bytes, under masks that no other vector has."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2
from tests.attacks.attackers_hidden import KEY, Circle, Line, served, spec_of

from hansa.aggregators import masked as masked_sum
from hansa.aggregators.hidden.client import Prepared
from hansa.aggregators.masked import Masks
from hansa.crypto import masks
from hansa.crypto.keys import PRIVATE, PUBLIC, PrivateKey
from hansa.crypto.masks import SEED, add_masks, pair_seeds, sign

LONG = 2**15  # words of two bytes
CERTAIN = 1e-6  # how seldom a uniform vector may be taken for another


def chance(v: Any) -> float:
    """How likely bytes that are uniform are as uneven as these, or as even: χ² over 256 values."""
    counts = np.bincount(v.view(np.uint8), minlength=256)
    want = v.nbytes / 256
    found = float(((counts - want) ** 2 / want).sum())
    return float(2 * min(chi2.sf(found, 255), chi2.cdf(found, 255)))


def flat() -> Circle:
    """Five clients, all of whose numbers are zero: what is not uniform shows."""
    circle = Circle(spec=spec_of(LONG))
    circle.vectors = {who: np.zeros(LONG, np.uint16) for who in circle.names}
    return circle


@pytest.mark.promise("P400")
@pytest.mark.promise("P400")
@pytest.mark.guards("each vector is masked")
def test_what_a_client_says_is_uniform() -> None:
    _, _, _, line = served(flat())
    for answer in line.said[1].values():
        assert chance(answer["vector"]) > CERTAIN


@pytest.mark.promise("P409")
@pytest.mark.promise("P409")
@pytest.mark.guards("each vector has a mask of its own")
def test_a_vector_that_comes_after_its_key_was_opened_is_uniform() -> None:
    """The server has taken it for gone, and has its key; then it comes: all masks of pairs come off."""
    late = "client-02"
    circle = flat()
    _, inside, cell, line = served(circle, Line({who: circle.talk(who) for who in circle.names}, gone={late: 1}))
    told = line.told[1][late]
    y = circle.talks[late].hear(told)["vector"]
    holders = [cell.terms.number(who) for who in inside][: cell.terms.t]
    row = cell.terms.number(late)
    shares = np.stack([cell.helps[i][row] for i in holders])
    elements = cell.terms.sharing.open([i + 1 for i in holders], shares, cell.terms.scheme.helped)
    key = cell.terms.scheme.checked(elements, cell.view.public(row), inside=False)
    assert key is not None
    publics = {who: cell.view.public(cell.terms.number(who))[:PUBLIC] for who in inside}
    seeds = pair_seeds(PrivateKey(key), late, publics, cell.terms.binding)
    add_masks(y, [(seed, -sign(late, other)) for other, seed in seeds.items()], 16)
    assert chance(y) > CERTAIN


def hidden(circle: Circle, who: str, secret: bytes, publics: dict[str, bytes]) -> Any:
    """A client's vector under these secrets."""
    return Masks().hide(circle.vectors[who].copy(), secret, who, publics, circle.terms())


@pytest.mark.guards("a pair's mask is of its session", "a client's own mask is of its session")
def test_the_difference_of_two_sessions_is_uniform() -> None:
    """Even where all is drawn the same, as by a client that was copied."""
    circle = flat()
    later = flat().next_session(b"the next session")
    later.vectors = circle.vectors
    drawn = {who: Masks().draw() for who in circle.names}
    who, *others = circle.names
    publics = {other: Masks().public(drawn[other]) for other in others}
    first = hidden(circle, who, drawn[who], publics)
    second = hidden(later, who, drawn[who], publics)
    assert chance(first - second) > CERTAIN
    own = [(masks.own_seed(drawn[who][PRIVATE:], who, one.terms().binding), 1) for one in (circle, later)]
    assert own[0] != own[1]
    key = PrivateKey(drawn[who][:PRIVATE])
    keys = {other: public[:PUBLIC] for other, public in publics.items()}
    seeds = [pair_seeds(key, who, keys, one.terms().binding) for one in (circle, later)]
    assert not set(seeds[0].values()) & set(seeds[1].values())


@pytest.mark.guards("what hides is drawn for each session")
def test_no_stream_is_used_twice_over_sessions_and_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pair has one in each session, which both add; a client has one of its own."""
    used = Counter[bytes]()

    def listen(v: Any, some: Any, bits: int) -> None:
        used.update(seed for seed, _ in some)
        add_masks(v, some, bits)

    circle = Circle(n=7)
    sessions = 6
    drawn = list[bytes]()
    for number in range(sessions):
        here = circle.next_session(bytes([number]))
        talks = {who: here.talk(who) for who in here.names}
        with monkeypatch.context() as patch:
            patch.setattr(masked_sum, "add_masks", listen)
            line = Line(talks, gone=dict.fromkeys(here.names, 2))  # no server takes masks off
            served(here, line)
        drawn += [talk.drawn for talk in talks.values()]
    secrets = list(map(secret_of, drawn))
    assert len({one[:PRIVATE] for one in secrets} | {one[PRIVATE:] for one in secrets}) == 14 * sessions
    assert Counter(used.values()) == {2: 21 * sessions, 1: 7 * sessions}


def secret_of(drawn: bytes) -> bytes:
    """The key and the secret of one's own mask."""
    return Prepared.decode(drawn).secret


UNUSED = {0, 1, 2, 254, 255}  # bits of an X25519 key that are set for all   (RFC 7748, §5)


@pytest.mark.control("no defence to take away: the key agreement and HKDF stand for it")
def test_any_bit_of_a_secret_changes_half_of_the_mask() -> None:
    """Of the key and of the secret of a client's own mask."""
    circle = Circle(spec=spec_of(64))
    who, *others = circle.names
    publics = {other: Masks().public(KEY.child(other).secret + bytes(32)) for other in others}
    secret = KEY.child("key").secret + KEY.child("own").secret
    first = hidden(circle, who, secret, publics)
    for bit in range(512):
        if bit in UNUSED:
            continue
        flipped = bytearray(secret)
        flipped[bit // 8] ^= 1 << bit % 8
        other = hidden(circle, who, bytes(flipped), publics)
        share = np.unpackbits((first ^ other).view(np.uint8)).mean()
        assert 0.3 < share < 0.7, bit


@pytest.mark.guards("every bit of a seed counts")
def test_so_many_masks_are_all_different() -> None:
    """Of 2¹⁷ seeds of 28 bits, some 32 pairs would be one: words of 32 bytes never are."""
    rng = np.random.Generator(np.random.PCG64(1))
    seen = set[bytes]()
    n = 2**17
    for seed in np.frombuffer(rng.bytes(SEED * n), np.uint8).reshape(n, SEED):
        v = np.zeros(8, np.uint32)
        add_masks(v, [(seed.tobytes(), 1)], 32)
        seen.add(v.tobytes())
    assert len(seen) == n
