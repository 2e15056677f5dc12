"""A corpus of records on disk, read by row: what is held is where each row stands, never a row.

Sources: ``.jsonl`` and ``.json`` (one list) of official records or of MMEB-train's columns, by byte offset;
and ``.parquet`` of the columns, by row group. Of MMEB-train's folders the split ``original`` is taken, as
VLM2Vec does; a folder's name is its data set's. Considered for the files of records: ``datasets``, whose
reader copies the 7 GB to Arrow, and fails where a field is a string here and a list there (``image``).
"""

from __future__ import annotations

import json
import mmap
import os
import re
from array import array
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from ume_r1_trainer.records import COLUMNS, Pair, RecordError, parse_columns, parse_pair

OFFICIAL = ("UME-sft-train.jsonl", "UME-sft-train.json")


class Source(Protocol):
    """One file of rows."""

    path: Path

    def __len__(self) -> int:
        """Returns the number of rows."""

    def row(self, number: int) -> Any:
        """Returns a row as it stands there."""

    def pair(self, number: int) -> Pair:
        """Returns a row as a pair, or raises RecordError."""


class JsonFile:
    """A ``.jsonl`` or ``.json`` of records.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        """Scans the file once for where its rows stand.

        Raises:
            RecordError: it is absent, or a ``.json`` that is no list.
        """
        self.path = path
        if not path.is_file():
            raise RecordError(f"no record file at {path}: make one with `ume-r1 world make DIR --sft`")
        self._starts, self._ends = array("Q"), array("Q")
        for start, end in _list_spans(path) if path.suffix == ".json" else _line_spans(path):
            self._starts.append(start)
            self._ends.append(end)

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self._starts)

    def row(self, number: int) -> Any:
        """Returns a row as JSON has it.

        Raises:
            RecordError: it is not JSON.
        """
        with self.path.open("rb") as file:
            file.seek(self._starts[number])
            text = file.read(self._ends[number] - self._starts[number])
        try:
            return json.loads(text)
        except ValueError as error:
            raise RecordError(f"{self.path}:{number + 1}: is no JSON ({error})") from error

    def pair(self, number: int) -> Pair:
        """Returns the pair of a row.

        Raises:
            RecordError: it has neither shape; names file, row and field.
        """
        row, where = self.row(number), f"{self.path}:{number + 1}"
        if isinstance(row, Mapping) and "pos_text" in row:
            return parse_columns(row, str(row.get("dataset_name", self.path.stem)), where)
        return parse_pair(row, where)


class ColumnFile:
    """A ``.parquet`` of MMEB-train's columns, of which a few row groups are held.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        """Reads the file's footer.

        Raises:
            RecordError: it is no Parquet file or lacks a column.
        """
        from pyarrow import ArrowInvalid, parquet

        self.path = path
        try:
            self._file = parquet.ParquetFile(path, memory_map=True)
        except (ArrowInvalid, OSError) as error:
            raise RecordError(f"{path}: is no Parquet file ({error})") from error
        names = self._file.schema_arrow.names
        if missing := [name for name in COLUMNS if name not in names]:
            raise RecordError(f"{path}: has no column {', '.join(missing)}, only {', '.join(names)}")
        self._columns = [name for name in (*COLUMNS, "neg_text", "neg_image_path") if name in names]
        meta = self._file.metadata
        self._bounds = [0]
        for group in range(meta.num_row_groups):
            self._bounds.append(self._bounds[-1] + meta.row_group(group).num_rows)
        self._group = lru_cache(maxsize=4)(self._read_group)

    def __len__(self) -> int:
        """Returns the number of rows."""
        return self._bounds[-1]

    def row(self, number: int) -> Any:
        """Returns a row by column."""
        from bisect import bisect_right

        group = bisect_right(self._bounds, number) - 1
        table, at = self._group(group), number - self._bounds[group]
        return {name: table[name][at].as_py() for name in self._columns}

    def pair(self, number: int) -> Pair:
        """Returns the pair of a row.

        Raises:
            RecordError: a column has another shape; names file, row and column.
        """
        return parse_columns(self.row(number), self.path.parent.name, f"{self.path}:{number + 1}")

    def _read_group(self, group: int) -> Any:
        return self._file.read_row_group(group, self._columns)


def open_sources(data: Path) -> list[Source]:
    """Returns the files of a corpus: a folder's official file, else its ``.jsonl``, else its ``.parquet``.

    Raises:
        RecordError: there are none, or one cannot be read.
    """
    if data.is_dir():
        official = [data / name for name in OFFICIAL if (data / name).is_file()]
        paths = official[:1] or sorted(data.glob("*.jsonl")) or _columns_of(data)
        if not paths:
            raise RecordError(
                f"{data} holds no {' or '.join(OFFICIAL)}, no .jsonl and no .parquet: "
                "make records with `ume-r1 world make DIR --sft`, or name the file"
            )
    else:
        paths = [data]
    return [ColumnFile(path) if path.suffix == ".parquet" else JsonFile(path) for path in paths]


def _columns_of(data: Path) -> list[Path]:
    found = sorted(data.rglob("*.parquet"))
    original = [path for path in found if path.name.startswith("original-")]
    return original or found


def _line_spans(path: Path) -> Iterator[tuple[int, int]]:
    offset = 0
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield offset, offset + len(line)
            offset += len(line)


_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)


def _list_spans(path: Path) -> Iterator[tuple[int, int]]:
    """Yields where the objects of a top-level list stand, without reading them into memory.

    Raises:
        RecordError: the file is no list of objects.
    """
    depth = start = 0
    if not os.path.getsize(path):
        raise RecordError(f"{path}: is empty, not a list of records")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        for token in _TOKEN.finditer(view):
            mark = token.group()
            if depth == 0 and mark != b"[":
                raise RecordError(f"{path}: is no list of records; one record a line is called .jsonl")
            if mark in (b"{", b"["):
                start = token.start() if depth == 1 else start
                depth += 1
            elif mark in (b"}", b"]"):
                depth -= 1
                if depth == 1:
                    yield start, token.end()
        if depth:
            raise RecordError(f"{path}: ends in the middle of a record: it was cut off")
