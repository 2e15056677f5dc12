"""Ranking: measures of one ranked list, for graded relevance, with ties as their expected value.

Candidates with exactly the same score have no order. What is measured is therefore the mean over all orders
of the tied, each equally likely, in closed form: a constant embedding scores chance, and nothing depends on
the order in which candidates happen to be listed.

Own code, because of that: pytrec_eval, ranx and ir-measures break ties by name or by position, and only
scikit-learn's ``ndcg_score`` averages. On lists without ties all measures equal pytrec_eval's, with ties
``ndcg_linear`` equals scikit-learn's, and the others the mean over all orders; tests show each.

Names, at a cut-off k:

* ``hit`` whether a relevant one is among the first k; ``recall`` and ``precision`` their share of the
  relevant and of k; ``f1`` the harmonic mean of these two.
* ``mrr`` 1 / rank of the first relevant one, 0 beyond k.
* ``map`` precision at each relevant rank, summed and divided by min(relevant ones, k), as MMEB's evaluator
  does; trec_eval divides by the relevant ones alone.
* ``ndcg_linear`` and ``ndcg_exponential``: gain ``g`` or ``2**g - 1`` over ``log2(rank + 1)``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log2
from typing import TYPE_CHECKING, Final

import numpy as np

from ume_r1_rag.errors import ConfigError

if TYPE_CHECKING:
    import numpy.typing as npt

KINDS: Final = ("hit", "recall", "precision", "f1", "map", "mrr", "ndcg_linear", "ndcg_exponential")

_NAME: Final = re.compile(r"([a-z_0-9]+)@([1-9]\d*)")


@dataclass(frozen=True, slots=True)
class _Place:
    """What can be expected of one place of a ranking.

    Attributes:
        rank: from 1.
        relevant: probability that a relevant candidate stands there.
        first: probability that it is the first relevant one.
        precision: expected precision at this rank if it is relevant, else 0.
        linear: expected grade.
        exponential: expected ``2**grade - 1``.
    """

    rank: int
    relevant: float
    first: float
    precision: float
    linear: float
    exponential: float


def measure(scores: npt.ArrayLike, relevance: npt.ArrayLike, names: Sequence[str]) -> dict[str, float]:
    """Returns measures of one query, each in 0 to 1, by name.

    A candidate whose score is ``-inf`` was not ranked: it counts among the relevant ones and is never found.
    A query without any relevant candidate scores 0.

    Args:
        scores: ``(C,)``, higher is better.
        relevance: ``(C,)`` grades of the same candidates; more than 0 is relevant.
        names: e.g. ``["hit@1", "ndcg_linear@5"]``; see the module.

    Raises:
        ConfigError: a name is unknown, shapes differ, a score is no number, or a grade is negative.
    """
    wanted = [parse_name(name) for name in names]
    ranked, grades = np.asarray(scores, np.float64), np.asarray(relevance, np.float64)
    if ranked.ndim != 1 or ranked.shape != grades.shape:
        raise ConfigError(
            f"scores {ranked.shape} and relevance {grades.shape} must be one number a candidate"
        )
    if np.isnan(ranked).any() or not np.isfinite(grades).all() or (grades < 0).any():
        raise ConfigError("a score is not a number, or a grade is negative or infinite: look at the vectors")
    if not wanted or not (grades > 0).any():
        return dict.fromkeys(names, 0.0)
    places = list(_places(ranked, grades, max(k for _, k in wanted)))
    ideal = np.sort(grades[grades > 0])[::-1]
    return {name: _value(kind, places[:k], ideal, k) for name, (kind, k) in zip(names, wanted, strict=True)}


def parse_name(name: str) -> tuple[str, int]:
    """Returns kind and cut-off of a measure's name.

    Raises:
        ConfigError: there is no such measure.
    """
    found = _NAME.fullmatch(name)
    if found is None or found[1] not in KINDS:
        raise ConfigError(
            f"{name!r} is no measure: use one of {', '.join(KINDS)} with @ and a cut-off from 1"
        )
    return found[1], int(found[2])


def _places(scores: npt.NDArray[np.float64], grades: npt.NDArray[np.float64], most: int) -> Iterator[_Place]:
    """Yields the first ``most`` places; within a group of the tied, every order is as likely."""
    kept = scores > -np.inf
    order = np.argsort(-scores[kept], kind="stable")
    falling, graded = -scores[kept][order], grades[kept][order]
    start, before, none_yet = 0, 0, 1.0
    while start < min(len(falling), most):
        end = int(np.searchsorted(falling, falling[start], side="right"))
        group = graded[start:end]
        size, relevant = end - start, int((group > 0).sum())
        linear, exponential = float(group.mean()), float((2.0**group - 1).mean())
        for place in range(min(size, most - start)):
            # Drawing without putting back, given that none was drawn so far.
            chance = min(1.0, relevant / (size - place))
            others = place * (relevant - 1) / (size - 1) if size > 1 else 0.0
            rank = start + place + 1
            precision = relevant / size * (before + 1 + others) / rank
            yield _Place(rank, relevant / size, none_yet * chance, precision, linear, exponential)
            none_yet *= 1 - chance
        start, before = end, before + relevant


def _value(kind: str, places: Sequence[_Place], ideal: npt.NDArray[np.float64], k: int) -> float:
    """Returns one measure of a ranking's first k places; ``ideal`` has the relevant ones' grades, falling."""
    if kind == "hit":
        return sum(place.first for place in places)
    if kind == "mrr":
        return sum(place.first / place.rank for place in places)
    if kind == "map":
        return sum(place.precision for place in places) / min(len(ideal), k)
    if kind.startswith("ndcg"):
        steep = kind == "ndcg_exponential"
        best = sum((2.0**g - 1 if steep else g) / log2(at + 2) for at, g in enumerate(ideal[:k].tolist()))
        gains = ((place.exponential if steep else place.linear) / log2(place.rank + 1) for place in places)
        return float(sum(gains) / best)
    found, relevant = sum(place.relevant for place in places), len(ideal)
    return {"recall": found / relevant, "precision": found / k, "f1": 2 * found / (k + relevant)}[kind]


MEASURES: Final = tuple(f"{kind}@{k}" for kind in KINDS for k in (1, 5, 10))
"""What MMEB's evaluator reports."""
