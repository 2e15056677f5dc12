"""Filter: the pairs that meet none of the paper's three criteria (section 2), and a report on the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from ume_r1_rag.errors import ConfigError
from ume_r1_trainer.data.criteria import (
    RepetitionLimits,
    estimate_tokens,
    find_repetition,
    too_long,
    unlike_format,
)
from ume_r1_trainer.data.record import SIDES, completion_of
from ume_r1_trainer.data.rows import count_rows, read_rows, to_line

CRITERIA: Final = ("repetition", "too_long", "format")

MAX_REASONING_TOKENS: Final = 8192
"""The paper's example of excessive length."""

_EXAMPLES = 3


@dataclass(slots=True)
class Criterion:
    """What one criterion met.

    Attributes:
        pairs: that it leaves out, alone or with others.
        only: of these, those that no other criterion meets.
        sides: answers that it met, by side.
        examples: id, side and what was found, of the first.
    """

    pairs: int = 0
    only: int = 0
    sides: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SIDES, 0))
    examples: list[dict[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class FilterReport:
    """What ``filter_pairs`` kept and left out.

    Attributes:
        kept: pairs.
        dropped: pairs that met a criterion.
        unreadable: rows that are no annotated records; they are among the dropped rows of the file.
        criteria: by name.
        datasets: name → kept and dropped.
        settings: what the criteria were told.
        faults: the first unreadable rows.
    """

    kept: int = 0
    dropped: int = 0
    unreadable: int = 0
    criteria: dict[str, Criterion] = field(default_factory=lambda: {name: Criterion() for name in CRITERIA})
    datasets: dict[str, dict[str, int]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def judge(
    record: Mapping[str, Any],
    *,
    limits: RepetitionLimits | None = None,
    max_tokens: int = MAX_REASONING_TOKENS,
    count: Callable[[str], int] = estimate_tokens,
) -> dict[str, dict[str, str]]:
    """Returns criterion → side → what was found; empty for a pair that is kept.

    Args:
        record: annotated on both sides.
        limits: of a repetition.
        max_tokens: of the reasoning.
        count: tokens of a text.
    """
    found: dict[str, dict[str, str]] = {}
    for side in SIDES:
        completion = completion_of(record[side]) or ""
        if (repetition := find_repetition(completion, limits)) is not None:
            found.setdefault("repetition", {})[side] = str(repetition)
        if record[side].get("cut_off"):
            found.setdefault("too_long", {})[side] = "cut off at the teacher's token limit"
        elif (tokens := too_long(completion, max_tokens, count)) is not None:
            found.setdefault("too_long", {})[side] = f"{tokens} tokens of reasoning"
        if (why := unlike_format(completion)) is not None:
            found.setdefault("format", {})[side] = why
    return found


def filter_pairs(
    data: Path,
    output: Path,
    *,
    limits: RepetitionLimits | None = None,
    max_tokens: int = MAX_REASONING_TOKENS,
    count: Callable[[str], int] = estimate_tokens,
    counted_by: str = "an estimate of four bytes a token",
    progress: bool = False,
) -> FilterReport:
    """Writes the pairs that are kept, those that are not with the reason, and a report; returns the report.

    Rows are copied as they are. The files are complete or absent: they get their names at the end.

    Args:
        data: annotated records.
        output: a ``.jsonl``; beside it ``NAME.dropped.jsonl`` and ``NAME.report.json``.
        limits: of a repetition.
        max_tokens: of the reasoning.
        count: tokens of a text.
        counted_by: what counts them, for the report.
        progress: show a bar on standard error.

    Raises:
        RecordError: there is no such file.
        ConfigError: an option has a value that cannot work.
    """
    limits = limits or RepetitionLimits()
    if output.suffix != ".jsonl" or output.resolve() == data.resolve():
        raise ConfigError(f"{output} must be a .jsonl, and not the data itself")
    if min(limits.max_period, limits.min_tokens, max_tokens) < 1 or limits.min_repeats < 2:
        raise ConfigError(f"{limits} and max_tokens={max_tokens} must be positive, and min_repeats 2 or more")
    output.parent.mkdir(parents=True, exist_ok=True)
    report = FilterReport(
        settings={**asdict(limits), "max_reasoning_tokens": max_tokens, "tokens_by": counted_by}
    )
    dropped = output.with_suffix(".dropped.jsonl")
    parts = [path.with_name(f"{path.name}.part") for path in (output, dropped)]
    with (
        parts[0].open("w", encoding="utf-8") as kept_file,
        parts[1].open("w", encoding="utf-8") as dropped_file,
    ):
        total = count_rows(data) if progress else None
        for row in tqdm(read_rows(data), desc="filtering", total=total, unit=" pairs", disable=not progress):
            why = _why_unreadable(row.record, row.fault)
            if row.record is None or why is not None:
                report.unreadable += 1
                report.faults += (
                    [f"{data.name}:{row.number}: {why}"] if len(report.faults) < _EXAMPLES else []
                )
                dropped_file.write(to_line({"why": {"unreadable": why}, "row": row.raw}))
                continue
            found = judge(row.record, limits=limits, max_tokens=max_tokens, count=count)
            _note(report, row.record, found)
            if found:
                dropped_file.write(to_line({"why": found, "row": row.raw}))
            else:
                kept_file.write(to_line(row.raw))
    for part, path in zip(parts, (output, dropped), strict=True):
        part.replace(path)
    text = json.dumps(asdict(report), ensure_ascii=False, indent=2)
    output.with_suffix(".report.json").write_text(text + "\n", encoding="utf-8")
    return report


def _why_unreadable(record: Mapping[str, Any] | None, fault: str | None) -> str | None:
    if record is None:
        return fault
    bare = [side for side in SIDES if completion_of(record[side]) is None]
    return f"{' and '.join(bare)} not annotated" if bare else None


def _note(report: FilterReport, record: Mapping[str, Any], found: Mapping[str, Mapping[str, str]]) -> None:
    counts = report.datasets.setdefault(record["dataset_name"], {"kept": 0, "dropped": 0})
    counts["dropped" if found else "kept"] += 1
    report.dropped += bool(found)
    report.kept += not found
    for name, sides in found.items():
        criterion = report.criteria[name]
        criterion.pairs += 1
        criterion.only += len(found) == 1
        for side, what in sides.items():
            criterion.sides[side] += 1
            if len(criterion.examples) < _EXAMPLES:
                criterion.examples.append({"id": record["id"], "side": side, "found": what})
