"""Annotate: reasoning and summary of both sides of every pair, from a teacher (section 2)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from ume_r1_rag.errors import ConfigError, UmeR1Error
from ume_r1_trainer.data.criteria import unlike_format
from ume_r1_trainer.data.record import (
    SIDES,
    completion_of,
    content_of,
    pair_key,
    place_blank,
    with_completion,
)
from ume_r1_trainer.data.rows import Row, count_rows, last_line_whole, read_rows, to_line
from ume_r1_trainer.data.teacher import ask_teacher, to_completion
from ume_r1_trainer.endpoint import Answer, ChatEndpoint, Messages

logger = logging.getLogger(__name__)

_EXAMPLES = 5


@dataclass(slots=True)
class AnnotateReport:
    """What a run of ``annotate`` did.

    Attributes:
        pairs: that were looked at.
        before: of these, those that an earlier run had done.
        annotated: of these, those done by this run.
        failed: of these, those that lack an answer or cannot be read; they are in ``failures``.
        unlike: sides whose answer has another form than the filter keeps.
        examples: the first failures.
        failures: the file that lists all of them.
        stopped: why the run ended before the data did; empty if it did not.
    """

    failures: Path
    pairs: int = 0
    before: int = 0
    annotated: int = 0
    failed: int = 0
    unlike: int = 0
    examples: list[str] = field(default_factory=list)
    stopped: str = ""


@dataclass(slots=True)
class _Open:
    """A pair of which an answer is still awaited."""

    record: dict[str, Any]
    answers: dict[str, Answer] = field(default_factory=dict)


class _Run:
    def __init__(
        self, endpoint: ChatEndpoint, output: Path, failures: Path, media: Path, hint: bool, bar: Any
    ) -> None:
        self.report = AnnotateReport(failures)
        self.order: list[str] = []
        self._endpoint, self._media, self._hint, self._bar = endpoint, media, hint, bar
        last_line_whole(output)
        self._done = _done(output)
        self._output: IO[str] = output.open("a", encoding="utf-8")
        self._failures: IO[str] = failures.open("w", encoding="utf-8")
        self._asked: dict[int, tuple[_Open, str]] = {}
        self._in_a_row, self._answered = 0, False

    def close(self) -> None:
        self._output.close()
        self._failures.close()

    def requests(self, rows: Iterator[Row]) -> Iterator[Messages]:
        """Yields two requests for each pair that is not done, and notes which are whose."""
        number, seen = 0, set()
        for row in rows:
            self.report.pairs += 1
            if row.record is None:
                self._fail(row.raw, row.fault or "")
                continue
            identity = row.record["id"]
            if identity in seen:
                self._fail(row.raw, f"row {row.number}: the id {identity!r} is that of an earlier row")
                continue
            seen.add(identity)
            self.order.append(identity)
            if (key := self._done.get(identity)) is not None:
                self._skip(key, row)
                continue
            try:
                asked = {
                    side: ask_teacher(content_of(row.record[side], side), self._media, hint=self._hint)
                    for side in SIDES
                }
            except UmeR1Error as error:
                self._fail(row.raw, f"row {row.number}, {identity}: {error}")
                continue
            pair = _Open(row.record)
            for side, messages in asked.items():
                self._asked[number] = pair, side
                number += 1
                yield messages

    def take(self, number: int, answer: Answer) -> None:
        """Keeps an answer, and writes its pair when it has both."""
        pair, side = self._asked.pop(number)
        pair.answers[side] = answer
        self._in_a_row = self._in_a_row + 1 if answer.error else 0
        self._answered = self._answered or not answer.error
        if len(pair.answers) < len(SIDES):
            return
        wrong = [f"{name}: {one.error}" for name, one in pair.answers.items() if one.error]
        if wrong:
            self._fail(pair.record, f"{pair.record['id']}, {'; '.join(wrong)}")
            return
        record = dict(pair.record)
        for name, one in pair.answers.items():
            completion = to_completion(one)
            self.report.unlike += unlike_format(completion) is not None
            record[name] = with_completion(record[name], completion)
            if one.finish == "length":
                record[name]["cut_off"] = True
        self._output.write(to_line(record))
        self._output.flush()
        self.report.annotated += 1
        self._advance()

    def hopeless(self, give_up_after: int) -> str:
        """Returns that so many requests have failed in a row that going on is no use; empty if not so.

        Before the first answer a fifth of them is enough: then the address, the name or the key is wrong.
        """
        if not self._answered:
            give_up_after = min(give_up_after, max(8, give_up_after // 5))
        return f"{self._in_a_row} requests in a row failed" if self._in_a_row >= give_up_after else ""

    def _skip(self, key: bytes, row: Row) -> None:
        if row.record is None or key != pair_key(row.record):
            raise ConfigError(
                f"the output has another pair under the id {row.record and row.record['id']!r} than row "
                f"{row.number} of the data: give another --output, or the data that it was begun with"
            )
        self.report.before += 1
        self._advance()

    def _fail(self, raw: Any, why: str) -> None:
        self.report.failed += 1
        if len(self.report.examples) < _EXAMPLES:
            self.report.examples.append(why)
        self._failures.write(to_line({"why": why, "row": raw}))
        self._failures.flush()
        self._advance()

    def _advance(self) -> None:
        self._bar.set_postfix_str(self._endpoint.usage.told(), refresh=False)
        self._bar.update()


def annotate(
    data: Path,
    output: Path,
    endpoint: ChatEndpoint,
    *,
    media: Path | None = None,
    limit: int | None = None,
    hint: bool = False,
    give_up_after: int = 50,
    stop: Callable[[], bool] | None = None,
    progress: bool = False,
) -> AnnotateReport:
    """Writes the pairs of a file with the teacher's reasoning and summary; returns what happened.

    A pair is written when both sides are answered. Called again it goes on: pairs that the output has are
    passed over, those that failed are tried again, and sides that were answered come from the endpoint's
    cache. A run that reaches the end leaves the output in the order of the data.

    Args:
        data: records to be annotated, or rows of MMEB-train's columns with ``dataset_name``.
        output: a ``.jsonl``; failures go beside it, ``NAME.failed.jsonl``.
        endpoint: of the teacher.
        media: where media paths start, by default the data's folder; gets the blank picture if it lacks it.
        limit: look at so many pairs alone.
        hint: tell the teacher which tags are wanted, see ``teacher.FORMAT_HINT``.
        give_up_after: failed requests in a row after which the run ends; before the first answer sooner.
        stop: asked after each answer; True ends the run.
        progress: show a bar on standard error.

    Raises:
        RecordError: there is no such file.
        ConfigError: the output was begun with other data.
    """
    if output.suffix != ".jsonl" or output.resolve() == data.resolve():
        raise ConfigError(f"{output} must be a .jsonl, and not the data itself")
    output.parent.mkdir(parents=True, exist_ok=True)
    failures = output.with_suffix(".failed.jsonl")
    place_blank(media or data.parent)
    total = count_rows(data) if progress else None
    if total is not None and limit is not None:
        total = min(total, limit)
    with tqdm(total=total, desc="annotating", unit=" pairs", disable=not progress) as bar:
        run = _Run(endpoint, output, failures, media or data.parent, hint, bar)
        try:
            answers = endpoint.ask_all(run.requests(_first(read_rows(data), limit)))
            for number, answer in answers:
                run.take(number, answer)
                if why := run.hopeless(give_up_after):
                    run.report.stopped = f"{why}; the last: {answer.error}"
                elif stop is not None and stop():
                    run.report.stopped = "interrupted"
                if run.report.stopped:
                    break
            getattr(answers, "close", lambda: None)()
        finally:
            run.close()
    if not run.report.stopped:
        _sort(output, run.order)
    if not run.report.failed:
        failures.unlink()
    return run.report


def _first(rows: Iterator[Row], limit: int | None) -> Iterator[Row]:
    for row in rows:
        if limit is not None and row.number > limit:
            return
        yield row


def _done(output: Path) -> dict[str, bytes]:
    """Returns id → key of the pairs that an output has."""
    if not output.is_file():
        return {}
    done = {}
    for row in read_rows(output):
        if row.record is None:
            raise ConfigError(
                f"{row.fault}. It is no output of `ume-r1 data annotate`: give another --output"
            )
        if any(completion_of(row.record[side]) is None for side in SIDES):
            raise ConfigError(f"{output} has pairs that are not annotated: give another --output")
        done[row.record["id"]] = pair_key(row.record)
    return done


def _sort(output: Path, order: Sequence[str]) -> None:
    """Brings the lines of a file into the order of their ids."""
    lines: dict[str, int] = {}
    with output.open("rb") as file:
        at = 0
        for line in file:
            lines[json.loads(line)["id"]] = at
            at += len(line)
    wanted = [lines.pop(identity) for identity in order if identity in lines]
    wanted += lines.values()  # of an earlier run with a higher limit
    if wanted == sorted(wanted):
        return
    partial = output.with_suffix(".part")
    with output.open("rb") as file, partial.open("wb") as sorted_file:
        for at in wanted:
            file.seek(at)
            sorted_file.write(file.readline())
    partial.replace(output)
