"""Samples: further generations of an input, by chance; how many, and each with a seed of its own."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from ume_r1_rag.backends.base import Sampling
from ume_r1_rag.errors import ConfigError
from ume_r1_rag.types import Mode, Think


def sampled(
    greedy: Sampling, number: int, temperature: float, seed: int, *, mode: Mode, think: Think
) -> tuple[Sampling, ...]:
    """Returns how each of ``number`` samples is decoded.

    Args:
        greedy: how the generation beside them is.
        number: of samples.
        temperature: of them.
        seed: of them all.
        mode: of the call.
        think: its think budget.

    Raises:
        ConfigError: there can be no samples in this mode, with this budget or at this temperature.
    """
    if number < 0 or (number and mode == "disc"):
        raise ConfigError(f'num_samples={number} with mode={mode!r}: samples need mode "gen" or "both"')
    if number and think == "none":
        raise ConfigError(f'num_samples={number} with think="none": nothing is decoded, so all are equal')
    if number and temperature <= 0:
        raise ConfigError(f"temperature={temperature} must be positive to sample")
    return tuple(
        replace(greedy, temperature=temperature, seed=_sample_seed(seed, at)) for at in range(number)
    )


def _sample_seed(seed: int, number: int) -> int:
    """Returns the seed of one sample; those of seed 1 must not be those of seed 0 moved by one."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:7])
