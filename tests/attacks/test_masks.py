"""Masks under attack: points that give everybody the same secret, seeds that repeat, boxes and shares of others."""

from __future__ import annotations

import os

import numpy as np
import pytest

from hansa.crypto.field import Field64
from hansa.crypto.keys import P, PrivateKey, Y
from hansa.crypto.masks import SEED, add_masks, own_seed, pair_seeds
from hansa.crypto.sealing import Channel, channels
from hansa.crypto.shamir import Sharing, to_bytes, to_elements, uniform
from hansa.errors import ProtocolError
from hansa.spec import Vector

# ── secrets of two ──

U = (1 + Y) * pow(1 - Y, -1, P) % P  # u = (1 + y)/(1 − y) of the points of order 8 (RFC 7748, 4.1)
OTHER = (1 - Y) * pow(1 + Y, -1, P) % P
LOW = [0, 1, U, OTHER, P - 1, P, P + 1]
LOW += [u + 2**255 for u in LOW]  # whose topmost bit counts for nothing


@pytest.mark.guards("no secret is agreed with a point that gives everybody the same")
@pytest.mark.parametrize("u", LOW)
def test_a_point_of_small_order_is_refused_by_name(u: int) -> None:
    others = {"anna": PrivateKey.fresh().public, "mallory": u.to_bytes(32, "little")}
    for ask in (pair_seeds, channels):
        with pytest.raises(ProtocolError, match="The public key of mallory"):
            ask(PrivateKey.fresh(), "bert", others, b"session")


@pytest.mark.guards("no secret is agreed with a point that gives everybody the same")
@pytest.mark.parametrize("size", [0, 31, 33])
def test_what_is_no_key_is_refused_by_name(size: int) -> None:
    with pytest.raises(ProtocolError, match="The public key of mallory"):
        pair_seeds(PrivateKey.fresh(), "bert", {"mallory": bytes(size)}, b"session")


@pytest.mark.guards("a pair's secret is of both names and keys")
def test_who_shows_anothers_key_as_its_own_gets_another_seed() -> None:
    bert, public = PrivateKey.fresh(), PrivateKey.fresh().public
    seeds = pair_seeds(bert, "bert", {"anna": public, "mallory": public}, b"session")
    assert seeds["anna"] != seeds["mallory"]
    assert pair_seeds(bert, "berta", {"anna": public}, b"session")["anna"] != seeds["anna"]


@pytest.mark.guards("a pair's secret is of both names and keys")
def test_a_key_that_is_written_in_two_ways_gives_two_seeds() -> None:
    bert, public = PrivateKey.fresh(), PrivateKey.fresh().public
    again = bytes([*public[:31], public[31] ^ 128])  # X25519 leaves the topmost bit out
    one, other = (pair_seeds(bert, "bert", {"anna": key}, b"session") for key in (public, again))
    assert one != other


@pytest.mark.guards("a pair's mask is of its session")
def test_who_was_told_another_model_has_another_mask_with_each() -> None:
    bert, anna = PrivateKey.fresh(), PrivateKey.fresh().public
    one, other = (pair_seeds(bert, "bert", {"anna": anna}, binding) for binding in (b"model 1", b"model 2"))
    assert one["anna"] != other["anna"]


@pytest.mark.guards("a client's own mask is of its session")
def test_a_clients_own_mask_is_of_its_session_and_name() -> None:
    secret = os.urandom(32)
    seeds = {
        own_seed(secret, who, binding)
        for who, binding in [("a", b"1"), ("a", b"2"), ("b", b"1"), ("a1", b""), ("", b"a1")]
    }
    assert len(seeds) == 5


@pytest.mark.control("both labels are public, and differ")
def test_one_secret_makes_a_box_and_a_mask_with_different_keys() -> None:
    bert, others = PrivateKey.fresh(), {"anna": PrivateKey.fresh().public}
    assert channels(bert, "bert", others, b"s")["anna"].key != pair_seeds(bert, "bert", others, b"s")["anna"]


