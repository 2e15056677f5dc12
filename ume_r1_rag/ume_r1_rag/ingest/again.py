"""Again: stored points whose files are read, encoded and written once more: what enrich and reindex share.

Two threads besides the caller's, as in ``pipeline``: one reads, one writes. What the two have in common is in
``stages``, ``windows`` and ``patience``; they differ in what a window is, of files or of points, and in what
becomes of one that fails.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ume_r1_rag.errors import IndexMismatch, IndexRetired, InputError, UmeR1Error
from ume_r1_rag.ingest.patience import Patience
from ume_r1_rag.ingest.report import MOST_FAILURES, Failure
from ume_r1_rag.ingest.sources import reread
from ume_r1_rag.ingest.stages import Ahead, Behind
from ume_r1_rag.ingest.windows import MAX_NOTES, MAX_PIXELS, pixels_of, without_pictures
from ume_r1_rag.types import Document, Embedding, Encoder, Hit, Mode
from ume_r1_rag.unicode import unicode_text

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
        blameless: the keys of those that failed by no fault of their own, but of what encodes or stores them.
        flagged: generations that did not end by themselves in the right format, per issue.
        encode_s: seconds in the encoder.
    """

    written: int = 0
    outdated: int = 0
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)
    failed_keys: set[str] = field(default_factory=set)
    blameless: set[str] = field(default_factory=set)
    flagged: Counter[str] = field(default_factory=Counter)
    encode_s: float = 0.0

    def fail(self, failures: Sequence[Failure]) -> None:
        """Counts failures, and keeps the first."""
        self.failed += len(failures)
        self.failed_keys.update(failure.key for failure in failures)
        self.failures += failures[: MOST_FAILURES - len(self.failures)]


@dataclass(slots=True)
class _Window:
    """Points on their way through the threads: read, encoded, written.

    Attributes:
        read: points with their documents, not encoded yet.
        triples: points that are encoded.
        failures: what cannot be done.
        blameless: the keys of those that fail by no fault of their own.
        pixels: that the documents hold.
        written: how many were written.
    """

    read: list[tuple[Hit, Document]] = field(default_factory=list)
    triples: list[Triple] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    blameless: set[str] = field(default_factory=set)
    pixels: int = 0
    written: int = 0

    def add(self, hit: Hit, item: Document | Failure) -> None:
        """Takes what became of a point."""
        if isinstance(item, Failure):
            self.failures.append(item)
        else:
            self.read.append((hit, item))
            self.pixels += pixels_of(item)

    def fail(self, hit: Hit, error: UmeR1Error) -> None:
        """Takes a point that was read and cannot be encoded or written."""
        self.failures.append(failure_of_hit(hit, error))
        if not isinstance(error, InputError):
            self.blameless.add(hit.key)

    def is_full(self, batch_size: int) -> bool:
        """Returns whether it should be closed."""
        many = len(self.read) >= batch_size or len(self.failures) >= MAX_NOTES
        return many or self.pixels >= MAX_PIXELS


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
        patience: Patience | None = None,
    ) -> None:
        """Prepares a run.

        Args:
            encoder: what encodes.
            mode: which vectors.
            write: writes some points and returns how many it did; what it was not given it leaves alone.
            batch_size: points that are encoded together.
            patience: with the encoder; its own by default, the same one for runs that follow each other.
        """
        self._encoder, self._mode, self._write, self._batch_size = encoder, mode, write, batch_size
        self._patience = patience or Patience()
        self.sums = Sums()

    def run(self, hits: Iterable[Hit], halt: Callable[[], bool], tell: Callable[[], None]) -> bool:
        """Does all points, or as many as ``halt`` allows; returns whether it did them all.

        Args:
            hits: the points.
            halt: asked before each window is encoded; what is being written then is finished.
            tell: called in this thread whenever ``sums`` have changed.

        Raises:
            UmeR1Error: the encoder is broken, see :class:`Patience`; what it encoded before is written.
        """
        with (
            Ahead(self._windows(hits), _AHEAD, "ume-r1 reading again") as ahead,
            Behind(self._written, _AHEAD, "ume-r1 writing again") as behind,
        ):
            complete = True
            for window in ahead:
                if window.read and halt():
                    complete = False
                    break
                broken = self._encode(window)
                behind.put(window)
                if broken is not None:
                    raise broken
                self._count(behind.outcomes(), tell)
        self._count(behind.outcomes(), tell)
        return complete

    def _windows(self, hits: Iterable[Hit]) -> Generator[_Window, None, None]:
        window = _Window()
        for hit in hits:
            window.add(hit, self._read(hit))
            if window.is_full(self._batch_size):
                yield window
                window = _Window()
        if window.read or window.failures:
            yield window

    def _read(self, hit: Hit) -> Document | Failure:
        try:
            return reread(
                hit.payload,
                max_page_pixels=self._encoder.max_image_pixels,
                max_frames=self._encoder.max_video_frames,
            )
        except Exception as error:  # noqa: BLE001 -- codecs raise whatever they like
            return failure_of_hit(hit, error)

    def _encode(self, window: _Window) -> UmeR1Error | None:
        """Encodes a window in place; returns the error of an encoder that fails at everything."""
        if not window.read:
            return None
        began = time.perf_counter()
        inputs = [document.input for _, document in window.read]
        results = self._encoder.encode_document(inputs, mode=self._mode, on_error="return")
        self.sums.encode_s += time.perf_counter() - began
        outcomes = self._patience.take(window.read, results)
        # Pictures would wait in the writer's queue; it needs the words alone.
        window.triples += [(hit, without_pictures(document), made) for (hit, document), made in outcomes.made]
        for (hit, _), error in outcomes.failed:
            window.fail(hit, error)
        window.read = []
        return outcomes.broken

    def _written(self, window: _Window) -> _Window:
        if not window.triples:
            return window
        try:
            window.written = self._write(window.triples)
        except IndexRetired:  # nobody's own fault, and as true of whatever comes next
            raise
        except (InputError, IndexMismatch):  # one vector is NaN, say: find out whose, and write the others
            triples, window.triples = window.triples, []
            for triple in triples:
                try:
                    window.written += self._write([triple])
                    window.triples.append(triple)
                except IndexRetired:
                    raise
                except (InputError, IndexMismatch) as error:
                    window.fail(triple[0], error)
        return window

    def _count(self, windows: Iterator[_Window], tell: Callable[[], None]) -> None:
        for window in windows:
            self.sums.written += window.written
            self.sums.outdated += len(window.triples) - window.written
            self.sums.fail(window.failures)
            self.sums.blameless |= window.blameless
            self.sums.flagged.update(made.gen_issue for _, _, made in window.triples if made.gen_issue)
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
