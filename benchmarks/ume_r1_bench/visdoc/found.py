"""Found: how good a ranking is, by page and by document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from ume_r1_bench.ranking import measure
from ume_r1_bench.visdoc.corpus import Question
from ume_r1_bench.visdoc.searching import Ranking

MEASURES: Final = {
    "ndcg@5": "ndcg_linear@5",
    "recall@1": "recall@1",
    "recall@5": "recall@5",
    "recall@10": "recall@10",
    "mrr@10": "mrr@10",
}
"""What is told, and what ``ranking`` calls it."""


def measure_pages(question: Question, ranking: Ranking) -> dict[str, float]:
    """Returns the measures of a question by page. A page that was not found counts as missed."""
    return _measure(question.pages, dict(zip(ranking.pages, ranking.scores, strict=True)))


def measure_documents(question: Question, ranking: Ranking, documents: Mapping[str, str]) -> dict[str, float]:
    """Returns the measures of a question by document, which has its best page's score and its best grade.

    Args:
        question: the question.
        ranking: its ranking.
        documents: page -> document.
    """
    grades: dict[str, float] = {}
    for page, grade in question.pages.items():
        grades[documents[page]] = max(grade, grades.get(documents[page], 0.0))
    scores: dict[str, float] = {}
    for page, score in zip(ranking.pages, ranking.scores, strict=True):
        document = documents.get(page, page)
        scores[document] = max(score, scores.get(document, -np.inf))
    return _measure(grades, scores)


def _measure(grades: Mapping[str, float], scores: Mapping[str, float]) -> dict[str, float]:
    every = list(dict.fromkeys([*scores, *grades]))
    ranked = np.asarray([scores.get(one, -np.inf) for one in every], dtype=np.float64)
    relevant = np.asarray([grades.get(one, 0.0) for one in every], dtype=np.float64)
    found = measure(ranked, relevant, tuple(MEASURES.values()))
    return {name: float(found[inner]) for name, inner in MEASURES.items()}
