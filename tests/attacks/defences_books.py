"""Defences of books: one answer to one question, whoever asks, how often, and whatever lies on the disk."""

from __future__ import annotations

from tests.attacks.defence import Defence

BOOK, MEMORY, CLIENT = "parties/book.py", "parties/memory.py", "parties/client.py"
PROCESSES = "runtimes/processes/__init__.py"

BOOKS = (
    Defence(
        "what one remembers is a part of the question",
        CLIENT,
        "fingerprint((self._data_hash, sorted(state.items())))",
        "fingerprint(self._data_hash)",
    ),
    Defence("nobody answers twice at once", PROCESSES, "busy = self._busy(message)", "busy = set[str]()"),
)
