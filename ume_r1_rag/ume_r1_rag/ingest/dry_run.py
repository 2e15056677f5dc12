"""Dry run: what an ingestion would do, without encoding or writing anything, and without a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ume_r1_rag.encoder.fingerprint import digest, spaces_in
from ume_r1_rag.errors import ConfigError
from ume_r1_rag.ingest.changes import Change, Comparison, Wanted
from ume_r1_rag.ingest.failures import DeadLetters
from ume_r1_rag.ingest.files import Source, Walk, as_paths
from ume_r1_rag.ingest.opened import ReadOptions
from ume_r1_rag.ingest.prune import prune as prune_gone
from ume_r1_rag.ingest.report import MOST_FAILURES, Failure, Pruned, Skipped, count_reason
from ume_r1_rag.ingest.retry import failed_files
from ume_r1_rag.ingest.segments import SEGMENT_S
from ume_r1_rag.types import Mode, mode_of, spaces_of

if TYPE_CHECKING:
    from ume_r1_rag.index import QdrantIndex


@dataclass(frozen=True, slots=True)
class FileDryRun:
    """What would be done with one file.

    Attributes:
        title: what a user calls it; untrusted.
        uri: where it is; untrusted.
        new: documents that would be written for the first time.
        replaced: documents that would take the place of an older version, or get a further vector.
        unchanged: documents that would be left alone.
        removed: parts that would be deleted, as the file no longer has them.
    """

    title: str
    uri: str
    new: int
    replaced: int
    unchanged: int
    removed: int


@dataclass(frozen=True, slots=True)
class DryRun:
    """What an ingestion would do. Whether a picture can be decoded, or a text encoded, only doing it shows.

    Attributes:
        new: documents that would be written for the first time.
        replaced: documents that would take the place of an older version, or get a further vector.
        kinds: both together, per kind.
        unchanged: documents that would be left alone.
        removed: parts that would be deleted, as their files no longer have them.
        pruned: documents that would be deleted as their files are gone; None unless asked for.
        failed: files that cannot be opened.
        failures: the first of them.
        skipped: files that would be left out, per reason.
    """

    new: int
    replaced: int
    kinds: Mapping[str, int]
    unchanged: int
    removed: int
    pruned: Pruned | None
    failed: int
    failures: tuple[Failure, ...]
    skipped: Mapping[str, int]

    @property
    def ok(self) -> bool:
        """Whether nothing would fail that can be known, and nothing be kept from being pruned."""
        return not self.failed and not (self.pruned and self.pruned.kept)

    @property
    def found(self) -> bool:
        """Whether there is anything that could be indexed, or should be."""
        return bool(self.new or self.replaced or self.unchanged or self.failed)


def dry_run(
    index: QdrantIndex | None,
    paths: Source | Iterable[Source] = (),
    mode: Mode | None = None,
    *,
    fingerprint: Mapping[str, Any] | None = None,
    max_page_pixels: int | None = None,
    segment_s: float = SEGMENT_S,
    prune: bool = False,
    force: bool = False,
    retry_failed: bool = False,
    on_file: Callable[[FileDryRun], None] | None = None,
) -> DryRun:
    """Returns what :func:`ingest` would do with the same arguments.

    Args:
        index: the index, or None if there is none yet.
        paths: files and folders.
        mode: which vectors each document would get; all that the encoder has by default.
        fingerprint: the encoder's; by default that of the index.
        max_page_pixels: see ``ingest``.
        segment_s: see ``ingest``.
        prune: see ``ingest``.
        force: see ``ingest``.
        retry_failed: see ``ingest``.
        on_file: called with each file that was opened, in order.

    Raises:
        ConfigError: an option has an impossible value.
        IndexMismatch: the fingerprint is not the index's.
    """
    given = as_paths(paths)
    if not given and not retry_failed:
        raise ConfigError("no paths are given: name files or folders")
    if index is not None and fingerprint is not None:
        index.check(fingerprint, ignore=())
    made_by = fingerprint or (index.fingerprint if index is not None else {})
    mode = mode or mode_of(spaces_in(made_by))
    letters = None if index is None else DeadLetters(index)
    wanted = Wanted(frozenset(spaces_of(mode)), digest(made_by), force)
    comparison = Comparison(index, wanted, ReadOptions.of(None, max_page_pixels, segment_s), letters)
    if retry_failed:
        files = iter(()) if letters is None else failed_files(letters, given)
    else:
        files = iter(Walk(given))
    kinds, skipped = Counter[str](), Counter[str]()
    failures: list[Failure] = []
    new = replaced = unchanged = removed = failed = 0
    for change in comparison.changes(files):
        if isinstance(change, Change):
            one = _file_dry_run(change)
            new, replaced, unchanged = new + one.new, replaced + one.replaced, unchanged + one.unchanged
            removed += one.removed
            kinds[change.opened.kind] += one.new + one.replaced
            if on_file is not None:
                on_file(one)
        elif isinstance(change, Failure):
            failed += 1
            failures += [change][: MOST_FAILURES - len(failures)]
        elif isinstance(change, Skipped):
            count_reason(skipped, change.reason)
    pruned = prune_gone(index, given, dry_run=True) if prune and index is not None else None
    return DryRun(
        new, replaced, dict(+kinds), unchanged, removed, pruned, failed, tuple(failures), dict(skipped)
    )


def _file_dry_run(change: Change) -> FileDryRun:
    file, replaced = change.opened.file, len(change.replaced)
    return FileDryRun(
        title=file.title,
        uri=file.uri,
        new=len(change.todo) - replaced,
        replaced=replaced,
        unchanged=change.unchanged,
        removed=len(change.stale),
    )
