"""Keys: equal paths give equal draws, and a secret's draws are those of AES-128."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hansa import Key

SECRET = Key(bytes(range(32)), hides=True)


@pytest.mark.promise("P76")
def test_a_secret_draws_aes_128_of_a_counter() -> None:
    """Compared with another library's AES: block i is AES(key, i), read as two little-endian words."""
    for key in (SECRET, Key.fresh(), Key.fresh().child("round", 3)):
        drawn = key.rng().bit_generator.random_raw(2**12).astype("<u8").tobytes()
        aes = Cipher(algorithms.AES(key.secret[:16]), modes.ECB()).encryptor()
        assert drawn == b"".join(aes.update(i.to_bytes(16, "little")) for i in range(2**11))


@pytest.mark.promise("P76")
def test_a_block_is_that_of_the_standard() -> None:
    """FIPS 197, appendix C.1, which the other library passes."""
    aes = Cipher(algorithms.AES(bytes(range(16))), modes.ECB()).encryptor()
    assert aes.update(bytes(17 * i for i in range(16))).hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"


@pytest.mark.promise("P76", "P85")
def test_only_what_the_system_has_drawn_hides() -> None:
    fresh, seeded = Key.fresh(), Key.of(1)
    assert fresh.hides and fresh.child("a").hides and fresh.beside(np.ones(2)).hides
    assert not (seeded.hides or seeded.child("a").hides or seeded.beside(np.ones(2)).hides)
    assert seeded.rng().bit_generator.state["bit_generator"] == "Philox"
    assert Key.fresh() != fresh and repr(fresh.secret) not in repr(fresh)


@pytest.mark.promise("P91")
@pytest.mark.parametrize("key", [SECRET, Key.of(0)], ids=["secret", "seed"])
def test_equal_paths_draw_alike_and_others_apart(key: Key) -> None:
    n = 50_000
    a, again, b = key.child("a"), key.child("a"), key.child("b")
    assert (a.normal((n,)) == again.normal((n,))).all()
    for draw in (lambda one: one.normal((n,)), lambda one: one.uniform((n,)), lambda one: one.integers(n) / 2.0**64):
        assert abs(np.corrcoef(draw(a), draw(b))[0, 1]) < 5 / np.sqrt(n)
    assert abs(a.normal((n,)).mean()) < 5 / np.sqrt(n) and abs(a.normal((n,)).std() - 1) < 5 / np.sqrt(2 * n)
    assert abs(a.uniform((n,)).mean() - 0.5) < 5 / np.sqrt(12 * n)


@pytest.mark.promise("P90")
@pytest.mark.parametrize("key", [SECRET, Key.of(0)], ids=["secret", "seed"])
def test_what_differs_in_one_bit_has_other_draws(key: Key) -> None:
    v = np.random.default_rng(0).normal(size=100)
    near = v.copy()
    near[50] = np.nextafter(near[50], np.inf)
    assert key.beside(v) == key.beside(v.copy()) == key.beside(np.stack([v, near])[0])
    assert key.beside(v) != key.beside(near)
    assert key.beside(v) != key.child("beside").beside(v) != key
    whole = np.arange(6, dtype=np.uint64)
    assert key.beside(whole) != key.beside(whole[::-1])
