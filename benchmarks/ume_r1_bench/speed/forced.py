"""Forced: makes ``generate`` write completions that are given, so that its states can be compared."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor


class Forced(LogitsProcessor):  # type: ignore[misc]
    """Leaves each row no choice: its completion, then the end token."""

    def __init__(self, completions: Sequence[Sequence[int]], width: int, end: int) -> None:
        """Takes each row's completion, and the length of what is fed to ``generate``."""
        self._completions, self._width, self._end = completions, width, end

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Returns ``(B, V)`` scores, all but one of each row minus infinity."""
        step = input_ids.shape[1] - self._width
        only = torch.full_like(scores, -torch.inf)
        for row, ids in enumerate(self._completions):
            only[row, ids[step] if step < len(ids) else self._end] = 0
        return only
