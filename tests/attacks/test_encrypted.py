"""EncryptedSum under attack: by a server that decrypts what it should not, and by clients that lie."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2
from tests.attacks.attackers_encrypted import Circle, Line, agreed_by, dealt, resaid, resigned
from tests.attacks.attackers_hidden import why

import hansa as h
from hansa.aggregators import PROVEN
from hansa.aggregators.hidden.denials import UNPROVEN
from hansa.aggregators.hidden.terms import View, as_set, colluding
from hansa.crypto.field import Elements, Field64
from hansa.crypto.lattice import SEED, Key, add, decrypt, is_short, product, ready, rows
from hansa.crypto.packing import DEGREE, ETA
from hansa.crypto.sealing import MAC, SEALED_WITH
from hansa.crypto.shamir import lagrange, uniform
from hansa.errors import RoundError

TEN = Circle(10)
VICTIM = TEN.names[0]
LIAR = TEN.names[4]
REST = [who for who in TEN.names if who != LIAR]


def shares_of(line: Line, holder: str) -> Elements:
    """What an honest client holds of the keys of all, as a test sees it that all have dealt to."""
    terms = line.circle.terms
    place = terms.number(holder)
    found = np.zeros((terms.n, terms.sharing.columns(DEGREE)), np.uint64)
    for i, who in enumerate(line.circle.names):
        mine = line.talks[who].prepared
        if who == holder:
            found[i] = mine.share
        else:
            seals = {who: mine.public[-SEALED_WITH:]}
            (channel,) = line.circle.identities[holder].sealed_by(seals).values()
            box = channel.open_once(bytes(mine.boxes[place, MAC:]), terms.binding + mine.public)
            found[i] = np.frombuffer(box, np.uint64)
    return found


def opened(line: Line, helps: dict[str, Elements]) -> Elements:
    """The sum of keys that these sums of shares open."""
    terms = line.circle.terms
    holders = sorted(terms.number(who) + 1 for who in helps)[: terms.t]
    shares = np.stack([helps[terms.names[i - 1]][0] for i in holders])
    return terms.sharing.open(holders, shares, DEGREE)


# ── what a server can decrypt ──


@pytest.mark.control("the sum of keys opens the sum of vectors")
def test_the_sum_opens() -> None:
    line = Line(TEN)
    total, inside, cell = line.served()
    assert total is not None and inside == TEN.names and not why(cell)
    assert np.array_equal(total, TEN.sum(inside))
    s = opened(line, line.said[3])
    keys = [Key(line.talks[who].prepared.secret).s for who in TEN.names]
    assert np.array_equal(Field64.signed(s), np.sum([Field64.signed(one) for one in keys], axis=0))


def ciphertexts(line: Line) -> list[Any]:
    return [line.said[1][who]["vector"] for who in line.circle.names]


def one_as_the_sum(all_of_them: list[Any], other: list[Any]) -> list[Any]:
    return all_of_them[:1]


def all_but_one(all_of_them: list[Any], other: list[Any]) -> list[Any]:
    return all_of_them[1:]


def one_twice(all_of_them: list[Any], other: list[Any]) -> list[Any]:
    return [*all_of_them, all_of_them[0]]


def one_of_another_session(all_of_them: list[Any], other: list[Any]) -> list[Any]:
    return [other[0], *all_of_them[1:]]


@pytest.mark.guards("an opened sum has small errors")
@pytest.mark.parametrize("cheat", [one_as_the_sum, all_but_one, one_twice, one_of_another_session])
def test_the_key_of_the_sum_opens_nothing_else(cheat: Any) -> None:
    """What comes out is as random numbers, and an honest server refuses it."""
    circle = Circle(10, size=3 * DEGREE)
    line = Line(circle)
    line.served()
    before = Line(Circle(10, size=3 * DEGREE, task=b"the session before"))
    before.served()
    terms = circle.terms
    total = np.zeros(circle.way.coefficients, np.uint64)
    for c in cheat(ciphertexts(line), ciphertexts(before)):
        add(total, c)
    s = opened(line, line.said[3])
    found, error = decrypt(total, s, terms.binding, circle.way)
    assert error > circle.way.error
    assert evenness(found) > 1e-9
    view = View(np.ones(10, bool), np.zeros((10, 32), np.uint8))
    with pytest.raises(RoundError, match="another key"):
        terms.scheme.open(total, terms, view, np.ones(10, bool), {0: s.tobytes()})


def evenness(words: Any) -> float:
    """The chance that uniform words of 16 bits are as uneven in their high bytes."""
    counts = np.bincount(words >> 8, minlength=256)
    expected = words.size / 256
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), 255))


@pytest.mark.guards("a is of its session")
def test_two_sessions_of_one_key_tell_no_difference() -> None:
    """As where a book is put back as it was: the difference of ciphertexts is not that of vectors."""
    way = Circle(10, size=3 * DEGREE).way
    key = Key(bytes(range(2 * SEED)))
    first, second = (np.zeros(way.coefficients, np.uint64) for _ in range(2))
    add(first, key.encrypt(np.zeros(way.size, np.uint16), b"1" * 32, way))
    add(second, key.encrypt(np.ones(way.size, np.uint16), b"2" * 32, way))
    assert len(np.unique(Field64.sub(first, second))) == way.coefficients


@pytest.mark.guards("errors have a stream of their own")
def test_errors_are_not_the_key_again() -> None:
    """Or c = (a + 1)·s, from which linear algebra has s."""
    way = Circle(10, size=3 * DEGREE).way
    key = Key.fresh()
    c = np.zeros(way.coefficients, np.uint64)
    add(c, key.encrypt(np.zeros(way.size, np.uint16), b"1" * 32, way))
    masks = product(next(rows(b"1" * 32, DEGREE)), ready(key.s))
    again = (Field64.add(masks, key.s) + np.uint64(128)) & ~np.uint64(255)
    assert (c != again).sum() > 20


@pytest.mark.guards("errors of a session are drawn once")
def test_who_starts_anew_says_the_same() -> None:
    """Two ciphertexts of one key and one row would have a difference in which the key is not."""
    circle = Circle(10, size=3 * DEGREE)
    line = Line(circle)
    line.served()
    again = circle.talk(VICTIM, line.talks[VICTIM].drawn)
    said = [again.hear(told[VICTIM]) for told in line.told]
    assert np.array_equal(said[1]["vector"], line.said[1][VICTIM]["vector"])
    assert np.array_equal(said[3], line.said[3][VICTIM])


@pytest.mark.guards("keys come from the operating system")
def test_no_two_keys_are_alike() -> None:
    assert not np.array_equal(Key.fresh().s, Key.fresh().s)


@pytest.mark.guards("a key does not print")
def test_a_key_is_not_in_its_words() -> None:
    assert "secret" not in repr(Key(bytes(2 * SEED)))


# ── shares ──


def two_sets(line: Line) -> Elements:
    """The key of the victim, from sums of shares over all and over all but it: of three colluders both, of four honest
    clients the one, and of three the other.
    """
    everybody = np.ones(10, bool)
    without = everybody.copy()
    without[0] = False
    scheme = line.circle.terms.scheme
    names = line.circle.names
    colluders, first, second = names[7:], names[:4], names[3:7]
    helps = [
        {who: scheme.help(shares_of(line, who), everybody, inside) for who in (*colluders, *asked)}
        for inside, asked in ((everybody, first), (without, second))
    ]
    return Field64.sub(opened(line, helps[0]), opened(line, helps[1]))


@pytest.mark.control("without an agreement on the set, a server and three of ten have a key")
def test_two_sets_tell_a_whole_key() -> None:
    line = Line(TEN)
    line.served()
    key = two_sets(line)
    assert np.array_equal(key, Key(line.talks[VICTIM].prepared.secret).s)
    total = np.zeros(TEN.way.coefficients, np.uint64)
    add(total, ciphertexts(line)[0])
    found, _ = decrypt(total, key, TEN.terms.binding, TEN.way)
    assert np.array_equal(found, TEN.vectors[VICTIM])


@pytest.mark.guards("a sum of keys is opened with t signatures")
def test_two_sets_are_not_signed_by_enough() -> None:
    """Each honest client signs one set: with three colluders one set has seven signatures, and the other six."""
    line = Line(TEN, gone=dict.fromkeys(TEN.names, 2))
    _, _, cell = line.served()
    everybody = np.ones(10, bool)
    without = everybody.copy()
    without[0] = False
    halves = ((everybody, TEN.names[:4]), (without, TEN.names[4:7]))
    macs = [agreed_by(TEN, cell.view, inside) for inside, _ in halves]
    helped = []
    for (inside, asked), rows_of in zip(halves, macs, strict=True):
        honest = {who: line.talks[who].hear({"inside": as_set(inside)}) for who in asked}
        told = np.zeros_like(rows_of)
        told[7:] = rows_of[7:]
        for who, one in honest.items():
            told[TEN.terms.number(who)] = one["macs"]
        columns = {who: told[:, TEN.terms.number(who)].copy() for who in asked}
        helped.append([line.talks[who].hear({"macs": columns[who]}) for who in asked])
    assert all(one is not None for one in helped[0])
    assert all(one is None for one in helped[1])


@pytest.mark.guards("nobody helps with a set of which it lacks a share")
def test_a_sum_without_one_s_share_is_not_said() -> None:
    """To who lacks the victim's share, a sum over all is one over all but the victim."""
    line = Line(TEN)
    line.served()
    scheme = TEN.terms.scheme
    shares = shares_of(line, TEN.names[1])
    shares[0] = 0
    everybody = np.ones(10, bool)
    with pytest.raises(h.HansaError, match="does not hold"):
        scheme.help(shares, everybody, everybody)


