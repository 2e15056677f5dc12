"""BEIR: ``corpus``, ``queries`` and ``qrels`` with pages as pictures, as in VisRAG's sets and ViDoRe.

The three are read from a folder, as Parquet or JSON lines (``corpus/*.parquet``, ``data/corpus-*.parquet``,
``corpus.jsonl``; a JSON line's ``image`` is a path relative to the folder), or from the hub. Names of columns
differ: ``query-id`` or ``query_id``, ``corpus-id`` or ``corpus_id``. ViDoRe v3 adds ``doc_id``,
``page_number_in_doc`` (from 0), ``markdown`` (a text layer) and answers; VisRAG has ``answer``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from ume_r1_bench.visdoc.corpus import Corpus, Picture, Question, VisdocError, usable

Part = Literal["corpus", "queries", "qrels"]
Row = Mapping[str, Any]
Rows = Callable[[Part], Iterable[Row]]

QUERY_ID: Final = ("query-id", "query_id", "_id", "id")
CORPUS_ID: Final = ("corpus-id", "corpus_id", "_id", "id")
QUERY: Final = ("query", "text", "question")
DOCUMENT: Final = ("doc_id", "doc-id", "document_id")
TEXT: Final = ("markdown", "text", "ocr")
ANSWERS: Final = ("answer", "answers", "raw_answers")
_SUFFIXES: Final = {
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"RIFF": ".webp",
    b"GIF8": ".gif",
    b"BM": ".bmp",
}


def read_beir(
    name: str, rows: Rows, pictures: Path, language: str | None = None, base: Path | None = None
) -> Corpus:
    """Returns the corpus of a test set; its pictures are written to a folder as they are.

    Args:
        name: what it is called.
        rows: gives the rows of each part.
        pictures: the folder for pictures; those that are there already are not written again.
        language: of the questions that are asked, where the set has several; None for all.
        base: the folder to which paths of pictures are relative.

    Raises:
        VisdocError: a part lacks a column.
    """
    pages, failures = _pictures(rows("corpus"), pictures, base)
    grades: dict[str, dict[str, float]] = {}
    for row in rows("qrels"):
        query, page = str(_get(row, QUERY_ID, "qrels")), str(_get(row, CORPUS_ID, "qrels"))
        grade = float(row.get("score", 1))
        if grade > 0:
            of_query = grades.setdefault(query, {})
            of_query[page] = max(grade, of_query.get(page, 0.0))
    asked: list[Question] = []
    other = 0
    for row in rows("queries"):
        if language is not None and row.get("language") not in (None, language):
            other += 1
            continue
        id = str(_get(row, QUERY_ID, "queries"))
        asked.append(Question(id, str(_get(row, QUERY, "queries")), _answers(row), grades.get(id, {})))
    known = {page.id: page.document for page in pages}
    kept, wrong, out = usable(asked, known)
    out |= {f"asked in another language than {language}": other} if other else {}
    grouped = any(page.document != page.id for page in pages)
    return Corpus(name, pictures, {}, tuple(pages), tuple(kept), (*failures, *wrong), out, grouped)


def local_rows(folder: Path) -> Rows:
    """Returns what reads the parts of a folder.

    Raises:
        VisdocError: a part is absent; names where it was looked for.
    """
    files = {part: part_files(folder, part) for part in ("corpus", "queries", "qrels")}

    def rows(part: Part) -> Iterator[Row]:
        for path in files[part]:
            yield from _read(path)

    return rows


def part_files(folder: Path, part: str) -> list[Path]:
    """Returns the files of a part, in order.

    Raises:
        VisdocError: there are none.
    """
    patterns = [f"{part}/**/*.parquet", f"{part}*.parquet", f"data/{part}*.parquet", f"data/{part}/*.parquet"]
    patterns += [f"{part}/*.jsonl", f"{part}*.jsonl"]
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if found:
            return found
    raise VisdocError(f"{folder} has no {part}: looked for {', '.join(patterns)}")


def hub_rows(repository: str, split: str, revision: str | None = None) -> Rows:
    """Returns what reads the parts of a dataset on the hub, from the local cache where it is there."""

    def rows(part: Part) -> Iterator[Row]:
        import datasets

        found: Any = datasets.load_dataset(repository, part, split=split, revision=revision)
        if part == "corpus":
            found = found.cast_column("image", datasets.Image(decode=False))
        yield from found

    return rows


def _read(path: Path) -> Iterator[Row]:
    if path.suffix == ".jsonl":
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise VisdocError(f"{path}, line {number}, is no JSON: {error}") from error
        return
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=64):
                yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise VisdocError(f"{path} cannot be read as Parquet: {error}") from error


def _get(row: Row, names: Sequence[str], part: str) -> Any:
    for name in names:
        if row.get(name) is not None:
            return row[name]
    raise VisdocError(f"a row of {part} has none of the columns {', '.join(names)}: it has {', '.join(row)}")


def _answers(row: Row) -> tuple[str, ...]:
    """Returns the answers of a query; a string that is a JSON list is one."""
    found: list[str] = []
    for name in ANSWERS:
        value = row.get(name)
        if isinstance(value, str) and value.startswith("["):
            try:
                value = json.loads(value)
            except ValueError:
                value = [value]
        values = value if isinstance(value, list | tuple) else [value]
        found += [str(one).strip() for one in values if one is not None and str(one).strip()]
    return tuple(dict.fromkeys(found))


def _pictures(rows: Iterable[Row], folder: Path, base: Path | None) -> tuple[list[Picture], list[str]]:
    folder.mkdir(parents=True, exist_ok=True)
    pages: list[Picture] = []
    failures: list[str] = []
    for row in rows:
        id = str(_get(row, CORPUS_ID, "corpus"))
        path = _written(id, row.get("image"), folder, base)
        if path is None:
            failures.append(f"page {id!r} has no picture that can be read: it was left out")
            continue
        number = row.get("page_number_in_doc")
        document = next((str(row[name]) for name in DOCUMENT if row.get(name) is not None), id)
        text = next((str(row[name]) for name in TEXT if row.get(name)), "")
        pages.append(Picture(id, document, path, None if number is None else int(number) + 1, text))
    return pages, failures


def _written(id: str, image: Any, folder: Path, base: Path | None) -> Path | None:
    """Returns the file of a picture, or None if there is none."""
    data = image.get("bytes") if isinstance(image, Mapping) else image
    source = image.get("path") if isinstance(image, Mapping) else None
    if isinstance(data, str):
        source, data = data, None
    if not data:
        path = (base or folder) / str(source)
        return path if source and path.is_file() else None
    suffix = next((ending for head, ending in _SUFFIXES.items() if data.startswith(head)), None)
    if suffix is None:
        return None
    named = re.sub(r"[^\w.-]+", "_", id)[:60]
    path = folder / f"{named}-{hashlib.sha256(id.encode()).hexdigest()[:8]}{suffix}"
    if not path.is_file() or path.stat().st_size != len(data):
        path.write_bytes(data)
    return path
