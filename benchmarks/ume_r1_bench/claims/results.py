"""Results: the figure that a check is about, read from the files that a command wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ume_r1_bench.claims.claim import Check
from ume_r1_rag.errors import InputError, UmeR1Error

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class NoResult(InputError):
    """A figure is not to be had from what a command wrote."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What was found.

    Attributes:
        value: the figure.
        low: lower end of its 95 % interval, where it has one.
        high: upper end.
    """

    value: float
    low: float | None = None
    high: float | None = None


def read_figure(check: Check, folder: Path) -> Figure:
    """Returns the figure of a check.

    Raises:
        NoResult: the command's folder does not hold it; says why.
    """
    try:
        return _READERS[check.read](check, folder)
    except NoResult:
        raise
    except UmeR1Error as error:
        raise NoResult(str(error)) from error
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise NoResult(f"{check.what}: {type(error).__name__}: {error}") from error


def _parity(check: Check, folder: Path) -> Figure:
    return Figure(float(_json(folder / "parity.json")["forced"][check.key]))


def _verify(check: Check, folder: Path) -> Figure:
    report = _json(folder / "verify.json")
    if check.key == "dimension":
        return Figure(float(report["model"]["dimension"]))
    for finding in report["findings"]:
        if finding["name"] == check.key:
            if finding["value"] is None:
                raise NoResult(f"{check.key}: {finding['note'] or 'verify found nothing'}")
            return Figure(float(finding["value"]))
    raise NoResult(f"verify.json has no finding {check.key!r}")


def _cost(check: Check, folder: Path) -> Figure:
    for row in _json(folder / "cost.json")["rows"]:
        if f"{row['task']}/{row['concurrency']}" == check.key:
            if row.get("why"):
                raise NoResult(f"{check.key}: {row['why']}")
            return Figure(float(row["ratio"]))
    raise NoResult(f"cost.json has no row {check.key!r}")


def _task(check: Check, folder: Path) -> Figure:
    return Figure(100 * _main(mode_folder(folder, check.mode), check.key))


def _average(check: Check, folder: Path) -> Figure:
    from ume_r1_bench.mmeb.aggregate import averages
    from ume_r1_bench.mmeb.suite import find_suite

    suite, where = find_suite(check.suite), mode_folder(folder, check.mode)
    there = [name for name in suite.tasks if (where / f"{name}_score.json").is_file()]
    found = averages({name: _main(where, name) for name in there}, suite)
    for one in found:
        if one.name == check.key:
            return Figure(100 * one.value)
    raise NoResult(f"{check.suite} has no average {check.key!r}")


def _difference(check: Check, folder: Path) -> Figure:
    """Returns the mean over tasks of the paired difference, its interval from resampling queries."""
    from ume_r1_bench.mmeb.analysis import mean_over_tasks
    from ume_r1_bench.mmeb.suite import find_suite

    parts = []
    for name in find_suite(check.suite).tasks:
        pair = [_values(mode_folder(folder, mode), name) for mode in (check.mode, check.less)]
        if len(pair[0]) != len(pair[1]):
            raise NoResult(f"{name}: {len(pair[0])} queries in {check.mode}, {len(pair[1])} in {check.less}")
        parts.append(pair[0] - pair[1])
    return Figure(*mean_over_tasks(parts))


def _finding(check: Check, folder: Path) -> Figure:
    for file in sorted(folder.glob("*.json")):
        for one in _named(_json(file)):
            if one["name"] == check.key:
                _check_whole(check, one)
                return Figure(float(one["value"]), one.get("low"), one.get("high"))
    raise NoResult(f"no analysis in {folder.name} has {check.key!r}")


def _check_whole(check: Check, found: Mapping[str, Any]) -> None:
    """Refuses a figure over fewer tasks than the suite has: a mean over fewer is another number.

    Raises:
        NoResult: tasks are missing.
    """
    from ume_r1_bench.mmeb.suite import find_suite

    wanted = len(find_suite(check.suite).tasks)
    if found.get("tasks") != wanted:
        raise NoResult(f"{check.key} is over {found.get('tasks')} of the {wanted} tasks of {check.suite}")


_READERS: Final[Mapping[str, Callable[[Check, Path], Figure]]] = {
    "parity": _parity,
    "verify": _verify,
    "cost": _cost,
    "task": _task,
    "average": _average,
    "difference": _difference,
    "finding": _finding,
}


def failures(folder: Path) -> int:
    """Returns how many inputs of a benchmark's run could not be encoded; 0 of other commands."""
    results = folder / "results.json"
    return len(_json(results).get("failures", ())) if results.is_file() else 0


def mode_folder(folder: Path, mode: str) -> Path:
    """Returns where ``ume-r1 bench mmeb`` wrote a mode's files.

    Raises:
        NoResult: it wrote none.
    """
    from ume_r1_bench.mmeb.modes import parse_mode
    from ume_r1_bench.mmeb.run import folder_of

    found = folder / folder_of(parse_mode(mode))
    if not found.is_dir():
        raise NoResult(f"there is no folder {mode!r} of scores in {folder.name}")
    return found


def _main(folder: Path, task: str) -> float:
    """Returns a task's reported measure, in 0 to 1."""
    from ume_r1_bench.mmeb.task import find_task

    return float(_json(folder / f"{task}_score.json")[find_task(task).metric])


def _values(folder: Path, task: str) -> npt.NDArray[np.float64]:
    """Returns each query's value of a task's reported measure, from its first predictions."""
    import numpy as np

    from ume_r1_bench.mmeb.task import find_task

    metric, values = find_task(task).metric, []
    for line in (folder / f"{task}_pred.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        labels = row["label"] if isinstance(row["label"], list) else [row["label"]]
        grades = dict(zip(labels, row.get("rel_scores") or [1.0] * len(labels), strict=True))
        gains = [float(grades.get(name, 0)) for name in row["prediction"]]
        values.append(float(gains[0] > 0) if metric == "hit@1" else _ndcg(gains, list(grades.values()), 5))
    return np.array(values)


def _ndcg(gains: list[float], grades: list[float], depth: int) -> float:
    """Returns linear NDCG: grades over the logarithms of their ranks, against the best order."""
    from math import log2

    def dcg(some: list[float]) -> float:
        return sum(gain / log2(rank + 2) for rank, gain in enumerate(some[:depth]))

    return dcg(gains) / dcg(sorted(grades, reverse=True))


def _named(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yields all objects in a JSON value that have a name and a value."""
    if isinstance(value, dict):
        if "name" in value and isinstance(value.get("value"), int | float):
            yield value
        for one in value.values():
            yield from _named(one)
    elif isinstance(value, list):
        for one in value:
            yield from _named(one)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NoResult(f"the command wrote no {path.name}") from error
    except ValueError as error:
        raise NoResult(f"{path.name} is no JSON: {error}") from error