@pytest.mark.guards("help is over the agreed set alone")
def test_who_is_not_in_the_sum_keeps_its_key() -> None:
    """It has shared a key, and then said no vector: nothing of it is opened, also not in a sum."""
    line = Line(TEN, gone={VICTIM: 1})
    total, inside, _ = line.served()
    assert inside == TEN.names[1:]
    assert total is not None and np.array_equal(total, TEN.sum(inside))


def rank(matrix: list[list[int]]) -> int:
    """Of a matrix over the field."""
    rest = [row[:] for row in matrix]
    found = 0
    for column in range(len(rest[0])):
        pivot = next((row for row in rest if row[column] % Field64.p), None)
        if pivot is None:
            continue
        found += 1
        rest.remove(pivot)
        scale = Field64.inverse(pivot[column])
        rest = [[(x - row[column] * scale * y) % Field64.p for x, y in zip(row, pivot, strict=True)] for row in rest]
    return found


@pytest.mark.guards("those who may collude hold too few shares to learn anything")
@pytest.mark.parametrize("n", [3, 4, 10, 31])
def test_all_colluders_shares_are_uniform_whatever_the_key(n: int) -> None:
    """What is drawn reaches their shares by a matrix of full rank; and these are even in their bytes."""
    terms = Circle(n).terms
    sharing = terms.sharing
    most = colluding(terms.threshold, n)
    free = sharing.t - sharing.pack
    sources = (*(-j for j in range(sharing.pack)), *range(1, free + 1))
    last = tuple(range(n - most + 1, n + 1))
    weights = lagrange(sources, last)[:, sharing.pack :] if last else np.zeros((0, 1), np.uint64)
    assert rank(weights.tolist()) == most
    drawn = np.concatenate([sharing.share(np.zeros(DEGREE, np.uint64))[-most:].reshape(-1) for _ in range(20)])
    counts = np.bincount((drawn >> np.uint64(56)).astype(int), minlength=256)
    expected = drawn.size / 256
    assert chi2.sf(((counts - expected) ** 2 / expected).sum(), 255) > 1e-9


