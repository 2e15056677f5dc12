"""Tables that are sampled from: Parquet and JSON lines on disk, or a data set of the Hugging Face Hub.

A table knows its length without holding its rows, and gives the picked rows in one pass. Considered:
``datasets`` for local files, too; it would copy them to Arrow first.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ume_r1_rag.errors import ConfigError, FetchError
from ume_r1_trainer.records import RecordError

Picked = Iterator[tuple[int, Any]]
"""Row numbers from 0, with the rows; a row that cannot be read is a ``RecordError``."""


class Table(Protocol):
    """Rows under names of columns."""

    def __len__(self) -> int:
        """Returns the number of rows."""

    def rows(self, picks: Collection[int]) -> Picked:
        """Yields the picked rows in order."""


class ParquetTable:
    """Parquet files, one after the other."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Reads the footers.

        Raises:
            RecordError: a file is no Parquet file.
        """
        from pyarrow import ArrowInvalid, parquet

        self._files = []
        for path in paths:
            try:
                self._files.append(parquet.ParquetFile(path, memory_map=True))
            except (ArrowInvalid, OSError) as error:
                raise RecordError(f"{path}: is no Parquet file ({error})") from error

    def __len__(self) -> int:
        """Returns the number of rows."""
        return sum(file.metadata.num_rows for file in self._files)

    def rows(self, picks: Collection[int]) -> Picked:
        """Yields the picked rows in order; row groups without one are not read."""
        wanted, at = sorted(picks), 0
        for file in self._files:
            for group in range(file.metadata.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                mine = wanted[bisect_left(wanted, at) : bisect_left(wanted, at + count)]
                if mine:
                    taken = file.read_row_group(group).take([number - at for number in mine])
                    for batch in taken.to_batches(max_chunksize=64):
                        yield from zip(mine[: len(batch)], batch.to_pylist(), strict=True)
                        mine = mine[len(batch) :]
                at += count


class JsonTable:
    """Files of one JSON object a line, one after the other."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Counts the lines."""
        self._paths = paths
        self._count = sum(1 for _ in self._lines())

    def __len__(self) -> int:
        """Returns the number of rows."""
        return self._count

    def rows(self, picks: Collection[int]) -> Picked:
        """Yields the picked rows in order."""
        wanted = set(picks)
        for number, (where, line) in enumerate(self._lines()):
            if number not in wanted:
                continue
            try:
                yield number, json.loads(line)
            except ValueError as error:
                yield number, RecordError(f"{where}: is no JSON ({error})")

    def _lines(self) -> Iterator[tuple[str, bytes]]:
        for path in self._paths:
            with path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield f"{path.name}:{number}", line


class HubTable:
    """One configuration of a data set on the Hub, streamed."""

    def __init__(self, name: str, subset: str | None, split: str) -> None:
        """Asks the Hub for what there is.

        Raises:
            FetchError: the Hub cannot be reached, or has no such data set, configuration or split.
        """
        from datasets import Image, load_dataset, load_dataset_builder

        self._what = f"{name}{f', {subset}' if subset else ''}, split {split}"
        try:
            self._stream = load_dataset(name, subset, split=split, streaming=True)
            if self._stream.features is None:
                self._stream = self._stream._resolve_features()  # noqa: SLF001 -- what `cast_column` needs
            for column, kind in dict(self._stream.features or {}).items():
                if isinstance(kind, Image):  # the bytes are kept as they are
                    self._stream = self._stream.cast_column(column, Image(decode=False))
            splits = load_dataset_builder(name, subset).info.splits or {}
            known = splits[split].num_examples if split in splits else None
        except Exception as error:  # whatever the Hub's client raises
            raise FetchError(
                f"{self._what} cannot be had from the Hub: {type(error).__name__}: {error}"
            ) from error
        self._count = known or sum(1 for _ in self._stream.select_columns(list(self._stream.features)[:1]))

    def __len__(self) -> int:
        """Returns the number of rows."""
        return int(self._count)

    def rows(self, picks: Collection[int]) -> Picked:
        """Yields the picked rows in order.

        Raises:
            FetchError: the Hub breaks off.
        """
        wanted = set(picks)
        last = max(wanted, default=-1)
        try:
            for number, row in enumerate(self._stream):
                if number > last:
                    return
                if number in wanted:
                    yield number, row
        except (OSError, RuntimeError) as error:
            raise FetchError(f"{self._what} broke off: {error}. Run the command again") from error


def open_table(where: str, subset: str | None = None, split: str = "train") -> Table:
    """Returns the table at a place: a file, a folder of files, or a data set of the Hub.

    Args:
        where: a path, or ``owner/name``.
        subset: of a folder the sub-folder, of the Hub the configuration.
        split: of the Hub; of a folder the files whose names begin with it, if there are any.

    Raises:
        ConfigError: there is no such place, or it has no rows in a known format.
        FetchError: the Hub cannot be reached or has no such data set.
        RecordError: a file cannot be read.
    """
    path = Path(where)
    if not path.exists():
        if where.count("/") != 1 or where.startswith((".", "/")):
            raise ConfigError(f"there is no {where}: give a file, a folder, or owner/name of a data set")
        return HubTable(where, subset, split)
    paths = files_of(path if subset is None else path / subset, split)
    if not paths and subset is not None:
        paths = [one for suffix in (".parquet", ".jsonl") if (one := path / f"{subset}{suffix}").is_file()]
    if not paths:
        raise ConfigError(f"{path}{f', {subset}' if subset else ''} has no .parquet and no .jsonl")
    return ParquetTable(paths) if paths[0].suffix == ".parquet" else JsonTable(paths)


def files_of(path: Path, split: str) -> list[Path]:
    """Returns the files of a table: those of the split if any are named after it."""
    if path.is_file():
        return [path]
    for suffix in ("parquet", "jsonl"):
        found = sorted([*path.glob(f"*.{suffix}"), *path.glob(f"data/*.{suffix}")])
        if found:
            return [one for one in found if one.name.startswith(split)] or found
    return []


def picture_of(value: Any, where: str) -> bytes:
    """Returns the bytes of a picture that stands in a column.

    Raises:
        RecordError: there are none.
    """
    content = value.get("bytes") if isinstance(value, Mapping) else value
    if not isinstance(content, bytes) or not content:
        raise RecordError(f"{where}: holds no picture's bytes")
    return content
