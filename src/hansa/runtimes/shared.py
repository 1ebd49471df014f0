"""Messages between processes of one machine, in shared memory: an array is written once, and mapped by all who read it.

A message is a piece of memory without a name, and what travels is its descriptor. So nothing is left behind when a
process is killed, whichever and whenever: the system frees the memory with the last descriptor and the last array.

    0    how many of its tasks are claimed     8 bytes
    8    how many parts follow, n              8 bytes
    16   their lengths                         8n bytes
    …    the pickle, then each array           each at a multiple of 64 bytes
"""

from __future__ import annotations

import fcntl
import io
import mmap
import os
import pickle
import socket
import struct
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import cloudpickle

ALIGNED = 64


def put(message: Any) -> int:
    """Write a message into new memory, and give its descriptor."""
    pickled, arrays = io.BytesIO(), list[pickle.PickleBuffer]()
    cloudpickle.Pickler(pickled, protocol=5, buffer_callback=arrays.append).dump(message)
    parts = [pickled.getbuffer(), *(array.raw() for array in arrays)]
    sizes = [part.nbytes for part in parts]
    memory = _nameless()
    _write(memory, memoryview(struct.pack(f"<{2 + len(parts)}Q", 0, len(parts), *sizes)), 0)
    places = _places(sizes)
    for part, place in zip(parts, places, strict=False):
        _write(memory, part, place)
    os.ftruncate(memory, places[-1])
    return memory


def take(memory: int, copy: bool = False) -> Any:
    """The message in some memory: its arrays are shared and read-only, or with `copy` one's own."""
    whole = memoryview(mmap.mmap(memory, 0, access=mmap.ACCESS_COPY))  # what reads no flags writes to its own pages
    (n,) = struct.unpack_from("<Q", whole, 8)
    sizes = struct.unpack_from(f"<{n}Q", whole, 16)
    pickled, *arrays = (whole[i : i + size].toreadonly() for i, size in zip(_places(sizes), sizes, strict=False))
    return pickle.loads(pickled, buffers=map(bytearray, arrays) if copy else arrays)  # noqa: S301  (our own program's)


def claims(memory: int, tasks: Sequence[str]) -> Iterator[str]:
    """Of the tasks of a message those that are still free, each for the one process that comes first."""
    while True:
        fcntl.lockf(memory, fcntl.LOCK_EX, 8)
        (i,) = struct.unpack("<Q", os.pread(memory, 8, 0))
        os.pwrite(memory, struct.pack("<Q", i + 1), 0)
        fcntl.lockf(memory, fcntl.LOCK_UN, 8)
        if i >= len(tasks):
            return
        yield tasks[i]


def send(link: socket.socket, memory: int) -> None:
    """Pass a message on."""
    socket.send_fds(link, [b"."], [memory])


def receive(link: socket.socket) -> int | None:
    """The next message; waits. None when the other side has ended."""
    try:
        said, memory, _, _ = socket.recv_fds(link, 1, 1)
    except ConnectionResetError:
        return None
    return memory[0] if said else None


def _nameless() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("hansa")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _places(sizes: Sequence[int]) -> list[int]:
    """Where each part begins, and where the last one ends."""
    places, end = [], 16 + 8 * len(sizes)
    for size in sizes:
        places.append(-(-end // ALIGNED) * ALIGNED)
        end = places[-1] + size
    return [*places, end]


def _write(memory: int, part: memoryview, place: int) -> None:
    while part.nbytes:
        done = os.pwrite(memory, part, place)
        part, place = part[done:], place + done
