"""Run: tasks one after another, from rows to results; what cannot be read is told at the end.

A run may be stopped at any time: what was encoded is on disk, and the same command goes on from there. With
``shard`` it encodes its share and measures nothing; the run without measures, and encodes what is still
missing.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ume_r1_bench.mmeb.aggregate import Average, averages
from ume_r1_bench.mmeb.analysis import Finding, Measured, curve, findings
from ume_r1_bench.mmeb.card import Card, make_cards
from ume_r1_bench.mmeb.forcing import check_forcible
from ume_r1_bench.mmeb.load import load_task
from ume_r1_bench.mmeb.measured import TaskRun
from ume_r1_bench.mmeb.modes import Mode
from ume_r1_bench.mmeb.options import Options
from ume_r1_bench.mmeb.output import write_summary, write_task
from ume_r1_bench.mmeb.score import Placed, TaskScore
from ume_r1_bench.mmeb.stamp import make_stamp
from ume_r1_bench.mmeb.vectors import Vectors
from ume_r1_rag.errors import UmeR1Error

if TYPE_CHECKING:
    from ume_r1_bench.mmeb.task import Task
    from ume_r1_rag.types import Encoder

_LOGGER = logging.getLogger(__name__)
RESULTS = "results.json"


@dataclass(frozen=True, slots=True)
class TaskResult:
    """How a task came out.

    Attributes:
        task: the task.
        queries: how many were asked.
        total: how many there are.
        candidates: distinct ones.
        rows: candidates before equal names were made one.
        contents: different things among them; what was encoded of candidates.
        scores: mode's name → figures.
        measured: every query's value in every way.
        lost: queries and candidates without a vector in some mode.
        generated: generations of its queries and candidates.
        valid: those of them that are whole; see ``Embedding.gen_valid``.
    """

    task: Task
    queries: int
    total: int
    candidates: int
    rows: int
    contents: int
    scores: Mapping[str, TaskScore]
    measured: Measured
    lost: int
    generated: int = 0
    valid: int = 0

    def as_json(self) -> dict[str, Any]:
        """Returns it as in JSON."""
        metric = self.task.metric
        modes = {
            name: {
                metric: None if found.lost else found.mean(metric),
                "interval": None if found.lost else found.interval(metric),
                "measures": {measure: found.mean(measure) for measure in found.values},
            }
            for name, found in self.scores.items()
        }
        return {
            "task": self.task.name,
            "meta_task": self.task.meta_task,
            "metric": metric,
            "queries": self.queries,
            "of": self.total,
            "candidates": self.candidates,
            "candidates_in_rows": self.rows,
            "candidate_contents": self.contents,
            "lost": self.lost,
            "generated": self.generated,
            "valid": self.valid,
            "modes": modes,
        }


@dataclass(slots=True)
class Run:
    """What a run found.

    Attributes:
        options: what was asked for.
        stamp: all that the results depend on.
        results: of each task that could be read.
        skipped: task → why it could not be.
        failures: what could not be encoded, each with its reason.
        encoded: vectors that this run made, by store.
        cards: queries to be shown.
    """

    options: Options
    stamp: dict[str, Any]
    results: list[TaskResult] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    encoded: dict[str, int] = field(default_factory=dict)
    cards: list[Card] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything that was asked for could be read and encoded."""
        return not self.skipped and not self.failures

    @property
    def estimated(self) -> bool:
        """Whether some task was asked fewer queries than it has."""
        return any(one.queries < one.total for one in self.results)

    def averages(self, mode: str) -> list[Average]:
        """Returns "All", modalities, meta-tasks and splits in a mode; incomplete ones refuse their value."""
        scores, intervals = {}, {}
        for one in self.results:
            found = one.scores.get(mode)
            if found is not None and not found.lost:
                scores[one.task.name] = found.mean(one.task.metric)
                intervals[one.task.name] = found.interval(one.task.metric)
        return averages(scores, self.options.suite, intervals)

    def validity(self) -> str:
        """Returns how many generations are whole, in words; empty where nothing was generated."""
        generated = sum(one.generated for one in self.results)
        valid = sum(one.valid for one in self.results)
        return f"{valid:,} of {generated:,} generations valid" if generated else ""

    def failed(self) -> list[str]:
        """Returns what could not be encoded, equal reasons as one line with their count."""
        counts = Counter(self.failures)
        return [why if count == 1 else f"{why} ({count} times)" for why, count in counts.items()]

    def findings(self) -> list[Finding]:
        """Returns what disc and gen have in common, and what is luck; see ``analysis``."""
        return findings([one.measured for one in self.results if one.queries], self.options.seed)

    def curve(self) -> list[Finding]:
        """Returns pass@1 to pass@k."""
        return curve([one.measured for one in self.results if one.queries], self.options.seed)

    def duplication(self) -> tuple[float, float]:
        """Returns how often a candidate occurs on average: in rows a name, and in rows a content."""
        rows = sum(one.rows for one in self.results)
        names = sum(one.candidates for one in self.results)
        contents = sum(one.contents for one in self.results)
        return rows / max(1, names), rows / max(1, contents)

    def as_json(self) -> dict[str, Any]:
        """Returns all of it, as in JSON."""
        told = {
            mode.name: {
                one.name: {"value": one.mean, "interval": one.interval, "tasks": len(one.tasks)}
                if one.complete
                else {"refused": list(one.missing), "tasks": len(one.tasks)}
                for one in self.averages(mode.name)
            }
            for mode in self.options.modes
        }
        return {
            "stamp": self.stamp,
            "averages": told,
            "tasks": [one.as_json() for one in self.results],
            "analysis": [asdict(one) for one in self.findings()],
            "pass_at_k": [asdict(one) for one in self.curve()],
            "skipped": self.skipped,
            "failures": self.failures,
        }


