"""The errors a caller can act on. Each message says what, which value, and the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ume_r1_rag.types import Embedding, Vector


class UmeR1Error(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(UmeR1Error, ValueError):
    """An option has a value that cannot work."""


class CheckpointError(UmeR1Error):
    """A checkpoint is absent, incomplete or of the wrong kind."""


class MarkerMissing(CheckpointError):
    """The checkpoint's tokenizer lacks ``<disc_emb>`` or ``<gen_emb>``."""


class InputError(UmeR1Error, ValueError):
    """One input cannot be used: a broken file, an empty text, an unknown shape."""


class FileGone(InputError):
    """A file that was indexed, or that failed before, is not there any more."""


class FetchError(InputError):
    """A remote input was refused or could not be had."""


class MissingExtra(UmeR1Error, ImportError):
    """An optional dependency is not installed."""


class BackendError(UmeR1Error):
    """The model's backend could not answer a request."""


class ServerUnavailable(BackendError):
    """A server that encodes is out of reach, or stayed busy through all retries."""


class Overloaded(UmeR1Error):
    """A server of ours has as much to do as it takes; the same request may do in a moment."""


class DeadlineMissed(BackendError):
    """Gen was not ready in time.

    Attributes:
        disc: ``(D,)`` disc vectors of the inputs, in order. They are of another space than was asked for.
    """

    def __init__(self, message: str, disc: Sequence[Vector] = ()) -> None:
        """Keeps what there is in place of gen."""
        self.disc = tuple(disc)
        super().__init__(message)


class IndexAbsent(ConfigError):
    """A collection that is to be read was never written."""


class IndexMismatch(UmeR1Error):
    """A collection was written by another encoder, or has another shape."""


class IndexRetired(IndexMismatch):
    """A version of a collection is to be written that a reindex has replaced."""


class IndexLocked(UmeR1Error):
    """An embedded collection is held by another process."""


class IndexUnavailable(UmeR1Error):
    """An index's folder or server cannot be used: broken, gone, or out of reach."""


class CacheUnavailable(UmeR1Error):
    """An embedding cache's file cannot be used: broken, foreign, or not to be written."""


class EncodeErrors(UmeR1Error):
    """Some inputs of a call failed; everything else was finished.

    Attributes:
        results: one entry per input in order; None where the input failed.
        failures: ``(position, error)`` pairs.
    """

    def __init__(
        self, results: Sequence[Embedding | None], failures: Sequence[tuple[int, UmeR1Error]]
    ) -> None:
        """Keeps what was finished beside what failed."""
        self.results = list(results)
        self.failures = list(failures)
        first = "; ".join(f"input {i}: {error}" for i, error in self.failures[:3])
        more = f" (and {len(self.failures) - 3} more)" if len(self.failures) > 3 else ""
        super().__init__(
            f"{len(self.failures)} of {len(self.results)} inputs failed: {first}{more}. "
            'The others are in `.results`; pass on_error="return" to get errors in place.'
        )
