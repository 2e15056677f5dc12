"""Changes: what of a file must be written, by comparing what it gives now with what is stored of it.

A file's part is up to date if it is stored with the same content hash, by the same encoder, in all the
wanted spaces. Stale parts, pages beyond a shorter file's end, are deleted before any part is written. So a
file that is up to date in all its parts has no stale ones either, however often a run was killed on the way;
and no list of finished files is needed.

What fails is noted before anything of the same file is written that comes after it. So whatever is stored of
a file, its first part is stored as well, or stands among the failures: one look tells a new file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ume_r1_rag.ingest.files import File, Folder
from ume_r1_rag.ingest.opened import Opened, ReadOptions, open_file
from ume_r1_rag.ingest.report import Failure, Skipped
from ume_r1_rag.types import Space

if TYPE_CHECKING:
    from ume_r1_rag.index import QdrantIndex, Stored
    from ume_r1_rag.ingest.failures import DeadLetters

_LOOKUP = 256
"""Parts that are looked up at a time."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What makes a stored point up to date.

    Attributes:
        spaces: the vectors that it must have.
        fingerprint: digest of the encoder that must have made them.
        force: whether nothing counts as up to date.
    """

    spaces: frozenset[Space]
    fingerprint: str
    force: bool = False

    def holds(self, stored: Stored, content_hash: str) -> bool:
        """Returns whether a point is what would be written now."""
        made = {"disc": stored.fingerprint, "gen": stored.gen_fingerprint}
        return (
            not self.force
            and stored.content_hash == content_hash
            and self.spaces <= stored.spaces
            and all(made[space] == self.fingerprint for space in self.spaces)
        )


@dataclass(slots=True)
class Change:
    """A file beside what is stored of it.

    Attributes:
        opened: the file.
        todo: numbers of the parts to be written.
        replaced: those of them that are stored already, as they were.
        outdated: those of them that are stored with what the file no longer holds.
        stale: keys of stored parts that the file no longer has.
        settled: keys of failures that are none any more.
    """

    opened: Opened
    todo: list[int] = field(default_factory=list)
    replaced: set[int] = field(default_factory=set)
    outdated: set[int] = field(default_factory=set)
    stale: list[str] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)

    @property
    def unchanged(self) -> int:
        """How many parts are up to date."""
        return self.opened.parts - len(self.todo)


@dataclass(frozen=True, slots=True)
class Settled:
    """A failure that is none any more: a folder that can be read again.

    Attributes:
        key: the folder's.
    """

    key: str


class Comparison:
    """Compares files with an index; reads only.

    Attributes:
        wanted: what counts as up to date.
    """

    def __init__(
        self, index: QdrantIndex | None, wanted: Wanted, reading: ReadOptions, letters: DeadLetters | None
    ) -> None:
        """Keeps what to compare with.

        Args:
            index: the index, or None if there is none yet.
            wanted: what counts as up to date.
            reading: how files are read.
            letters: the index's failures.
        """
        self.wanted = wanted
        self._index, self._reading, self._letters = index, reading, letters

    def changes(
        self, files: Iterable[File | Folder | Failure | Skipped]
    ) -> Iterator[Change | Settled | Failure | Skipped]:
        """Yields what there is to do for each file; one that cannot be opened is a ``Failure``.

        A change's file is open until the next is asked for.
        """
        for file in files:
            if isinstance(file, Folder):
                if self._letters is not None and file.key in self._letters:
                    yield Settled(file.key)
            elif isinstance(file, File):
                opened = self._open(file)
                if isinstance(opened, Failure):
                    yield opened
                    continue
                with opened:
                    yield self._compare(opened)
            else:
                yield file

    def _open(self, file: File) -> Opened | Failure:
        try:
            return open_file(file, self._reading)
        except Exception as error:  # noqa: BLE001 -- codecs raise whatever they like
            return file.failure(error)

    def _compare(self, opened: Opened) -> Change | Failure:
        change = Change(opened)
        failed = self._letters.of(opened.file.key) if self._letters is not None else frozenset()
        known, begun = bool(failed), False
        for start in range(1, opened.parts + 1, _LOOKUP):
            numbers = range(start, min(start + _LOOKUP, opened.parts + 1))
            stored = self._stored(opened, numbers)
            known |= bool(stored)
            if stored and (broken := _unreadable(opened)):
                return broken
            for number in numbers:
                found = stored.get(opened.key(number))
                if found is None:
                    change.todo.append(number)
                    continue
                content_hash = opened.content_hash(number)
                begun |= found.content_hash == content_hash
                if not self.wanted.holds(found, content_hash):
                    change.todo.append(number)
                    change.replaced.add(number)
                if not found.content_hash.startswith(opened.digest):
                    change.outdated.add(number)
        if self._index is not None and change.todo and known and not begun and opened.divisible:
            current = {opened.key(number) for number in range(1, opened.parts + 1)}
            parts = self._index.stored_parts(opened.file.key)
            change.stale = [part.key for part in parts if part.key not in current]
        if failed:
            change.settled = sorted(failed - {opened.key(number) for number in change.todo})
        return change

    def _stored(self, opened: Opened, numbers: range) -> dict[str, Stored]:
        """Returns what is stored under some parts' keys, and under those that tell of an older version."""
        if self._index is None:
            return {}
        keys = [opened.key(number) for number in numbers]
        if numbers.start == 1 and opened.divisible:
            # Whatever was stored of a file, its first part was, or stands among the failures.
            keys += [opened.file.key, f"{opened.file.key}#page=1", f"{opened.file.key}#clip=1"]
        return self._index.stored(dict.fromkeys(keys))


def _unreadable(opened: Opened) -> Failure | None:
    """Returns what is reported if a file's bytes cannot be read, which the content hash needs."""
    try:
        _ = opened.digest
    except OSError as error:
        return opened.file.failure(error)
    return None
