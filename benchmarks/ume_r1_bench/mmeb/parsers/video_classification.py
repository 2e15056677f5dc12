"""A clip → what is done in it, among all labels of the data set.

Source: VLM2Vec ``video_classification_{datasets,utils}.py`` and ``ssv2_dataset.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import ClassVar

from ume_r1_bench.mmeb.parsers.parser import Parser
from ume_r1_bench.mmeb.prompt import item, render, text_item
from ume_r1_bench.mmeb.row import Item
from ume_r1_bench.mmeb.tables import Row
from ume_r1_bench.mmeb.task import DATA


@lru_cache(maxsize=1)
def label_sets() -> Mapping[str, Sequence[str]]:
    """Returns data set → its labels."""
    read: dict[str, Sequence[str]] = json.loads((DATA / "labels.json").read_text(encoding="utf-8"))
    return {name: labels for name, labels in read.items() if name != "provenance"}


class VideoClassification(Parser):
    """Every clip ranks the same labels: those of the rows, then all others of the set."""

    columns: ClassVar[tuple[str, ...]] = ("video_id", "pos_text")

    def query(self, row: Row) -> Item:
        """Returns the clip with the data set's question."""
        frames = self.media.frames(str(row["video_id"]), self.num_frames)
        return item(render(self.query_instruction, visual="video"), frames=frames)

    def names(self, row: Row) -> Sequence[str]:
        """Returns the row's own label."""
        return [row["pos_text"]]

    def candidate(self, row: Row, number: int) -> Item:
        """Returns a label."""
        return text_item(self.names(row)[number])

    def relevance(self, row: Row) -> Mapping[str, float]:
        """Returns the row's own label."""
        return {row["pos_text"]: 1.0}

    def corpus(self) -> Iterator[tuple[str, Item]]:
        """Yields every label of the set."""
        yield from ((label, text_item(label)) for label in label_sets()[self.task.dataset])

    def corpus_size(self) -> int:
        """Returns how many labels the set has."""
        return len(label_sets()[self.task.dataset])


class LabelPerRow(VideoClassification):
    """Something-Something: each row lists the labels that it ranks."""

    columns: ClassVar[tuple[str, ...]] = ("video_id", "pos_text", "neg_text")

    def names(self, row: Row) -> Sequence[str]:
        """Returns the row's list, to which the answer belongs."""
        # The official list is called negatives and holds the answer among them.
        listed: Sequence[str] = row["neg_text"]
        return listed if row["pos_text"] in listed else [row["pos_text"], *listed]

    def corpus(self) -> Iterator[tuple[str, Item]]:
        """Yields nothing."""
        return iter(())

    def corpus_size(self) -> int:
        """Returns 0."""
        return 0
