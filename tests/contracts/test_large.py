"""Large values of books and journals: in files beside them, which are there as long as their rows and no longer."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hansa.errors import StoreError
from hansa.loops.journal import Journal
from hansa.messages import Reply, Request, SessionId
from hansa.parties import Said, database
from hansa.parties.book import Book

SESSION = SessionId("run", 0, 1)
LARGE = np.arange(2 * database.LARGE, dtype=np.uint8)
QUESTION = Request("plan", 0, SESSION, {"x": LARGE}, {"north": None})
LATER = replace(QUESTION, session=SessionId("run", 0, 2))


def beside(path: Path) -> list[Path]:
    """The files of large values."""
    return sorted(path.parent.glob(f"{path.name}-{database.DIGITS}"))


def test_a_book_says_the_same_after_a_new_start_and_keeps_nothing_that_is_settled(tmp_path: Path) -> None:
    path = tmp_path / "book"
    with closing(Book(path)) as book:
        book.begin("run", again=False)
        book.ask("north", QUESTION, once=True)
        book.said("north", QUESTION, Said(LARGE, learnt={"c": LARGE}))
        assert len(beside(path)) == 3 and {one.stat().st_mode & 0o777 for one in beside(path)} == {0o600}
        assert path.stat().st_size < LARGE.nbytes
    left = path.with_name(f"book-{'0' * 32}")
    left.touch()  # by a process that was killed before it wrote the row
    with closing(Book(path)) as book:
        book.begin("run", again=False)
        assert not left.exists() and len(beside(path)) == 3
        assert book.ask("north", QUESTION, once=True).kept
        assert np.array_equal(book.recall("north", QUESTION), LARGE)
        assert np.array_equal(book.earlier("north", replace(QUESTION, turn=1))[0].broadcast["x"], LARGE)
        assert np.array_equal(book.settle(SESSION, ["north"])["north"]["c"], LARGE)
        assert not beside(path)


def test_a_journal_hears_large_replies_again(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with closing(Journal(path)) as journal:
        for who in ("north", "south"):
            journal.write(Reply.to(QUESTION, (who,), LARGE))
        journal.ask(LATER)
    with closing(Journal(path)) as journal:
        heard = journal.heard(SESSION)
        assert [reply.who for reply in heard] == [("north",), ("south",)] and len(beside(path)) == 3
        assert all(np.array_equal(reply.body, LARGE) for reply in heard)
        (asked,) = journal.past("run", 1).open
        assert np.array_equal(asked.broadcast["x"], LARGE)
        journal.settle(SESSION)
        assert len(beside(path)) == 1  # what all were told who are open
        journal.settle(LATER.session)
        assert not beside(path)
        assert np.array_equal(heard[0].body, LARGE)  # what was mapped stays


def test_a_large_value_that_is_not_there_any_more_is_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with closing(Journal(path)) as journal:
        journal.write(Reply.to(QUESTION, ("north",), LARGE))
        beside(path)[0].unlink()
        with pytest.raises(StoreError, match="journal"):
            journal.heard(SESSION)
