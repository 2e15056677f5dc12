"""Retry: the files that failures are about, to be tried again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ume_r1_rag.errors import FileGone
from ume_r1_rag.ingest.failures import DeadLetters
from ume_r1_rag.ingest.files import File, Folder, Source, Walk, path_of
from ume_r1_rag.ingest.report import Failure, Skipped

REMEDY = "`ume-r1 index --prune FOLDER`, or `ume-r1 delete --document FILE`, takes it out of the index"
"""What to do about a file that is gone."""


def failed_files(
    letters: DeadLetters, paths: Sequence[Source] = ()
) -> Iterator[File | Folder | Failure | Skipped]:
    """Yields the files that have failed, whole or in part, and what is in folders that could not be read.

    Args:
        letters: the index's failures.
        paths: only what is at or below one of these; all by default.
    """
    roots = roots_of(paths)
    found = {
        failure.document: (failure.uri, failure.title)
        for failure in letters
        if not roots or any(is_below(path_of(one), roots) for one in (failure.document, failure.uri))
    }
    for document, (uri, title) in sorted(found.items()):
        file = File(path_of(document), path_of(uri), title)
        if os.path.isdir(file.path):
            yield from Walk([file.path])
        elif Path(file.real).exists():
            yield file
        else:
            yield file.failure(FileGone(f"{uri} is gone: {REMEDY}"))


def roots_of(paths: Sequence[Source]) -> list[str]:
    """Returns each path as it was given, absolute, and without its links."""
    return [
        root for path in paths for root in dict.fromkeys((str(Path(path).absolute()), os.path.realpath(path)))
    ]


def is_below(path: str, roots: Sequence[str]) -> bool:
    """Returns whether an absolute path is one of some roots, or below one."""
    return any(path == root or path.startswith(root.rstrip(os.sep) + os.sep) for root in roots)
