"""Papers: test sets of whole PDFs with answers, as their authors publish them: ViDoSeek and MMLongBench-Doc.

ViDoSeek: ``vidoseek.json`` (``{"examples": [{"uid", "query", "reference_answer", "meta_info": {"file_name",
"reference_page": [...]}}]}``, pages from 1) beside the PDFs. MMLongBench-Doc: ``samples.json`` or the hub's
Parquet (``doc_id``, ``question``, ``answer``, ``evidence_pages`` as text such as ``"[3, 5]"``, pages from 1).
The PDFs are looked for in the folder and in its subfolders.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ume_r1_bench.visdoc.beir import part_files
from ume_r1_bench.visdoc.corpus import Corpus, Question, VisdocError, page_id, usable
from ume_r1_bench.visdoc.own import read_pages

Asked = tuple[str, str, str, str, list[int]]
"""Id, question, answer, name of the PDF, numbers of its pages."""


def read_vidoseek(folder: Path) -> Corpus:
    """Returns ViDoSeek.

    Raises:
        VisdocError: its JSON or its PDFs are absent.
    """
    found = sorted(folder.glob("**/vidoseek.json"))
    if not found:
        raise VisdocError(f"{folder} has no vidoseek.json: download it, and unpack the PDFs beside it")
    examples = _json(found[0])
    return _read("vidoseek", folder, _vidoseek(examples.get("examples", [])))


def _vidoseek(examples: Iterable[Mapping[str, Any]]) -> Iterator[Asked]:
    for one in examples:
        where = one.get("meta_info", {})
        pages = [int(page) for page in where.get("reference_page", [])]
        yield (
            str(one.get("uid")),
            str(one.get("query", "")),
            str(one.get("reference_answer", "")),
            str(where.get("file_name", "")).strip(),
            pages,
        )


def read_mmlongbench(folder: Path) -> Corpus:
    """Returns MMLongBench-Doc. Questions that no page answers are left out, and counted.

    Raises:
        VisdocError: its questions or its PDFs are absent.
    """
    found = sorted(folder.glob("**/samples.json"))
    rows: Iterable[Mapping[str, Any]]
    if found:
        rows = _json(found[0])
    else:
        from pyarrow import parquet

        rows = [row for path in _tables(folder) for row in parquet.read_table(path).to_pylist()]
    return _read("mmlongbench", folder, _mmlongbench(rows))


def _tables(folder: Path) -> list[Path]:
    try:
        return part_files(folder, "train")
    except VisdocError as error:
        raise VisdocError(f"{folder} has neither samples.json nor data/train-*.parquet") from error


def _mmlongbench(rows: Iterable[Mapping[str, Any]]) -> Iterator[Asked]:
    for number, row in enumerate(rows):
        pages = row.get("evidence_pages") or []
        numbers = ast.literal_eval(pages) if isinstance(pages, str) else pages
        yield (
            f"{row.get('doc_id')}-{number}",
            str(row.get("question", "")),
            str(row.get("answer", "")),
            str(row.get("doc_id", "")),
            [int(page) for page in numbers],
        )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VisdocError(f"{path} cannot be read as JSON: {error}") from error


def _read(name: str, folder: Path, asked: Iterable[Asked]) -> Corpus:
    pages = read_pages(folder)
    by_name = {Path(pdf).name: pdf for pdf in pages.pdfs}
    questions = [
        Question(
            id,
            text,
            (answer,) if answer else (),
            {page_id(by_name.get(pdf, pdf), number): 1.0 for number in numbers},
        )
        for id, text, answer, pdf, numbers in asked
    ]
    kept, wrong, out = usable(questions, pages.documents)
    failures = (*pages.failures, *wrong)
    return Corpus(name, folder, pages.pdfs, (), tuple(kept), failures, out)
