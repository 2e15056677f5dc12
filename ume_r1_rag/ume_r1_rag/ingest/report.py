"""Report: what became of each file, and how far a run is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ume_r1_rag.errors import UmeR1Error
from ume_r1_rag.types import Document
from ume_r1_rag.unicode import unicode_text

MOST_FAILURES = 1000
"""Failures that a report holds one by one; the index's list of failures holds them all."""

MOST_REASONS = 100
"""Reasons for skipping that a report tells apart: extensions alone may be as many as files."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that should have become a document and did not. All of its text is untrusted.

    Attributes:
        key: the document's key, or the file's if none of its documents could be had.
        document: the file's key.
        uri: where the file is.
        title: what a user calls the file.
        error: class of the error, e.g. ``"InputError"``.
        reason: its message.
        attempts: how often it was tried.
        at: when it was tried last, in UTC as ISO 8601; empty before it is recorded.
    """

    key: str
    document: str
    uri: str
    title: str
    error: str
    reason: str
    attempts: int = 1
    at: str = ""

    @property
    def part(self) -> str:
        """Which part of the file: ``"page=3"``, ``"clip=2"``; empty for the whole of it."""
        return self.key[len(self.document) + 1 :] if self.key.startswith(f"{self.document}#") else ""

    @property
    def name(self) -> str:
        """What a user calls it: the title, with the part."""
        return f"{self.title}#{self.part}" if self.part else self.title


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is none of ours.

    Attributes:
        uri: where it is.
        reason: why it was left out.
    """

    uri: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pruned:
    """What became of points whose files are gone.

    Attributes:
        points: how many were deleted (or would be).
        kept: why points were kept whose files seem to be gone, each with how many.
        files: the first ``MOST_FAILURES`` files that are gone, by title, each with how many points; untrusted
            text, and not compared.
    """

    points: int = 0
    kept: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingestion did.

    Attributes:
        indexed: documents written.
        kinds: the same, per kind.
        replaced: how many of them took the place of an older version.
        unchanged: documents that were in the index as they are, and were not touched.
        removed: parts deleted that a changed file no longer has, or that cannot be read or encoded any more.
        pruned: documents deleted whose files are gone; None unless asked for.
        failed: documents and files that could not be read or encoded.
        failures: the first of them; all are in the index's list, see ``DeadLetters``.
        skipped: files left out on purpose, per reason.
        flagged: generations that did not end by themselves in the right format, per issue.
        seconds: how long it took.
        encode_s: seconds of that in which the encoder ran.
    """

    indexed: int
    kinds: Mapping[str, int]
    replaced: int
    unchanged: int
    removed: int
    pruned: Pruned | None
    failed: int
    failures: tuple[Failure, ...]
    skipped: Mapping[str, int]
    flagged: Mapping[str, int]
    seconds: float
    encode_s: float

    @property
    def ok(self) -> bool:
        """Whether nothing failed, and nothing was kept from being pruned."""
        return not self.failed and not (self.pruned and self.pruned.kept)

    @property
    def found(self) -> bool:
        """Whether there was anything that could be indexed, or should have been."""
        return bool(self.indexed or self.unchanged or self.failed)

    def __str__(self) -> str:
        """Returns it as lines for people."""
        from ume_r1_rag.ingest.summary import report_text

        return report_text(self)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an ingestion is.

    Attributes:
        indexed: documents written so far.
        unchanged: documents found as they are so far.
        failed: failures so far.
        skipped: files left out so far.
        key: the last document that was written; empty if none was.
    """

    indexed: int
    unchanged: int
    failed: int
    skipped: int
    key: str


def count_reason(reasons: Counter[str], reason: str, times: int = 1) -> None:
    """Counts a reason; beyond ``MOST_REASONS`` of them the rest is one."""
    known = reason in reasons or len(reasons) < MOST_REASONS
    reasons[reason if known else "other reasons"] += times


def failure_of(document: Document, error: UmeR1Error) -> Failure:
    """Returns what is reported when a document that was read cannot be encoded or written."""
    return Failure(
        key=document.key,
        document=document.document or document.key,
        uri=document.uri,
        title=document.title,
        error=type(error).__name__,
        reason=unicode_text(str(error)),
    )
