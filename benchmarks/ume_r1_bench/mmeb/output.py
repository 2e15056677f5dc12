"""Output: the files that MMEB's evaluator writes, and the one that its public scores are in.

Source: TIGER-AI-Lab/VLM2Vec, ``eval.py`` and ``experiments/report_score_v2.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ume_r1_bench.mmeb.errors import MmebError
from ume_r1_bench.mmeb.score import Placed, TaskScore
from ume_r1_bench.mmeb.task import TASKS, find_task


def write_task(folder: Path, placed: Placed, found: TaskScore) -> None:
    """Writes ``{task}_score.json`` and ``{task}_pred.jsonl``; of a prediction the first ten names."""
    folder.mkdir(parents=True, exist_ok=True)
    task, count = placed.data.task, len(placed.queries)
    scores: dict[str, Any] = {name: found.mean(name) for name in found.values}
    scores |= {"num_pred": count, "num_data": count}
    (folder / f"{task.name}_score.json").write_text(json.dumps(scores, indent=4) + "\n", encoding="utf-8")
    with (folder / f"{task.name}_pred.jsonl").open("w", encoding="utf-8") as stream:
        for query, first in zip(placed.data.queries, found.first, strict=True):
            labels = list(query.relevance)
            # The evaluator's parsers give a list where there may be several, and grades for pages alone.
            several = task.modality == "visdoc" or len(labels) != 1
            line = {
                "prediction": list(first),
                "label": labels if several else labels[0],
                "rel_scores": list(query.relevance.values()) if task.modality == "visdoc" else None,
            }
            stream.write(json.dumps(line) + "\n")


def write_summary(path: Path, metadata: Mapping[str, Any], scores: Mapping[str, Mapping[str, float]]) -> None:
    """Writes a public score file.

    Args:
        path: of the file.
        metadata: ``model_name``, ``report_generated_date`` and what else there is.
        scores: task → measure → mean.
    """
    metrics: dict[str, dict[str, Mapping[str, float]]] = {"image": {}, "video": {}, "visdoc": {}}
    for name, measures in scores.items():
        metrics[TASKS[name].modality][name] = measures
    whole = {"metadata": dict(metadata), "metrics": metrics}
    path.write_text(json.dumps(whole, indent=4) + "\n", encoding="utf-8")


def read_summary(path: Path) -> dict[str, dict[str, float]]:
    """Returns task → measures of a public score file; ``…-page-fixed`` is read as ``…-page``.

    Raises:
        MmebError: it is none.
    """
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))["metrics"]
        found = {name: dict(measures) for of in metrics.values() for name, measures in of.items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise MmebError(
            f"{path} is no public score file of MMEB-V2 ({type(error).__name__}: {error})"
        ) from error
    out: dict[str, dict[str, float]] = {}
    for name, measures in found.items():
        try:
            out[find_task(name).name] = measures
        except MmebError:
            continue  # extras of one release alone, such as MomentSeeker_1k8
    return out


def main_scores(summary: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Returns each task's reported measure; tasks without it are left out."""
    return {
        name: measures[TASKS[name].metric]
        for name, measures in summary.items()
        if TASKS[name].metric in measures
    }