@pytest.mark.guards("those who may collude hold too few shares to learn anything")
def test_with_one_share_less_than_opens_the_last_one_can_be_anything() -> None:
    """Of ten, six shares leave one of four secrets open, from which the others follow: three shares leave all four."""
    sharing = TEN.terms.sharing
    assert (sharing.t, sharing.pack) == (7, 4)
    shares = sharing.share(Key.fresh().s)
    for other in (0, 1, 12345):
        points = (1, 2, 3, 4, 5, 6, 0)
        values = np.concatenate([shares[:6], np.full((1, shares.shape[1]), other, np.uint64)])
        last = Field64.product(lagrange(points, (7,)), values)
        found = sharing.open(range(1, 8), np.concatenate([shares[:6], last]), DEGREE)
        assert (found[:: sharing.pack] == other).all()


# ── clients that lie ──


def rubbish_for(*names: str) -> Any:
    """It seals noise for these."""

    def craft(turn: int, answer: Any) -> Any:
        if turn:
            return answer
        boxes = answer["boxes"].copy()
        for who in names:
            boxes[TEN.terms.number(who)] ^= 1
        return resigned(TEN, LIAR, answer, boxes=boxes)

    return craft


@pytest.mark.guards("who deals rubbish is not in the sum", "who is left out is taken off the sum")
def test_who_deals_rubbish_to_many_is_left_out_and_the_sum_is_opened() -> None:
    total, inside, cell = (line := Line(TEN, crafts={LIAR: rubbish_for(*TEN.names[:4])})).served()
    assert total is not None, why(cell)
    assert inside == REST and line.excluded == {LIAR: PROVEN}
    assert np.array_equal(total, TEN.sum(REST))


