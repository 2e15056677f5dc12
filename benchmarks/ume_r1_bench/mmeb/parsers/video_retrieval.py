"""A caption → clips; every query ranks the clips of all rows.

Source: VLM2Vec ``{didemo,msrvtt,msvd,vatex,youcook2}_dataset.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import ClassVar

from ume_r1_bench.mmeb.parsers.parser import Parser
from ume_r1_bench.mmeb.prompt import item, render
from ume_r1_bench.mmeb.row import Item
from ume_r1_bench.mmeb.tables import Row


class _Retrieval(Parser):
    """What the five have in common: they differ in the columns of clip and caption."""

    def _clip(self, row: Row) -> str:
        return str(row[self.columns[0]])

    def _caption(self, row: Row) -> str:
        caption = row[self.columns[1]]
        if isinstance(caption, str):
            return caption
        if not caption:
            raise self.broken(row, "there is no caption")
        # Of several captions the evaluator asks the first.
        return str(caption[0])

    def query(self, row: Row) -> Item:
        """Returns the caption."""
        return item(render(self.query_instruction, self._caption(row)))

    def names(self, row: Row) -> Sequence[str]:
        """Returns the row's clip."""
        return [self._clip(row)]

    def candidate(self, row: Row, number: int) -> Item:
        """Returns the clip."""
        return self.clip_item(self.media.frames(self._clip(row), self.num_frames))

    def relevance(self, row: Row) -> Mapping[str, float]:
        """Returns the row's clip."""
        return {self._clip(row): 1.0}


class DiDeMo(_Retrieval):
    """Clips are named after the video's file."""

    columns: ClassVar[tuple[str, ...]] = ("video", "caption")

    def _clip(self, row: Row) -> str:
        return PurePosixPath(row["video"]).stem


class MsrVtt(_Retrieval):
    """One caption a clip."""

    columns: ClassVar[tuple[str, ...]] = ("video_id", "caption")


class Msvd(_Retrieval):
    """Several captions a clip, of which the first is asked."""

    columns: ClassVar[tuple[str, ...]] = ("video_id", "caption")


class Vatex(_Retrieval):
    """The same in other columns."""

    columns: ClassVar[tuple[str, ...]] = ("videoID", "enCap")


class YouCook2(_Retrieval):
    """One sentence a segment of a recipe."""

    columns: ClassVar[tuple[str, ...]] = ("id", "sentence")
