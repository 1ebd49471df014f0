"""Label: what a person calls a run, so that it is found again among hundreds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import AppError, Fault, refuse

LONGEST = 80  # letters of a name or a tag, which stand in a table


@dataclass(frozen=True)
class Label:
    """The name of a run, its tags, and a note; all of it may be empty.

        Label("baseline", ("paper", "seed 1"), "before the data was cleaned")

    Several runs may have one name, and it changes nothing of what is computed. AppError for a name
    or a tag that does not fit on a line, and for a tag with a comma.
    """

    name: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        refuse(
            [
                (
                    isinstance(self.tags, str) or not isinstance(self.tags, Sequence),
                    f"The tags {self.tags!r} are no list.",
                    "A run may have several.",
                    'Write tags=("paper",), say.',
                )
            ],
            AppError,
        )
        refuse(
            [
                _fault("The name", self.name, fits_line(self.name)),
                *(_fault("The tag", tag, tag != "" and fits_line(tag, ",")) for tag in self.tags),
                (
                    not isinstance(self.note, str),
                    f"The note {self.note!r} is no text.",
                    "It is words for who looks at the run.",
                    'Write note="before the data was cleaned", say.',
                ),
            ],
            AppError,
        )
        object.__setattr__(self, "tags", tuple(dict.fromkeys(self.tags)))

    def __bool__(self) -> bool:
        return bool(self.name or self.tags or self.note)


def fits_line(text: object, without: str = "") -> bool:
    """Can this stand on a line of a table, with none of the letters of `without` in it?"""
    if not isinstance(text, str) or len(text) > LONGEST or not text.isprintable():
        return False
    return text == text.strip() and not set(text) & set(without)


def _fault(what: str, text: object, fits: bool) -> Fault:
    """What is wrong with a name or a tag, if it does not fit."""
    return (
        not fits,
        f"{what} {text!r} cannot be shown.",
        f"It stands on a line of a table: up to {LONGEST} letters, and no comma in a tag.",
        "Write a word or two, and all else as a note.",
    )
