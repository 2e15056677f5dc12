"""Confidence intervals of shares."""

from __future__ import annotations

from math import sqrt


def wilson(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Returns the Wilson score interval of a share of ``n`` trials; z = 1.96 is 95 %."""
    if n == 0:
        return 0.0, 1.0
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
