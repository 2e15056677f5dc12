"""Fusion: how the scores of several spaces become one ranking. Pure functions on mappings.

Both return their ids best first, ties in ascending order of id, so that a result never depends on the
order in which a store answered.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from ume_r1_rag.errors import ConfigError

Fusion = Literal["convex", "rrf"]
"""How a fused search combines its spaces."""

RRF_K = 60
"""The constant of Cormack et al.; a larger one flattens the difference between ranks."""


def convex(
    scores: Mapping[str, Mapping[str, float]], weights: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Returns the convex combination of each id's scores, best first.

    With M(x) the spaces of positive weight that score x, and w their weights::

        s(x) = sum_{m in M(x)} w_m s_m(x) / sum_{m in M(x)} w_m

    (Bruch, Gai, Ingber 2023, "An Analysis of Fusion Functions for Hybrid Retrieval", section 4, on the
    scores as they are: both spaces give cosines.) The sum over the *present* spaces is the treatment of an
    id that lacks a vector: it is judged by the spaces it has, and never drops out. For the formula to mean
    what it says, ``scores[m]`` must hold every id of the union that has a vector in m, not only m's own
    candidates.

    Args:
        scores: per space, the score of each id.
        weights: per space, at least 0; one for each space of ``scores``. None weighs them equally. A space
            of weight 0 takes no part: ids found only there are left out.

    Raises:
        ConfigError: the weights do not fit the spaces, or none is positive.
    """
    weigh = check_weights(scores, weights)
    fused = {}
    for id in {id for space in weigh for id in scores[space]}:
        present = [(weight, scores[space][id]) for space, weight in weigh.items() if id in scores[space]]
        total = math.fsum(weight for weight, _ in present)
        fused[id] = math.fsum(weight / total * score for weight, score in present)
    return ranked(fused)


def reciprocal_rank(
    rankings: Mapping[str, Sequence[str]], weights: Mapping[str, float] | None = None, k: int = RRF_K
) -> dict[str, float]:
    """Returns the weighted reciprocal rank fusion of several rankings, best first.

    With r_m(x) the rank of x in ranking m, counted from 1 (Cormack, Clarke, Büttcher 2009)::

        s(x) = sum_{m : x in m} w_m / (k + r_m(x))

    Args:
        rankings: per space, ids best first. Of an id that stands twice the better rank counts.
        weights: as in :func:`convex`.
        k: at least 0.

    Raises:
        ConfigError: the weights do not fit the spaces, none is positive, or ``k`` is negative.
    """
    if k < 0:
        raise ConfigError(f"k={k} is negative: reciprocal rank fusion needs k >= 0, usually {RRF_K}")
    weigh = check_weights(rankings, weights)
    parts: dict[str, list[float]] = {}
    for space, weight in weigh.items():
        for rank, id in enumerate(dict.fromkeys(rankings[space]), start=1):
            parts.setdefault(id, []).append(weight / (k + rank))
    # fsum rounds once, so that the order of the spaces cannot make or break a tie.
    return ranked({id: math.fsum(part) for id, part in parts.items()})


def ranked(scores: Mapping[str, float]) -> dict[str, float]:
    """Returns the scores in descending order, ties in ascending order of id."""
    return dict(sorted(scores.items(), key=lambda item: (-item[1], item[0])))


def check_weights(spaces: Iterable[str], weights: Mapping[str, float] | None) -> dict[str, float]:
    """Returns the positive weights by space; 1 for each if ``weights`` is None.

    Raises:
        ConfigError: a space has no weight, a weight names no space, is negative or not finite, or none is
            positive.
    """
    names = list(spaces)
    weights = dict.fromkeys(names, 1.0) if weights is None else weights
    if set(weights) != set(names):
        raise ConfigError(f"weights={dict(weights)!r} do not fit: give one for each of {', '.join(names)}")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights.values()):
        raise ConfigError(f"weights={dict(weights)!r}: a weight is a finite number of at least 0")
    positive = {name: float(weights[name]) for name in names if weights[name] > 0}
    if not positive:
        raise ConfigError(f"weights={dict(weights)!r}: at least one must be positive")
    return positive
