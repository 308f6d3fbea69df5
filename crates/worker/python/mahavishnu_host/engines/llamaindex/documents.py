"""Reads a file of any supported format into pages of text, an outline and tables.

Invariants: text is as in the file, only unwrapped; a file that cannot be read is a `DocumentError` that says
why, never an empty document; work is bounded whatever the file claims of itself.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import needs
from .text import join_lines

#: Bounds of one document.
MAX_BYTES = 128 * 1024 * 1024
MAX_UNPACKED = 512 * 1024 * 1024
MAX_PAGES = 2_000
MAX_OUTLINE = 60
MAX_TABLES = 6
MAX_ROWS = 20
MAX_CELL = 120


class DocumentError(Exception):
    """Why one document cannot be used. `reason` is stable."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass
class Document:
    """What was read. `pages[0]` is page 1; headings know their page."""

    name: str
    pages: list[str] = field(default_factory=list)
    outline: list[dict[str, Any]] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)

    @property
    def words(self) -> int:
        return sum(len(page.split()) for page in self.pages)

    def heading(self, title: str, level: int, page: int) -> None:
        title = " ".join(title.split())
        if title and len(self.outline) < MAX_OUTLINE:
            self.outline.append({"title": title[:MAX_CELL], "level": level, "page": page})

    def table(self, rows: list[list[Any]], page: int) -> None:
        rows = [[_cell(cell) for cell in row] for row in rows if any(_cell(cell) for cell in row)]
        if rows and len(self.tables) < MAX_TABLES:
            self.tables.append({"page": page, "rows": rows[:MAX_ROWS], "total_rows": len(rows)})


