"""Pipeline: files become documents, documents become points. Nothing is held but a few windows.

One thread reads, rasterises and decodes, because PDFium admits one; one writes; between them windows are
encoded, two at a time where that is disc alone: while one is in the model the next is cut into patches.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ume_r1_rag.encoder.fingerprint import digest
from ume_r1_rag.errors import ConfigError, InputError, UmeR1Error
from ume_r1_rag.ingest.changes import Comparison, Wanted
from ume_r1_rag.ingest.failures import DeadLetters
from ume_r1_rag.ingest.files import Source, Walk, as_paths
from ume_r1_rag.ingest.opened import ReadOptions
from ume_r1_rag.ingest.patience import Patience
from ume_r1_rag.ingest.prune import prune as prune_gone
from ume_r1_rag.ingest.report import (
    MOST_FAILURES,
    Failure,
    IngestReport,
    Progress,
    Pruned,
    count_reason,
    failure_of,
)
from ume_r1_rag.ingest.retry import failed_files
from ume_r1_rag.ingest.segments import SEGMENT_S
from ume_r1_rag.ingest.stages import Ahead, AtOnce, Behind, BusyClock
from ume_r1_rag.ingest.windows import Window, windows, without_pictures
from ume_r1_rag.retriever.canary import recheck
from ume_r1_rag.types import Document, Embedding, Encoder, Mode, mode_of, spaces_of

if TYPE_CHECKING:
    from ume_r1_rag.index import QdrantIndex

AHEAD = 1
"""Windows that wait between two threads; with those in work, up to four hold pictures at a time."""

AT_ONCE = 2
"""Windows that are encoded at a time, disc alone: with gen, preparing is nothing beside generating."""


def ingest(
    encoder: Encoder,
    index: QdrantIndex,
    paths: Source | Iterable[Source] = (),
    mode: Mode | None = None,
    *,
    batch_size: int = 16,
    max_page_pixels: int | None = None,
    segment_s: float = SEGMENT_S,
    prune: bool = False,
    force: bool = False,
    retry_failed: bool = False,
    bulk: bool = False,
    progress: Callable[[Progress], None] | None = None,
    show_progress: bool = False,
) -> IngestReport:
    """Encodes what is new or changed under some paths and writes it to an index; returns what happened.

    What is in the index as it would be written now is left alone, part by part; so a run that was broken off,
    even killed, goes on when it is started again. A file or document that fails is reported and kept in the
    index's list of failures, and the run goes on. An encoder or index that fails as such (an encoder also by
    failing ``BROKEN_AFTER`` documents in a row that are not to blame) ends the run with its error, after what
    was encoded has been written.

    Args:
        encoder: what encodes; its fingerprint must be the index's.
        index: where the documents go.
        paths: files and folders, see :class:`Walk`.
        mode: which vectors each document gets; all that the encoder has by default. Of an unchanged document
            the others are kept.
        batch_size: documents that are encoded together.
        max_page_pixels: pixels of a rendered page; the encoder's ``max_image_pixels`` by default.
        segment_s: seconds of the segments that a video is cut into.
        prune: afterwards delete what is in the index of files below ``paths`` that are gone.
        force: write everything again, unchanged or not.
        retry_failed: try only files in the list of failures: those below ``paths``, or all if none are given.
        bulk: build a server's search graph once, when all is written.
        progress: called in this thread after each window.
        show_progress: show a bar on standard error.

    Raises:
        ConfigError: an option has an impossible value, or the encoder lacks a space.
        IndexMismatch: the index was written by another encoder.
    """
    given = as_paths(paths)
    if not given and not retry_failed:
        raise ConfigError("no paths are given: name files or folders")
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size}: encode at least one document at a time")
    mode = mode or mode_of(encoder.spaces)
    spaces = frozenset(spaces_of(mode))
    if lacking := spaces - frozenset(encoder.spaces):
        raise ConfigError(f"mode={mode!r}: this encoder has no {', '.join(sorted(lacking))} vectors")
    index.check(encoder.fingerprint, ignore=())
    recheck(encoder, index, keep=True)
    reading = ReadOptions.of(encoder, max_page_pixels, segment_s)
    letters = DeadLetters(index)
    wanted = Wanted(spaces, digest(encoder.fingerprint), force)
    files = failed_files(letters, given) if retry_failed else iter(Walk(given))
    changes = Comparison(index, wanted, reading, letters).changes(files)
    run = _Run(encoder, _Writer(index, letters), mode, progress)
    with index.bulk() if bulk else nullcontext():
        run.do(windows(changes, batch_size), show_progress)
    return run.report(prune_gone(index, given, letters) if prune else None)


@dataclass(frozen=True, slots=True)
class _Answered:
    """A window with what the encoder made of its documents."""

    window: Window
    documents: list[Document]
    results: list[Embedding | UmeR1Error]


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A window whose documents are encoded, and hold no pictures any more."""

    window: Window
    pairs: list[tuple[Document, Embedding]]


@dataclass(slots=True)
class _Written:
    """What became of a window."""

    window: Window
    pairs: list[tuple[Document, Embedding]]
    failures: list[Failure] = field(default_factory=list)


