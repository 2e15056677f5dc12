"""Score: queries and candidates as vectors → every query's ranking → a task's figures.

Candidates with the same vector share one column, so that they get the same score to the bit wherever they
stand: BLAS rounds equal rows differently by their place, and a tie that is none any more would be broken by
the order of the list. What could not be encoded stays in: a candidate is not ranked, a query counts as
missed. So a task with failures has too low a score, and says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Final

import numpy as np

from ume_r1_bench.interval import wilson
from ume_r1_bench.official_ranking import official_measure, official_order
from ume_r1_bench.ranking import MEASURES, measure

if TYPE_CHECKING:
    import numpy.typing as npt

    from ume_r1_bench.mmeb.contents import Contents
    from ume_r1_bench.mmeb.row import Query, TaskData

    Array = npt.NDArray[np.float32]
    Values = npt.NDArray[np.float64]

_AT_ONCE: Final = 128
"""Queries whose scores are in memory together."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A task whose rows have found their contents.

    Attributes:
        data: the task's rows.
        queries: content key of each query, in order.
        candidates: content key by candidate name.
        names: for each query the candidates that it ranks, each once, then the relevant ones that are absent.
    """

    data: TaskData
    queries: tuple[str, ...]
    candidates: Mapping[str, str]
    names: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, data: TaskData, contents: Contents) -> Placed:
        """Returns a task, its items taken into the contents."""
        queries = tuple(contents.add(query.item, "query") for query in data.queries)
        candidates = {name: contents.add(item, "document") for name, item in data.candidates.items()}
        every, known = tuple(data.candidates), data.candidates.keys()
        return cls(data, queries, candidates, tuple(_names(query, every, known) for query in data.queries))

    def relevance(self, number: int) -> Values:
        """Returns the grades of a query's candidates, ``(C,)``."""
        grades = self.data.queries[number].relevance
        return np.array([grades.get(name, 0.0) for name in self.names[number]], np.float64)


def _names(query: Query, every: tuple[str, ...], known: AbstractSet[str]) -> tuple[str, ...]:
    if query.candidates is None and query.relevance.keys() <= known:
        return every  # one tuple for all queries of a global task
    return tuple(
        dict.fromkeys([*(every if query.candidates is None else query.candidates), *query.relevance])
    )


def similarities(placed: Placed, queries: Array, candidates: Array) -> Iterator[Array | None]:
    """Yields for each query its candidates' scores, ``(C,)``, in the order of ``placed.names``.

    None stands for a query without a vector; ``-inf`` for a candidate without one.

    Args:
        placed: the task.
        queries: ``(Q, D)``, a row of NaN where there is none.
        candidates: ``(N, D)`` in the order of ``placed.candidates``, the same.
    """
    columns: dict[bytes, int] = {}
    column = {
        name: columns.setdefault(row.tobytes(), len(columns))
        for name, row in zip(placed.candidates, candidates, strict=True)
        if not np.isnan(row[0])
    }
    distinct = np.empty((len(columns), candidates.shape[-1]), np.float32)
    for row, at in columns.items():
        distinct[at] = np.frombuffer(row, np.float32)
    last: tuple[tuple[str, ...], npt.NDArray[np.int64]] | None = None
    for start in range(0, len(queries), _AT_ONCE):
        part = queries[start : start + _AT_ONCE]
        scored = _scored(part, distinct)
        for at in range(len(part)):
            names = placed.names[start + at]
            if last is None or last[0] is not names:
                last = names, np.array([column.get(name, len(columns)) for name in names], np.int64)
            yield None if np.isnan(part[at, 0]) else scored[at, last[1]]


def _scored(queries: Array, distinct: Array) -> Array:
    """Returns ``(Q, N + 1)`` cosines; the last column stands for all that has no vector."""
    scores = np.full((len(queries), len(distinct) + 1), -np.inf, np.float32)
    if len(distinct):
        scores[:, :-1] = queries @ distinct.T
    return scores


@dataclass(frozen=True, slots=True)
class TaskScore:
    """How a task came out in one mode.

    Attributes:
        values: measure → ``(Q,)``.
        rank: ``(Q,)`` rank of the best relevant candidate, from 1, those tied with it counted half; 0 where
            it was not ranked.
        first: for each query the names that rank first, at most ten; the tied in an order drawn by the seed,
            as MMEB lists the right one first.
    """

    values: Mapping[str, Values]
    rank: Values
    first: tuple[tuple[str, ...], ...]

    @property
    def lost(self) -> bool:
        """Whether there is no query that ranked anything: then there is no figure either."""
        return not any(self.first)

    def mean(self, name: str) -> float:
        """Returns a measure's mean over queries, in 0 to 1."""
        return float(self.values[name].mean()) if len(self.values[name]) else 0.0

    def interval(self, name: str) -> tuple[float, float]:
        """Returns its 95 % interval over queries: Wilson's for hits, else by the normal distribution."""
        return interval(self.values[name], share=name.startswith("hit@"))


def interval(values: Values, share: bool) -> tuple[float, float]:
    """Returns the 95 % interval of a mean of values in 0 to 1."""
    mean, n = float(values.mean()) if len(values) else 0.0, len(values)
    if share or n < 2:
        return wilson(mean, n)
    half = 1.96 * float(values.std(ddof=1)) / sqrt(n)
    return max(0.0, mean - half), min(1.0, mean + half)


def score(
    placed: Placed,
    scores: Iterator[Array | None],
    names: Sequence[str] = MEASURES,
    official: bool = False,
    seed: int = 0,
) -> TaskScore:
    """Returns how a task came out.

    Args:
        placed: the task.
        scores: of each query, as ``similarities`` yields them.
        names: the measures.
        official: measure as the official evaluator does, see ``ume_r1_bench.official_ranking``.
        seed: of its defect, and of the order in which the tied are shown.
    """
    values = {name: np.zeros(len(placed.queries)) for name in names}
    ranks, firsts = np.zeros(len(placed.queries)), []
    for number, found in enumerate(scores):
        if found is None:
            firsts.append(())
            continue
        relevance, listed = placed.relevance(number), placed.names[number]
        order = official_order(found) if official else _order(found, seed, number)
        firsts.append(tuple(listed[at] for at in order[:10] if found[at] > -np.inf))
        ranks[number] = _rank(found, relevance)
        if official:
            query = placed.data.queries[number]
            ranked, grades = [listed[at] for at in order], list(query.relevance.values())
            measured = official_measure(ranked, list(query.relevance), grades, names, seed)
        else:
            measured = measure(found, relevance, names)
        for name, value in measured.items():
            values[name][number] = value
    return TaskScore(values, ranks, tuple(firsts))


def _order(scores: Array, seed: int, number: int) -> npt.NDArray[np.intp]:
    mixed = np.random.default_rng([seed, number]).permutation(len(scores))
    return mixed[np.argsort(-scores[mixed], kind="stable")]


def _rank(scores: Array, relevance: Values) -> float:
    best = scores[relevance > 0].max(initial=-np.inf)
    if best == -np.inf:
        return 0.0
    tied = int(((scores == best) & (relevance == 0)).sum())
    return 1 + int((scores > best).sum()) + tied / 2
