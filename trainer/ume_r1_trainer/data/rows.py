"""Rows of a file of records, one after the other, the faulty ones in their places."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ume_r1_trainer.data.record import normalised
from ume_r1_trainer.records import RecordError

_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        number: from 1.
        record: with ``id``; None if the row cannot be used.
        fault: why it cannot; names file, row and field.
        raw: the row as it stands there.
    """

    number: int
    record: dict[str, Any] | None
    fault: str | None
    raw: Any


def read_rows(path: Path) -> Iterator[Row]:
    """Yields the rows of a ``.jsonl``, or of a ``.json`` that is one list; never more than one is held.

    Raises:
        RecordError: there is no such file, or it is a ``.json`` that is no list or was cut off.
    """
    if not path.is_file():
        raise RecordError(f"no file of records at {path}: make one with `ume-r1 data sample`")
    for number, (raw, fault) in enumerate(_items(path) if path.suffix == ".json" else _lines(path), 1):
        where = f"{path.name}:{number}"
        if fault is not None:
            yield Row(number, None, f"{where}: {fault}", raw)
            continue
        try:
            yield Row(number, normalised(raw, where, number), None, raw)
        except RecordError as error:
            yield Row(number, None, str(error), raw)


def _lines(path: Path) -> Iterator[tuple[Any, str | None]]:
    with path.open("rb") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                yield json.loads(line), None
            except ValueError as error:
                yield line.decode("utf-8", "replace").rstrip("\n"), f"is no JSON ({error})"


def _items(path: Path) -> Iterator[tuple[Any, str | None]]:
    decode = json.JSONDecoder().raw_decode
    with path.open(encoding="utf-8") as file:
        text = file.read(_CHUNK).lstrip()
        if not text.startswith("["):
            raise RecordError(f"{path}: is no list of records; one record a line is called .jsonl")
        at = 1
        while True:
            while at < len(text) and text[at] in " \t\r\n,":
                at += 1
            if text[at : at + 1] == "]":
                return
            try:
                value, at = decode(text, at)
            except ValueError as error:
                more = file.read(max(_CHUNK, len(text) - at))
                if not more:
                    raise RecordError(f"{path}: ends in the middle of a record: it was cut off") from error
                text, at = text[at:] + more, 0
                continue
            yield value, None


def count_rows(path: Path) -> int | None:
    """Returns the number of lines of a ``.jsonl``, for a bar; None for other files."""
    if path.suffix != ".jsonl" or not path.is_file():
        return None
    with path.open("rb") as file:
        return sum(1 for _ in file)


def last_line_whole(path: Path) -> None:
    """Cuts off what a killed run left of its last line."""
    if not path.is_file() or not path.stat().st_size:
        return
    with path.open("rb+") as file:
        end = file.seek(0, 2)
        while end:
            begin = max(0, end - _CHUNK)
            file.seek(begin)
            found = file.read(end - begin).rfind(b"\n")
            if found >= 0:
                file.truncate(begin + found + 1)
                return
            end = begin
        file.truncate(0)


def to_line(value: Any) -> str:
    """Returns one line of JSON."""
    return json.dumps(value, ensure_ascii=False) + "\n"