@pytest.mark.promise("P590")
@pytest.mark.guards("who deals rubbish is not in the sum")
def test_who_deals_rubbish_to_one_is_out_as_well() -> None:
    total, inside, _ = (line := Line(TEN, crafts={LIAR: rubbish_for(TEN.names[0])})).served()
    assert inside == REST and line.excluded == {LIAR: PROVEN}
    assert total is not None and np.array_equal(total, TEN.sum(REST))


def disowning(turn: int, answer: Any) -> Any:
    """It says that it holds nobody's share but of those whom it spares."""
    if turn == 1:
        return {**answer, "holds": as_set(np.arange(10) >= 3)}
    return answer


@pytest.mark.guards("who deals rubbish is not in the sum")
def test_three_liars_that_disown_others_and_deal_rubbish_lose_no_sum() -> None:
    """Two say that they hold nothing of three honest ones; the third deals rubbish to four."""
    crafts: dict[str, Any] = dict.fromkeys(TEN.names[7:9], disowning)
    crafts[LIAR] = rubbish_for(*TEN.names[:4])
    total, inside, cell = (line := Line(TEN, crafts=crafts)).served()
    assert total is not None, why(cell)
    assert np.array_equal(total, TEN.sum(inside)) and inside == REST
    assert line.excluded == {LIAR: PROVEN, **dict.fromkeys(TEN.names[7:9], UNPROVEN)}


@pytest.mark.guards("cells share one file")
def test_a_thousand_cells_open_one_file() -> None:
    """A process may often have 1,024 files open, and no more."""
    before = len(os.listdir("/dev/fd"))
    totals = [TEN.terms.scheme.total(TEN.terms) for _ in range(50)]
    assert len(os.listdir("/dev/fd")) <= before + 1
    draw = np.random.Generator(np.random.PCG64(1))
    said = draw.integers(0, 128, (100, TEN.way.octets), np.uint8)
    for i, one in enumerate(said):
        totals[i % 50].add(one)
    for total in totals[::2]:
        total.remove(0)
    for i, total in enumerate(totals):
        alone = TEN.terms.scheme.total(TEN.terms)
        for one in said[i::50][1 if i % 2 == 0 else 0 :]:
            alone.add(one)
        assert np.array_equal(total.release(), alone.release())
    del totals, total, alone
    assert len(os.listdir("/dev/fd")) <= before


@pytest.mark.control("no defence to take away: an error of the operating system has words")
def test_where_there_is_no_room_for_ciphertexts_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(h.errors.StoreError, match=r"(?s)put aside.*No space left.*TMPDIR"):
        TEN.terms.scheme.total(Circle(10, task=b"another").terms)


def shifted(turn: int, answer: Any) -> Any:
    """Its sum of shares is off by one: the sum of keys that it opens is still short."""
    return Field64.add(answer, 1) if turn == 3 else answer


def noisy(turn: int, answer: Any) -> Any:
    """Its sum of shares is rubbish."""
    return uniform(answer.size).reshape(answer.shape) if turn == 3 else answer


@pytest.mark.guards("a wrong sum of keys may be short")
@pytest.mark.parametrize("lie", [shifted, noisy])
@pytest.mark.parametrize("liar", [TEN.names[6], TEN.names[9]])
def test_whose_help_is_wrong_is_found(lie: Any, liar: str) -> None:
    """Of ten that answer, one may lie."""
    total, inside, cell = Line(TEN, crafts={liar: lie}).served()
    assert total is not None, why(cell)
    assert np.array_equal(total, TEN.sum(inside))
    assert cell.wrong == [liar]


@pytest.mark.control("a short sum of keys may be wrong")
def test_a_shifted_share_leaves_a_sum_of_keys_short() -> None:
    line = Line(TEN)
    line.served()
    helps = {who: shifted(3, one) if who == TEN.names[6] else one for who, one in line.said[3].items()}
    assert is_short(opened(line, helps), 10)
    assert not np.array_equal(opened(line, helps), opened(line, line.said[3]))


@pytest.mark.guards("an opened sum has small errors")
@pytest.mark.parametrize("lie", [shifted, noisy])
def test_where_no_more_than_t_help_a_lie_closes_the_round(lie: Any) -> None:
    circle = Circle(10, size=3 * DEGREE)
    line = Line(circle, gone=dict.fromkeys(circle.names[7:], 3), crafts={circle.names[6]: lie})
    total, _, cell = line.served()
    assert total is None and why(cell)


