"""Decision: the cheapest configuration that is within a margin of the best, as far as the questions can tell.

A configuration is within the margin of the best if no other is better than it by more. Of each pair the
difference of means has a paired bootstrap interval of 95 % over the questions: above the margin it is told to
be worse, not above it to be within, and otherwise the questions cannot tell. Intervals are of one pair each,
not of all at once.

The bootstrap knows nothing of what it has not seen: where two rankings are the same on all n questions, its
interval is empty. So an interval reaches at least as far as a share of questions may go that none of n was
of, with 95 %: 1 - .025 ** (1 / n), some 3.7 / n. With fewer than ``least_questions`` no two can therefore be
shown to be equal within the margin; that one is far behind can be seen sooner.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

Verdict = Literal["within", "worse", "cannot tell"]

MARGIN: Final = 0.01
RESAMPLES: Final = 10_000
_ALPHA: Final = 0.05
_PIECE: Final = 2**23
"""Numbers that are drawn at a time: 64 MB."""
_Z: Final = 1.959964 + 0.841621
"""Of a two-sided test at 5 % with a power of 80 %."""
MOST: Final = 1_000_000
"""Questions beyond which no number is told: the difference is too near to the margin."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better another configuration is than this one, in the mean over the questions.

    Attributes:
        name: the other one.
        mean: its mean minus this one's.
        low: lower end of the interval.
        high: upper end.
        needed: questions that would tell whether it is above the margin, if things stay as they are; None if
            more than ``MOST``.
    """

    name: str
    mean: float
    low: float
    high: float
    needed: int | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A configuration.

    Attributes:
        name: which.
        mean: its figure.
        low: lower end of the figure's interval.
        high: upper end.
        cost: what it costs, in whatever unit.
        verdict: whether it is within the margin.
        against: the other one that decides that; None if there is no other.
    """

    name: str
    mean: float
    low: float
    high: float
    cost: float
    verdict: Verdict
    against: Difference | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What the questions tell.

    Attributes:
        metric: by which figure.
        margin: how far below the best is still good enough.
        questions: how many there are.
        best: the one with the highest mean.
        chosen: the cheapest within the margin; None if that is not decidable.
        open: the cheapest of which the questions cannot tell; None if it is decided.
        candidates: all, cheapest first.
    """

    metric: str
    margin: float
    questions: int
    best: str
    chosen: str | None
    open: str | None
    candidates: tuple[Candidate, ...]

    def of(self, name: str) -> Candidate:
        """Returns a configuration by name."""
        return next(one for one in self.candidates if one.name == name)

    @property
    def needed(self) -> int | None:
        """About how many questions would decide; None if more than ``MOST``, or none are needed."""
        if self.open is None:
            return None
        against = self.of(self.open).against
        return None if against is None else against.needed


def decide(
    values: Mapping[str, Sequence[float]],
    costs: Mapping[str, float],
    metric: str,
    margin: float = MARGIN,
    seed: int = 0,
) -> Decision:
    """Returns which configuration to take.

    Args:
        values: per configuration the figure of each question, in one order, from 0 to 1.
        costs: per configuration what it costs.
        metric: what the figure is called.
        margin: how far below the best is still good enough.
        seed: of the bootstrap.
    """
    names = sorted(values, key=lambda name: (costs[name], name))
    table = np.asarray([values[name] for name in names], dtype=np.float64)
    count = table.shape[1]
    means = table.mean(axis=1)
    drawn = resampled(table, seed)
    best = names[int(means.argmax())]
    candidates = []
    for place, name in enumerate(names):
        others = [
            difference(
                names[other],
                table[other] - table[place],
                drawn[other] - drawn[place],
                margin,
            )
            for other in range(len(names))
            if other != place
        ]
        against = max(others, key=lambda one: (one.low > margin, one.high), default=None)
        low, high = interval(table[place], drawn[place])
        candidates.append(
            Candidate(name, float(means[place]), low, high, costs[name], _verdict(against, margin), against)
        )
    first = next((one for one in candidates if one.verdict != "worse"), None)
    decided = first is not None and first.verdict == "within"
    return Decision(
        metric,
        margin,
        count,
        best,
        first.name if first is not None and decided else None,
        first.name if first is not None and not decided else None,
        tuple(candidates),
    )


def _verdict(against: Difference | None, margin: float) -> Verdict:
    if against is None or against.high <= margin:
        return "within"
    return "worse" if against.low > margin else "cannot tell"


def difference(
    name: str, values: npt.NDArray[np.float64], drawn: npt.NDArray[np.float64], margin: float
) -> Difference:
    """Returns a difference of means with its interval.

    Args:
        name: of the other configuration.
        values: ``(n,)``, the difference of each question.
        drawn: ``(R,)``, the mean of each resample.
        margin: what it is held against.
    """
    low, high = interval(values, drawn)
    mean = float(values.mean())
    return Difference(name, mean, low, high, _needed(mean, float(values.std()), margin))


def interval(values: npt.NDArray[np.float64], drawn: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Returns the interval of a mean: the bootstrap's, but no narrower than what n questions may not show."""
    mean, unseen = float(values.mean()), 1 - (_ALPHA / 2) ** (1 / len(values))
    low, high = np.quantile(drawn, (_ALPHA / 2, 1 - _ALPHA / 2))
    return min(float(low), mean - unseen), max(float(high), mean + unseen)


def resampled(table: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.float64]:
    """Returns the means of resamples of the questions, the same for all rows: ``(M, n)`` to ``(M, R)``."""
    count = table.shape[1]
    # In pieces: 10,000 resamples of 10,000 questions would not fit.
    step = min(RESAMPLES, max(1, _PIECE // count))
    pieces = range(0, RESAMPLES, step)
    drawn = [table @ _counts(count, min(step, RESAMPLES - start), seed, start).T for start in pieces]
    means: npt.NDArray[np.float64] = np.concatenate(drawn, axis=1) / count
    return means


@lru_cache(maxsize=2)
def _counts(count: int, rows: int, seed: int, start: int) -> npt.NDArray[np.float64]:
    """Returns how often each question is in each resample, ``(rows, count)``; reports ask many times."""
    rng = np.random.default_rng((seed, start))
    drawn = rng.integers(0, count, size=(rows, count)) + count * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def least_questions(margin: float = MARGIN) -> int:
    """Returns with how many questions what none of them shows stays within the margin."""
    return math.ceil(math.log(_ALPHA / 2) / math.log(1 - margin))


def _needed(mean: float, deviation: float, margin: float) -> int | None:
    """Returns how many questions tell a mean from the margin, (z deviation / distance) ** 2 at least."""
    distance = abs(margin - mean)
    if distance == 0:
        return None
    count = max(least_questions(min(distance, 0.5)), math.ceil((_Z * deviation / distance) ** 2))
    return count if count <= MOST else None
