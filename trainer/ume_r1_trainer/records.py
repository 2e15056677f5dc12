r"""Records of the official ``UME-sft-train`` shape, read by offset so that the file is never held.

One record: ``{"dataset_name", "qry": side, "pos": side}``; a side is ``{"conversations": [human, gpt],
"image": path | [paths]}`` or ``"video": [frame paths]``. The human turn is
``<image>{text}\\n<disc_emb>\\n{P}``.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ume_r1_rag.errors import InputError
from ume_r1_rag.template import DISC_MARKER, GEN_MARKER, THINK_OPEN


class RecordError(InputError):
    """A record does not have the official shape."""


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a pair.

    Attributes:
        text: the user's text, without placeholders, marker and instruction.
        images: image paths under the media root.
        frames: frame paths of the video under the media root; empty if there is none.
        completion: the assistant's turn, up to and with ``<gen_emb>``.
    """

    text: str
    images: tuple[str, ...]
    frames: tuple[str, ...]
    completion: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A query with its positive target."""

    dataset: str
    query: Side
    positive: Side


def parse_side(side: Any, where: str) -> Side:
    """Returns one side of a record.

    Raises:
        RecordError: a field is missing or has another shape; names the place.
    """
    try:
        human, gpt = (turn["value"] for turn in side["conversations"])
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"{where}.conversations: need a human and a gpt turn, each with `value`") from error
    if f"\n{DISC_MARKER}\n" not in human:
        raise RecordError(f"{where}: the human turn has no line {DISC_MARKER!r}: {human[:80]!r}")
    if not gpt.startswith(THINK_OPEN) or GEN_MARKER not in gpt:
        raise RecordError(f"{where}: the gpt turn is not {THINK_OPEN}…{GEN_MARKER}: {gpt[:80]!r}")
    images = side.get("image") or ()
    frames = side.get("video") or ()
    images = (images,) if isinstance(images, str) else tuple(images)
    text = human.rsplit(f"\n{DISC_MARKER}\n", 1)[0].replace("<image>", "").replace("<video>", "").strip()
    return Side(text, images, (frames,) if isinstance(frames, str) else tuple(frames), gpt)


def parse_pair(record: Any, where: str) -> Pair:
    """Returns a record as a pair.

    Raises:
        RecordError: it does not have the official shape; names the place.
    """
    try:
        dataset, query, positive = record["dataset_name"], record["qry"], record["pos"]
    except (KeyError, TypeError) as error:
        raise RecordError(f"{where}: needs dataset_name, qry and pos") from error
    return Pair(dataset, parse_side(query, f"{where}.qry"), parse_side(positive, f"{where}.pos"))


class RecordFile:
    """A ``.jsonl`` of records: line offsets and dataset names in memory, nothing else.

    Attributes:
        path: the file.
        datasets: name → row numbers in file order.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Scans the file once.

        Raises:
            RecordError: the file is absent or a line is not a record.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise RecordError(f"no record file at {self.path}: make one with `ume-r1 world make DIR --sft`")
        self._offsets: list[int] = []
        self.datasets: dict[str, list[int]] = {}
        with self.path.open("rb") as file:
            offset = 0
            for number, line in enumerate(file):
                try:
                    name = json.loads(line)["dataset_name"]
                except (ValueError, KeyError, TypeError) as error:
                    raise RecordError(f"{self.path}:{number + 1}: not a record with dataset_name") from error
                self.datasets.setdefault(name, []).append(number)
                self._offsets.append(offset)
                offset += len(line)

    def __len__(self) -> int:
        """Returns the number of records."""
        return len(self._offsets)

    def __getitem__(self, row: int) -> Pair:
        """Returns the pair of a row number."""
        with self.path.open("rb") as file:
            file.seek(self._offsets[row])
            return parse_pair(json.loads(file.readline()), f"{self.path}:{row + 1}")
