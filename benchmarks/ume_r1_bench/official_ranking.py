"""Official ranking: the measures of MMEB's evaluator, defects included, for whoever needs the same digits.

Source: TIGER-AI-Lab/VLM2Vec, ``src/utils/eval_utils/metrics.py`` (``RankingMetrics.evaluate``) and
``eval.py``. It differs from ``ume_r1_bench.ranking`` in these points, and they are kept:

* Ties are broken by an unstable sort of the negated scores, ``np.argsort(-scores)``.
* ``evaluate`` makes ``list(set(labels))`` of the labels and then pairs it with the grades, which it does not
  move along: with grades that differ they land on other documents, as the hash seed of the process has it
  (``PYTHONHASHSEED``). Of MMEB-V2's tasks this touches ViDoSeek-doc, MMLongBench-doc and
  ViDoRe_esg_reports_human_labeled_v2. Here the order of that set is drawn by ``seed`` from the labels in
  sorted order, so it can be repeated; it is one such order and not that of any published run.
* A label that is given twice beside grades is an error there; it is one here.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ume_r1_bench.ranking import parse_name
from ume_r1_rag.errors import ConfigError

if TYPE_CHECKING:
    import numpy.typing as npt


def official_order(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.intp]:
    """Returns ``(C,)`` positions, best first, as the official evaluator sorts them."""
    return np.argsort(-scores)


def official_measure(
    prediction: Sequence[str],
    labels: Sequence[str],
    grades: Sequence[float] | None,
    names: Sequence[str],
    seed: int = 0,
) -> dict[str, float]:
    """Returns the official evaluator's measures of one query.

    Args:
        prediction: names of candidates, best first.
        labels: names of the relevant ones.
        grades: of the labels, or None where all count the same.
        names: as ``ume_r1_bench.ranking`` has them.
        seed: of the order that ``list(set(labels))`` comes out in.

    Raises:
        ConfigError: there are not as many grades as different labels, or a name is unknown.
    """
    unordered = sorted(set(labels))
    random.Random(f"{seed}/{len(unordered)}/{unordered[:1]}").shuffle(unordered)
    if grades is not None and len(grades) != len(unordered):
        raise ConfigError(
            f"{len(grades)} grades for {len(unordered)} different labels: the official evaluator refuses that"
        )
    graded = dict.fromkeys(unordered, 1.0) if grades is None else dict(zip(unordered, grades, strict=True))
    out = {}
    for name in names:
        kind, k = parse_name(name)
        out[name] = _of(kind, list(prediction[:k]), unordered, graded, k)
    return out


def _of(kind: str, first: list[str], labels: list[str], graded: dict[str, float], k: int) -> float:
    if kind.startswith("ndcg"):
        return _ndcg(first, graded, k, exponential=kind == "ndcg_exponential")
    if not labels:
        return 1.0 if kind == "recall" else 0.0
    found = [name in graded for name in first]
    distinct = len(set(first) & set(labels))
    precision, recall = distinct / k, distinct / len(labels)
    if kind == "f1":
        return 2 * precision * recall / (precision + recall) if distinct else 0.0
    if kind == "map":
        sums = sum(sum(found[: at + 1]) / (at + 1) for at, one in enumerate(found) if one)
        return sums / min(len(labels), k)
    if kind == "mrr":
        return next((1 / rank for rank, one in enumerate(found, start=1) if one), 0.0)
    return {"precision": precision, "recall": recall, "hit": float(distinct > 0)}[kind]


def _ndcg(first: list[str], graded: dict[str, float], k: int, exponential: bool) -> float:
    def gains(grades: Sequence[float]) -> float:
        shown = [2**grade - 1 for grade in grades] if exponential else grades
        return float(sum(gain / np.log2(at + 2) for at, gain in enumerate(shown)))

    best = gains(sorted(graded.values(), reverse=True)[:k]) if graded else 1.0
    return gains([graded.get(name, 0) for name in first]) / best if best > 0 else 0.0
