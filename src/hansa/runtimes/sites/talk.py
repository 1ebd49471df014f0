"""Talk: what an agent and its worker say to each other, on a pair of sockets that nobody else has.

    8 bytes: the number of a question ‖ 8 bytes: how long it is ‖ a value of hansa.codec

A worker answers each question with its number. It runs code that is not hansa's, so its agent takes
nothing for granted: a length is bounded, a value is data, and every field is looked at.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

from ... import codec
from ...errors import ProtocolError

HEAD = struct.Struct("<QQ")
PIECE = 2**20  # bytes that are read at a time
PLAIN = 2**24  # bytes of a value before its arrays


def send(link: socket.socket, number: int, value: Any) -> None:
    """Say a value; of its arrays no copy is made."""
    frames = codec.frames(value)
    link.sendall(HEAD.pack(number, sum(len(frame) for frame in frames)))
    for frame in frames:
        link.sendall(frame)


def receive(link: socket.socket, most: int = codec.SIZE) -> tuple[int, Any] | None:
    """The next number and value, of so many bytes at most; None where the other side has ended.

    ProtocolError for more, and for what is no value.
    """
    head = _read(link, HEAD.size)
    if head is None:
        return None
    number, length = HEAD.unpack(head)
    if length > most:
        raise ProtocolError(
            f"A message of {length:,} bytes came.", f"No more than {most:,} are expected here."
        )
    data = _read(link, length)
    if data is None:
        return None
    return number, codec.read(data, most, PLAIN)


def _read(link: socket.socket, length: int) -> bytearray | None:
    """So many bytes; None where the other side ends before. Memory grows with what has come."""
    data = bytearray()
    while len(data) < length:
        piece = link.recv(min(PIECE, length - len(data)))
        if not piece:
            return None
        data += piece
    return data
