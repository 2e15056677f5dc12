"""A folder of the world's PDFs with a CSV of questions, in the layout that ``bench visdoc --own`` reads.

A document is pages of one heading; half of the documents have a text layer and half are scans. Of a third of
them nothing is asked. Values are those that no training saw, and each stands on one page alone.
"""

from __future__ import annotations

import csv
import ctypes
import io
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ume_r1_bench.world.codec import encode_pdf
from ume_r1_bench.world.page import KEYS, Page, sample_chart, sample_heading, values_of
from ume_r1_bench.world.sheet import draw_page
from ume_r1_bench.world.split import WorldError, make_rng

QUESTIONS: Final = "questions.csv"
LINES: Final = 3
ASKED_SHARE: Final = (2, 3)


@dataclass(frozen=True, slots=True)
class MadeVisdoc:
    """What was written.

    Attributes:
        documents: PDFs.
        pages: pages in them.
        layered: documents with a text layer.
        questions: rows of the CSV.
    """

    documents: int
    pages: int
    layered: int
    questions: int


def make_visdoc(
    root: Path, seed: int = 0, split: str = "test", documents: int = 24, pages: int = 5, questions: int = 400
) -> MadeVisdoc:
    """Writes PDFs and ``questions.csv`` into a folder; the same for the same arguments.

    Args:
        root: the folder.
        seed: which contents of the split.
        split: whose values are shown.
        documents: how many PDFs.
        pages: of each.
        questions: at most so many; a page has six.

    Raises:
        WorldError: the split has too few values for so many pages.
    """
    rng = make_rng("visdoc", split, seed)
    values = list(values_of(split))
    if documents * pages * LINES > len(values):
        raise WorldError(
            f"{documents} documents of {pages} pages need {documents * pages * LINES} values, "
            f"and {split} has {len(values)}: write fewer"
        )
    drawn = iter(rng.sample(values, documents * pages * LINES))
    root.mkdir(parents=True, exist_ok=True)
    books: dict[str, list[Page]] = {}
    for _ in range(documents):
        heading = sample_heading(rng, list(books))
        keys = [rng.sample(KEYS, LINES) for _ in range(pages)]
        books[heading] = [
            Page(heading, tuple((key, next(drawn)) for key in those), sample_chart(rng, split))
            for those in keys
        ]
    layered = set(rng.sample(list(books), documents // 2))
    for heading, sheets in books.items():
        data = encode_pdf([draw_page(page) for page in sheets])
        if heading in layered:
            data = with_text(data, ["\n".join(page.phrases) for page in sheets])
        (root / _name(heading)).write_bytes(data)
    rows = _rows(books, rng, questions)
    with (root / QUESTIONS).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["id", "question", "answers", "file", "pages"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return MadeVisdoc(documents, documents * pages, len(layered), len(rows))


def _rows(books: dict[str, list[Page]], rng: random.Random, most: int) -> list[dict[str, Any]]:
    asked = list(books)[: max(1, len(books) * ASKED_SHARE[0] // ASKED_SHARE[1])]
    every = [
        (heading, number, key, other)
        for heading in asked
        for number, page in enumerate(books[heading], 1)
        for key, _ in page.lines
        for other, _ in page.lines
        if key != other
    ]
    chosen = rng.sample(every, min(most, len(every)))
    return [
        {
            "id": f"q{count:04d}",
            "question": word_question(books[heading][number - 1], key, other),
            "answers": books[heading][number - 1].value(key),
            "file": _name(heading),
            "pages": number,
        }
        for count, (heading, number, key, other) in enumerate(chosen)
    ]


def word_question(page: Page, key: str, other: str) -> str:
    """Returns the question for the value beside a key, by the heading and another line."""
    return f"what is the {key} in the {page.heading} where {other} is {page.value(other)}?"


def _name(heading: str) -> str:
    return f"{heading.replace(' ', '-')}.pdf"


def with_text(data: bytes, texts: list[str]) -> bytes:
    """Returns a PDF of rasters with a text layer under each page, as a scanner with OCR writes it.

    Args:
        data: the PDF.
        texts: of each page, in order.
    """
    import pypdfium2
    from pypdfium2 import raw

    document = pypdfium2.PdfDocument(data)
    try:
        for number, text in enumerate(texts):
            page = document[number]
            for line, words in enumerate(text.splitlines(), 1):
                font = raw.FPDFText_LoadStandardFont(document.raw, b"Helvetica")
                made = raw.FPDFPageObj_CreateTextObj(document.raw, font, 12.0)
                wide = (words + "\0").encode("utf-16-le")
                raw.FPDFText_SetText(made, (ctypes.c_ushort * (len(wide) // 2)).from_buffer_copy(wide))
                raw.FPDFTextObj_SetTextRenderMode(made, raw.FPDF_TEXTRENDERMODE_INVISIBLE)
                raw.FPDFPageObj_Transform(made, 1, 0, 0, 1, 14, page.get_height() - 28 * line)
                raw.FPDFPage_InsertObject(page.raw, made)
            page.gen_content()
            page.close()
        buffer = io.BytesIO()
        document.save(buffer)
        # PDFium draws an id; without it two writings of one document are the same.
        return re.sub(
            rb"/ID\[<\w{32}><\w{32}>\]", b"/ID[<" + b"0" * 32 + b"><" + b"0" * 32 + b">]", buffer.getvalue()
        )
    finally:
        document.close()
