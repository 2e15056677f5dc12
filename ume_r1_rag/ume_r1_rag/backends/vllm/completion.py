"""A completion as vLLM hands it out, piece by piece, and why it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ume_r1_rag.backends.decoding import LOOP_CHECK_EVERY, repeats
from ume_r1_rag.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Collection

    from ume_r1_rag.backends.base import FinishReason, Sampling


class Completion:
    """Collects decoded tokens and ends as the transformers backend does: same tokens, same reasons.

    Attributes:
        tokens: decoded so far, the end token dropped.
        decoded: how many were decoded, the end token included.
        finish: why it ended; None while it has not.
        cached: tokens of the prompt that vLLM found in its prefix cache.
    """

    def __init__(self, sampling: Sampling, end_ids: Collection[int]) -> None:
        """Takes how it is decoded, and what ends it."""
        self._sampling, self._end_ids = sampling, end_ids
        self.tokens: list[int] = []
        self.decoded = 0
        self.finish: FinishReason | None = None
        self.cached = 0

    def take(self, output: Any) -> bool:
        """Takes one of vLLM's outputs, which holds what is new; returns whether vLLM must be stopped.

        Raises:
            BackendError: vLLM ended it for a reason of its own.
        """
        if self.finish is not None:
            return False
        self.cached = max(self.cached, output.num_cached_tokens or 0)
        piece, cap = output.outputs[0], self._sampling.max_new_tokens
        if cap == 0:
            # The one token that vLLM decodes in any case.
            self.finish = "replay"
            return False
        before = len(self.tokens)
        self.tokens.extend(piece.token_ids)
        if output.finished and piece.finish_reason not in ("stop", "length"):
            raise BackendError(f"vLLM ended a completion early: {piece.finish_reason}. Its log says why")
        stopped = bool(self.tokens) and self.tokens[-1] in self._end_ids
        if self._loops(before, len(self.tokens) - stopped):
            return not output.finished
        if output.finished:
            self.decoded = len(self.tokens)
            self.finish = "stop" if stopped else "length"
            if stopped:
                self.tokens.pop()
        return False

    def _loops(self, before: int, until: int) -> bool:
        stop = self._sampling.repetition
        if stop is None:
            return False
        first = before - before % LOOP_CHECK_EVERY + LOOP_CHECK_EVERY
        # At its cap a completion ends for that reason.
        for length in range(first, min(until, self._sampling.max_new_tokens - 1) + 1, LOOP_CHECK_EVERY):
            if repeats(self.tokens[:length], stop):
                # What vLLM decoded beyond was not asked for.
                del self.tokens[length:]
                self.decoded, self.finish = length, "repetition"
                return True
        return False
