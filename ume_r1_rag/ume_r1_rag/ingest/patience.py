"""Patience: when an encoder that fails at one document after another is taken for broken."""

from __future__ import annotations

from ume_r1_rag.errors import InputError, UmeR1Error
from ume_r1_rag.types import Embedding

BROKEN_AFTER = 64
"""Documents in a row, failed by no fault of their own, after which the encoder is taken for broken."""


class Patience:
    """Counts the documents in a row that an encoder failed at and that are not to blame.

    One that is to blame (``InputError``) says nothing of the encoder, neither good nor bad.
    """

    def __init__(self) -> None:
        """Starts anew."""
        self._failed = 0

    def ends(self, result: Embedding | UmeR1Error) -> bool:
        """Takes what the encoder made of one more document; returns whether to go on would be in vain."""
        if isinstance(result, Embedding):
            self._failed = 0
        elif not isinstance(result, InputError):
            self._failed += 1
        return self._failed >= BROKEN_AFTER
