"""Messages between processes of one machine: an array is written once, and mapped by all who read.

A message is a piece of memory without a name, and what travels is its descriptor. So nothing is
left behind when a process is killed, whichever and whenever: the system frees the memory with the
last descriptor and the last array. Once all who got a message have let go of its arrays, its sender
writes the next one over it: new memory costs more than what is written into it.

    0    how many readers have let go          8 bytes
    8    how many parts follow, n              8 bytes
    16   their lengths                         8n bytes
    …    the pickle, then each array           each at a multiple of 64 bytes
    …    which of its tasks are claimed        1 byte each, up to the end
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
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import cloudpickle

ALIGNED = 64
SPARE = 8  # messages whose memory a sender looks at again
LARGEST = 2**26  # bytes of a message whose memory may serve again
GRAIN = 2**16  # bytes; messages of one kind differ by a few


class Sender:
    """One who sends messages, and the memories that the last ones lie in.

    SPARE of them are looked at again; a memory serves a message of half its size or more.
    """

    def __init__(self) -> None:
        self._sent = list[tuple[int, int, int]]()  # descriptor, bytes, readers

    def send(self, links: Sequence[socket.socket], message: Any, tasks: int = 0) -> None:
        """Write a message once, for all; with `tasks`, so many can be claimed by who reads it.

        Whoever is dead by now is noticed when it is listened to.
        """
        pickled = io.BytesIO()
        arrays = list[pickle.PickleBuffer]()
        cloudpickle.Pickler(pickled, protocol=5, buffer_callback=arrays.append).dump(message)
        parts = [pickled.getbuffer(), *(array.raw() for array in arrays)]
        sizes = [part.nbytes for part in parts]
        places = _places(sizes)
        memory, length = self._spare(-(-places[-1] // GRAIN) * GRAIN)
        _write(memory, memoryview(struct.pack(f"<{2 + len(parts)}Q", 0, len(parts), *sizes)), 0)
        for part, place in zip(parts, places, strict=False):
            _write(memory, part, place)
        os.ftruncate(memory, length)
        os.ftruncate(memory, length + tasks)  # with zeros
        for link in links:
            with suppress(BrokenPipeError, ConnectionResetError):
                socket.send_fds(link, [b"."], [memory])
        # without an array nobody says when its tasks are claimed
        if length > LARGEST or not arrays:
            os.close(memory)
            return
        self._sent.append((memory, length, len(links)))
        if len(self._sent) > SPARE:
            os.close(self._sent.pop(0)[0])

    def close(self) -> None:
        """Let go of all memories; who reads one still has it."""
        while self._sent:
            os.close(self._sent.pop()[0])

    def _spare(self, length: int) -> tuple[int, int]:
        """Memory that nobody reads any more, with room for so many bytes; or new memory."""
        for i, (memory, size, readers) in enumerate(self._sent):
            if length <= size <= 2 * length and _gone(memory) == readers:
                del self._sent[i]
                return memory, size
        return _nameless(), length


def take(memory: int, copy: bool = False) -> Any:
    """The message in some memory: its arrays are shared and read-only, or with `copy` one's own.

    The memory is let go when the last of its arrays is.
    """
    # what reads no flags writes to its own pages
    mapped = mmap.mmap(memory, 0, access=mmap.ACCESS_COPY)
    weakref.finalize(mapped, _let_go, os.dup(memory), os.getpid()).atexit = False
    whole = memoryview(mapped)
    (n,) = struct.unpack_from("<Q", whole, 8)
    sizes = struct.unpack_from(f"<{n}Q", whole, 16)
    pickled, *arrays = (
        whole[i : i + size].toreadonly() for i, size in zip(_places(sizes), sizes, strict=False)
    )
    buffers: Iterable[Any] = arrays
    if copy:
        buffers = map(bytearray, arrays)
    return pickle.loads(pickled, buffers=buffers)  # noqa: S301  (our own program's)


def _let_go(memory: int, reader: int) -> None:
    """Say that one reader less needs what lies in it.

    A process that the reader forked holds the same memory, and does not speak for it.
    """
    if os.getpid() == reader:
        # where another does so at this instant, nobody waits: it is not written over
        with suppress(OSError):
            fcntl.lockf(memory, fcntl.LOCK_EX | fcntl.LOCK_NB, 8)
            os.pwrite(memory, struct.pack("<Q", _gone(memory) + 1), 0)
            fcntl.lockf(memory, fcntl.LOCK_UN, 8)
    os.close(memory)


def _gone(memory: int) -> int:
    """How many readers have let go of what lies in it."""
    (n,) = struct.unpack("<Q", os.pread(memory, 8, 0))
    return int(n)


def claims(memory: int, tasks: Sequence[str]) -> Iterator[str]:
    """Those of a message's tasks that are still free, each for the process that comes first."""
    first = os.fstat(memory).st_size - len(tasks)
    for place, task in enumerate(tasks, first):
        if _claimed(memory, place):
            yield task


def _claimed(memory: int, place: int) -> bool:
    """Is this task free, and from now on ours?

    Nobody waits for a lock: who is stopped while it holds one holds up no other task.
    """
    try:
        fcntl.lockf(memory, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    except OSError:  # another claims it at this instant
        return False
    if free := os.pread(memory, 1, place) == b"\0":
        os.pwrite(memory, b"\1", place)
    fcntl.lockf(memory, fcntl.LOCK_UN, 1, place)
    return free


def receive(link: socket.socket) -> int | None:
    """The next message, as a descriptor that is the caller's to close; waits.

    None when the other side has ended.
    """
    try:
        reply, memory, _, _ = socket.recv_fds(link, 1, 1)
    except ConnectionResetError:
        return None
    if not reply:
        return None
    return memory[0]


def _nameless() -> int:
    """A descriptor of new memory, which the system frees with the last one that knows it."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("hansa")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _places(sizes: Sequence[int]) -> list[int]:
    """Where each part begins, at a multiple of ALIGNED bytes, and where the last one ends.

    the head: 16 + 8n bytes for n parts
    """
    places = []
    end = 16 + 8 * len(sizes)
    for size in sizes:
        places.append(-(-end // ALIGNED) * ALIGNED)
        end = places[-1] + size
    return [*places, end]


def _write(memory: int, part: memoryview, place: int) -> None:
    """Write all of it; the system may take a part at a time."""
    while part.nbytes:
        done = os.pwrite(memory, part, place)
        part = part[done:]
        place = place + done
