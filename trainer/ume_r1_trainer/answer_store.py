"""Answer store: what a chat endpoint answered, in one SQLite file, which many processes may share.

Rows are JSON under the hash of the request: reading a foreign file runs nothing. Each answer is committed
when it comes, so that a killed run has paid for nothing twice.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

from ume_r1_rag.errors import CacheUnavailable

_WAIT_S = 30.0


class AnswerStore:
    """Answers by key.

    Attributes:
        path: the file.
    """

    def __init__(self, folder: Path) -> None:
        """Opens the file in a folder, and makes both if they are absent.

        Raises:
            CacheUnavailable: the file is none of ours, or cannot be written.
        """
        self.path = folder / "answers.sqlite"
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                self.path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, data TEXT NOT NULL)"
            )
        except (OSError, sqlite3.Error) as error:
            raise self._unavailable(error) from error

    def get(self, key: str) -> dict[str, Any] | None:
        """Returns the answer of a key; None if there is none, or none that can be read.

        Raises:
            CacheUnavailable: the file cannot be read.
        """
        try:
            with self._lock:
                row = self._connection.execute("SELECT data FROM answers WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            raise self._unavailable(error) from error
        try:
            data = None if row is None else json.loads(row[0])
        except ValueError:
            return None
        return data if isinstance(data, dict) else None

    def put(self, key: str, data: dict[str, Any]) -> None:
        """Keeps an answer.

        Raises:
            CacheUnavailable: the file cannot be written.
        """
        row = (key, json.dumps(data, ensure_ascii=False))
        try:
            with self._lock:
                self._connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", row)
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._connection.close()

    def _unavailable(self, error: Exception) -> CacheUnavailable:
        return CacheUnavailable(
            f"the cache of answers {self.path} cannot be used: {error}. Delete it, or give another folder"
        )
