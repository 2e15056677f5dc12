"""Patience: when an encoder that fails at one document after another is taken for broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ume_r1_rag.errors import InputError, UmeR1Error
from ume_r1_rag.types import Embedding

T = TypeVar("T")

BROKEN_AFTER = 64
"""Documents in a row, failed by no fault of their own, after which the encoder is taken for broken."""


@dataclass(slots=True)
class Outcomes(Generic[T]):
    """What an encoder made of some documents.

    Attributes:
        made: documents with their embeddings.
        failed: documents with their errors.
        broken: the error of an encoder that is taken for broken.
    """

    made: list[tuple[T, Embedding]] = field(default_factory=list)
    failed: list[tuple[T, UmeR1Error]] = field(default_factory=list)
    broken: UmeR1Error | None = None


class Patience:
    """Counts the documents in a row that an encoder failed at and that are not to blame.

    One that is to blame (``InputError``) says nothing of the encoder, neither good nor bad.
    """

    def __init__(self) -> None:
        """Starts anew."""
        self._failed = 0

    def take(self, documents: Sequence[T], results: Sequence[Embedding | UmeR1Error]) -> Outcomes[T]:
        """Takes what the encoder made of some more documents; returns it sorted."""
        found = Outcomes[T]()
        for document, result in zip(documents, results, strict=True):
            ended = self._ends(result)
            if isinstance(result, Embedding):
                found.made.append((document, result))
                continue
            found.failed.append((document, result))
            found.broken = result if ended else found.broken
        return found

    def _ends(self, result: Embedding | UmeR1Error) -> bool:
        """Takes one more; returns whether to go on would be in vain."""
        if isinstance(result, Embedding):
            self._failed = 0
        elif not isinstance(result, InputError):
            self._failed += 1
        return self._failed >= BROKEN_AFTER
