"""A statement as a PDF of A4 pages, by fpdf2, which needs nothing of the system's.

Letters are those of DejaVu Sans, which comes with matplotlib, or of a font that a person names.
Where it lacks one of a name, nothing is written: in its place would be a box, and who signs would
read another name. What joins its letters, or runs from right to left, is laid out by HarfBuzz.

    title, facts      which client, app and plan; ε; the owner's policy
    warnings          what the plan does not protect
    sections          what leaves, who sees it, what is kept where, …
    to be signed      choices, lines for a pen, the SHA-256 of all of it

Paper is written on, so the last block is on one page, with room for a signature.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import AppError, message, printable
from ..explain import Explanation, Section
from ..explain.statement import Statement
from ..explain.words import Row
from .statement import AGREED, CHOICES, SAME, SIGNED, title

if TYPE_CHECKING:
    from fpdf import FPDF

FONT = "statement"
INK = (29, 39, 51)
QUIET = (91, 104, 117)
WARN = (154, 91, 19)
SIZE = 9.0  # points
LINE = 4.6  # millimetres
WIDTHS = {2: (34, 66), 3: (22, 39, 39), 4: (16, 13, 46, 25), 5: (20, 22, 18, 22, 18)}  # by columns
STEPS = (4, 30, 38, 28)  # of the table that has expressions
UNSEEN = frozenset("\n\t")  # needs no glyph
FEW = 5  # letters that an error shows
LONGEST = 1_500  # letters of a cell, and LINES of its lines, for more would not go on one page
LINES = 40
PAGES = "\ue000\uf8ff\ue000"  # stands for how many pages there are: no text has a private letter


def pdf(found: Statement, font: Path | None = None) -> bytes:
    """The statement as the bytes of a PDF.

    font: a TrueType or OpenType file, in the place of DejaVu Sans. AppError where fpdf2 is not
    installed, the font cannot be read, or it has no glyph for a letter.
    """
    regular, bold = _fonts(font)
    shown = found.shown
    texts = list(_texts(found, shown))
    for letters in dict.fromkeys((regular, bold)):
        _check_glyphs(letters, texts)
    page = _pages(regular, bold)
    page.set_title(title(found))
    _heading(page, title(found), 18)
    facts = tuple((name, printable(value)) for name, value in found.facts)
    _table(page, Section("", "", ("", ""), facts))
    _warnings(page, shown.warnings)
    for section in shown.sections:
        _heading(page, section.title, 12)
        _paragraph(page, section.text)
        page.ln(1)
        if section.rows:
            _table(page, section)
    _to_sign(page, found.digest)
    return bytes(page.output())


def _fonts(font: Path | None) -> tuple[Path, Path]:
    """The files of the letters, and of bold ones; AppError where fpdf2 is not installed."""
    try:
        import fpdf  # noqa: F401
        import uharfbuzz  # noqa: F401
    except ModuleNotFoundError as error:
        raise AppError(
            f"A PDF cannot be written: {error.name} is not installed.",
            "fpdf2 writes the pages, and HarfBuzz lays out letters that join.",
            "Install it: pip install 'hansa[pdf]'; or write a page with --html, and print that.",
        ) from None
    if font is not None:
        return font, font
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return folder / "DejaVuSans.ttf", folder / "DejaVuSans-Bold.ttf"


def _pages(regular: Path, bold: Path) -> FPDF:
    """An empty document with its first page, whose pages are numbered.

    Both fonts are put into the file, as far as their letters are used, so that it looks the same
    where they are not installed.
    """
    from fpdf import FPDF

    class Numbered(FPDF):
        """Pages with their number at the foot, and how many there are: a page that is missing is
        missed.
        """

        def footer(self) -> None:
            """The number of the page, and of how many."""
            self.set_y(-12)
            self.set_font(FONT, size=7.5)
            self.set_text_color(*QUIET)
            self.cell(0, 5, f"{self.page_no()} / {PAGES}", align="R")

    page = Numbered(format="A4")
    page.alias_nb_pages(PAGES)
    page.set_margins(18, 16)
    page.set_auto_page_break(True, 18)
    page.add_font(FONT, "", regular)
    page.add_font(FONT, "B", bold)
    page.set_font(FONT, size=SIZE)
    page.set_text_shaping(use_shaping_engine=True)
    page.add_page()
    page.set_text_color(*INK)
    return page


def _check_glyphs(font: Path, texts: Iterable[str]) -> None:
    """AppError where the font has no glyph for a letter of these texts, or cannot be read.

    A glyph is looked up in the font's table of characters. What shaping makes of several letters is
    in the font where each of them is, and marks are letters of their own.
    """
    from fontTools.ttLib import TTFont, TTLibError

    try:
        with TTFont(font, fontNumber=0) as read:
            known = read.getBestCmap() or {}
    except (OSError, TTLibError) as error:
        raise AppError(
            f"{font} is no font that can be read: {message(error)}.",
            "A PDF holds the letters that it shows.",
            "Name a TrueType or OpenType file with --font.",
        ) from None
    missing = dict[str, str]()  # letter → the text that has it
    for text in texts:
        for letter in text:
            if letter not in UNSEEN and ord(letter) not in known:
                missing.setdefault(letter, text)
    if missing:
        some = ", ".join(f"{one} (U+{ord(one):04X})" for one in list(missing)[:FEW])
        more = ", …" * (len(missing) > FEW)
        raise AppError(
            f"{font.name} has no letter {some}{more}, of {next(iter(missing.values()))!r:.80}.",
            "A box would stand in its place, and who signs would read another name.",
            "Name a font that has them: --font FILE.ttf; or write a page with --html, and print "
            "that.",
        )


def _texts(found: Statement, shown: Explanation) -> Iterator[str]:
    """All that is written, so that each letter of it is looked up before the first page is made."""
    yield from (title(found), found.digest, AGREED, *CHOICES, *SIGNED, SAME, "☐•0123456789/")
    for pair in found.facts:
        yield from map(printable, pair)
    yield from shown.warnings
    for section in shown.sections:
        yield from (section.title, section.text, *section.head)
        for row in section.rows:
            yield from row


def _heading(page: FPDF, text: str, size: float) -> None:
    """A heading, which does not stand alone at the foot of a page."""
    if page.will_page_break(45):
        page.add_page()
    page.ln(4)
    page.set_font(FONT, "B", size)
    _paragraph(page, text, size * 0.5)
    page.set_font(FONT, size=SIZE)
    page.ln(1.5)


def _paragraph(page: FPDF, text: str, line: float = LINE) -> None:
    """Some lines of text, from margin to margin."""
    page.multi_cell(0, line, text, align="L", new_x="LMARGIN", new_y="NEXT")


def _table(page: FPDF, section: Section) -> None:
    """The rows of a section; a head that is empty is left out.

    Columns are as wide as such tables need them: one of two has names and values, one with steps
    has expressions. A head stands again on each page that the table goes on to.
    """
    from fpdf.enums import VAlign
    from fpdf.fonts import FontFace

    headed = any(section.head)
    rows = [part for row in section.rows for part in _parts(row)]
    columns = max(map(len, rows))
    look: dict[str, Any] = {
        "borders_layout": "HORIZONTAL_LINES",
        "text_align": "LEFT",
        "v_align": VAlign.T,
    }
    look["col_widths"] = WIDTHS.get(columns, (1,) * columns)
    if "step" in section.head:
        look["col_widths"] = STEPS
    look["headings_style"] = FontFace(color=QUIET, emphasis="")
    look["first_row_as_headings"] = headed
    page.set_draw_color(221, 227, 233)
    page.set_font(FONT, size=8)
    with page.table(line_height=LINE - 0.6, padding=0.8, **look) as table:
        if headed:
            table.row(section.head)
        for cells in rows:
            row = table.row()
            for i, cell in enumerate(cells):
                row.cell(cell, style=FontFace(emphasis="B") if i == 0 else None)
    page.set_font(FONT, size=SIZE)


def _parts(row: Row) -> Iterator[Row]:
    """A row as several where a cell of it is too long for a page: the next begin where it ends."""
    cells = [_pieces(cell) for cell in row]
    return zip_longest(*cells, fillvalue="")


def _pieces(cell: str) -> list[str]:
    """A cell in pieces, each of so many letters and lines at most."""
    found = list[str]()
    lines = cell.split("\n")
    for i in range(0, len(lines), LINES):
        text = "\n".join(lines[i : i + LINES])
        found += [text[j : j + LONGEST] for j in range(0, max(len(text), 1), LONGEST)]
    return found


def _warnings(page: FPDF, warnings: Sequence[str]) -> None:
    """What the plan does not protect, near the top: who reads no further has read it."""
    page.set_text_color(*WARN)
    _heading(page, "Warnings", 12)
    page.set_text_color(*INK)
    for warning in warnings or ("None.",):
        _paragraph(page, f"• {warning}")
        page.ln(0.8)


def _to_sign(page: FPDF, digest: str) -> None:
    """The block that is signed, on one page.

    The SHA-256 in it is that of the statement as JSON, so paper and file can be told to be the
    same.
    """
    if page.will_page_break(95):
        page.add_page()
    _heading(page, "To be signed", 12)
    _paragraph(page, AGREED)
    for choice in CHOICES:
        _paragraph(page, f"☐ {choice}", LINE + 1)
    page.ln(2)
    page.set_draw_color(*INK)
    for name in SIGNED:
        page.ln(7)
        page.cell(40, LINE, name)
        end = page.w - page.r_margin
        page.line(page.get_x(), page.get_y() + LINE, end, page.get_y() + LINE)
        page.ln(LINE)
    page.ln(5)
    _paragraph(page, digest)
    page.set_text_color(*QUIET)
    _paragraph(page, SAME)
