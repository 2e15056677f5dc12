"""What every parser does: from a row, a query, the names it ranks, each candidate, and which answers it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from ume_r1_bench.mmeb.errors import MmebError
from ume_r1_bench.mmeb.layout import media_roots
from ume_r1_bench.mmeb.media import Media
from ume_r1_bench.mmeb.prompt import item, render
from ume_r1_bench.mmeb.protocol import Protocol
from ume_r1_bench.mmeb.row import Item
from ume_r1_bench.mmeb.tables import Row, Tables, require
from ume_r1_bench.mmeb.task import Task


class Parser(ABC):
    """Reads one task.

    Attributes:
        columns: what a row must have.
        task: the task.
        protocol: by which it is read.
        tables: its rows.
        media: its pictures and frames.
    """

    columns: ClassVar[tuple[str, ...]]

    def __init__(self, task: Task, data: Path, protocol: Protocol, *, online: bool = True) -> None:
        """Reads nothing yet.

        Args:
            task: the task.
            data: the data directory.
            protocol: by which it is read.
            online: whether the hub is asked for rows that are not on disk.
        """
        self.task, self.protocol, self.data = task, protocol, data
        self.tables = Tables(data, task, protocol, online=online)
        self.media = Media(media_roots(data, task, protocol))
        self.query_instruction, self.target_instruction = protocol.instructions(task)

    def rows(self) -> list[Row]:
        """Returns the task's rows, one for each query.

        Raises:
            DataMissing: they are not there.
            MmebError: they are not as this parser needs them.
        """
        rows = list(self.tables.read())
        rows = rows if self.task.first is None else rows[: self.task.first]
        for row in rows:
            require(row, self.columns, f"{self.task.name}'s data")
        return rows

    @abstractmethod
    def query(self, row: Row) -> Item:
        """Returns the query of a row."""

    @abstractmethod
    def names(self, row: Row) -> Sequence[str]:
        """Returns the keys of a row's candidates, as officially keyed, repetitions included."""

    @abstractmethod
    def candidate(self, row: Row, number: int) -> Item:
        """Returns the candidate of the ``number``-th of a row's names."""

    @abstractmethod
    def relevance(self, row: Row) -> Mapping[str, float]:
        """Returns the names that answer a row's query, with their grades."""

    def corpus(self) -> Iterator[tuple[str, Item]]:
        """Yields candidates that stand in no row, with their keys; after those of the rows."""
        return iter(())

    def corpus_size(self) -> int:
        """Returns how many candidates :meth:`corpus` yields, without reading what they show."""
        return 0

    def clip_item(self, frames: Sequence[Path]) -> Item:
        """Returns a clip as candidate."""
        return item(render(self.target_instruction, visual="video"), frames=frames)

    @property
    def num_frames(self) -> int | None:
        """How many frames of a clip are taken: the protocol's number, or all where the task takes all."""
        return None if self.task.num_frames is None else self.protocol.num_frames

    def broken(self, row: Row, what: str) -> MmebError:
        """Returns an error about a row."""
        shown = {key: value for key, value in row.items() if isinstance(value, str | int)}
        return MmebError(f"{self.task.name}: {what} in the row {str(shown)[:200]}; is the data set complete?")
