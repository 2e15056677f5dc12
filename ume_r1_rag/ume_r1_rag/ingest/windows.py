"""Windows: what is encoded and written together, made from the changes of files, a bounded size each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field, replace

from ume_r1_rag.ingest.changes import Change, Settled
from ume_r1_rag.ingest.report import Failure, Skipped, count_reason
from ume_r1_rag.types import Document, MultimodalInput

MAX_PIXELS = 48_000_000
"""Pixels that close a window before it has all its documents: 144 MB of decoded pictures."""

MAX_NOTES = 256
"""Files without work (unchanged, unknown, broken) that close a window, so that the progress shows."""


@dataclass(slots=True)
class Window:
    """Documents to be encoded, and what is to be done and reported along with them.

    Attributes:
        documents: to be encoded and written.
        replaced: keys of those that take the place of an older version.
        outdated: keys stored with what their files no longer hold; deleted if the new version fails.
        failures: what could not be read.
        stale: keys of stored parts to be deleted, before the documents are written.
        settled: keys of failures that are none any more.
        unchanged: parts that are up to date.
        skipped: files that are none of ours, per reason.
        pixels: of the documents' pictures.
        notes: files that were looked at.
    """

    documents: list[Document] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)
    outdated: set[str] = field(default_factory=set)
    failures: list[Failure] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    unchanged: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    pixels: int = 0
    notes: int = 0

    def add(self, item: Document | Failure, number: int, change: Change) -> None:
        """Takes what became of a part."""
        if number in change.outdated:
            self.outdated.add(item.key)
        if isinstance(item, Failure):
            self.fail(item)
            self.notes += 1
            return
        self.documents.append(item)
        self.pixels += pixels_of(item)
        if number in change.replaced:
            self.replaced.add(item.key)

    def fail(self, failure: Failure) -> None:
        """Takes what could not be read or encoded; an older version of it must not be found any more."""
        self.failures.append(failure)
        if failure.key in self.outdated:
            self.stale.append(failure.key)

    def is_full(self, batch_size: int) -> bool:
        """Returns whether it should be closed."""
        return len(self.documents) >= batch_size or self.pixels >= MAX_PIXELS or self.notes >= MAX_NOTES


def windows(
    changes: Iterable[Change | Settled | Failure | Skipped], batch_size: int
) -> Generator[Window, None, None]:
    """Yields windows of at most ``batch_size`` documents, reading them as it goes."""
    window = Window()
    for change in changes:
        if isinstance(change, Change):
            window.stale += change.stale
            window.settled += change.settled
            window.unchanged += change.unchanged
            window.notes += 1
            for number, item in zip(change.todo, change.opened.documents(change.todo), strict=True):
                window.add(item, number, change)
                if window.is_full(batch_size):
                    yield window
                    window = Window()
        elif isinstance(change, Settled):
            window.settled.append(change.key)
        elif isinstance(change, Failure):
            window.fail(change)
            window.notes += 1
        else:
            count_reason(window.skipped, change.reason)
            window.notes += 1
        if window.is_full(batch_size):
            yield window
            window = Window()
    yield window


def pixels_of(document: Document) -> int:
    """Returns how many decoded pixels a document holds; a file that is yet to be read counts as none."""
    video = document.input.video
    pictures = [*document.input.images, *(video if isinstance(video, tuple) else ())]
    return sum(getattr(one, "width", 0) * getattr(one, "height", 0) for one in pictures)


def without_pictures(document: Document) -> Document:
    """Returns a document for the writer, which needs the words alone: pictures would wait in its queue."""
    if document.kind == "text":
        return document
    return replace(document, input=MultimodalInput(text=document.key))
