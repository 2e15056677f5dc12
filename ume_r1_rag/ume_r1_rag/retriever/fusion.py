"""Fusion: how the scores of several spaces become one ranking. Pure functions on mappings.

All three take ``{space: {id: score}}``, in which an id of the union is missing from a space only where it has
no vector there, and judge such an id by the spaces it has: M(x) below is the set of spaces of positive weight
that score x, W the sum of all weights, W(x) the sum of those of M(x). They return ids best first, ties in
ascending order of id, so that a result never depends on the order in which a store answered.

A text score at its minimum of 0 says that no word is shared: such an id is scored, and badly. A space in
which no candidate rises above the minimum says nothing and takes no part, neither in M(x) nor in W.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, TypeAlias

from ume_r1_rag.errors import ConfigError

Fusion = Literal["convex", "rrf", "dbsf"]
"""How a fused search combines its spaces."""

Scores: TypeAlias = Mapping[str, Mapping[str, float]]
"""Per space, the score of each id."""

MINIMA: Final[Mapping[str, float]] = {"disc": -1.0, "gen": -1.0, "text": 0.0}
"""The least that a score can be in theory: a cosine's, and BM25's."""

RRF_K: Final = 60
"""The constant of Cormack et al.; a larger one flattens the difference between ranks."""

TEXT_SHARE: Final = 0.2
"""The weight of words in a convex fusion beside embeddings: 1 - alpha, with Bruch et al.'s alpha of 0.8."""


def default_weights(spaces: Iterable[str], fusion: Fusion) -> dict[str, float]:
    """Returns the weights where none are given.

    Embeddings weigh 1 each, and so do the words, but for ``convex``: BM25 fills the whole of [0, 1] where
    cosines crowd at its upper end, so that equal weights would let the words decide alone. There they have
    ``TEXT_SHARE`` of the whole.
    """
    names = list(spaces)
    weights = dict.fromkeys(names, 1.0)
    if fusion == "convex" and "text" in weights and len(names) > 1:
        weights["text"] = TEXT_SHARE / (1 - TEXT_SHARE) * (len(names) - 1)
    return weights


def convex(scores: Scores, weights: Mapping[str, float] | None = None) -> dict[str, float]:
    """Returns the convex combination of each id's normalised scores, in [0, 1], best first.

    Theoretical min-max normalisation (Bruch, Gai, Ingber 2023, "An Analysis of Fusion Functions for Hybrid
    Retrieval": TM2C2) with the minima of ``MINIMA`` and the maximum over the candidates::

        phi_m(x) = (s_m(x) - min_m) / (max_y s_m(y) - min_m)
        s(x)     = sum_{m in M(x)} w_m phi_m(x) / W(x)

    The departure from the paper: the sum runs over the spaces that x has a vector in, where theirs has two
    that score everything.

    Args:
        scores: per space, the score of each id of the union that has a vector there.
        weights: per space, at least 0; one for each space of ``scores``. None weighs them equally. A space
            of weight 0 takes no part: ids found only there are left out.

    Raises:
        ConfigError: a space is unknown, the weights do not fit the spaces, or none is positive.
    """
    weigh = check_weights(scores, weights)
    scale = {m: max(scores[m].values()) - MINIMA[m] for m in weigh if scores[m]}
    fused = dict.fromkeys(_union(scores, weigh), 0.0)
    for id in fused:
        present = [m for m in weigh if id in scores[m] and scale[m] > 0]
        total = math.fsum(weigh[m] for m in present)
        fused[id] = math.fsum(weigh[m] / total * (scores[m][id] - MINIMA[m]) / scale[m] for m in present)
    return ranked(fused)


def reciprocal_rank(
    scores: Scores, weights: Mapping[str, float] | None = None, k: int = RRF_K
) -> dict[str, float]:
    """Returns the weighted reciprocal rank fusion, best first.

    With r_m(x) the rank of x in space m, from 1, among the ids above the space's minimum (Cormack, Clarke,
    Büttcher 2009)::

        s(x) = W / W(x) * sum_{m in M(x), x ranked in m} w_m / (k + r_m(x))

    Where every id has every vector this is their formula, with weights. The factor W / W(x) is the departure:
    without it an id that lacks a vector could at best tie with those that come last in that space.

    Args:
        scores: as in :func:`convex`.
        weights: as in :func:`convex`.
        k: at least 0.

    Raises:
        ConfigError: as in :func:`convex`, or ``k`` is negative.
    """
    if k < 0:
        raise ConfigError(f"k={k} is negative: reciprocal rank fusion needs k >= 0, usually {RRF_K}")
    weigh = check_weights(scores, weights)
    shares = {
        m: {id: 1 / (k + rank) for rank, id in enumerate(ranked(_above(scores, m)), start=1)} for m in weigh
    }
    return _summed(scores, weigh, shares)


