"""Reading a task: its rows, rendered by a protocol, with every candidate once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from ume_r1_bench.mmeb.errors import DataMissing, MmebError
from ume_r1_bench.mmeb.parsers import PARSERS, Parser
from ume_r1_bench.mmeb.parsers.visdoc import ViDoRe
from ume_r1_bench.mmeb.protocol import Protocol
from ume_r1_bench.mmeb.row import Item, Query, TaskData
from ume_r1_bench.mmeb.tables import Row
from ume_r1_bench.mmeb.task import Task


def make_parser(task: Task, data: Path, protocol: Protocol, *, online: bool = True) -> Parser:
    """Returns the parser of a task; nothing is read yet."""
    return PARSERS[task.parser](task, data, protocol, online=online)


def load_task(
    task: Task,
    data: Path,
    protocol: Protocol,
    *,
    limit: int | None = None,
    seed: int = 0,
    online: bool = True,
) -> TaskData:
    """Returns a task's queries and candidates.

    Pages that only a corpus' parquet files hold are written to the task's folder at first sight.

    Args:
        task: the task.
        data: the data directory.
        protocol: by which it is rendered.
        limit: at most so many queries, drawn by ``seed``. A global task keeps all its candidates; of a local
            one, those stay that a drawn query ranks: each query ranks what it would without a limit.
        seed: which queries are drawn.
        online: whether the hub is asked for rows that are not on disk.

    Raises:
        DataMissing: rows or media are not there; names them and the remedy.
        MmebError: the data directory is none, a row cannot be used, or the limit is not positive.
    """
    if not data.is_dir():
        raise MmebError(
            f"data={str(data)!r} is no folder: give the one that holds image-tasks and the others"
        )
    if limit is not None and limit < 1:
        raise MmebError(f"limit={limit} is no number of queries: give at least 1, or None for all")
    parser = make_parser(task, data, protocol, online=online)
    rows = parser.rows()
    if not rows:
        raise MmebError(f"{task.name}: its tables hold no row; copy {parser.tables.hub.repo} anew")
    drawn = draw(len(rows), limit, f"{task.name}/{seed}")
    if isinstance(parser, ViDoRe):
        parser.extract()
    same: dict[str, str] = {}
    queries = tuple(_query(parser, rows[number], number, same) for number in drawn)
    kept = rows if task.scope == "global" else [rows[number] for number in drawn]
    candidates, mentioned = collect(parser, kept)
    if parser.media.missing:
        raise _missing(parser)
    return TaskData(task, protocol, queries, candidates, mentioned, len(rows))


def draw(total: int, limit: int | None, seed: str) -> Sequence[int]:
    """Returns the numbers of the rows that are drawn, ascending."""
    if limit is None or limit >= total:
        return range(total)
    return sorted(random.Random(seed).sample(range(total), limit))


def _query(parser: Parser, row: Row, number: int, same: dict[str, str]) -> Query:
    """Returns a row's query; equal names are one string, or a million of them take 100 MB."""
    names = None
    if parser.task.scope == "local":
        names = tuple(dict.fromkeys(same.setdefault(name, name) for name in parser.names(row)))
    return Query(str(number), parser.query(row), names, parser.relevance(row))


def collect(parser: Parser, rows: Sequence[Row]) -> tuple[dict[str, Item], int]:
    """Returns the candidates of rows and corpus by name, the first of each, and how many there were."""
    candidates: dict[str, Item] = {}
    mentioned = 0
    for row in rows:
        names = parser.names(row)
        mentioned += len(names)
        for number, name in enumerate(names):
            if name not in candidates:
                candidates[name] = parser.candidate(row, number)
    for name, found in parser.corpus():
        candidates.setdefault(name, found)
    return candidates, mentioned + parser.corpus_size()


def _missing(parser: Parser) -> DataMissing:
    task, missing = parser.task, list(parser.media.missing)
    what = {"image": "pictures", "video": "folders of frames", "visdoc": "pages"}[task.modality]
    return DataMissing(
        task.name,
        f"{task.name}: {len(missing)} of {len(missing) + parser.media.found} {what} are missing, first "
        f"{missing[0]}. `ume-r1 bench doctor --data {parser.data}` lists them and says where they come from",
        media=missing,
    )
