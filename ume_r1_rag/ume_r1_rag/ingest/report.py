"""Report: what became of each file, and how far a run is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ume_r1_rag.errors import UmeR1Error


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that should have become a document and did not.

    Attributes:
        key: the document's key, or the file's if no document came of it.
        uri: where the file is.
        error: why.
        title: what a user calls it.
    """

    key: str
    uri: str
    error: UmeR1Error
    title: str = ""


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
class IngestReport:
    """What an ingestion did.

    Attributes:
        indexed: how many documents were written.
        failed: what could not be read or encoded.
        skipped: what was left out on purpose.
        seconds: how long it took.
        kinds: documents written, per kind.
        flagged: generations that did not end by themselves in the right format, per issue.
    """

    indexed: int
    failed: tuple[Failure, ...]
    skipped: tuple[Skipped, ...]
    seconds: float
    kinds: Mapping[str, int]
    flagged: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an ingestion is.

    Attributes:
        indexed: documents written so far.
        failed: failures so far.
        skipped: files left out so far.
        key: the last document of the window just written; empty if none came of it.
    """

    indexed: int
    failed: int
    skipped: int
    key: str
