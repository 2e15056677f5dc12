"""Removal: takes documents out of an index by name or by filter, with what is noted of their failures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.index.filters import to_filter
from ume_r1_rag.ingest.failures import DeadLetters
from ume_r1_rag.unicode import unicode_text

if TYPE_CHECKING:
    from ume_r1_rag.index import Filter, QdrantIndex
    from ume_r1_rag.types import Hit

_NAMES: Final = ("document", "title", "key", "uri")
"""The fields by which a document is called."""

_DELETED: Final = 256
"""Points that are deleted at a time."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What was deleted, or would be. All names are untrusted text.

    Attributes:
        points: how many documents.
        kinds: the same, per kind.
        files: the files that they are parts of, by key, each with how many.
        failures: how many entries of the list of failures.
        unknown: the names by which nothing of this tenant is called.
    """

    points: int
    kinds: Mapping[str, int]
    files: Mapping[str, int]
    failures: int
    unknown: tuple[str, ...]


def remove(
    index: QdrantIndex,
    documents: Sequence[str] = (),
    filter: Filter = None,
    *,
    everything: bool = False,
    dry_run: bool = False,
) -> Removal:
    """Deletes documents of the index's tenant, and nothing of any other; returns what it was.

    Files stay where they are: one that is still there comes back with the next ingestion of its folder. The
    version that is open is deleted from; earlier ones keep what they have until they are dropped, and so does
    an embedding cache.

    Args:
        index: where from; its tenant's documents alone.
        documents: files, by path or by title, of which all parts go, and their failures; or one part by its
            key (``/path/report.pdf#page=3``).
        filter: only documents that match; see :func:`ume_r1_rag.index.to_filter`. With one failures stay.
        everything: all documents, and all failures, of the tenant.
        dry_run: only say what would be deleted.

    Raises:
        ConfigError: nothing is named, or something beside ``everything``.
    """
    chosen = to_filter(filter)
    if chosen is not None and not any(chosen.model_dump(exclude_none=True).values()):
        raise ConfigError("an empty filter matches every document: say everything=True if that is meant")
    if everything == bool(documents or chosen):
        raise ConfigError("name documents, a filter or both; or nothing of these, and everything=True")
    called = _called(documents)
    kinds, files, known = Counter[str](), Counter[str](), set[str]()
    keys: list[str] = []
    for hit in _selected(index, called, filter):
        kinds[str(hit.payload.get("ume_kind", ""))] += 1
        files[str(hit.payload.get("ume_document", hit.key))] += 1
        keys.append(hit.key)
        for field in _NAMES:
            known |= called.get(str(hit.payload.get(f"ume_{field}", "")), set())
    letters = DeadLetters(index)
    struck: list[str] = []
    for failure in letters if chosen is None else ():
        names = [
            called.get(one, set()) for one in (failure.document, failure.title, failure.key, failure.uri)
        ]
        if everything or any(names):
            struck.append(failure.key)
            known = known.union(*names)
    if not dry_run:
        for start in range(0, len(keys), _DELETED):
            index.delete(keys=keys[start : start + _DELETED])
        letters.remove(struck)
    unknown = tuple(name for name in documents if name not in known)
    return Removal(len(keys), dict(kinds), dict(sorted(files.items())), len(struck), unknown)


def _selected(index: QdrantIndex, called: Mapping[str, set[str]], filter: Filter) -> Iterator[Hit]:
    """Yields each document once; every way to one leads through the index, and so to its tenant's alone."""
    from qdrant_client import models

    fields = [f"ume_{field}" for field in (*_NAMES, "kind")]
    if not called:
        yield from index.scroll(filter, fields)
        return
    chosen, seen = to_filter(filter), set[str]()
    for field in _NAMES:
        both: list[models.Condition] = [
            one for one in (chosen, to_filter({field: list(called)})) if one is not None
        ]
        for hit in index.scroll(models.Filter(must=both), fields):
            if hit.id not in seen:
                seen.add(hit.id)
                yield hit


def _called(documents: Sequence[str]) -> dict[str, set[str]]:
    """Returns what the named may be called in an index, each with the names that mean it.

    A path is kept absolute and without its links; it is meant as it stands, too.
    """
    found = defaultdict[str, set[str]](set)
    for name in documents:
        paths = [] if "\0" in name else [str(Path(name).absolute()), str(Path(name).resolve())]
        for one in (name, *paths):
            found[unicode_text(one)].add(name)
    return dict(found)
