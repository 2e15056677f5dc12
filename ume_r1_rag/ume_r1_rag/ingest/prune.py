"""Prune: deletes what is in the index of files that are gone, and nothing that only seems to be.

A file is gone if its folder says so: the nearest folder above it that exists can be read, and holds
something. An empty one may be a drive that is not mounted, which looks the same; its points are kept, and it
is said so.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ume_r1_rag.ingest.files import Source, path_of
from ume_r1_rag.ingest.report import MOST_FAILURES, Pruned, count_reason
from ume_r1_rag.ingest.retry import is_below, roots_of
from ume_r1_rag.unicode import unicode_text

if TYPE_CHECKING:
    from ume_r1_rag.index import QdrantIndex
    from ume_r1_rag.ingest.failures import DeadLetters

_DELETED: Final = 256
"""Points that are deleted at a time."""

_THERE: Final = ""
_GONE: Final = "gone"


def prune(
    index: QdrantIndex, paths: Sequence[Source], letters: DeadLetters | None = None, *, dry_run: bool = False
) -> Pruned:
    """Deletes the documents, and the failures, of files below some paths that are gone.

    Args:
        index: whose documents, of its tenant alone.
        paths: files and folders; nothing outside of them is looked at. Below one that does not exist, or
            cannot be read, nothing is deleted.
        letters: the index's failures.
        dry_run: only say what would be deleted.
    """
    roots, gone = roots_of(paths), lru_cache(maxsize=4096)(_state)
    points, files, kept, waiting = 0, Counter[str](), Counter[str](), list[str]()
    for hit in index.scroll(fields=["ume_key", "ume_document", "ume_uri", "ume_title"]):
        document = path_of(str(hit.payload.get("ume_document", hit.key)))
        uri = path_of(str(hit.payload.get("ume_uri", "")))
        below = next((path for path in (document, uri) if is_below(path, roots)), None)
        if below is None:
            continue
        state = gone(document, _root_of(below, roots))
        if state == _GONE:
            points += 1
            name = str(hit.payload.get("ume_title") or uri or document)
            if name in files or len(files) < MOST_FAILURES:
                files[name] += 1
            waiting.append(hit.key)
        elif state != _THERE:
            count_reason(kept, state)
        if len(waiting) >= _DELETED and not dry_run:
            index.delete(keys=waiting)
            waiting = []
    if waiting and not dry_run:
        index.delete(keys=waiting)
    if letters is not None and not dry_run:
        _strike_out(letters, roots)
    return Pruned(points, dict(kept), dict(sorted(files.items())))


def _strike_out(letters: DeadLetters, roots: Sequence[str]) -> None:
    for failure in list(letters):
        path = path_of(failure.document)
        if is_below(path, roots) and _state(path, _root_of(path, roots)) == _GONE:
            letters.remove([failure.key])


def _root_of(path: str, roots: Sequence[str]) -> str:
    """Returns the innermost of the roots that a path is below."""
    return max((root for root in roots if is_below(path, [root])), key=len)


def _state(path: str, root: str) -> str:
    """Returns ``_THERE``, ``_GONE``, or why it cannot be known whether a file is gone."""
    try:
        Path(root).stat()
    except OSError as error:
        why = error.strerror or type(error).__name__
        return f"{unicode_text(root)} cannot be reached ({why}): is its drive mounted?"
    try:
        return _GONE if stat.S_ISDIR(Path(path).stat().st_mode) else _THERE
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        return f"{unicode_text(path)} cannot be reached ({error.strerror})"
    return next(state for folder in Path(path).parents if (state := _folder_state(folder)))


def _folder_state(folder: Path) -> str:
    """Returns ``_GONE`` if a folder knows what it holds, why it may not, or nothing if it is gone itself."""
    try:
        with os.scandir(folder) as entries:
            if next(entries, None) is not None:
                return _GONE
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"{unicode_text(str(folder))} cannot be read ({error.strerror})"
    return (
        f"{unicode_text(str(folder))} is empty, like a drive that is not mounted: if all in it was deleted, "
        "delete the folder as well, and prune from the one above"
    )
