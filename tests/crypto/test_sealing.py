"""Boxes of a pair: what one seals the other opens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.crypto.keys import PrivateKey
from hansa.crypto.sealing import OVERHEAD, channels
from hansa.errors import ProtocolError

ANNA, BERT = PrivateKey.fresh(), PrivateKey.fresh()
TO_BERT = channels(ANNA, "anna", {"bert": BERT.public}, b"session")["bert"]
TO_ANNA = channels(BERT, "bert", {"anna": ANNA.public}, b"session")["anna"]


@given(st.binary(max_size=200), st.binary(max_size=20))
def test_what_one_seals_the_other_opens(message: bytes, about: bytes) -> None:
    box = TO_BERT.seal(message, about)
    assert len(box) == len(message) + OVERHEAD
    assert TO_ANNA.open(box, about) == message
    assert TO_BERT.open(TO_ANNA.seal(message, about), about) == message


def test_the_same_message_has_another_box() -> None:
    boxes = {TO_BERT.seal(b"message") for _ in range(100)}
    assert len(boxes) == 100 and len({box[:12] for box in boxes}) == 100


@pytest.mark.parametrize("place", range(7 + OVERHEAD))
def test_a_changed_box_does_not_open(place: int) -> None:
    box = bytearray(TO_BERT.seal(b"message"))
    box[place] ^= 1
    with pytest.raises(ProtocolError, match="does not open"):
        TO_ANNA.open(bytes(box))


@pytest.mark.parametrize("size", [*range(OVERHEAD + 7), 36])
def test_what_is_too_short_or_too_long_does_not_open(size: int) -> None:
    box = TO_BERT.seal(b"message") + b"\0"
    with pytest.raises(ProtocolError, match="A box of anna for bert does not open"):
        TO_ANNA.open(box[:size])
