"""Pools: pairs of one data set that are ranked among each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ume_r1_trainer.data.rows import count_rows, read_rows

Pool = list[dict[str, Any]]


def pools(path: Path, size: int, *, progress: bool = False) -> Iterator[tuple[Pool, list[str]]]:
    """Yields pools of records of one data set, with the faults of rows that were passed over since the last.

    Of each data set the last pool is smaller; if it would be less than half, it goes with the one before.

    Args:
        path: records.
        size: of a pool.
        progress: show a bar on standard error.

    Raises:
        RecordError: there is no such file.
    """
    filling: dict[str, Pool] = {}
    faults: list[str] = []
    total = count_rows(path) if progress else None
    for row in tqdm(read_rows(path), desc="scoring", total=total, unit=" pairs", disable=not progress):
        if row.record is None:
            faults.append(row.fault or "")
            continue
        pool = filling.setdefault(row.record["dataset_name"], [])
        pool.append(row.record)
        # Half a pool is held back, so that the last one is never a handful, among which all are easy.
        if len(pool) >= size + (size + 1) // 2:
            yield pool[:size], faults
            faults = []
            del pool[:size]
    for pool in filling.values():
        yield pool, faults
        faults = []
    if faults:
        yield [], faults
