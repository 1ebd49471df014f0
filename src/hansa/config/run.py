"""A run's config: what one run is, in a TOML file, and how a stored run keeps it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import AppError
from ..plan import Plan
from . import WORDS, did_you_mean, inline, overlay, set_, toml
from .parse import parse

STOP = "stop"  # the field of an app, beside its plan, that settings reach


@dataclass(frozen=True)
class Config:
    """What one run is: the app file, and what is other than the app says.

    The app builds a plan; `plan` puts other pieces into it, then `rounds` and `seed` count, and
    `set` changes single values last. `stop` is when the rounds end early, {} where the app says it;
    of `set` what begins with stop is about that. What the run is called, and which trackers follow
    it, changes nothing of what is computed.
    """

    app: str
    rounds: int | None = None
    seed: int | None = None
    set: Mapping[str, Any] = field(default_factory=dict)  # path → value
    plan: Mapping[str, Any] = field(default_factory=dict)  # name of a field → table of the piece
    stop: Mapping[str, Any] = field(default_factory=dict)  # {"use": "EarlyStopping", …}
    name: str = ""
    tags: Sequence[str] = ()
    note: str = ""
    track: Sequence[str] = ()  # names of trackers

    def apply(self, plan: Plan, names: Mapping[str, Any] | None = None) -> Plan:
        """The app's plan with what this config says of it: pieces first, then rounds and seed, then
        settings.
        """
        plan = overlay(plan, self.plan, names)
        given = {
            name: getattr(self, name)
            for name in ("rounds", "seed")
            if getattr(self, name) is not None
        }
        of_plan, _ = of_stop(self.set)
        return set_(plan, {**given, **of_plan}, names)

    def kept(self) -> dict[str, Any]:
        """As a run keeps its settings: all but the app's path, and what it is called, which the run
        has beside them.
        """
        return {
            "rounds": self.rounds,
            "seed": self.seed,
            "set": dict(self.set),
            "plan": dict(self.plan),
            "stop": dict(self.stop),
        }

    def toml(self) -> str:
        """The document that `read` reads; what is as the app says is left out.

        AppError where a setting cannot be written as TOML.
        """
        entries = {f.name: getattr(self, f.name) for f in fields(self)}
        told = {name: value for name, value in entries.items() if value not in (None, "", (), {})}
        return toml({name: list(v) if isinstance(v, tuple) else v for name, v in told.items()})


def read(path: Path) -> Config:
    """The config in a TOML file; the app's path is taken from where the file lies.

    Only the fields of `Config` may stand in it. AppError for any other entry, for one of another
    type, and for a file that cannot be read or is not TOML.
    """
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise AppError(
            f"{path} cannot be read: {error}.", "", "Look at its name and its rights."
        ) from None
    except ValueError as error:
        raise AppError(
            f"{path} is not TOML: {error}.",
            "A run's config is a TOML file.",
            'Begin it with app = "app.py".',
        ) from None
    kinds = {"app": "str", "rounds": "int", "seed": "int", "name": "str", "note": "str"}
    kinds |= dict.fromkeys(("set", "plan", "stop"), "dict")
    kinds |= dict.fromkeys(("tags", "track"), "list")
    for name, value in found.items():
        if name not in kinds:
            raise AppError(
                f"{path} has the entry {name!r}.",
                f"A config has {', '.join(kinds)}.",
                did_you_mean(name, list(kinds)),
            )
        if type(value).__name__ != kinds[name]:
            raise AppError(
                f"{path} has {name} = {inline(value)}.",
                f"It takes {WORDS[kinds[name]]}.",
                "Write another value.",
            )
    if "app" not in found:
        raise AppError(
            f"{path} names no app.",
            "The app file holds the data, and mostly the model.",
            'Add app = "app.py".',
        )
    settings = dict(flat(found.get("set", {})))
    return Config(**{**found, "app": str(path.parent / found["app"]), "set": settings})


def flat(entries: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Paths and values of nested tables: pipe.0.norm = 2 in TOML is three tables deep.

    A table with `use` is a piece, and so a value.
    """
    for key, value in entries.items():
        path = f"{above}{key}"
        if isinstance(value, Mapping) and "use" not in value:
            yield from flat(value, f"{path}.")
        else:
            yield path, value


def of_stop(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """path → value: those of the plan, and those of when the rounds end early."""
    stop = {path: value for path, value in settings.items() if path.split(".")[0] == STOP}
    return {path: value for path, value in settings.items() if path not in stop}, stop
