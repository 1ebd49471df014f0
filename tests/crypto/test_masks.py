"""Masks: both of a pair add the same stream, and in the sum of all nothing of it is left."""

from __future__ import annotations

import hashlib
import hmac
import os
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.crypto import masks
from hansa.crypto.keys import PrivateKey, hkdf, joined
from hansa.crypto.masks import CHUNK, SEED, add_masks, own_seed, pair_seeds, sign
from hansa.errors import PlanError, ProtocolError
from hansa.spec import Vector

WORDS = (np.uint16, np.uint32, np.uint64)
each_word = pytest.mark.parametrize("word", WORDS)


def mask(seed: bytes, d: int, word: Any = np.uint16) -> Vector:
    v = np.zeros(d, word)
    add_masks(v, [(seed, 1)], 8 * v.itemsize)
    return v


# ── published vectors ──


@pytest.mark.promise("P595")
@pytest.mark.parametrize("word", WORDS)
def test_a_mask_is_aes_in_counter_mode(word: Any) -> None:
    """McGrew and Viega 2005, test case 3, AES-128-GCM: what is added to the plaintext is what makes the ciphertext."""
    key = bytes.fromhex("feffe9928665731c6d6a8f9467308308")
    begin = bytes.fromhex("cafebabefacedbaddecaf888")
    plain = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
    )
    cipher = bytes.fromhex(
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
        "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985"
    )
    stream = mask(key + begin, 64 // np.dtype(word).itemsize, word).astype(np.dtype(word).newbyteorder("<"))
    assert bytes(a ^ b for a, b in zip(plain, stream.tobytes(), strict=True)) == cipher


def by_hand(secret: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    """HKDF-SHA256, as RFC 5869 writes it, of the standard library."""
    key = hmac.digest(salt or bytes(32), secret, hashlib.sha256)
    block = out = b""
    for i in range(1, -(-size // 32) + 1):
        block = hmac.digest(key, block + info + bytes([i]), hashlib.sha256)
        out += block
    return out[:size]


def test_keys_are_derived_by_hkdf() -> None:
    """RFC 5869, A.1 and A.3; the second has no salt, as ours have none."""
    first = by_hand(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42)
    assert first.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    third = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    assert hkdf(b"\x0b" * 22, b"", 42).hex() == third
    for info in (b"", b"a", bytes(200)):
        assert hkdf(b"\x0b" * 22, info, 42) == by_hand(b"\x0b" * 22, b"", info, 42)


def test_secrets_are_agreed_by_x25519() -> None:
    """RFC 7748, 6.1."""
    alice = PrivateKey(bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"))
    bob = PrivateKey(bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
    assert alice.public.hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert bob.public.hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    secret = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert alice.exchange({"bob": bob.public})["bob"].hex() == secret
    assert bob.exchange({"alice": alice.public})["alice"].hex() == secret


def test_a_pairs_secret_is_what_the_docstring_says() -> None:
    a, b = PrivateKey.fresh(), PrivateKey.fresh()
    shared = a.exchange({"b": b.public})["b"]
    info = joined(b"label", b"a", a.public, b"b", b.public)
    assert a.agree("a", {"b": b.public}, b"label")["b"] == by_hand(shared, b"", info, 32)


@given(st.lists(st.binary(max_size=3), max_size=4), st.lists(st.binary(max_size=3), max_size=4))
def test_parts_that_are_joined_can_be_told_apart(a: list[bytes], b: list[bytes]) -> None:
    assert (joined(*a) == joined(*b)) == (a == b)


# ── pairs ──


def test_both_of_a_pair_have_one_seed_and_opposite_signs() -> None:
    keys = {who: PrivateKey.fresh() for who in ("anna", "bert", "Ärzte", "bert2")}
    publics = {who: key.public for who, key in keys.items()}
    seeds = {
        who: pair_seeds(key, who, {o: p for o, p in publics.items() if o != who}, b"session")
        for who, key in keys.items()
    }
    for a, b in combinations(keys, 2):
        assert seeds[a][b] == seeds[b][a] and sign(a, b) == -sign(b, a)
    assert len({seed for one in seeds.values() for seed in one.values()}) == 6


def test_the_masks_of_a_cohort_cancel() -> None:
    names = [f"client {i}" for i in range(6)]
    keys = {who: PrivateKey.fresh() for who in names}
    secrets = {who: os.urandom(32) for who in names}
    rng = np.random.default_rng(0)
    vectors = {who: rng.integers(0, 2**13, 1001, dtype=np.uint16) for who in names}
    total, masked = np.zeros(1001, np.uint16), dict[str, Vector]()
    for who in names:
        others = {other: keys[other].public for other in names if other != who}
        seeds = pair_seeds(keys[who], who, others, b"session")
        masks = [(seed, sign(who, other)) for other, seed in seeds.items()]
        masked[who] = vectors[who].copy()
        add_masks(masked[who], [*masks, (own_seed(secrets[who], who, b"session"), 1)], 16)
        total += masked[who]
        assert np.mean(masked[who] == vectors[who]) < 0.01
    add_masks(total, [(own_seed(secrets[who], who, b"session"), -1) for who in names], 16)
    assert np.array_equal(total, sum(vectors.values()))


@each_word
@pytest.mark.parametrize("chunks", [0, 1, 2])
@pytest.mark.parametrize("more", [-9, -1, 0, 1, 7])
def test_opposite_signs_cancel_at_every_length(word: Any, chunks: int, more: int) -> None:
    d = max(0, chunks * CHUNK // np.dtype(word).itemsize + more)
    before = np.arange(d).astype(word) * word(40503)
    a, b = before.copy(), before.copy()
    seeds = [os.urandom(SEED) for _ in range(3)]
    bits = 8 * before.itemsize
    add_masks(a, [(seed, 1) for seed in seeds], bits)
    add_masks(b, [(seed, -1) for seed in seeds], bits)
    assert np.array_equal(a + b, before + before)
    if d > 100:
        assert np.mean(a == before) < 0.05


@pytest.mark.promise("P595")
@each_word
def test_chunks_make_one_stream(word: Any) -> None:
    """Against AES that encrypts all zeros at once."""
    d = 2 * CHUNK // np.dtype(word).itemsize + 77
    seeds = [os.urandom(SEED) for _ in range(2)]
    first, second = (
        np.frombuffer(
            Cipher(algorithms.AES(seed[:16]), modes.CTR(seed[16:] + bytes([0, 0, 0, 2])))
            .encryptor()
            .update(bytes(d * np.dtype(word).itemsize)),
            np.dtype(word).newbyteorder("<"),
        )
        for seed in seeds
    )
    v = np.zeros(d, word)
    add_masks(v, [(seeds[0], 1), (seeds[1], -1)], 8 * v.itemsize)
    assert np.array_equal(v, first - second)


@pytest.mark.promise("P595")
@pytest.mark.parametrize("way", [masks._gcm, masks._ctr])
def test_a_mask_is_the_same_whichever_way_is_faster(way: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seed, d = os.urandom(SEED), CHUNK + 77
    before = mask(seed, d)
    monkeypatch.setattr(masks, "_mode", lambda: way)
    assert np.array_equal(mask(seed, d), before)


@settings(deadline=None)
@given(st.integers(1, 64), st.integers(0, 300))
def test_fewer_bits_than_a_word_has_cancel_too(bits: int, d: int) -> None:
    word = next(word for word in WORDS if bits <= 8 * np.dtype(word).itemsize)
    rng = np.random.default_rng(bits)
    a, b = (rng.integers(0, 2**bits, d, dtype=np.uint64).astype(word) for _ in range(2))
    most = word(2**bits - 1)
    expected = (a + b) & most
    seed = os.urandom(SEED)
    add_masks(a, [(seed, 1)], bits)
    add_masks(b, [(seed, -1)], bits)
    assert (a <= most).all() and np.array_equal((a + b) & most, expected)


def test_a_part_of_a_vector_is_masked_in_place() -> None:
    v = np.zeros((10, 2), np.uint32)
    add_masks(v[:, 0], [(bytes(SEED), 1)], 32)
    assert np.array_equal(v[:, 0], mask(bytes(SEED), 10, np.uint32)) and not v[:, 1].any()


# ── randomness ──


@each_word
def test_a_mask_is_uniform(word: Any) -> None:
    v = mask(os.urandom(SEED), 2**20 // np.dtype(word).itemsize, word)
    counts = np.bincount(v.view(np.uint8), minlength=256)
    chi = float(((counts - 4096.0) ** 2 / 4096).sum())
    assert abs(chi - 255) < 10 * np.sqrt(2 * 255)


@pytest.mark.parametrize("bits", [3, 12])
def test_a_masked_vector_is_uniform_mod_its_modulus(bits: int) -> None:
    v = np.full(2**18, 5, np.uint16)
    add_masks(v, [(os.urandom(SEED), 1), (os.urandom(SEED), -1)], bits)
    counts = np.bincount(v, minlength=2**bits)
    expected = 2**18 / 2**bits
    chi = float(((counts - expected) ** 2 / expected).sum())
    assert len(counts) == 2**bits and abs(chi - 2**bits + 1) < 10 * np.sqrt(2 * 2**bits)


# ── what is refused ──


@pytest.mark.parametrize("v", [np.zeros(3), np.zeros(3, np.int64), np.zeros(3, np.uint8), np.zeros((2, 2), np.uint16)])
def test_what_does_not_wrap_around_is_not_masked(v: Vector) -> None:
    with pytest.raises(PlanError, match="A mask is to be added to"):
        add_masks(v, [(bytes(SEED), 1)], 8)


@pytest.mark.parametrize("bits", [0, 17, -1])
def test_a_modulus_that_does_not_fit_is_refused(bits: int) -> None:
    with pytest.raises(PlanError, match="Words of 16 bits"):
        add_masks(np.zeros(3, np.uint16), [(bytes(SEED), 1)], bits)


@pytest.mark.parametrize("way", [0, 2, -2, None])
def test_a_sign_is_one_of_two(way: Any) -> None:
    with pytest.raises(ProtocolError, match="another sign"):
        add_masks(np.zeros(3, np.uint16), [(bytes(SEED), way)], 16)


@pytest.mark.parametrize("size", [0, 16, SEED - 1, SEED + 1])
def test_a_seed_has_28_bytes(size: int) -> None:
    with pytest.raises(ProtocolError, match="A seed of"):
        add_masks(np.zeros(3, np.uint16), [(bytes(size), 1)], 16)


@pytest.mark.parametrize("size", [0, 28, 31, 33])
def test_what_a_client_alone_draws_has_32_bytes(size: int) -> None:
    with pytest.raises(ProtocolError, match="A seed of"):
        own_seed(bytes(size), "anna", b"session")


def test_nobody_agrees_with_itself() -> None:
    key = PrivateKey.fresh()
    with pytest.raises(ProtocolError, match="with itself"):
        pair_seeds(key, "anna", {"anna": key.public}, b"session")
