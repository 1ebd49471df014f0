"""Sites: where each client's data is, by the client's name; it is read at its client, when that is
asked for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from glob import glob
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import DataError

EXAMPLE = "Write for example Sites(read, 'data/*.csv') or Sites(read, {'north': 'north.csv'})."


@dataclass(frozen=True, eq=False)
class Source:
    """Data that is read when it is first asked for, and once; to another process it travels
    unread.
    """

    read: Callable[[], Any] = field(repr=False)

    @cached_property
    def data(self) -> Any:
        """The examples, in one of the forms that data may have; whatever the reader raises."""
        return self.read()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.read,)


class Sites(Mapping[str, Source]):
    """Each client's data by name, of which nothing is read until its client is asked.

    read: path → examples. paths: a pattern such as "data/*.csv", in which ** stands for folders of
    any depth, or a list of paths, whose stems are the names; or name → path. Relative ones start
    from the working directory. A pattern is looked up when the names are first needed: at a real
    site, which reads one path of its own, they never are. DataError then where nothing matches it,
    or two paths give one name.
    """

    def __init__(
        self,
        read: Callable[[Path], Any],
        paths: str | Path | Sequence[str | Path] | Mapping[str, str | Path],
    ):
        if not callable(read):
            raise DataError(
                f"Sites({type(read).__name__}, …) reads nothing.",
                "`read` is a function of a path that gives the examples of one client.",
                EXAMPLE,
            )
        several = isinstance(paths, Mapping | list | tuple)
        listed = _values(paths) if several else [paths]
        odd = [one for one in listed if not isinstance(one, str | Path)]
        if odd or not listed:
            found = f"a {type(odd[0]).__name__}" if odd else "no path"
            raise DataError(
                f"Sites(read, …) with {found}.", "Each client's data is at a path.", EXAMPLE
            )
        self.read = read
        self._given = paths
        self._at = dict[Path, Source]()

    def __repr__(self) -> str:
        """Where they are looked for; nothing is looked up."""
        if isinstance(self._given, str | Path):
            return f"<{type(self).__name__}: {str(self._given)!r}>"
        return f"<{type(self).__name__}: {len(self._given)} paths>"

    @property
    def there(self) -> bool:
        """Does any path match? Where none does, this is a site that has no path of any other."""
        return not isinstance(self._given, str | Path) or bool(self._matches)

    def at(self, path: str | Path) -> Source:
        """What is at this path, to be read as each client's; one source for all who ask."""
        return self._at.setdefault(Path(path), Source(partial(self.read, Path(path))))

    def __getitem__(self, who: str) -> Source:
        return self._sources[who]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    @cached_property
    def _sources(self) -> dict[str, Source]:
        return {who: self.at(path) for who, path in self._named().items()}

    @cached_property
    def _matches(self) -> list[Path]:
        return [Path(path) for path in sorted(glob(str(self._given), recursive=True))]

    def _named(self) -> dict[str, str | Path]:
        """Paths by name."""
        if isinstance(self._given, Mapping):
            return {str(who): path for who, path in self._given.items()}
        if isinstance(self._given, str | Path):
            paths = self._matches
        else:
            paths = [Path(path) for path in self._given]
        if not paths:
            raise DataError(
                f"No path matches {str(self._given)!r}.",
                f"It was looked for from {Path.cwd()}, and each path that matches is a client's "
                "data.",
                "Write Path(__file__).parent / 'data/*.csv' for what lies beside the app file.",
            )
        for one, other in pairwise(sorted(paths, key=lambda path: path.stem)):
            if one.stem == other.stem:
                raise DataError(
                    f"{one} and {other} are both called {one.stem!r}.",
                    "Clients are told apart by the names of their files, without folder and "
                    "ending.",
                    f"Name them: Sites(read, {{'north': {str(one)!r}, 'south': {str(other)!r}}}).",
                )
        return {path.stem: path for path in paths}


def loaded(data: Any) -> Any:
    """The examples: those of a source are read now, if they have not been."""
    return data.data if isinstance(data, Source) else data


def prepared(data: Any, prepare: Callable[[Any, Any], Any], found: Any) -> Source:
    """What `prepare` makes of the data and of what a survey found, when it is first asked for."""
    return Source(partial(_prepared, data, prepare, found))


def _prepared(data: Any, prepare: Callable[[Any, Any], Any], found: Any) -> Any:
    return prepare(loaded(data), found)


def _values(paths: Any) -> list[Any]:
    return list(paths.values()) if isinstance(paths, Mapping) else list(paths)
