"""Per-row control of ``generate``: caps, loops, cancellation, repeatable sampling."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import LogitsProcessor, StoppingCriteria

if TYPE_CHECKING:
    from ume_r1_rag.backends.base import FinishReason, Sampling
    from ume_r1_rag.template import RepetitionStop

# Looking for a loop costs a little Python per row; every few tokens is soon enough.
LOOP_CHECK_EVERY = 8


def repeats(ids: Sequence[int], stop: RepetitionStop) -> bool:
    """Returns whether the tail of ``ids`` is one block of tokens again and again."""
    tail = np.asarray(ids)
    for period in range(1, stop.max_period + 1):
        need = max(stop.min_tokens, period * stop.min_repeats)
        if len(tail) >= need and np.array_equal(tail[-need + period :], tail[-need:-period]):
            return True
    return False


class RowStop(StoppingCriteria):  # type: ignore[misc]
    """Ends each row at its own cap or loop, or when it is cancelled.

    Attributes:
        ended: row → why it was ended here and after how many tokens; what follows is padding.
    """

    def __init__(
        self, samplings: Sequence[Sampling], prefix: int, cancelled: Sequence[threading.Event]
    ) -> None:
        """Takes each row's sampling and event, and the length of what was fed to ``generate``."""
        self._samplings, self._prefix, self._cancelled = samplings, prefix, cancelled
        self.ended: dict[int, tuple[FinishReason, int]] = {}

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Returns ``(B,)`` bool: which rows are done."""
        done = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        decoded = input_ids.shape[1] - self._prefix
        check_loops = decoded % LOOP_CHECK_EVERY == 0
        for row, sampling in enumerate(self._samplings):
            if row in self.ended:
                pass
            elif decoded >= sampling.max_new_tokens:
                self.ended[row] = ("length", decoded)
            elif (
                check_loops
                and sampling.repetition
                and repeats(input_ids[row, self._prefix :].tolist(), sampling.repetition)
            ):
                self.ended[row] = ("repetition", decoded)
            done[row] = row in self.ended or self._cancelled[row].is_set()
        return done


class RowNoise(LogitsProcessor):  # type: ignore[misc]
    """Turns greedy decoding into sampling, row by row.

    The argmax of logits / temperature plus Gumbel noise is a sample of the softmax (the Gumbel-max trick).
    Each row draws from its own generator, so a sample does not depend on its batch-mates' noise.
    """

    def __init__(self, samplings: Sequence[Sampling]) -> None:
        """Takes each row's sampling; rows of temperature 0 stay greedy."""
        self._temperatures = [s.temperature for s in samplings]
        self._generators = [torch.Generator().manual_seed(s.seed) for s in samplings]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Returns the scores with noise."""
        noisy = scores.float().clone()
        for row, temperature in enumerate(self._temperatures):
            if temperature > 0:
                uniform = torch.rand(scores.shape[-1], generator=self._generators[row]).clamp_(
                    1e-20, 1 - 1e-7
                )
                gumbel = -torch.log(-torch.log(uniform))
                noisy[row] = noisy[row] / temperature + gumbel.to(noisy.device)
        return noisy
