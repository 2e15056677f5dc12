"""Again: stored points whose files are read, encoded and written once more: what enrich and reindex share.

Two threads besides the caller's, as in ``pipeline``: one reads, one writes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ume_r1_rag.errors import IndexMismatch, InputError, UmeR1Error
from ume_r1_rag.index.payload import unicode_text
from ume_r1_rag.ingest.report import MOST_FAILURES, Failure
from ume_r1_rag.ingest.sources import reread
from ume_r1_rag.ingest.stages import Ahead, Behind
from ume_r1_rag.ingest.windows import Window
from ume_r1_rag.types import Document, Embedding, Encoder, Hit, Mode

if TYPE_CHECKING:
    from collections.abc import Iterator

Triple = tuple[Hit, Document, Embedding]
"""A stored point, its document as it was read again, and what the encoder makes of it."""

_AHEAD = 1


@dataclass(slots=True)
class Sums:
    """What became of the points so far.

    Attributes:
        written: points that were written.
        outdated: points that changed or went while they were encoded, and were left alone.
        failed: points that could not be read, encoded or written.
        failures: the first of them.
        failed_keys: the keys of them all.
        flagged: generations that did not end by themselves in the right format, per issue.
        encode_s: seconds in the encoder.
    """

    written: int = 0
    outdated: int = 0
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)
    failed_keys: set[str] = field(default_factory=set)
    flagged: Counter[str] = field(default_factory=Counter)
    encode_s: float = 0.0

    def fail(self, failures: Sequence[Failure]) -> None:
        """Counts failures, and keeps the first."""
        self.failed += len(failures)
        self.failed_keys.update(failure.key for failure in failures)
        self.failures += failures[: MOST_FAILURES - len(self.failures)]


@dataclass(slots=True)
class _Batch:
    """A window of points on its way through the threads."""

    triples: list[Triple]
    failures: list[Failure]
    written: int = 0


class Again:
    """Reads stored points again, encodes and writes them.

    Attributes:
        sums: what was done so far, by all runs.
    """

    def __init__(
        self,
        encoder: Encoder,
        mode: Mode,
        write: Callable[[Sequence[Triple]], int],
        batch_size: int,
    ) -> None:
        """Prepares a run.

        Args:
            encoder: what encodes.
            mode: which vectors.
            write: writes some points and returns how many it did; what it was not given it leaves alone.
            batch_size: points that are encoded together.
        """
        self._encoder, self._mode, self._write, self._batch_size = encoder, mode, write, batch_size
        self.sums = Sums()

    def run(self, hits: Iterable[Hit], halt: Callable[[], bool], tell: Callable[[], None]) -> bool:
        """Does all points, or as many as ``halt`` allows; returns whether it did them all.

        Args:
            hits: the points.
            halt: asked before each window is encoded; what is being written then is finished.
            tell: called in this thread whenever ``sums`` have changed.
        """
        with (
            Ahead(self._windows(hits), _AHEAD, "ume-r1 reading again") as ahead,
            Behind(self._written, _AHEAD, "ume-r1 writing again") as behind,
        ):
            complete = True
            for window, by_key in ahead:
                if window.documents and halt():
                    complete = False
                    break
                behind.put(self._encode(window, by_key))
                self._count(behind.outcomes(), tell)
        self._count(behind.outcomes(), tell)
        return complete

    def _windows(self, hits: Iterable[Hit]) -> Generator[tuple[Window, dict[str, Hit]], None, None]:
        window, by_key = Window(), dict[str, Hit]()
        for hit in hits:
            by_key[hit.key] = hit
            window.add(self._read(hit), replaces=False)
            if window.is_full(self._batch_size):
                yield window, by_key
                window, by_key = Window(), {}
        if by_key:
            yield window, by_key

    def _read(self, hit: Hit) -> Document | Failure:
        try:
            return reread(
                hit.payload,
                max_page_pixels=self._encoder.max_image_pixels,
                max_frames=self._encoder.max_video_frames,
            )
        except Exception as error:  # noqa: BLE001 -- codecs raise whatever they like
            return failure_of_hit(hit, error)

    def _encode(self, window: Window, by_key: dict[str, Hit]) -> _Batch:
        batch = _Batch([], list(window.failures))
        if not window.documents:
            return batch
        began = time.perf_counter()
        results = self._encoder.encode_document(
            [document.input for document in window.documents], mode=self._mode, on_error="return"
        )
        self.sums.encode_s += time.perf_counter() - began
        for document, result in zip(window.documents, results, strict=True):
            hit = by_key[document.key]
            if isinstance(result, Embedding):
                batch.triples.append((hit, document, result))
            else:
                batch.failures.append(failure_of_hit(hit, result))
        return batch

    def _written(self, batch: _Batch) -> _Batch:
        if not batch.triples:
            return batch
        try:
            batch.written = self._write(batch.triples)
        except (InputError, IndexMismatch):  # one vector is NaN, say: find out whose, and write the others
            kept = []
            for triple in batch.triples:
                try:
                    batch.written += self._write([triple])
                    kept.append(triple)
                except (InputError, IndexMismatch) as error:
                    batch.failures.append(failure_of_hit(triple[0], error))
            batch.triples = kept
        return batch

    def _count(self, batches: Iterator[_Batch], tell: Callable[[], None]) -> None:
        for batch in batches:
            self.sums.written += batch.written
            self.sums.outdated += len(batch.triples) - batch.written
            self.sums.fail(batch.failures)
            self.sums.flagged.update(made.gen_issue for _, _, made in batch.triples if made.gen_issue)
            tell()


def failure_of_hit(hit: Hit, error: Exception) -> Failure:
    """Returns what is reported when a stored point cannot be read, encoded or written again."""
    ours = isinstance(error, UmeR1Error)
    uri = str(hit.payload.get("ume_uri") or hit.key)
    return Failure(
        key=hit.key,
        document=str(hit.payload.get("ume_document") or hit.key),
        uri=uri,
        title=str(hit.payload.get("ume_title") or hit.key),
        error=type(error).__name__ if ours else InputError.__name__,
        reason=unicode_text(str(error) if ours else f"{uri} cannot be read: {type(error).__name__}: {error}"),
    )
