"""What a task is once its rows are read: queries, candidates, and which answer which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ume_r1_bench.mmeb.protocol import Protocol
from ume_r1_bench.mmeb.task import Task
from ume_r1_rag.types import MultimodalInput

_BLANK: Final = 28


@dataclass(frozen=True, slots=True)
class Item:
    """A query or a candidate as the protocol renders it.

    Attributes:
        text: what the user's turn says, as UME-R1's evaluator hands it over: VLM2Vec's string without the
            image and video tokens, stripped; None where nothing is left.
        images: the picture or page it shows.
        frames: the frames of the clip it shows.
        rendered: VLM2Vec's string itself, for models that are prompted with it.
    """

    text: str | None
    images: tuple[Path, ...] = ()
    frames: tuple[Path, ...] = ()
    rendered: str = ""

    def to_input(self) -> MultimodalInput:
        """Returns it as an encoder's input; pictures stay paths.

        A candidate of which nothing is left, such as an option ``"D. "``, is a white image, as in UME-R1's
        evaluation: text alone gets one, and here there is no text beside it.
        """
        if not (self.text or self.images or self.frames):
            from PIL import Image

            return MultimodalInput(images=(Image.new("RGB", (_BLANK, _BLANK), "white"),))
        return MultimodalInput(self.text, self.images, self.frames or None)


@dataclass(frozen=True, slots=True)
class Query:
    """A query with what it ranks.

    Attributes:
        id: the row's number in its data, as text; the same with and without a limit.
        item: what is encoded.
        candidates: the distinct names that it ranks, in the row's order; None: all of the task. Official rows
            put the right one first, so nothing may depend on the order.
        relevance: name → grade above 0; every name is a candidate.
    """

    id: str
    item: Item
    candidates: tuple[str, ...] | None
    relevance: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TaskData:
    """A task, read.

    Attributes:
        task: the task.
        protocol: by which it was read.
        queries: the queries, all or as many as the limit allows, in the rows' order.
        candidates: name → item; of equal names the first occurrence, in order of occurrence.
        rows: how many candidates there were before equal names were made one.
        total: how many queries there are without a limit.
    """

    task: Task
    protocol: Protocol
    queries: tuple[Query, ...]
    candidates: Mapping[str, Item]
    rows: int
    total: int

    @property
    def duplication(self) -> float:
        """How often a candidate occurs on average: what encoding each but once saves."""
        return self.rows / len(self.candidates) if self.candidates else 1.0
