"""Equating: what a document without a gen vector would score in gen, told by its disc score.

A cosine of one space says nothing on the scale of the other. Test theory has the same task, scores of two
forms of one test, and the same remedy: linear equating in a single group (Kolen and Brennan, "Test Equating,
Scaling, and Linking", chapter 2). The group is documents that have both vectors.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Final

ENOUGH: Final = 10
"""Reference documents from which on a ratio of deviations is trusted."""


def equate(
    scores: Mapping[str, float], source: Mapping[str, float], target: Mapping[str, float]
) -> dict[str, float]:
    """Returns scores of one scale as estimates on another.

    With the mean mu and the standard deviation sigma of the ids that ``source`` and ``target`` share::

        e(x) = mu_target + sigma_target / sigma_source * (s(x) - mu_source)

    It keeps the order of ``scores``. With less than ``ENOUGH`` ids, or where all score alike, the ratio of
    the deviations counts as 1; without any id the scores stay as they are. An estimate is no cosine: it may
    lie outside of [-1, 1].

    Args:
        scores: to be converted, on the scale of ``source``.
        source: scores of the reference documents on the scale that is given.
        target: their scores on the scale that is wanted.
    """
    shared = sorted(source.keys() & target.keys())
    if not shared:
        return dict(scores)
    given, wanted = ([scale[id] for id in shared] for scale in (source, target))
    mean_given, mean_wanted = statistics.fmean(given), statistics.fmean(wanted)
    sigma_given, sigma_wanted = statistics.pstdev(given), statistics.pstdev(wanted)
    trusted = len(shared) >= ENOUGH and sigma_given > 0 and sigma_wanted > 0
    slope = sigma_wanted / sigma_given if trusted else 1.0
    return {id: mean_wanted + slope * (score - mean_given) for id, score in scores.items()}