def read(name: str, path: Path) -> Document:
    """The document in `path`, called `name` by the workflow; the name's suffix says what it is."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DocumentError("DOCUMENT_TOO_LARGE", f"{name} has more than {MAX_BYTES // 2**20} MiB")
        document = Document(name)
        _reader(name)(document, path)
    except DocumentError:
        raise
    except OSError as error:
        raise DocumentError("DOCUMENT_UNREADABLE", f"{name} cannot be opened: {error.strerror}") from error
    except Exception as error:  # parsers of foreign formats raise whatever they like
        raise DocumentError("DOCUMENT_BROKEN", f"{name} cannot be read: {type(error).__name__}: {error}") from error
    if not document.words:
        what = "pages are images without text (scanned?)" if document.pages else "nothing is in it"
        raise DocumentError("DOCUMENT_WITHOUT_TEXT", f"{name} has no text: {what}")
    return document


def _reader(name: str) -> Callable[[Document, Path], None]:
    suffix = Path(name).suffix.lower()
    if suffix not in READERS:
        known = " ".join(sorted(READERS))
        raise DocumentError("DOCUMENT_UNSUPPORTED", f"{name} is of an unknown kind; known are {known}")
    lacking = needs.lacking(f"a document {suffix}", [needs.READERS[suffix]]) if suffix in needs.READERS else None
    if lacking is not None:
        raise DocumentError("DOCUMENT_UNSUPPORTED", f"{name}: {lacking}")
    return READERS[suffix]


def _pdf(document: Document, path: Path) -> None:
    from pypdf import PdfReader

    reader = PdfReader(path)
    if reader.is_encrypted and not reader.decrypt(""):
        raise DocumentError("DOCUMENT_ENCRYPTED", f"{document.name} is encrypted; attach it without a password")
    lines: list[tuple[int, str, float]] = []
    texts = []
    for number, page in enumerate(reader.pages[:MAX_PAGES], 1):
        sizes: dict[str, float] = {}

        def visit(text: str, _cm: Any, matrix: list[float], _font: Any, size: float, sizes: dict = sizes) -> None:
            for line in text.splitlines():
                sizes.setdefault(line.strip(), abs(size * (matrix[3] or 1)))

        text = page.extract_text(visitor_text=visit)
        texts.append(text)
        lines += [(number, line.strip(), sizes.get(line.strip(), 0.0)) for line in text.splitlines()]
    body = _body_size(lines)
    large = sorted({round(size, 1) for _, line, size in lines if line and size > body * 1.12}, reverse=True)
    headings = set()
    for number, line, size in lines:
        if line and size > body * 1.12 and len(line) <= MAX_CELL:
            headings.add((number, line))
            document.heading(line, min(large.index(round(size, 1)) + 1, 6), number)
    for number, text in enumerate(texts, 1):
        document.pages.append(join_lines(text, {line for page, line in headings if page == number}))


def _body_size(lines: list[tuple[int, str, float]]) -> float:
    """The size that most letters have."""
    letters: dict[float, int] = {}
    for _, line, size in lines:
        letters[round(size, 1)] = letters.get(round(size, 1), 0) + len(line)
    return max(letters, key=lambda size: letters[size], default=0.0)


def _docx(document: Document, path: Path) -> None:
    from docx import Document as open_docx
    from docx.table import Table

    _check_archive(document.name, path)
    blocks: list[list[str]] = [[]]
    for block in open_docx(str(path)).iter_inner_content():
        if isinstance(block, Table):
            rows = [[cell.text for cell in row.cells] for row in block.rows]
            document.table(rows, len(blocks))
            blocks[-1] += [" | ".join(row) for row in rows]
            continue
        style = (block.style.name if block.style is not None else "") or ""
        # A page break says where the next page begins: the one that was set, and the one Word last drew.
        if 'w:type="page"' in block._p.xml or "lastRenderedPageBreak" in block._p.xml:
            blocks.append([])
        if style == "Title" or style.startswith("Heading"):
            level = style.removeprefix("Heading ").strip()
            document.heading(block.text, int(level) if level.isdigit() else 1, len(blocks))
        if block.text.strip():
            blocks[-1].append(block.text.strip())
    document.pages = ["\n\n".join(page) for page in blocks[:MAX_PAGES]]


def _pptx(document: Document, path: Path) -> None:
    from pptx import Presentation

    _check_archive(document.name, path)
    for number, slide in enumerate(Presentation(str(path)).slides, 1):
        if slide.shapes.title is not None:
            document.heading(slide.shapes.title.text_frame.text, 1, number)
        parts = []
        for shape in slide.shapes:
            if shape.has_table:
                rows = [[cell.text for cell in row.cells] for row in shape.table.rows]
                document.table(rows, number)
                parts += [" | ".join(row) for row in rows]
            elif shape.has_text_frame:
                parts += [paragraph.text for paragraph in shape.text_frame.paragraphs if paragraph.text.strip()]
        document.pages.append("\n\n".join(parts))


def _xlsx(document: Document, path: Path) -> None:
    from openpyxl import load_workbook

    _check_archive(document.name, path)
    book = load_workbook(path, read_only=True, data_only=True)
    for number, sheet in enumerate(book.worksheets, 1):
        document.heading(sheet.title, 1, number)
        rows = [list(row) for row in sheet.iter_rows(values_only=True, max_row=50_000)]
        document.table(rows, number)
        document.pages.append(_records(rows))


def _csv(document: Document, path: Path) -> None:
    content = _decoded(path)
    try:
        dialect: Any = csv.Sniffer().sniff(content[:8192], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel
    rows: list[list[Any]] = list(csv.reader(io.StringIO(content), dialect))[:50_000]
    document.table(rows, 1)
    document.pages = [_records(rows)]


def _html(document: Document, path: Path) -> None:
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(_decoded(path), "html.parser")
    for tag in soup(["script", "style", "noscript", "template", "nav"]):
        tag.decompose()
    for heading in soup.find_all(["h1", "h2", "h3", "h4", "h5", "h6"]):
        document.heading(heading.get_text(" "), int(heading.name[1]), 1)
    for table in soup.find_all("table"):
        document.table([[cell.get_text(" ") for cell in row.find_all(["td", "th"])] for row in table.find_all("tr")], 1)
    blocks = soup.find_all(["h1", "h2", "h3", "h4", "h5", "h6", "p", "li", "tr", "pre", "blockquote", "dt", "dd"])
    texts = [" ".join(block.get_text(" ").split()) for block in blocks if not block.find_parent(["p", "li", "tr"])]
    document.pages = ["\n\n".join(filter(None, texts)) or soup.get_text(" ")]


def _markdown(document: Document, path: Path) -> None:
    text = _decoded(path)
    rows: list[list[str]] = []
    fenced = False
    for line in text.splitlines():
        stripped = line.strip()
        fenced ^= stripped.startswith(("```", "~~~"))
        marks = len(stripped) - len(stripped.lstrip("#"))
        if not fenced and 1 <= marks <= 6 and stripped[marks : marks + 1] == " ":
            document.heading(stripped.strip("# "), marks, 1)
        if not fenced and stripped.startswith("|"):
            if set(stripped) - set("|-: "):
                rows.append([cell.strip() for cell in stripped.strip("|").split("|")])
        elif rows:
            document.table(rows, 1)
            rows = []
    if rows:
        document.table(rows, 1)
    document.pages = [join_lines(text)]


def _text(document: Document, path: Path) -> None:
    document.pages = [join_lines(page) for page in _decoded(path).split("\f")[:MAX_PAGES]]


def _records(rows: list[list[Any]]) -> str:
    """A table as text: every row with the names of its columns, so that a passage stands alone."""
    if len(rows) < 2:
        return "\n\n".join(" ".join(_cell(cell) for cell in row) for row in rows)
    names = [_cell(cell) for cell in rows[0]]
    lines = []
    for row in rows[1:]:
        pairs = [f"{name}: {_cell(cell)}" if name else _cell(cell) for name, cell in zip(names, row) if _cell(cell)]
        lines.append("; ".join(pairs))
    return "\n\n".join(filter(None, lines))


def _cell(value: Any) -> str:
    return "" if value is None else " ".join(str(value).split())[:MAX_CELL]


def _decoded(path: Path) -> str:
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        if b"\0" in content:
            raise DocumentError("DOCUMENT_BROKEN", "it is not text") from None
        return content.decode("cp1252", errors="replace")


def _check_archive(name: str, path: Path) -> None:
    """Refuses an archive that unpacks to more than memory should hold."""
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MAX_UNPACKED:
            raise DocumentError("DOCUMENT_TOO_LARGE", f"{name} unpacks to more than {MAX_UNPACKED // 2**20} MiB")


READERS: dict[str, Callable[[Document, Path], None]] = {
    ".pdf": _pdf,
    ".docx": _docx,
    ".pptx": _pptx,
    ".xlsx": _xlsx,
    ".csv": _csv,
    ".tsv": _csv,
    ".html": _html,
    ".htm": _html,
    ".md": _markdown,
    ".markdown": _markdown,
    ".txt": _text,
    ".rst": _text,
    ".log": _text,
}