def distribution_based(scores: Scores, weights: Mapping[str, float] | None = None) -> dict[str, float]:
    """Returns the distribution-based score fusion (DBSF), best first.

    Qdrant's definition: with the mean mu_m and the sample standard deviation sigma_m of the scores in a
    space, scores are scaled so that mu_m - 3 sigma_m becomes 0 and mu_m + 3 sigma_m becomes 1, or all to 1/2
    if sigma_m is 0 or there is one, and then added::

        n_m(x) = max(0, (s_m(x) - mu_m + 3 sigma_m) / (6 sigma_m))
        s(x)   = W / W(x) * sum_{m in M(x)} w_m n_m(x)

    Departures: weights; the factor W / W(x); nothing counts less than 0; mean and deviation are those of the
    whole union rather than of each space's own candidates, without the ids at the space's minimum, whose
    n_m is 0. Where every space found the same ids it is Qdrant's formula.

    Args:
        scores: as in :func:`convex`.
        weights: as in :func:`convex`.

    Raises:
        ConfigError: as in :func:`convex`.
    """
    weigh = check_weights(scores, weights)
    return _summed(scores, weigh, {m: _standardised(_above(scores, m)) for m in weigh})


FUSIONS: Final[Mapping[Fusion, Callable[[Scores, Mapping[str, float] | None], dict[str, float]]]] = {
    "convex": convex,
    "rrf": reciprocal_rank,
    "dbsf": distribution_based,
}


def ranked(scores: Mapping[str, float]) -> dict[str, float]:
    """Returns the scores in descending order, ties in ascending order of id."""
    return dict(sorted(scores.items(), key=lambda item: (-item[1], item[0])))


def check_weights(spaces: Iterable[str], weights: Mapping[str, float] | None) -> dict[str, float]:
    """Returns the positive weights by space; 1 for each if ``weights`` is None.

    Raises:
        ConfigError: a space is unknown or has no weight, a weight names no space, is negative or not finite,
            or none is positive.
    """
    names = list(spaces)
    unknown = [name for name in names if name not in MINIMA]
    if unknown:
        raise ConfigError(f"unknown space {', '.join(map(repr, unknown))}: use some of {', '.join(MINIMA)}")
    weights = dict.fromkeys(names, 1.0) if weights is None else weights
    if set(weights) != set(names):
        raise ConfigError(f"weights={dict(weights)!r} do not fit: give one for each of {', '.join(names)}")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights.values()):
        raise ConfigError(f"weights={dict(weights)!r}: a weight is a finite number of at least 0")
    positive = {name: float(weights[name]) for name in names if weights[name] > 0}
    if not positive:
        raise ConfigError(f"weights={dict(weights)!r}: at least one must be positive")
    return positive


def _union(scores: Scores, spaces: Iterable[str]) -> list[str]:
    return sorted({id for space in spaces for id in scores[space]})


def _above(scores: Scores, space: str) -> dict[str, float]:
    """Returns the scores of a space that say something."""
    return {id: score for id, score in scores[space].items() if score > MINIMA[space]}


def _standardised(scores: Mapping[str, float]) -> dict[str, float]:
    values = list(scores.values())
    mean = math.fsum(values) / len(values) if values else 0.0
    squares = math.fsum((value - mean) ** 2 for value in values)
    sigma = math.sqrt(squares / (len(values) - 1)) if len(values) > 1 else 0.0
    # Rounding leaves equal scores a deviation of their last digit.
    if sigma <= 1e-9 * abs(mean):
        return dict.fromkeys(scores, 0.5)
    return {id: max(0.0, (score - mean + 3 * sigma) / (6 * sigma)) for id, score in scores.items()}


def _summed(
    scores: Scores, weights: Mapping[str, float], shares: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """Returns the weighted sum of each id's shares, scaled up by the spaces that it lacks."""
    telling = [m for m in weights if shares[m]]
    whole = math.fsum(weights[m] for m in telling)
    fused = dict.fromkeys(_union(scores, weights), 0.0)
    for id in fused:
        present = [m for m in telling if id in scores[m]]
        if present:
            # fsum rounds once, so that the order of the spaces cannot make or break a tie.
            total = math.fsum(weights[m] * shares[m].get(id, 0.0) for m in present)
            fused[id] = total * (whole / math.fsum(weights[m] for m in present))
    return ranked(fused)
