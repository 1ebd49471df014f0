"""Plots of a page, as HTML with SVG in it: lines, bars, and strips; each with its numbers in a
table, or as text.

    curves({"the central test": [(1, 0.69), (2, 0.61)]}, "loss")

Text is text of the page, in its font and at its size on every screen: places are shares of the
width, and only lines are stretched (`viewBox`). What a pointer is on is told beside the title.
Colours are classes, s0 to s3 and k0 to k2 of `plain.css`; no script, no style inside. All words
are escaped, and what would turn text around or break a line is written out.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from markupsafe import Markup

from ..errors import printable

MOST_POINTS = 600  # of a line; of more, the lowest and the highest of each stretch are drawn
MOST_STOPS = 120  # for a pointer, along a plot
MOST_ROWS = 200  # of a table
COLOURS = 4
TALL = {1: (0, 10)}  # state → top and height of its field in a strip
THIN = (3, 4)  # of others, which so are told apart without colours
LONGEST = 60  # letters of a name; its whole is told where a pointer is on it

TINY = 1e-300  # two numbers that lie nearer are drawn as one, for shares of less are not computed
NEAR = 1e-13  # the same, as a share of them
LARGEST = sys.float_info.max

Point = tuple[float, float]
Show = Callable[[float, float], str]  # a number, and how small a difference is to be seen

FIGURE = Markup(
    '<figure class="plot" data-plot="{title}"><figcaption><strong>{title}</strong>{key}'
    "</figcaption>\n{body}{table}</figure>\n"
)
TABLE = Markup(
    "<details><summary>Numbers<span class=unseen> of {title}</span></summary>"
    '<div class="scroll" tabindex="0" role="region" aria-label="Numbers of {title}"><table>'
    "<caption>{caption}</caption><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table>"
    "</div></details>"
)


def word(text: str, most: int = LONGEST) -> str:
    """A name in one line, of which no letter commands a screen; of a long one begin and end."""
    line = " ".join(printable(text).split())
    if len(line) <= most:
        return line
    return f"{line[: most - 9]}…{line[-8:]}"


def number(value: float, step: float = 0.0) -> str:
    """A number with four figures, or as many as tell it from one that is a `step` away."""
    figures = 4
    if 0 < step < abs(value):
        figures = max(4, math.floor(math.log10(abs(value))) - math.floor(math.log10(step)) + 1)
    return f"{value:.{figures}g}"


def curves(
    lines: Mapping[str, Iterable[Point]],
    title: str,
    x: str = "round",
    show: Show = number,
    zero: bool = False,
    limit: tuple[str, float] | None = None,
) -> Markup:
    """Lines over x; name → [(x, y)] by rising x. What is not finite is left out; from where on a
    line is infinite is said.

    show: y in words. zero: the axis begins at 0. limit: a dashed line, its name and its y.
    """
    whole = {name: list(line) for name, line in lines.items()}
    found = {name: [one for one in line if _finite(one)] for name, line in whole.items()}
    found = {name: line for name, line in found.items() if line}
    endless = _endless(whole, x)
    if not found:
        body = Markup("<p>{}</p>").format(endless or "No numbers yet.")
        return FIGURE.format(title=word(title), key="", body=body, table="")
    axes = Axes.of(found.values(), zero, limit)
    body = Markup('<svg class="axes" role="img" aria-label="{}">{}{}{}</svg>').format(
        f"{_told(found, title, x, axes.show(show))} {endless}".rstrip(),
        _join(axes.grid(show)),
        _join(_drawn(found, axes, limit)),
        _join(_stops(found, axes, x, axes.show(show))),
    )
    if endless:
        body += Markup("<p>{}</p>").format(endless)
    key = {name: _style(i) for i, name in enumerate(found)}
    if limit is not None:
        key[limit[0]] = "limit"
    table = _table(found, title, x, axes.show(show))
    return FIGURE.format(title=word(title), key=_key(key), body=body, table=table)


def bars(
    values: Mapping[str, float],
    title: str,
    show: Show = number,
    zero: bool = True,
    own: Collection[str] = (),
) -> Markup:
    """A bar for each name, from 0; without `zero` a dot for each, between the least and the most.

    own: names that stand out. All values are told as text beside the bars. ValueError for a bar
    below 0.
    """
    known = [value for value in values.values() if math.isfinite(value)]
    low = min(known, default=0.0)
    if zero and low < 0:
        raise ValueError(f"{low} has no bar: bars begin at 0")
    if zero:
        low = 0.0
    wide = max(known, default=0.0) / 2 - low / 2 or 1.0  # halves, for the whole may be too large
    rows = list[Markup]()
    for name, value in values.items():
        mark = Markup("")
        if math.isfinite(value):
            at = 2 + 96 * ((value / 2 - low / 2) / wide)
            form = '<rect width="{:.1f}%" height="100%" rx="2"/>'
            if not zero:
                form = '<line x2="100%" y1="50%" y2="50%"/><circle cx="{:.1f}%" cy="50%" r="5"/>'
            mark = Markup('<svg class="bar" aria-hidden="true">' + form + "</svg>").format(at)
        rows.append(
            Markup('<li class="{}">{}{}<span class="value">{}</span></li>').format(
                "own" * (name in own), _name(name), mark, show(value, wide / 5)
            )
        )
    body = Markup('<ul class="bars">{}</ul>').format(_join(rows))
    return FIGURE.format(title=word(title), key="", body=body, table="")


def strips(
    rows: Mapping[str, Sequence[int]],
    title: str,
    states: Sequence[str],
    first: int = 1,
    x: str = "round",
) -> Markup:
    """A strip for each name: which of `states` it was in, from x = `first` on.

    rows: name → a place in `states` for each x. The first state is left blank, the second is a
    full field, others are thin ones. How often each was in which is told behind it, as a table.
    """
    wide = max(map(len, rows.values()), default=0)
    parts = list[Markup]()
    counts = dict[str, list[str]]()
    for name, found in rows.items():
        counts[name] = [str(sum(one == i for one in found)) for i in range(len(states))]
        said = ", ".join(f"{states[i]} {n}" for i, n in enumerate(counts[name]) if n != "0")
        parts.append(
            Markup(
                '<li>{}<svg class="strip" role="img" aria-label="{}" viewBox="0 0 {} 10" '
                'preserveAspectRatio="none">{}</svg></li>'
            ).format(_name(name), said, wide, _join(_fields(found, states, first, x)))
        )
    ends = Markup('<li class="ends"><span></span><span>{} {}</span><span>{}</span></li>').format(
        x, first, first + wide - 1
    )
    body = Markup('<ul class="strips">{}{}</ul>').format(_join(parts), ends)
    table = _rows_table(title, f"{x}s, of {wide}", ["", *states], counts)
    key = _key({state: f"k{i}" for i, state in enumerate(states)})
    return FIGURE.format(title=word(title), key=key, body=body, table=table)


def thinned(line: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most so many points, which draw the same line: the lowest and the highest of each of
    `most`/2 stretches, and both ends.
    """
    if len(line) <= most:
        return list(line)
    size = math.ceil(len(line) / (most // 2 - 1))
    kept = {line[0], line[-1]}
    for begin in range(0, len(line), size):
        part = line[begin : begin + size]
        kept |= {min(part, key=_y), max(part, key=_y)}
    return sorted(kept)


@dataclass(frozen=True)
class Axes:
    """Where numbers lie on a plot: x from `left` to `right`, y from `low` to `high`.

    Places are shares of the plot, in percent from its upper left; whoever is alone on an axis lies
    in its middle.
    """

    left: float
    right: float
    low: float
    high: float

    @classmethod
    def of(
        cls, lines: Iterable[Sequence[Point]], zero: bool, limit: tuple[str, float] | None
    ) -> Axes:
        """Axes that hold all points of some lines."""
        points = [one for line in lines for one in line]
        across = [x for x, _ in points]
        up = [y for _, y in points]
        if limit is not None and math.isfinite(limit[1]):
            up.append(limit[1])
        if zero:
            up.append(0.0)
        low = min(up)
        high = max(up)
        rooms = (0.06 * high - 0.06 * low, 0.1 * abs(high), 1.0)
        room = next(one for one in rooms if one > max(TINY, NEAR * abs(high)))
        if not zero:
            low = max(-LARGEST, low - room)
        return cls(min(across), max(across), low, min(LARGEST, high + room))

    def across(self, x: float) -> float:
        """In percent of the width."""
        if self.right == self.left:
            return 50.0
        return 100 * (x - self.left) / (self.right - self.left)

    def down(self, y: float) -> float:
        """In percent of the height, from above."""
        # halves, for the whole may be too large
        return 100 * (1 - (y / 2 - self.low / 2) / (self.high / 2 - self.low / 2))

    def show(self, show: Show) -> Callable[[float], str]:
        """y in words, with a figure more than the axis has."""
        return lambda y: show(y, step_of(self.low, self.high) / 10)

    def grid(self, show: Show) -> Iterator[Markup]:
        """Lines at round numbers of y, and round numbers below."""
        up = '<line class="grid" x2="100%" y1="{0:.2f}%" y2="{0:.2f}%"/>'
        up += '<text x="-.7em" y="{0:.2f}%" dy=".35em" text-anchor="end">{1}</text>'
        for y in ticks(self.low, self.high):
            yield Markup(up).format(self.down(y), _short(show(y, step_of(self.low, self.high))))
        for x in ticks(self.left, self.right, whole=True):
            below = '<text x="{:.2f}%" y="100%" dy="1.7em" text-anchor="middle">{:.0f}</text>'
            yield Markup(below).format(self.across(x), x)


def ticks(low: float, high: float, most: int = 5, whole: bool = False) -> list[float]:
    """At most `most` + 1 round numbers, 1, 2 or 5 times a power of ten apart; `whole` ones only."""
    if high <= low:
        return [low]
    step = step_of(low, high, most)
    if whole:
        step = max(1.0, step)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def step_of(low: float, high: float, most: int = 5) -> float:
    """How far those numbers are apart; low < high."""
    least = high / most - low / most
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * one for one in (1, 2, 5, 10) if power * one >= least * (1 - 1e-9))


def _endless(lines: Mapping[str, Sequence[Point]], x: str) -> str:
    """Since when lines are infinite, in a sentence for each; nothing where none is."""
    first = {
        name: next((at for at, y in line if math.isinf(y)), None) for name, line in lines.items()
    }
    return " ".join(
        f"{word(name)}: unbounded from {x} {_place(at)} on."
        for name, at in first.items()
        if at is not None
    )


def _place(x: float) -> str:
    """A place on the x axis: all figures of a whole one."""
    if x == round(x):
        return f"{x:.0f}"
    return f"{x:g}"


def _short(text: str) -> str:
    """A number without the zeros at its end: 0.6 for 0.600."""
    return re.sub(r"(\.\d*?)0+(?=$|\s)", r"\1", text).replace(". ", " ").rstrip(".")


def _drawn(
    lines: Mapping[str, Sequence[Point]], axes: Axes, limit: tuple[str, float] | None
) -> Iterator[Markup]:
    """The lines themselves, the first on top, each with a dot at its end."""
    if limit is not None and math.isfinite(limit[1]):
        flat = '<line class="limit" x2="100%" y1="{0:.2f}%" y2="{0:.2f}%"/>'
        yield Markup(flat).format(axes.down(limit[1]))
    for i, line in reversed(list(enumerate(lines.values()))):
        places = [(10 * axes.across(x), 10 * axes.down(y)) for x, y in thinned(line)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        yield Markup(
            '<svg width="100%" height="100%" viewBox="0 0 1000 1000" preserveAspectRatio="none" '
            'overflow="visible"><path class="{0}" d="M{1}"/></svg>'
            '<circle class="{0}" cx="{2:.2f}%" cy="{3:.2f}%" r="3.5"/>'
        ).format(_style(i), path, places[-1][0] / 10, places[-1][1] / 10)


def _stops(
    lines: Mapping[str, Sequence[Point]], axes: Axes, x: str, show: Callable[[float], str]
) -> Iterator[Markup]:
    """For a pointer: a column for some x, and what all lines have there.

    A column reaches half-way to its neighbours. Its words are shown by style alone, above the plot
    at its right, where no line is.
    """
    at = _some(sorted({one for line in lines.values() for one, _ in line}), MOST_STOPS)
    values = [dict(line) for line in lines.values()]
    places = [axes.across(one) for one in at]
    edges = [0.0, *((a + b) / 2 for a, b in pairwise(places)), 100.0]
    for i, one in enumerate(at):
        told = [
            Markup(' <tspan class="{}" dx=".5em">●</tspan> {}').format(_style(k), show(found[one]))
            for k, found in enumerate(values)
            if one in found
        ]
        yield Markup(
            '<g class="stop"><rect x="{0:.2f}%" width="{1:.2f}%" height="100%"/>'
            '<line x1="{2:.2f}%" x2="{2:.2f}%" y2="100%"/>'
            '<text x="100%" y="-.9em" text-anchor="end">{3} {4}{5}</text></g>'
        ).format(edges[i], edges[i + 1] - edges[i], places[i], x, _place(one), _join(told))


def _told(
    lines: Mapping[str, Sequence[Point]], title: str, x: str, show: Callable[[float], str]
) -> str:
    """What a plot shows, for who does not see it: where each line begins and ends."""
    ends = [
        f"{word(name)}: {show(line[0][1])} at {x} {_place(line[0][0])}, "
        f"{show(line[-1][1])} at {x} {_place(line[-1][0])}"
        for name, line in lines.items()
    ]
    return f"{word(title)} by {x}. {'; '.join(ends)}."


def _table(
    lines: Mapping[str, Sequence[Point]], title: str, x: str, show: Callable[[float], str]
) -> Markup:
    """The numbers of all lines; of many some, which is said."""
    at = sorted({one for line in lines.values() for one, _ in line})
    some = _some(at, MOST_ROWS)
    caption = f"{len(at)} {x}s"
    if len(some) < len(at):
        caption = f"{len(some)} of {len(at)} {x}s, evenly spread"
    told = [{at: show(y) for at, y in line} for line in lines.values()]
    rows = {_place(one): [found.get(one, "") for found in told] for one in some}
    return _rows_table(title, caption, [x, *lines], rows)


def _rows_table(
    title: str, caption: str, head: Sequence[str], rows: Mapping[str, Sequence[str]]
) -> Markup:
    """A table that opens: a row for each name."""
    cells = Markup('<td class="number">{}</td>')
    lines = [
        Markup('<tr><th scope="row"><bdi>{}</bdi></th>{}</tr>\n').format(
            word(name), _join(cells.format(one) for one in row)
        )
        for name, row in rows.items()
    ]
    column = Markup('<th scope="col" class="{}">{}</th>')
    names = [column.format("number" * (i > 0), word(one) or "name") for i, one in enumerate(head)]
    return TABLE.format(title=word(title), caption=caption, head=_join(names), rows=_join(lines))


def _fields(found: Sequence[int], states: Sequence[str], first: int, x: str) -> Iterator[Markup]:
    """A field for each stretch of x in one state; all but the first state are drawn."""
    begin = 0
    for state, group in groupby(found):
        n = len(list(group))
        if state:
            where = f"{x} {first + begin}"
            if n > 1:
                where = f"{x}s {first + begin} to {first + begin + n - 1}"
            yield Markup(
                '<rect class="k{}" x="{}" width="{}" y="{}" height="{}"><title>{}: {}</title>'
                "</rect>"
            ).format(state, begin, n, *TALL.get(state, THIN), where, states[state])
        begin += n


def _key(classes: Mapping[str, str]) -> Markup:
    """Which colour is whose, where there are several: name → its classes."""
    if len(classes) < 2:
        return Markup("")
    entries = [
        Markup('<li class="{}"><bdi>{}</bdi></li>').format(style, word(name))
        for name, style in classes.items()
    ]
    return Markup('<ul class="key">{}</ul>').format(_join(entries))


def _name(name: str) -> Markup:
    """A name beside its bar."""
    whole = word(name, 400)
    return Markup('<bdi class="name" title="{}">{}</bdi>').format(whole, word(name))


def _style(i: int) -> str:
    """The classes of the i-th line: a colour, and dashes beyond the last colour."""
    return f"s{i % COLOURS} d{i // COLOURS % COLOURS}"


def _some(all_of_them: Sequence[float], most: int) -> list[float]:
    """At most so many, evenly spread, with both ends."""
    n = len(all_of_them)
    if n <= most:
        return list(all_of_them)
    return [all_of_them[round(i * (n - 1) / (most - 1))] for i in range(most)]


def _join(parts: Iterable[Markup]) -> Markup:
    """One after another."""
    return Markup("").join(parts)


def _y(point: Point) -> float:
    """How high a point is."""
    return point[1]


def _finite(point: Point) -> bool:
    """Can a point be drawn?"""
    return math.isfinite(point[0]) and math.isfinite(point[1])