class _Writer:
    """Writes windows, in a thread of its own."""

    def __init__(self, index: QdrantIndex, letters: DeadLetters) -> None:
        self._index, self._letters = index, letters

    def write(self, encoded: _Encoded) -> _Written:
        """Writes one window. The order matters if this process is killed in between: see ``changes``."""
        window = encoded.window
        written = _Written(window, [], self._letters.record(window.failures))
        if window.stale:
            self._index.delete(keys=window.stale)
        if encoded.pairs:
            try:
                self._upsert(encoded.pairs)
                written.pairs = encoded.pairs
            except InputError:  # one vector is NaN, say: find out whose, and write the others
                self._one_by_one(encoded.pairs, written)
        self._letters.remove(window.settled)
        self._letters.remove(document.key for document, _ in written.pairs)
        return written

    def _one_by_one(self, pairs: list[tuple[Document, Embedding]], written: _Written) -> None:
        for pair in pairs:
            try:
                self._upsert([pair])
                written.pairs.append(pair)
            except InputError as error:
                written.failures += self._letters.record([failure_of(pair[0], error)])
                if pair[0].key in written.window.outdated:
                    written.window.stale.append(pair[0].key)
                    self._index.delete(keys=[pair[0].key])

    def _upsert(self, pairs: list[tuple[Document, Embedding]]) -> None:
        documents, embeddings = zip(*pairs, strict=True)
        self._index.upsert(documents, embeddings)


class _Run:
    """One ingestion: the encoder's side of it, and the sums."""

    def __init__(
        self, encoder: Encoder, writer: _Writer, mode: Mode, progress: Callable[[Progress], None] | None
    ) -> None:
        self._encoder, self._writer, self._mode, self._progress = encoder, writer, mode, progress
        self._started = time.perf_counter()
        self._encoding = BusyClock()
        self._kinds, self._flagged, self._skipped = Counter[str](), Counter[str](), Counter[str]()
        self._replaced = self._unchanged = self._removed = self._failed = 0
        self._failures: list[Failure] = []
        self._patience = Patience()
        self._last = ""

    def do(self, found: Generator[Window, None, None], show_progress: bool) -> None:
        """Reads, encodes and writes until all is written."""
        from tqdm import tqdm

        with tqdm(desc="indexing", unit=" documents", disable=not show_progress) as bar:
            with (
                Ahead(found, AHEAD, "ume-r1 reading") as ahead,
                Behind(self._writer.write, AHEAD, "ume-r1 writing") as behind,
                self._answers(ahead) as answers,
            ):
                for answered in answers:
                    encoded, broken = self._take(answered)
                    behind.put(encoded)
                    if broken is not None:
                        raise broken
                    for written in behind.outcomes():
                        self._count(written, bar)
            for written in behind.outcomes():
                self._count(written, bar)

    def _answers(self, found: Iterable[Window]) -> AbstractContextManager[Iterable[_Answered]]:
        if self._mode == "disc":
            return AtOnce(self._encode, found, AT_ONCE, "ume-r1 encoding")
        return nullcontext(map(self._encode, found))

    def report(self, pruned: Pruned | None) -> IngestReport:
        """Returns what was done."""
        return IngestReport(
            indexed=self._kinds.total(),
            kinds=dict(self._kinds),
            replaced=self._replaced,
            unchanged=self._unchanged,
            removed=self._removed,
            pruned=pruned,
            failed=self._failed,
            failures=tuple(self._failures),
            skipped=dict(self._skipped),
            flagged=dict(self._flagged),
            seconds=time.perf_counter() - self._started,
            encode_s=self._encoding.seconds,
        )

    def _encode(self, window: Window) -> _Answered:
        """Returns what the encoder makes of a window, which lets go of its documents."""
        documents, window.documents = window.documents, []
        if not documents:
            return _Answered(window, [], [])
        with self._encoding:
            inputs = [document.input for document in documents]
            results = self._encoder.encode_document(inputs, mode=self._mode, on_error="return")
        return _Answered(window, [without_pictures(document) for document in documents], results)

    def _take(self, answered: _Answered) -> tuple[_Encoded, UmeR1Error | None]:
        """Returns a window's embeddings, and the error of an encoder that fails at everything."""
        outcomes = self._patience.take(answered.documents, answered.results)
        for document, error in outcomes.failed:
            answered.window.fail(failure_of(document, error))
        return _Encoded(answered.window, outcomes.made), outcomes.broken

    def _count(self, written: _Written, bar: Any) -> None:
        window = written.window
        self._kinds.update(document.kind for document, _ in written.pairs)
        self._flagged.update(embedding.gen_issue for _, embedding in written.pairs if embedding.gen_issue)
        self._replaced += sum(document.key in window.replaced for document, _ in written.pairs)
        self._unchanged += window.unchanged
        self._removed += len(window.stale)
        self._failed += len(written.failures)
        self._failures += written.failures[: MOST_FAILURES - len(self._failures)]
        for reason, times in window.skipped.items():
            count_reason(self._skipped, reason, times)
        if written.pairs:
            self._last = written.pairs[-1][0].key
        bar.set_postfix(unchanged=self._unchanged, failed=self._failed, refresh=False)
        bar.update(len(written.pairs))
        if self._progress is not None:
            skipped = self._skipped.total()
            self._progress(Progress(self._kinds.total(), self._unchanged, self._failed, skipped, self._last))
