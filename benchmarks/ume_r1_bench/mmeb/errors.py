"""What can be wrong with benchmark data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ume_r1_rag.errors import InputError


class MmebError(InputError):
    """A task, suite or protocol is unknown, or a row of its data cannot be used."""


class DataMissing(MmebError):
    """Files of a task are not there.

    Attributes:
        task: the task's name.
        tables: row files that were looked for; none of them is there.
        media: pictures and folders of frames that rows name.
    """

    def __init__(
        self, task: str, message: str, tables: Sequence[Path] = (), media: Sequence[Path] = ()
    ) -> None:
        """Keeps what is missing beside the message."""
        self.task, self.tables, self.media = task, tuple(tables), tuple(media)
        super().__init__(message)
