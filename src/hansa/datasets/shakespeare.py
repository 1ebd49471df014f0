"""Shakespeare by speaking role: the next character of what each role says.

A role is a client: what it says is all its own, and some say a hundred times as much as others.
(McMahan et al. 2017, §3; the alphabet and the windows are LEAF's, Caldas et al. 2018)
"""

from __future__ import annotations

import gzip
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, number
from . import AbsentError, Examples, Found, folder, stand_in

ROLES = {  # of the file before packing
    "roles.jsonl.gz": "bb678c2d9c0df42a45c73d35f20fb372b52a7dc7b1012f9d352448e994c06d83"
}
TINY = {"input.txt": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"}
COMMIT = "d1d7aa34fdb3626174bce1d753e6cc6845ce7087"
URLS = (f"https://raw.githubusercontent.com/karpathy/char-rnn/{COMMIT}/data/tinyshakespeare/",)

ALPHABET = "\n !\"&'(),-.0123456789:;>?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]abcdefghijklmnopqrstuvwxyz}"
IGNORED = -100  # the target behind the end of a text, which no loss counts
HEADING = re.compile(r"^(?P<role>[A-Z][^\n:]*):\n", re.MULTILINE)
LEAST = 800  # characters of a topic that is a client, where topics stand in for roles


def shakespeare(window: int = 80) -> Found:
    """role → windows of what it says: inputs int64 [n, window], targets int64 [n, window].

        xₜ = place in ALPHABET of character t,      yₜ = xₜ₊₁

    The last fifth of a role's lines, at least one, is held out. Windows do not overlap; behind the
    end of a text targets are IGNORED. A role with a single line is left out, and so is each
    character that is not in ALPHABET.

    From $HANSA_DATA/shakespeare/roles.jsonl.gz: 1,249 roles of 37 plays, each line of the file
    {"play", "role", "lines"}. Else fetched once: the plays of tinyshakespeare, whose headings name
    the roles. Else the topics of Python's own documentation stand in.
    """
    whole = number(window, whole=True)
    if not whole or window < 1:
        raise DataError(
            f"window={window!r}.", "A window holds so many characters.", "Write window=80."
        )
    try:
        place = folder("shakespeare", ROLES, ())
        return _found(_roles(place / "roles.jsonl.gz"), window, "Shakespeare's roles in 37 plays")
    except AbsentError:
        pass
    try:
        text = (folder("shakespeare", TINY, URLS) / "input.txt").read_text("utf-8")
        return _found(_headed(text), window, "Shakespeare's roles in tinyshakespeare")
    except AbsentError as absent:
        source = "topics of Python's documentation, by pydoc_data"
        return stand_in(_found(_topics(), window, source, standing=True), absent)


@dataclass(frozen=True)
class Coded:
    """Characters of a text as places in ALPHABET [m], and how many are not in it."""

    codes: NDArray[np.int64]
    strange: int

    @staticmethod
    def of(text: str) -> Coded:
        """The text without what is strange."""
        places = [ALPHABET.find(c) for c in text]
        known = [place for place in places if place >= 0]
        return Coded(np.array(known, np.int64), len(places) - len(known))


def decoded(codes: Sequence[int]) -> str:
    """The text that places in ALPHABET stand for."""
    return "".join(ALPHABET[code] for code in codes)


def windows(codes: NDArray[np.int64], window: int) -> Examples:
    """(inputs, targets) of a text, both [n, window]; n = 0 of one that has no next character.

    The rest behind the end of the text is 0 among the inputs, and IGNORED among the targets.
    """
    n = math.ceil(max(len(codes) - 1, 0) / window)
    X = np.zeros(n * window, np.int64)
    y = np.full(n * window, IGNORED)
    if n:
        X[: len(codes) - 1] = codes[:-1]
        y[: len(codes) - 1] = codes[1:]
    return X.reshape(n, window), y.reshape(n, window)


def _found(
    roles: Mapping[str, Sequence[str]], window: int, source: str, standing: bool = False
) -> Found:
    """The windows of each role's lines; DataError where no role has two lines."""
    train = dict[str, Examples]()
    test = dict[str, Examples]()
    left_out = dict[str, str]()
    strange = 0
    for role, lines in roles.items():
        if len(lines) < 2:
            left_out[role] = "with a single line"
            continue
        first = len(lines) - math.ceil(len(lines) / 5)
        parts = [Coded.of("\n".join(part)) for part in (lines[:first], lines[first:])]
        known, held = (windows(part.codes, window) for part in parts)
        if not (len(known[0]) and len(held[0])):
            left_out[role] = "with no two characters on one side"
            continue
        strange += sum(part.strange for part in parts)
        train[role] = known
        test[role] = held
    if strange:
        source += f" (characters outside the alphabet that are left out: {strange:,})"
    if not train:
        raise DataError(
            f"No text has two lines: {', '.join(list(left_out)[:3])}.",
            "The last lines of a role are held out, and others are left to learn from.",
            "Give roles of at least two lines.",
        )
    return Found(train, test, source, standing, left_out)


def _roles(path: object) -> dict[str, list[str]]:
    """play / role → lines."""
    with gzip.open(str(path), "rt", encoding="utf-8") as file:
        told = [json.loads(line) for line in file]
    return {f"{one['play']} / {one['role']}": one["lines"] for one in told}


def _headed(text: str) -> dict[str, list[str]]:
    """role → its lines in all speeches, below headings "Name:" on a line of their own."""
    found = dict[str, list[str]]()
    for role, speech in _speeches(text):
        found.setdefault(role, []).extend(line for line in speech.splitlines() if line.strip())
    return found


def _speeches(text: str) -> Iterator[tuple[str, str]]:
    """(role, what is said) in the order of the text."""
    headings = list(HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]]
    for heading, end in zip(headings, [*ends, len(text)], strict=True):
        yield heading["role"].upper(), text[heading.end() : end]


def _topics() -> dict[str, list[str]]:
    """topic of Python's documentation → its lines, of those that are long enough."""
    from pydoc_data.topics import topics

    texts = {name: text for name, text in sorted(topics.items()) if len(text) >= LEAST}
    return {
        name: [" ".join(line.split()) for line in text.splitlines() if line.strip()]
        for name, text in texts.items()
    }
