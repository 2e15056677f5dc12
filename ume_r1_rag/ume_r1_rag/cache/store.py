"""Store: vectors and the texts that came with them in one SQLite file, which many processes may share.

A row is one vector of one input. Vectors are little-endian float32, everything else is JSON: reading a
foreign file can give wrong numbers at worst, and the checksum of each row prevents that too.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ume_r1_rag.describe import describe, shorten
from ume_r1_rag.errors import CacheUnavailable, ConfigError

if TYPE_CHECKING:
    from ume_r1_rag.types import Space, Vector

logger = logging.getLogger(__name__)

FORMAT = 1
"""Raised when the rows of an older file could no longer be read."""

MIN_BYTES = 1 << 20
"""A bound below this would be spent on the file's own structure."""

_APPLICATION = 0x554D4552
"""Marks the file as ours, in the header field that SQLite has for this."""

_WAIT_S = 30.0
_TOUCH_S = 60
"""A row's last use is noted at most this often: a hit should not be a write."""

_EVICTED_AT_ONCE = 64

_TABLE = """
CREATE TABLE entries (
  key TEXT NOT NULL, space TEXT NOT NULL, tenant TEXT, used INTEGER NOT NULL,
  vector BLOB NOT NULL, samples BLOB, data TEXT NOT NULL, digest BLOB NOT NULL,
  UNIQUE (key, space)
);
CREATE INDEX entries_used ON entries (used);
"""


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What a cache file holds, and what one ``CachedEncoder`` had of it.

    Attributes:
        entries: vectors in the file, of all tenants.
        bytes: the file's size in use, without its journal.
        hits: inputs that cost no encoding, second ones of their kind within a call among them.
        misses: inputs that were encoded and kept.
        uncached: inputs that could not be kept: URLs, failures, files that changed while they were encoded.
    """

    entries: int
    bytes: int
    hits: int
    misses: int
    uncached: int


@dataclass(frozen=True, slots=True)
class Row:
    """One vector and what belongs to it.

    Attributes:
        vector: ``(D,)`` float32.
        samples: ``(k, D)`` float32, or None.
        data: whatever else is to be had again, as JSON holds it.
    """

    vector: Vector
    samples: Vector | None
    data: dict[str, Any]


class Store:
    """The SQLite file. Safe to call from several threads and processes.

    Attributes:
        path: the file.
    """

    def __init__(self, path: str | Path, max_bytes: int | None = None) -> None:
        """Opens the file, or makes it.

        Args:
            path: the file; folders above it are made too. Not on a network drive: SQLite's journal needs
                memory that its processes share.
            max_bytes: the file is kept below this by dropping what was not used for longest.

        Raises:
            ConfigError: ``max_bytes`` is too small to hold anything.
            CacheUnavailable: the file is no cache, or cannot be read or written.
        """
        if max_bytes is not None and max_bytes < MIN_BYTES:
            raise ConfigError(f"max_bytes={max_bytes} holds no cache: give at least {MIN_BYTES}, or None")
        self.path, self._max_bytes = Path(path), max_bytes
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        with self._use():
            pass

    def read(self, keys: Iterable[str], dimension: int) -> dict[tuple[str, Space], Row]:
        """Returns the rows of some keys by key and space; absent ones are left out.

        Raises:
            CacheUnavailable: the file, or one of these rows, is damaged.
        """
        found: dict[tuple[str, Space], Row] = {}
        now = int(time.time())
        with self._use() as connection:
            rows = connection.execute(
                "SELECT key, space, used, vector, samples, data, digest FROM entries "
                "WHERE key IN (SELECT value FROM json_each(?))",
                (json.dumps(list(keys)),),
            ).fetchall()
            stale = []
            for key, space, used, *content in rows:
                found[key, space] = self._row(key, space, content, dimension)
                if used < now - _TOUCH_S:
                    stale.append((now, key, space))
            self._touch(connection, stale)
        return found

    def write(self, rows: Iterable[tuple[str, Space, Row]], tenant: str | None) -> None:
        """Adds rows; one that is there already, from another process say, stays.

        What cannot be written, on a full disk say, is logged and left out: whoever encoded it has it.

        Raises:
            CacheUnavailable: the file is damaged.
        """
        now = int(time.time())
        values = [(key, space, tenant, now, *_packed(key, space, row)) for key, space, row in rows]
        try:
            with self._use() as connection:
                with connection:
                    connection.execute("BEGIN IMMEDIATE")
                    connection.executemany(
                        "INSERT INTO entries (key, space, tenant, used, vector, samples, data, digest) "
                        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                        values,
                    )
                    evicted = self._evict(connection)
                if evicted:
                    _shrink(connection)
        except CacheUnavailable as error:
            if not isinstance(error.__cause__, sqlite3.OperationalError):
                raise
            logger.warning("%d embeddings were not kept: %s", len(values), error)

    def clear(self, tenant: str | None) -> int:
        """Deletes the rows of a tenant and returns how many there were."""
        with self._use() as connection:
            count = connection.execute("DELETE FROM entries WHERE tenant IS ?", (tenant,)).rowcount
            _shrink(connection)
        return count

    def size(self) -> tuple[int, int]:
        """Returns how many rows there are, and the bytes they take in the file."""
        with self._use() as connection:
            (count,) = connection.execute("SELECT count(*) FROM entries").fetchone()
            return count, _bytes(connection)

    def close(self) -> None:
        """Closes the file; it is opened again when it is used again."""
        with self._lock:
            connection, self._connection = self._connection, None
            # A connection that came along through a fork belongs to the other process.
            if connection is not None and self._process == os.getpid():
                connection.close()

    @contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        """Yields the connection of this process, and words what goes wrong with its file."""
        with self._lock:
            try:
                if self._connection is None or self._process != os.getpid():
                    self._connection, self._process = self._open(), os.getpid()
                yield self._connection
            except (sqlite3.Error, OSError) as error:
                raise self._unavailable(f"{type(error).__name__}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Autocommit: transactions are begun where they are needed.
        connection = sqlite3.connect(
            self.path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Makes the table, or checks that it is ours."""
        if not self._is_ours(connection):
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        _retried(connection, "PRAGMA journal_mode = WAL")
        # In WAL mode a power failure may lose the last rows, but tears none.
        connection.execute("PRAGMA synchronous = NORMAL")
        _retried(connection, "BEGIN IMMEDIATE")
        with connection:
            if not self._is_ours(connection):
                for statement in filter(str.strip, _TABLE.split(";")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                connection.execute(f"PRAGMA user_version = {FORMAT}")

    def _is_ours(self, connection: sqlite3.Connection) -> bool:
        """Returns whether it is a cache already; an empty file is not, any other is an error."""
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables:
            return False
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application != _APPLICATION:
            raise CacheUnavailable(
                f"{describe(self.path)} is another program's database: name another file for the cache"
            )
        if version != FORMAT:
            raise CacheUnavailable(
                f"the cache {describe(self.path)} has format {version}, this package reads {FORMAT}: delete "
                "it, or name another file; all it holds can be computed again"
            )
        return True

    def _row(self, key: str, space: Space, content: Sequence[Any], dimension: int) -> Row:
        import numpy as np

        vector, samples, data, digest = content
        size = 4 * dimension
        sound = digest == _checksum(key, space, vector, samples, data)
        if not sound or len(vector) != size or (samples is not None and len(samples) % size):
            raise self._unavailable("a row does not have the checksum it was written with")
        # Copies: an array over the bytes themselves could not be written to.
        return Row(
            np.frombuffer(vector, dtype="<f4").astype(np.float32),
            None
            if samples is None
            else np.frombuffer(samples, dtype="<f4").reshape(-1, dimension).astype(np.float32),
            json.loads(data),
        )

    def _touch(self, connection: sqlite3.Connection, stale: Sequence[tuple[int, str, str]]) -> None:
        if not stale:
            return
        try:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("UPDATE entries SET used = ? WHERE key = ? AND space = ?", stale)
        except sqlite3.OperationalError as error:  # a full disk, say: no reason to refuse what was read
            logger.debug("the use of %d rows was not noted: %s", len(stale), error)

    def _evict(self, connection: sqlite3.Connection) -> int:
        """Deletes what was not used for longest until the bound holds; returns how many rows that were."""
        evicted = 0
        while self._max_bytes is not None and _bytes(connection) > self._max_bytes:
            count = connection.execute(
                "DELETE FROM entries WHERE rowid IN (SELECT rowid FROM entries ORDER BY used, rowid LIMIT ?)",
                (_EVICTED_AT_ONCE,),
            ).rowcount
            if count < 1:
                break
            evicted += count
        return evicted

    def _unavailable(self, why: str) -> CacheUnavailable:
        return CacheUnavailable(
            f"the cache {describe(self.path)} cannot be used ({shorten(why, 200)}): check that it may be "
            "written and that the disk is not full; if it is damaged delete it, all it holds can be computed "
            "again"
        )


def _packed(key: str, space: Space, row: Row) -> tuple[bytes, bytes | None, str, bytes]:
    vector = row.vector.astype("<f4").tobytes()
    samples = None if row.samples is None else row.samples.astype("<f4").tobytes()
    # ASCII, so that text with lone surrogates survives.
    data = json.dumps(row.data)
    return vector, samples, data, _checksum(key, space, vector, samples, data)


def _checksum(key: str, space: str, vector: bytes, samples: bytes | None, data: str) -> bytes:
    """Returns a digest of a row. SQLite itself would not notice a flipped bit in a blob."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (key.encode(), space.encode(), vector, samples or b"", data.encode()):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()


def _bytes(connection: sqlite3.Connection) -> int:
    """Returns the bytes of the pages in use."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _shrink(connection: sqlite3.Connection) -> None:
    """Gives unused pages back to the file system; outside of a transaction, which this would end."""
    # The pragma frees a page a step, and execute() makes one step of a statement without rows.
    connection.executescript("PRAGMA incremental_vacuum")


def _retried(connection: sqlite3.Connection, statement: str) -> None:
    """Runs a statement that SQLite refuses at once, without waiting, while another process makes the file."""
    until = time.monotonic() + _WAIT_S
    while True:
        try:
            connection.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return
