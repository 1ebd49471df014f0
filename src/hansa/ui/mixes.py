"""Clients' data beside each other, as a page or a part of one: sentences, tables, and SVG.

    fragment     all of it, as a part of a page
    bars         the labels of each client, stacked
    heatmap      the distance between each two clients

All words are escaped; no script runs, no style is needed, and nothing is loaded from elsewhere.
Colours are attributes of the shapes, and text has the colour of its page, so a picture may stand on
light or dark ground. What a shape stands for is told where a pointer is on it, and the numbers are
in the table beside it, for who sees no picture.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ..data.overview import Overview
from ..errors import printable
from .overview import MOST_COLOURS, cells, columns, figure, frequent, name, notes, shown, summary

COLOURS = ("#0b6e99", "#d1762b", "#6a8f3c", "#a05195", "#c8443c", "#4c78a8", "#b79a20", "#2a9d8f")
OTHER = "#9aa4ae"
HEAT = "#0b6e99"
Place = tuple[float, float, float, float]  # x, y, width, height
PAGE = Markup("""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title><style>
body {{ margin: 0 auto; padding: 3rem 1.5rem; max-width: 56rem; color: #1d2733; background: #fff;
font: 1rem/1.55 system-ui, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", Arial, sans-serif; }}
h1 {{ margin: 0 0 1rem; font-size: 1.9rem; overflow-wrap: anywhere; }}
h3 {{ margin: 2rem 0 .4rem; }}
table {{ border-collapse: collapse; font-size: .88rem; }}
th, td {{ padding: .3rem 1.2rem .3rem 0; border-bottom: 1px solid #dde3e9; text-align: left; }}
.number {{ text-align: right; }}
@media print {{ body {{ padding: 0; }} svg, tr {{ break-inside: avoid; }} }}
</style></head><body><h1>{title}</h1>
{aside}{body}</body></html>
""")
ROW = Markup("<tr>{}</tr>\n")


def html(found: Overview, title: str, aside: str = "") -> str:
    """A page that needs nothing else; aside: a paragraph that stands first."""
    told = Markup("<p>{}</p>\n").format(aside) if aside else Markup("")
    return str(PAGE.format(title=printable(title), aside=told, body=fragment(found)))


def fragment(found: Overview) -> Markup:
    """Sentences, bars, table and distances, as a part of a page.

    Bars are there where targets are labels, and distances where two clients have some; all else is
    there of any data.
    """
    parts = [Markup("<p>{}</p>\n").format(summary(found))]
    parts += [Markup("<p>{}</p>\n").format(note) for note in notes(found)]
    if found.kind == "labels":
        parts += [Markup("<h3>Labels of each client</h3>\n"), bars(found)]
    parts += [Markup("<h3>Each client</h3>\n"), _table(found)]
    if len(found.drawn) > 1:
        parts += [Markup("<h3>Distance between clients</h3>\n"), heatmap(found)]
    parts.append(
        Markup("<p>Distance is {}. In the table: from all clients together.</p>\n").format(
            found.distance
        )
    )
    return Markup("").join(parts)


def _table(found: Overview) -> Markup:
    """A row for each client that is shown, numbers alone; a dash for what is not known."""
    names = [name for name in columns(found) if name != "labels"]
    head = Markup("").join(Markup("<th scope=col>{}</th>").format(name) for name in names)
    rows = list[Markup]()
    for who in shown(found):
        first, *rest = cells(found, who)
        row = Markup("<th scope=row>{}</th>").format(first.plain)
        row += Markup("").join(Markup('<td class="number">{}</td>').format(one) for one in rest)
        rows.append(ROW.format(row))
    body = Markup("").join(rows)
    return Markup("<table><thead>{}</thead><tbody>\n{}</tbody></table>\n").format(
        ROW.format(head), body
    )


def bars(found: Overview) -> Markup:
    """The labels of each client as a stacked bar, as long as its share of the largest client.

        width = 540 · n / max n        of a label with n examples at a client

    The most frequent labels have a colour each, and all others one together. Behind a bar stands
    how many examples the client has.
    """
    names = shown(found)
    most = max(max(found.clients[who].examples for who in names), 1)
    colours = dict(zip(frequent(found), COLOURS, strict=False))
    parts = list[Markup]()
    for row, who in enumerate(names):
        y = 20 * row
        one = found.clients[who]
        parts.append(_word(name(who), 170, y + 13, "end"))
        x = 178.0
        pieces = [(one.counts[i], colour, found.labels[i]) for i, colour in colours.items()]
        pieces = pieces if one.counts else []
        pieces.append((sum(one.counts) - sum(n for n, _, _ in pieces), OTHER, "other labels"))
        for n, colour, label in pieces:
            width = 540 * n / most
            parts.append(_box((x, y + 2, width, 15), colour, f"{name(who)}, {label}: {n}"))
            x += width
        parts.append(_word(f"{one.examples:,}", x + 6, y + 13, "start"))
    key = [(found.labels[i], colour) for i, colour in colours.items()]
    key += [("other", OTHER)] * (len(found.labels) > MOST_COLOURS)
    at = 20 * len(names) + 14
    for i, (label, colour) in enumerate(key):
        x = 178 + 112.0 * (i % 5)
        y = at + 18 * (i // 5)
        parts += [_box((x, y, 11, 11), colour, label), _word(name(label)[:13], x + 16, y + 10)]
    return _svg(parts, 780, at + 18 * (1 + (len(key) - 1) // 5) + 4, "Labels of each client")


def heatmap(found: Overview) -> Markup:
    """The distance between each two clients; the darker, the farther.

        opacity = 0.04 + 0.96 · d / max d

    Below stands which distance the darkest field is. Names are left out where there is no room.
    """
    names = found.drawn
    most = float(found.near.max()) or 1.0
    side = min(26.0, 590 / len(names))
    parts = list[Markup]()
    for i, one in enumerate(names):
        if side >= 9:
            parts.append(_word(name(one), 170, side * i + side * 0.68, "end"))
        for j, other in enumerate(names):
            far = float(found.near[i, j])
            words = f"{name(one)} – {name(other)}: {figure(far)}"
            place = (178 + side * j, side * i, side - 0.6, side - 0.6)
            parts.append(_box(place, HEAT, words, 0.04 + 0.96 * far / most))
    below = side * len(names) + 16
    parts.append(_word(f"lightest 0, darkest {figure(float(found.near.max()))}", 178, below))
    return _svg(parts, 780, below + 8, "Distance between each two clients")


def _svg(parts: Sequence[Markup], width: float, height: float, words: str) -> Markup:
    """A picture that is as wide as its page, with words for who does not see it.

    width, height: of the plane that its parts are placed on; on a page they are a ratio.
    """
    frame = Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}" font-size="11.5" '
        'fill="currentColor">\n{}</svg>\n'
    )
    return frame.format(round(width), round(height), words, Markup("").join(parts))


def _box(
    place: tuple[float, float, float, float], fill: str, words: str, opacity: float = 1.0
) -> Markup:
    """A rectangle, and what it is, where a pointer is on it."""
    if place[2] <= 0:
        return Markup("")
    form = Markup(
        '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="{}" opacity="{:.3f}">'
        "<title>{}</title></rect>\n"
    )
    return form.format(*place, fill, opacity, printable(words))


def _word(text: str, x: float, y: float, anchor: str = "start") -> Markup:
    """A text at a place."""
    form = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>\n')
    return form.format(x, y, anchor, printable(text))
