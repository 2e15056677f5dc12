"""Rows of a task: parquet or JSON lines on disk, or the Hugging Face hub through ``datasets``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from ume_r1_bench.mmeb.errors import DataMissing, MmebError
from ume_r1_bench.mmeb.layout import legacy_table, row_roots, table_files, usual_table
from ume_r1_bench.mmeb.protocol import Protocol
from ume_r1_bench.mmeb.task import Hub, Task

Row: TypeAlias = Mapping[str, Any]


class Tables:
    """The tables of one task.

    Attributes:
        data: the data directory.
        task: the task.
        hub: where the rows come from where they are not on disk.
        online: whether the hub is asked for what is not on disk.
    """

    def __init__(self, data: Path, task: Task, protocol: Protocol, *, online: bool = True) -> None:
        """Looks for nothing yet."""
        self.data, self.task, self.online = data, task, online
        self.hub: Hub = protocol.hub(task)
        self._roots = row_roots(data, task, protocol)

    def files(self, config: str | None = None) -> list[Path]:
        """Returns the files of the table, or of one of its configurations; none if they are not on disk."""
        whole = config is None
        wanted = self.hub.config if whole else config
        bare = whole and self.task.modality != "image"
        found = table_files(self._roots, wanted, self.hub.split, bare=bare)
        return found or (legacy_table(self.data, self.task) if whole else [])

    def usual(self, config: str | None = None) -> Path:
        """Returns where the table is looked for first."""
        return usual_table(self._roots, config or self.hub.config, self.hub.split)

    def read(self, config: str | None = None, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """Yields the rows.

        Args:
            config: one of the data set's configurations; None for the task's own.
            columns: which columns; None for all.

        Raises:
            DataMissing: the table is neither on disk nor to be had from the hub.
            MmebError: a file is no table, or lacks a column.
        """
        files = self.files(config)
        if not files:
            yield from self._from_hub(config, columns)
            return
        for path in files:
            yield from read_parquet(path, columns) if path.suffix == ".parquet" else read_json(path)

    def _from_hub(self, config: str | None, columns: Sequence[str] | None) -> Iterator[Row]:
        wanted = config or self.hub.config
        named = f"{self.hub.repo}{f' ({wanted})' if wanted else ''}, split {self.hub.split}"
        where = self.usual(config)
        if not self.online:
            raise self._missing(where, f"the hub was not asked for {named}", "or give --hub")
        try:
            yield from _hub_rows(self.hub.repo, wanted, self.hub.split, columns)
        except _hub_errors() as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            barred = os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
            remedy = "or unset HF_HUB_OFFLINE and run again" if barred else "or try again later"
            raise self._missing(where, f"the hub did not give {named}: {first}", remedy) from error

    def _missing(self, where: Path, reason: str, remedy: str) -> DataMissing:
        message = (
            f"{self.task.name}: no rows in {where} (or .jsonl), and {reason}. "
            f"Copy them there: `hf download --repo-type dataset {self.hub.repo} --local-dir {self._home()}`, "
            f"{remedy}"
        )
        return DataMissing(self.task.name, message, tables=[where])

    def _home(self) -> Path:
        return self._roots[2] if self.task.modality == "image" else self._roots[0]


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Yields the rows of a parquet file, a few at a time: a corpus holds its pages' bytes.

    Raises:
        MmebError: it is no parquet file, or lacks a column.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            if columns is not None:
                require(file.schema_arrow.names, columns, path)
            for batch in file.iter_batches(batch_size=64, columns=list(columns) if columns else None):
                yield from batch.to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise MmebError(f"{path} cannot be read as parquet ({error}): copy it again") from error


def read_json(path: Path) -> Iterator[Row]:
    """Yields the rows of a file of JSON lines, or of one JSON list.

    Raises:
        MmebError: a line is no object; names the place.
    """
    if path.suffix == ".json":
        rows = _parse(path.read_text(encoding="utf-8"), f"{path}")
        yield from rows if isinstance(rows, list) else [rows]
        return
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                row = _parse(line, f"{path}:{number}")
                if not isinstance(row, dict):
                    raise MmebError(f"{path}:{number} is no object: {line[:80]!r}; copy the file again")
                yield row


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise MmebError(f"{where} is no JSON ({error}): copy the file again") from error


def require(found: Sequence[str] | Row, wanted: Sequence[str], where: Path | str) -> None:
    """Checks that columns are there.

    Raises:
        MmebError: some are not; names them and what there is.
    """
    lacking = [column for column in wanted if column not in found]
    if lacking:
        raise MmebError(
            f"{where} has no column {', '.join(lacking)}; it has {', '.join(found)}. "
            "Is it another version of the data set?"
        )


def _hub_rows(repo: str, config: str | None, split: str, columns: Sequence[str] | None) -> Iterator[Row]:
    import datasets

    loaded = datasets.load_dataset(repo, config, split=split)
    if columns is not None:
        require(list(loaded.features), columns, repo)
        loaded = loaded.select_columns(list(columns))
    for column, feature in loaded.features.items():
        if isinstance(feature, datasets.Image):
            # As bytes: pages are written to disk as they are, and decoded when they are encoded.
            loaded = loaded.cast_column(column, datasets.Image(decode=False))
    yield from loaded


def _hub_errors() -> tuple[type[Exception], ...]:
    import httpx

    # What `datasets` raises where a set is absent, private or out of reach is an OSError or a ValueError.
    return OSError, ValueError, httpx.HTTPError