class Long(Key):
    """A key that is not short."""

    @property
    def s(self) -> Elements:
        """Uniform numbers."""
        return uniform_of(self.secret)


def uniform_of(secret: bytes) -> Elements:
    draw = np.random.Generator(np.random.PCG64(list(secret)))
    return draw.integers(0, Field64.p, DEGREE, np.uint64)


@pytest.mark.guards("a sum of keys is short")
def test_a_key_that_is_not_short_opens_nothing() -> None:
    """It is shared and used as it should be, and would open; but what others may learn rests on keys that are short."""
    line = Line(TEN)
    secret = bytes(range(2 * SEED))
    shares = TEN.terms.sharing.share(Long(secret).s)

    def craft(turn: int, answer: Any) -> Any:
        if turn == 0:
            return dealt(TEN, LIAR, answer, shares)
        if turn == 1:
            return resaid(TEN, LIAR, answer, Long(secret).encrypt(TEN.vectors[LIAR], TEN.terms.binding, TEN.way))
        if turn == 3:
            mine = TEN.terms.number(LIAR)
            wrong = line.talks[LIAR].prepared.share
            return Field64.add(Field64.sub(answer, wrong[None, :]), shares[mine][None, :])
        return answer

    line.crafts = {LIAR: craft}
    total, _, cell = line.served()
    assert total is None and "not short" in why(cell)


@pytest.mark.promise("P423")
@pytest.mark.guards("an opened sum has small errors")
def test_who_encrypts_under_another_key_than_it_shares_spoils_no_model() -> None:
    circle = Circle(10, size=3 * DEGREE)

    def craft(turn: int, answer: Any) -> Any:
        if turn != 1:
            return answer
        return resaid(circle, LIAR, answer, Key.fresh().encrypt(circle.vectors[LIAR], circle.terms.binding, circle.way))

    total, _, cell = Line(circle, crafts={LIAR: craft}).served()
    assert total is None and "another key" in why(cell)


def spoilt(change: Any) -> Any:
    return lambda turn, answer: {**answer, "vector": change(answer["vector"])} if turn == 1 else answer


NONE: dict[str, Any] = {
    "not canonical": lambda c: np.full_like(c, 255),
    "one number not canonical": lambda c: np.concatenate([c[:-7], np.full(7, 255, np.uint8)]),
    "short": lambda c: c[:-7],
    "long": lambda c: np.append(c, c),
    "words": lambda c: c.astype(np.uint64),
    "rows": lambda c: c.reshape(-1, 7),
    "a plain vector": lambda c: TEN.vectors[LIAR],
    "bytes": lambda c: c.tobytes(),
    "backwards, and not canonical": lambda c: np.full_like(c, 255)[::-1],
    "nothing": lambda c: None,
}


@pytest.mark.guards("a ciphertext has one encoding")
@pytest.mark.parametrize("kind", NONE)
def test_what_is_no_ciphertext_is_left_out_by_name(kind: str) -> None:
    total, inside, _ = (line := Line(TEN, crafts={LIAR: spoilt(NONE[kind])})).served()
    assert inside == REST and list(line.excluded) == [LIAR]
    assert total is not None and np.array_equal(total, TEN.sum(REST))


HELP: dict[str, Any] = {
    "not canonical": lambda a: np.full_like(a, 2**64 - 1),
    "one row for each": lambda a: np.repeat(a, 10, axis=0),
    "short": lambda a: a[:, :-1],
    "bytes": lambda a: a.tobytes(),
    "nothing": lambda a: None,
}


@pytest.mark.control("who helps with what is none is left out by name, and the others open the sum")
@pytest.mark.parametrize("kind", HELP)
def test_help_that_is_none(kind: str) -> None:
    def craft(turn: int, answer: Any) -> Any:
        return HELP[kind](answer) if turn == 3 else answer

    total, inside, _ = Line(TEN, crafts={LIAR: craft}).served()
    assert inside == TEN.names
    assert total is not None and np.array_equal(total, TEN.sum(inside))


@pytest.mark.control("what colluders know of a key beside their shares is that it is short")
def test_keys_are_short() -> None:
    assert is_short(Key.fresh().s, 1) and not is_short(Field64.add(Key.fresh().s, ETA + 1), 1)
