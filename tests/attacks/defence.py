"""A defence of hansa's, as a change of its source that takes it away."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Defence:
    """What stands in the source once, and what stands there without the defence.

    also: further texts, where a defence stands in two places, with their file where it is another.
    ends: the errors with which an attack ends a run, where that is its success; everywhere else a test must fail by
    what it asserts. only: which parameters of the tests attack this defence. Both are regular expressions, for the
    names.
    """

    name: str
    file: str  # under src/hansa
    old: str
    new: str
    also: tuple[tuple[str, str] | tuple[str, str, str], ...] = ()
    ends: str = ""
    only: str = ""

    @property
    def edits(self) -> tuple[tuple[str, str, str], ...]:
        """(file, text, text without the defence)."""
        every = ((self.old, self.new, self.file), *((*one, self.file)[:3] for one in self.also))
        return tuple((file, old, new) for old, new, file in every)
