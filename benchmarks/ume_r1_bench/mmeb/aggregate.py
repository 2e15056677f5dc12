"""Aggregate: scores of tasks → averages, as MMEB-V2 makes them.

The score of a meta-task or modality is the plain mean over its tasks, "All" the mean over all tasks and not
over the three modalities (recomputed from VLM2Vec-V2's public file and from the paper's rows; see the
tests). An average is refused while tasks are missing: a mean over fewer is another number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from ume_r1_bench.mmeb.errors import MmebError
from ume_r1_bench.mmeb.suite import Suite

ALL = "All"


@dataclass(frozen=True, slots=True)
class Average:
    """One average.

    Attributes:
        name: ``"All"``, a modality, a meta-task such as ``"image/CLS"``, or a split such as ``"IND"``.
        tasks: what it is over.
        missing: those of them without a score.
        mean: of the others, in 0 to 1; None where there are none.
        interval: its 95 % interval, from the tasks' own; None where these are not known.
    """

    name: str
    tasks: tuple[str, ...]
    missing: tuple[str, ...]
    mean: float | None
    interval: tuple[float, float] | None = None

    @property
    def value(self) -> float:
        """The average.

        Raises:
            MmebError: tasks are missing; names them.
        """
        if self.missing or self.mean is None:
            shown = ", ".join(self.missing[:8]) + (", …" if len(self.missing) > 8 else "")
            raise MmebError(
                f"{self.name} is refused: {len(self.missing)} of {len(self.tasks)} tasks are missing "
                f"({shown})"
            )
        return self.mean

    @property
    def complete(self) -> bool:
        """Whether it may be told."""
        return not self.missing and self.mean is not None


def averages(
    scores: Mapping[str, float], suite: Suite, intervals: Mapping[str, tuple[float, float]] | None = None
) -> list[Average]:
    """Returns "All", then modalities, meta-tasks and splits of a suite.

    Args:
        scores: task → its score; of other tasks than the suite's none is used.
        suite: which averages there are.
        intervals: task → its 95 % interval.
    """
    named: list[tuple[str, Sequence[str]]] = [(ALL, suite.tasks)]
    named += suite.modalities.items()
    named += suite.meta_tasks.items()
    named += suite.splits.items()
    return [_average(name, tuple(tasks), scores, intervals or {}) for name, tasks in named]


def overall(scores: Mapping[str, float], suite: Suite) -> float:
    """Returns "All".

    Raises:
        MmebError: tasks are missing; names them.
    """
    return averages(scores, suite)[0].value


def _average(
    name: str,
    tasks: tuple[str, ...],
    scores: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
) -> Average:
    there = [task for task in tasks if task in scores]
    missing = tuple(task for task in tasks if task not in scores)
    if not there:
        return Average(name, tasks, missing, None)
    mean = sum(scores[task] for task in there) / len(there)
    interval = None
    if all(task in intervals for task in there):
        # Each side by itself (Zou and Donner 2008, MOVER): one task keeps its own interval, and since a root
        # of squares is no longer than their sum, none leaves 0 to 1.
        below = sqrt(sum((scores[task] - intervals[task][0]) ** 2 for task in there)) / len(there)
        above = sqrt(sum((intervals[task][1] - scores[task]) ** 2 for task in there)) / len(there)
        interval = max(0.0, mean - below), min(1.0, mean + above)
    return Average(name, tasks, missing, mean, interval)