# ── masks ──


def mask(seed: bytes, d: int = 4096) -> Vector:
    v = np.zeros(d, np.uint16)
    add_masks(v, [(seed, 1)], 16)
    return v


@pytest.mark.guards("every bit of a seed counts")
def test_each_bit_of_a_seed_changes_half_of_the_mask() -> None:
    seed = os.urandom(SEED)
    before = mask(seed)
    for k in range(8 * SEED):
        other = bytearray(seed)
        other[k // 8] ^= 1 << k % 8
        changed = np.bitwise_count(before ^ mask(bytes(other))).sum() / (16 * len(before))
        assert abs(changed - 0.5) < 0.02  # ten standard deviations


@pytest.mark.guards("every bit of a seed counts")
def test_a_sweep_over_28_bits_would_not_find_a_mask() -> None:
    """Of two seeds that agree in 28 bits, the masks agree in nothing."""
    start = os.urandom(4)
    masks = [mask(start + os.urandom(SEED - 4), 64) for _ in range(200)]
    assert len({one.tobytes() for one in masks}) == 200


@pytest.mark.guards("a seed has one mask")
@pytest.mark.parametrize("signs", [(1, -1), (1, 1)])
def test_masks_that_lift_each_other_are_refused(signs: tuple[int, int]) -> None:
    seed, v = os.urandom(SEED), np.arange(100, dtype=np.uint16)
    with pytest.raises(ProtocolError, match="two have one seed"):
        add_masks(v, [(seed, signs[0]), (os.urandom(SEED), 1), (seed, signs[1])], 16)
    assert np.array_equal(v, np.arange(100))


@pytest.mark.guards("a masked vector does not tell how often it wraps")
def test_a_sum_is_known_mod_its_modulus_only() -> None:
    """Two vectors mod 2¹² in words of 16 bits: their sum would tell whether it has passed 2¹²."""
    a, b = (np.full(1000, 2**12 - 1, np.uint16) for _ in range(2))
    seed = os.urandom(SEED)
    add_masks(a, [(seed, 1)], 12)
    add_masks(b, [(seed, -1)], 12)
    assert max(a.max(), b.max()) < 2**12
    assert ((a + b) % 2**12 == 2**12 - 2).all()


# ── boxes ──

ANNA, BERT = PrivateKey.fresh(), PrivateKey.fresh()


def of_anna(binding: bytes = b"session") -> Channel:
    return channels(ANNA, "anna", {"bert": BERT.public}, binding)["bert"]


def of_bert(binding: bytes = b"session") -> Channel:
    return channels(BERT, "bert", {"anna": ANNA.public}, binding)["anna"]


@pytest.mark.guards("a box is of its session")
def test_a_box_of_another_session_does_not_open() -> None:
    box = of_anna(b"round 1").seal(b"share")
    assert of_bert(b"round 1").open(box) == b"share"
    with pytest.raises(ProtocolError, match="does not open"):
        of_bert(b"round 2").open(box)


@pytest.mark.guards("a box says from whom, and for whom")
def test_a_box_that_is_sent_back_does_not_open() -> None:
    channel = of_anna()
    box = channel.seal(b"share")
    with pytest.raises(ProtocolError, match="does not open"):
        channel.open(box)


@pytest.mark.guards("a box says what it is about")
def test_a_box_about_something_else_does_not_open() -> None:
    box = of_anna().seal(b"share", b"key")
    assert of_bert().open(box, b"key") == b"share"
    for about in (b"", b"seed"):
        with pytest.raises(ProtocolError, match="does not open"):
            of_bert().open(box, about)


@pytest.mark.guards("the key of a pair does not print")
def test_a_channel_does_not_print_its_key() -> None:
    channel = of_anna()
    assert repr(channel) == "Channel(me='anna', peer='bert')"
    assert str(channel.key) not in f"{channel}{channel!r}"


# ── shares ──

SHARING = Sharing(7, 4)
ALL = range(1, 8)


@pytest.mark.guards("shares lie on one polynomial")
@pytest.mark.parametrize("liar", ALL)
def test_a_changed_share_opens_no_other_secret(liar: int) -> None:
    shares = SHARING.share(to_elements([os.urandom(32)]))
    shares[liar - 1, 2] ^= np.uint64(1)
    for size in (5, 6, 7):
        holders = sorted({liar, *[i for i in ALL if i != liar][: size - 1]})
        with pytest.raises(ProtocolError, match="do not lie on one polynomial"):
            SHARING.open(holders, shares[[i - 1 for i in holders]], 5)


@pytest.mark.guards("shares lie on one polynomial")
def test_a_dealer_whose_shares_open_two_secrets_is_noticed() -> None:
    one, other = (SHARING.share(uniform(5)) for _ in range(2))
    mixed = np.concatenate([one[:4], other[4:]])
    with pytest.raises(ProtocolError, match="do not lie on one polynomial"):
        SHARING.open(ALL, mixed, 5)


@pytest.mark.control("of t shares each could be right")
def test_with_t_shares_a_changed_one_is_not_noticed() -> None:
    a = uniform(5)
    shares = SHARING.share(a)
    shares[0] = Field64.add(shares[0], 1)
    assert not (SHARING.open((1, 2, 3, 4), shares[:4], 5) == a).any()


@pytest.mark.guards("no fewer than t open")
@pytest.mark.parametrize("k", [1, 2, 3])
def test_fewer_than_t_open_nothing(k: int) -> None:
    shares = SHARING.share(uniform(5))
    with pytest.raises(ProtocolError, match="No fewer than 4"):
        SHARING.open(range(1, k + 1), shares[:k], 5)


@pytest.mark.guards("a share has one encoding")
@pytest.mark.parametrize("high", [2, 5])
def test_a_share_that_is_not_reduced_is_refused_by_its_holder(high: int) -> None:
    """All shares of a constant are this constant, and p + 5 has 64 bits as well."""
    shares = np.full((7, 2), 5, np.uint64)
    shares[high - 1, 1] += np.uint64(Field64.p)
    with pytest.raises(ProtocolError, match=f"Holder {high} has sent what is no share"):
        SHARING.open(ALL, shares, 2)


@pytest.mark.guards("a shared secret has one encoding")
@pytest.mark.parametrize("place, bit", [(0, 56), (0, 63), (3, 57), (4, 32), (4, 55), (4, 56)])
def test_no_second_encoding_of_a_secret_is_taken(place: int, bit: int) -> None:
    """A seed of 32 bytes is four elements of 7 bytes, and one of 4."""
    seed = os.urandom(32)
    a = to_elements([seed])
    a[place] |= np.uint64(1 << bit)
    with pytest.raises(ProtocolError, match="no secrets of 32 bytes"):
        to_bytes(a % np.uint64(Field64.p), 32)


@pytest.mark.guards("nothing rides along with shared secrets")
def test_a_secret_in_the_place_of_a_zero_is_noticed() -> None:
    sharing = Sharing(7, 4, 3)
    shares = sharing.share(uniform(6))
    with pytest.raises(ProtocolError, match="More than 5 secrets"):
        sharing.open(ALL, shares, 5)


@pytest.mark.guards("whose share is wrong is named for certain")
def test_nobody_is_named_unless_all_others_agree() -> None:
    """Four of ten lie, one more than can be told: an honest holder is never named for it."""
    sharing = Sharing(10, 4)
    for _ in range(20):
        shares = sharing.share(uniform(5))
        shares[:4] = sharing.share(uniform(5))[:4]
        with pytest.raises(ProtocolError, match="too many are wrong to say which"):
            sharing.wrong(range(1, 11), shares)