def run_mmeb(
    options: Options,
    encoder: Encoder,
    progress: bool = False,
    tell: Callable[[str], None] | None = None,
) -> Run:
    """Returns what a run found, its files written.

    Args:
        options: what is asked for.
        encoder: what encodes.
        progress: whether to show bars.
        tell: is given a line as each task begins, for logs, where there are no bars.

    Raises:
        UmeR1Error: nothing can be written, or the encoder cannot do what is asked.
    """
    if options.ablate:
        check_forcible(encoder)
    options.out.mkdir(parents=True, exist_ok=True)
    vectors = Vectors(encoder, options.encodings or options.out / "encodings", options.shard, progress)
    run = Run(options, make_stamp(encoder, options.protocol, **_asked(options)))
    with tqdm(options.tasks, desc="tasks", unit="task", disable=not progress) as bar:
        for number, task in enumerate(bar, 1):
            bar.set_postfix_str(task.name)
            if tell is not None:
                tell(f"task {number} of {len(options.tasks)}: {task.name}")
            try:
                data = load_task(
                    task,
                    options.data,
                    options.protocol,
                    limit=options.limit,
                    seed=options.seed,
                    online=options.online,
                )
            except (UmeR1Error, OSError) as error:
                _LOGGER.info("%s is skipped: %s", task.name, error)
                run.skipped[task.name] = str(error).removeprefix(f"{task.name}: ")
                continue
            one = TaskRun(Placed.of(data, vectors.contents), options, vectors)
            one.encode()
            if options.shard != (0, 1):
                continue
            one.encode_nulls()
            _measure(run, one)
    run.encoded = vectors.encoded
    run.failures = [*vectors.contents.unreadable.values(), *vectors.failures.values()]
    if options.shard == (0, 1):
        _write(run)
    return run


def _measure(run: Run, one: TaskRun) -> None:
    options, placed = run.options, one.placed
    done: dict[Mode, TaskScore] = {mode: one.measure(mode) for mode in options.modes}
    samples = one.samples()
    generated, valid = one.validity()
    for mode, found in done.items():
        write_task(options.out / folder_of(mode), placed, found)
    run.results.append(
        TaskResult(
            task=placed.data.task,
            queries=len(placed.queries),
            total=placed.data.total,
            candidates=len(placed.candidates),
            rows=placed.data.rows,
            contents=len(set(placed.candidates.values())),
            scores={mode.name: found for mode, found in done.items()},
            measured=one.analyse(done, samples),
            lost=one.lost(),
            generated=generated,
            valid=valid,
        )
    )
    run.cards += make_cards(one, done, samples, options.shown)


def _asked(options: Options) -> dict[str, Any]:
    return {
        "suite": options.suite.name,
        "tasks": len(options.tasks),
        "modes": [mode.name for mode in options.modes],
        "limit": options.limit,
        "seed": options.seed,
        "samples": options.samples,
        "temperature": options.temperature if options.samples else None,
        "batch_of_null": options.batch,
        "measures": "official evaluator's" if options.official else "ties shared",
        "reasoner": None if options.reasoner is None else options.reasoner.name,
    }


def folder_of(mode: Mode) -> str:
    """Returns the folder of a mode's official files, below the results'."""
    return mode.name.replace(":", "-to-").replace("@", "-")


def _write(run: Run) -> None:
    out, stamp = run.options.out, run.stamp
    (out / RESULTS).write_text(json.dumps(run.as_json(), indent=1) + "\n", encoding="utf-8")
    fingerprint = stamp["encoder"]
    for mode in run.options.modes:
        folder = out / folder_of(mode)
        folder.mkdir(exist_ok=True)
        metadata = {
            "model_name": f"{fingerprint.get('model') or 'local'} ({mode.name})",
            "embedding_dimension": fingerprint.get("dimension"),
            "data_source": "self-reported",
            "report_generated_date": stamp["date"],
            "stamp": stamp,
        }
        measures = {
            one.task.name: {
                **{name: one.scores[mode.name].mean(name) for name in one.scores[mode.name].values},
                "num_pred": one.queries,
                "num_data": one.queries,
            }
            for one in run.results
            if not one.scores[mode.name].lost
        }
        write_summary(folder / "summary.json", metadata, measures)
