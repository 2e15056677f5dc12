"""Own: a folder of PDFs and pictures, with a CSV of questions, answers and pages.

The CSV has a head with ``question``, ``file`` and ``pages``, and may have ``answers``, ``id`` and
``synthetic``. ``file`` is a PDF or picture relative to the folder, ``pages`` numbers from 1 as in ``3`` or
``3;5`` (none for a picture), ``answers`` are separated by ``|``. Rows of one ``id`` are one question whose
answer is in several files. ``synthetic`` is ``yes`` where a model drafted the question.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ume_r1_bench.visdoc.corpus import Corpus, Picture, Question, VisdocError, page_id, usable
from ume_r1_rag.errors import InputError
from ume_r1_rag.ingest.files import File, Folder, Walk
from ume_r1_rag.ingest.report import Skipped

NEEDED = ("question", "file", "pages")
_YES = frozenset({"yes", "true", "1"})


def read_own(folder: Path, questions: Path | None = None) -> Corpus:
    """Returns the corpus of a folder. Without a CSV it has no questions.

    A file that cannot be read and a row that is wrong are among its failures; the others are kept.

    Args:
        folder: PDFs and pictures, in subfolders too.
        questions: the CSV; by default the one in the folder, ``questions.csv`` if there are several.

    Raises:
        VisdocError: there is no page at all, several CSVs and none is ``questions.csv``, or the CSV cannot be
            read.
    """
    corpus = read_pages(folder)
    table = questions or find_table(folder)
    if table is None:
        return corpus
    rows = list(_rows(table))
    asked, wrong = _questions(rows, table, corpus.pdfs)
    kept, unknown, left_out = usable(asked, corpus.documents)
    return replace(
        corpus,
        questions=tuple(kept),
        failures=(*corpus.failures, *wrong, *unknown),
        left_out=left_out,
        synthetic=any((row.get("synthetic") or "").strip().lower() in _YES for _, row in rows),
    )


def read_pages(folder: Path) -> Corpus:
    """Returns the pages of a folder, without any question.

    Raises:
        VisdocError: there is no page at all.
    """
    pdfs, pictures, failures = _files(folder)
    if not pdfs and not pictures:
        raise VisdocError(f"{folder} holds no PDF and no picture that can be read{_first(failures)}")
    name = folder.resolve().name
    return Corpus(name, folder, pdfs, tuple(pictures), failures=tuple(failures))


def find_table(folder: Path) -> Path | None:
    """Returns the folder's CSV of questions, or None if there is none.

    Raises:
        VisdocError: there are several, and none is called ``questions.csv``.
    """
    found = sorted(path for path in folder.glob("*.csv") if path.is_file())
    named = [path for path in found if path.name == "questions.csv"]
    if len(found) > 1 and not named:
        told = ", ".join(path.name for path in found[:3])
        raise VisdocError(f"{folder} holds several CSVs ({told}): name the one of the questions, --questions")
    return next(iter(named or found), None)


def _files(folder: Path) -> tuple[dict[str, int], list[Picture], list[str]]:
    """Returns the PDFs with their pages, the pictures, and what could not be read."""
    from ume_r1_rag.media import PdfPages, load_image

    pdfs: dict[str, int] = {}
    pictures: list[Picture] = []
    failures: list[str] = []
    for found in Walk([folder]):
        if isinstance(found, Folder | Skipped):
            continue
        if not isinstance(found, File):
            failures.append(found.reason)
            continue
        name = _relative(found, folder)
        try:
            if found.kind == "page":
                with PdfPages(found.real) as pdf:
                    pdfs[name] = len(pdf)
            elif found.kind == "image":
                load_image(Path(found.real))
                pictures.append(Picture(name, name, Path(found.real), 1))
        except (InputError, OSError) as error:
            failures.append(str(error))
    return pdfs, pictures, failures


def _relative(file: File, folder: Path) -> str:
    path = Path(file.path)
    base = folder.absolute()
    return (path.relative_to(base) if path.is_relative_to(base) else path).as_posix()


def _questions(
    rows: Sequence[tuple[int, dict[str, str]]], table: Path, pdfs: Mapping[str, int]
) -> tuple[list[Question], list[str]]:
    """Returns the questions of a CSV, and what is wrong with rows that are none."""
    found: dict[str, Question] = {}
    wrong: list[str] = []
    for line, row in rows:
        where = f"line {line} of {table.name}"
        text, file = (row.get("question") or "").strip(), (row.get("file") or "").strip()
        id = (row.get("id") or "").strip() or f"line-{line}"
        if not text or not file:
            wrong.append(f"{where} has no {'question' if not text else 'file'}: the row was left out")
            continue
        try:
            pages = _pages(row.get("pages") or "", file, pdfs)
        except VisdocError as error:
            wrong.append(f"{where}: {error}; the row was left out")
            continue
        answers = tuple(part.strip() for part in (row.get("answers") or "").split("|") if part.strip())
        earlier = found.get(id)
        if earlier is not None and earlier.text != text:
            wrong.append(f"{where} has the id {id!r} of another question: the row was left out")
            continue
        known = earlier or Question(id, text, (), {})
        joined = tuple(dict.fromkeys((*known.answers, *answers)))
        found[id] = Question(id, text, joined, {**known.pages, **dict.fromkeys(pages, 1.0)})
    return list(found.values()), wrong


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields the rows of a CSV with their lines; its separator is a comma, a semicolon or a tab."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise VisdocError(f"{table} cannot be read as UTF-8: {error}") from error
    head = text.partition("\n")[0]
    separator = max(",;\t", key=head.count)
    reader = csv.DictReader(text.splitlines(keepends=True), delimiter=separator)
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    missing = [name for name in NEEDED if name not in reader.fieldnames]
    if missing:
        raise VisdocError(
            f"{table} has no column {missing[0]!r}: its head must have {', '.join(NEEDED)}, and may have "
            "answers and id"
        )
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise VisdocError(f"{table}, line {reader.line_num}: {error}") from error


def _pages(text: str, file: str, pdfs: Mapping[str, int]) -> list[str]:
    """Returns the ids of pages that a row names."""
    name = Path(file).as_posix()
    if name not in pdfs:
        return [name]  # a picture, or something that is not there, which is told later
    parts = [part for part in re.split(r"[;,\s]+", text.strip()) if part]
    if not parts:
        raise VisdocError(f"pages is empty: say which pages of {name} answer")
    for part in parts:
        if not (part.isascii() and part.isdigit() and 1 <= int(part) <= pdfs[name]):
            raise VisdocError(f"pages={part!r}: {name} has pages 1 to {pdfs[name]}")
    return [page_id(name, int(part)) for part in parts]


def _first(failures: list[str]) -> str:
    return f": {failures[0]}" if failures else ""
