"""Which of the things that take long to make are worth it, and which of these are kept."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """What was used last of the things that are used often: at most `most`, each after `often` uses without it.

    What is dropped must come so often again, so that things in turn, one more than there is room for, are not made anew
    at each use.
    """

    def __init__(self, most: int, often: int):
        self.most, self.often = most, often
        self._kept: dict[Hashable, T] = {}  # the one used last stands last
        self._uses: dict[Hashable, int] = {}  # of those that are not kept

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, which: Hashable) -> T | None:
        """The thing, now the one used last, if it is kept."""
        if which not in self._kept:
            return None
        self._kept[which] = self._kept.pop(which)
        return self._kept[which]

    def due(self, which: Hashable, uses: int) -> bool:
        """Is it worth making, with so many uses to come?"""
        self._uses[which] = self._uses.get(which, 0) + uses
        return self._uses[which] >= self.often

    def keep(self, which: Hashable, one: T) -> None:
        """Keep it, in place of the one not used for longest where there is no room."""
        self._uses.pop(which, None)
        self._kept[which] = one
        while len(self._kept) > self.most:
            del self._kept[next(iter(self._kept))]
