"""Combined: one ranking out of disc's and gen's scores of the same candidates, without knowing the right one.

Nothing here is given relevance, so nothing can choose by it. A candidate without a vector has ``-inf`` in
both and stays last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Scores = npt.NDArray[np.float32]
    Combined = npt.NDArray[np.float64]

_RRF: Final = 60


def convex(disc: Scores, gen: Scores) -> Combined:
    """Returns the mean of both, each as a share of the best candidate's, cosines over their minimum of -1."""
    shares = []
    for scores in (disc, gen):
        above = scores.astype(np.float64) + 1
        best = above.max(initial=-np.inf)
        shares.append(above / best if best > 0 else above)
    return (shares[0] + shares[1]) / 2


def reciprocal_ranks(disc: Scores, gen: Scores) -> Combined:
    """Returns the sum of 1 / (60 + rank) over both; the tied share the mean of their ranks."""
    found = sum(1 / (_RRF + _ranks(scores)) for scores in (disc, gen))
    return np.where(np.isneginf(disc) & np.isneginf(gen), -np.inf, found)


def surer(disc: Scores, gen: Scores) -> Combined:
    """Returns the scores of whichever leads by more, the lead in standard deviations of its scores."""
    return (disc if _lead(disc) > _lead(gen) else gen).astype(np.float64)


COMBINED: Final[Mapping[str, Callable[[Scores, Scores], Combined]]] = {
    "convex": convex,
    "rrf": reciprocal_ranks,
    "surer": surer,
}
"""Name → how; ``surer`` selects one of both, the others fuse."""


def _ranks(scores: Scores) -> Combined:
    order = np.sort(-scores)
    low, high = np.searchsorted(order, -scores, "left"), np.searchsorted(order, -scores, "right")
    return np.asarray((low + 1 + high) / 2, np.float64)


def _lead(scores: Scores) -> float:
    there = np.sort(scores[scores > -np.inf])
    if len(there) < 2:
        return 0.0
    spread = float(there.std())
    return float(there[-1] - there[-2]) / spread if spread > 0 else 0.0
