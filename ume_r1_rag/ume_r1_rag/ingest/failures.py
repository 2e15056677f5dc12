"""Failures: the index's list of what could not be indexed, for people and for the next try."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ume_r1_rag.ingest.report import Failure

if TYPE_CHECKING:
    from ume_r1_rag.index import QdrantIndex

SUFFIX = "failures"
"""What the companion collection's name ends in."""

LONGEST_REASON = 2000


class DeadLetters:
    """The failures of one tenant that no later try has undone, stored beside the index.

    Memory grows with the failures (their keys), not with the files. Reading and writing may be done by two
    threads.
    """

    def __init__(self, index: QdrantIndex) -> None:
        """Reads which failures there are."""
        self._side = index.side_collection(SUFFIX)
        self._attempts: dict[str, int] = {}
        self._parts: dict[str, set[str]] = {}
        for key, record in self._side.items():
            self._note(_failure(key, record))

    def __len__(self) -> int:
        """Returns how many there are."""
        return len(self._attempts)

    def __contains__(self, key: object) -> bool:
        """Returns whether a document or file of that key failed."""
        return key in self._attempts

    def __iter__(self) -> Iterator[Failure]:
        """Yields them as they are stored, in no particular order."""
        for key, record in self._side.items():
            yield _failure(key, record)

    def of(self, document: str) -> frozenset[str]:
        """Returns the keys of a file's failures, parts and the file itself."""
        return frozenset(self._parts.get(document, ()))

    def record(self, failures: Iterable[Failure]) -> list[Failure]:
        """Stores failures, each with the time and one attempt more than before; returns them so."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        counted = [
            replace(
                failure,
                attempts=self._attempts.get(failure.key, 0) + 1,
                at=at,
                reason=failure.reason[:LONGEST_REASON],
            )
            for failure in failures
        ]
        self._side.put({failure.key: _record(failure) for failure in counted})
        for failure in counted:
            self._note(failure)
        return counted

    def remove(self, keys: Iterable[str]) -> None:
        """Strikes out what has succeeded since, or is gone; unknown keys cost nothing."""
        known = [key for key in keys if key in self._attempts]
        if not known:
            return
        self._side.delete(known)
        for key in known:
            del self._attempts[key]
        gone = frozenset(known)
        self._parts = {document: left for document, parts in self._parts.items() if (left := parts - gone)}

    def _note(self, failure: Failure) -> None:
        self._attempts[failure.key] = failure.attempts
        self._parts.setdefault(failure.document, set()).add(failure.key)


def _record(failure: Failure) -> dict[str, Any]:
    fields = asdict(failure)
    del fields["key"]
    return fields


def _failure(key: str, record: Mapping[str, Any]) -> Failure:
    attempts = record.get("attempts")
    texts = {name: str(record.get(name, "")) for name in ("uri", "title", "error", "reason", "at")}
    return Failure(
        key=key,
        document=str(record.get("document", key)),
        attempts=attempts if isinstance(attempts, int) else 1,
        **texts,
    )
