"""Quotas: how a number of pairs is shared out as evenly as what there is permits."""

from __future__ import annotations

from collections.abc import Mapping

from ume_r1_rag.errors import ConfigError


def share_out(total: int, available: Mapping[str, int]) -> dict[str, int]:
    """Returns name → quota: never more than is available, otherwise as even as can be.

    What one cannot give the others give. Where the rest does not divide, the first names get one more.

    Args:
        total: to be shared out; less is if less is available.
        available: name → how many there are.

    Raises:
        ConfigError: a number is negative.
    """
    if total < 0 or any(count < 0 for count in available.values()):
        raise ConfigError(f"total={total} and available={dict(available)} must not be negative")
    quota = dict.fromkeys(available, 0)
    left, open_names = min(total, sum(available.values())), [name for name in available if available[name]]
    while left:
        # All open ones stand equal here, so whoever gets one more must be the last to get any.
        each = max(1, left // len(open_names))
        for name in open_names:
            given = min(each, left, available[name] - quota[name])
            quota[name] += given
            left -= given
        open_names = [name for name in open_names if quota[name] < available[name]]
    return quota
