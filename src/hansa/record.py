"""Record: what the clients of a run have signed, in a file to which lines are only added.

    head₀ = SHA-256(line₀),    headᵢ = SHA-256(headᵢ₋₁ ‖ lineᵢ)

Line 0 says which plan is run; each other one is a round: what was broadcast, who had prepared, who
is in each sum, whose signatures say so, and the model before and after. Each holds its head, so
nothing can be changed, left out or put in between without all that follows changing; and nobody
but the clients can make their signatures. What cannot be seen here is whether the model follows
from the sum: nobody but the server has that.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .aggregators.arrivals import Arrivals
from .codec import fingerprint
from .crypto.identity import Member
from .errors import ProtocolError, StoreError
from .messages import Request, SessionId, task_of

FORM = "hansa record 1"
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, IndexError, ZeroDivisionError)


class Kept(Protocol):
    """Where what sums are computed from again is read."""

    def read(self, round: int, whose: str, sha256: str) -> bytes:
        """The bytes of this SHA-256; StoreError where they are not there, or others are."""
        ...


class Record:
    """The record of one run at a path."""

    def __init__(self, path: Path):
        self.path = path
        self._last: str | None = None  # the head of its last line, once that is known

    def begin(self, plan: str) -> None:
        """The first line, where there is none yet; a line that was begun and not ended goes, for
        its round was not committed.
        """
        if self.path.exists():
            data = self.path.read_bytes()
            if not data.endswith(b"\n"):
                self.path.write_bytes(data[: data.rfind(b"\n") + 1])
        if not self.path.exists() or not self.path.stat().st_size:
            self._last = ""
            self.add({"hansa": FORM, "plan": plan})

    def add(self, entry: Mapping[str, Any]) -> None:
        """One more line, on the disk; StoreError where it cannot be written.

        entry: what it says, but for its head. It is JSON, sorted and in ASCII, so that the same
        entry has the same head anywhere.
        """
        if self._last is None:
            for line in self._lines():
                self._last = line["head"]
        head = _head(self._last or "", entry)
        try:
            with self.path.open("a", encoding="ascii") as file:
                file.write(_text({**entry, "head": head}) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be written.",
                f"{error.strerror}.",
                "See who may write there, and whether the disk is full.",
            ) from error
        self._last = head

    def _lines(self) -> Iterator[dict[str, Any]]:
        """All lines; StoreError for one that is none."""
        with self.path.open(encoding="ascii", errors="replace") as file:
            for number, text in enumerate(file):
                try:
                    line = json.loads(text)
                    _ = line["head"]
                except (ValueError, KeyError, TypeError):
                    raise broken(number, "it is no line of a record") from None
                yield line

    def verify(
        self,
        roster: Mapping[str, Member] | None = None,
        plan: str | None = None,
        kept: Kept | None = None,
    ) -> dict[int, str]:
        """Its rounds, all of which hold, each with SHA-256 of the model after it; StoreError that
        names the first line that does not.

        roster: who the clients are; without one, who they are is as the record itself says. plan:
        the digest that the first line has to say. kept: ciphertexts, from which each sum is
        computed again; StoreError that names the first file that is not there, or another.
        """
        if not self.path.exists():
            raise StoreError(
                f"There is no record at {self.path}.",
                "One is kept where clients sign who is in a sum, as with MaskedSum.",
                "Verify a run of such a plan.",
            )
        last = ""
        said = ""
        models = dict[int, str]()
        asked = dict[Any, Any]()
        sums = dict[int, list[tuple[str, str]]]()
        banned = set[str]()
        for number, line in enumerate(self._lines()):
            entry = {name: value for name, value in line.items() if name != "head"}
            if line["head"] != _head(last, entry):
                raise broken(number, "it does not follow from the lines before it")
            last = line["head"]
            if number == 0:
                said = _plan(entry)
                if said != (plan or said):
                    raise broken(number, "it is of another plan")
                continue
            try:
                _verify_round(entry, said, roster, kept)
                _check_once(entry, asked)
                _check_banned(entry, banned)
            except ProtocolError as error:
                raise broken(number, error.found) from None
            except UNREADABLE:
                raise broken(number, "it is no round of a record") from None
            found = _opened(entry)
            if found and sums.setdefault(entry["round"], found) != found:
                raise broken(number, "another sum of the same round was opened before it")
            before = models.get(entry["round"] - 1)
            if entry["round"] != 1 and before is None:
                raise broken(number, "the round before it is missing")
            if before not in (None, entry["before"]):
                raise broken(number, "it begins with another model than the last round left")
            models[entry["round"]] = entry["after"]
        return models


def digest_of(x: Any) -> str:
    """SHA-256 of a model, in hex: of the bytes of x [size], as they lie in memory."""
    return hashlib.sha256(np.ascontiguousarray(x).data).hexdigest()


def round_entry(
    number: int, head: Request, cells: list[Mapping[str, Any]], models: tuple[Any, Any]
) -> dict[str, Any]:
    """A round, as a line of the record: its number once it is done, what was broadcast, and the
    models before and after. Of a cell of those who were ready it says who `arrivals` are, too.
    """
    before, after = map(digest_of, models)
    return {
        "round": number,
        "session": list(head.session),
        "broadcast": fingerprint(head.broadcast).hex(),
        "cells": [dict(cell) for cell in cells],
        "before": before,
        "after": after,
    }


def _verify_round(
    entry: Mapping[str, Any], plan: str, roster: Mapping[str, Member] | None, kept: Kept | None
) -> None:
    """ProtocolError where the cells of a round are not what clients have signed, its sums not those
    of the ciphertexts that are kept, or the model has moved without a sum.
    """
    from .aggregators.hidden.record import add_up_again, verify_cell

    task = _task(entry, plan)
    for cell in entry["cells"]:
        binding = verify_cell(cell, task, roster)
        if kept is not None:
            add_up_again(cell, binding, partial(kept.read, entry["round"]))
    names = [name for cell in entry["cells"] for name in cell["names"]]
    if len(set(names)) < len(names):
        raise ProtocolError("a client is in two of its cells", "", "")
    if entry["before"] != entry["after"] and not _opened(entry):
        raise ProtocolError("its model has moved, and no sum was opened", "", "")


def _task(entry: Mapping[str, Any], plan: str) -> bytes:
    """What its members have signed for: what all of a round were told; or who was in a cell, and
    when each was asked. ProtocolError where that is another cell.
    """
    number = entry["round"] - 1
    if "arrivals" not in entry:
        session = SessionId(*entry["session"])
        return task_of(plan, number, session, bytes.fromhex(entry["broadcast"]))
    arrivals = Arrivals.of_entry(plan, entry["arrivals"])
    cells = [cell["names"] for cell in entry["cells"]]
    if arrivals.round != number or cells != [list(arrivals.names)]:
        raise ProtocolError("its cell is not that of those who are said to be ready", "", "")
    return arrivals.task


def _check_once(entry: Mapping[str, Any], asked: dict[Any, Any]) -> None:
    """ProtocolError where a session is in the cells of two rounds, or a round had two models.

    asked: of all lines before, session → round of its cell, and round → model; this one's are put
    beside them.
    """
    if "arrivals" not in entry:
        return
    told = entry["arrivals"]
    for epoch, number, _ in told["asked"]:
        if asked.setdefault((told["run"], epoch, number), entry["round"]) != entry["round"]:
            raise ProtocolError("a client is in the cells of two rounds with one update", "", "")
    for round, model in told["models"].items():
        if asked.setdefault((told["run"], round), model) != model:
            raise ProtocolError(f"round {round} has broadcast two models", "", "")


def _check_banned(entry: Mapping[str, Any], banned: set[str]) -> None:
    """ProtocolError where one takes part of whom a line before has proven that it deals rubbish;
    those of whom this one does are put beside them.
    """
    for cell in entry["cells"]:
        prepared = bytes.fromhex(cell["prepared"])
        for name, there in zip(cell["names"], prepared, strict=True):
            if there and name in banned:
                raise ProtocolError(
                    f"{name} takes part, who is proven to have dealt rubbish before", "", ""
                )
    for cell in entry["cells"]:
        banned |= {one["dealer"] for one in cell["proven"]}


def _opened(entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Who is in each sum of a round that was opened, and its SHA-256."""
    return [(cell["inside"], cell["sum"]) for cell in entry["cells"] if cell["sum"]]


def _plan(entry: Mapping[str, Any]) -> str:
    """The digest that the first line says; StoreError where it is no such line."""
    if entry.get("hansa") != FORM or not isinstance(entry.get("plan"), str):
        raise broken(0, f"it is not the head of a record of this form ({FORM})")
    return str(entry["plan"])


def broken(number: int, why: str) -> StoreError:
    """What is said of the first line that does not hold."""
    return StoreError(
        f"Line {number + 1} of the record does not hold: {why}.",
        "Who keeps the record has changed it, or the disk has.",
        "Do not trust what follows from this line on.",
    )


def _head(last: str, entry: Mapping[str, Any]) -> str:
    """SHA-256 of the last head, in hex, and the line without its own."""
    return hashlib.sha256((last + _text(entry)).encode("ascii")).hexdigest()


def _text(entry: Mapping[str, Any]) -> str:
    """JSON in one way only: sorted, without spaces."""
    return json.dumps(entry, sort_keys=True, separators=(",", ":"))
