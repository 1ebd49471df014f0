"""Defences of books: one answer to one question, whoever asks, how often, and whatever lies on the disk."""

from __future__ import annotations

from tests.attacks.defence import Defence

BOOK, MEMORY, CLIENT = "parties/book.py", "parties/memory.py", "parties/client.py"
DATABASE = "parties/database.py"
PROCESSES = "runtimes/processes/__init__.py"

BOOKS = (
    Defence("a key of small order signs nothing", "crypto/keys.py", "% P in SMALL:", "% P in ():"),
    Defence(
        "what one remembers is a part of the question",
        CLIENT,
        "fingerprint((client.data_hash, sorted(state.items())))",
        "fingerprint(client.data_hash)",
    ),
    Defence("a book is one process's", DATABASE, "PRAGMA locking_mode = EXCLUSIVE;", ""),
    Defence(
        "what is not on the disk is not said",
        BOOK,
        "        if self.lasts:\n            self._write(self._rows(who, page, request, entry, said))\n",
        "        page.turns[request.turn] = entry\n        if self.lasts:\n"
        "            self._write(self._rows(who, page, request, entry, said))\n",
        ends="ValueError",
    ),
    Defence(
        "what comes after the end is not remembered",
        BOOK,
        ("page.settled\n            or request.turn not in"),
        "request.turn not in",
    ),
    Defence(
        "what will not be asked again is let go",
        BOOK,
        "if page is not None and not page.settled:  # what it has said it is not asked again",
        "if False:",
    ),
    Defence("what an earlier run has said is let go", BOOK, "            self._shelf = Shelf()\n", ""),
    Defence(
        "a run that was renamed is one run",
        BOOK,
        "if run in self._renamed or other in self._renamed:",
        "if not known:",
        also=(
            (
                "        if self._past and run not in self._past:\n            self._renamed.add(run)\n",
                "        known = run in self._past\n",
            ),
        ),
    ),
    Defence("nobody answers twice at once", PROCESSES, "message, self._busy(message))", "message, ())"),
)
