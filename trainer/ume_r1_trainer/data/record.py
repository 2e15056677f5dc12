r"""Records before and after they are annotated, in the official ``UME-sft-train`` shape.

Before: a side's conversation is its human turn alone; ``id`` and ``modality`` are ours, and readers of the
official shape pass over them. Rows of MMEB-train's columns (``qry, qry_image_path, pos_text,
pos_image_path``) become such records when they are read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.template import DISC_MARKER, user_text
from ume_r1_trainer.records import RecordError

BLANK: Final = "images/blank.jpg"
"""The white picture that a text alone carries in the official records."""

SIDES: Final = ("qry", "pos")
MODALITIES: Final = ("image", "video", "visdoc")
COLUMNS: Final = ("qry", "qry_image_path", "pos_text", "pos_image_path")
"""Of MMEB-train; a row of them has ``qry`` as text where a record has a side."""

_VISDOC = ("colpali", "vidore", "visrag", "page", "document")
"""In the name of a dataset without ``modality``: its pictures are pages."""

_TOKENS = ("<|image_1|>", "<image>", "<video>")


@dataclass(frozen=True, slots=True)
class Content:
    """What one side shows.

    Attributes:
        text: without placeholders, marker and instruction.
        images: paths under the media root, without the blank one.
        frames: of a video, in order, under the media root.
    """

    text: str
    images: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()


def make_side(content: Content) -> dict[str, Any]:
    """Returns a side with its human turn alone; a text without media carries the blank picture."""
    if content.frames:
        placeholders, media = "<video>", {"video": list(content.frames)}
    else:
        images = content.images or (BLANK,)
        placeholders = "<image>" * len(images)
        media = {"image": images[0] if len(images) == 1 else list(images)}  # type: ignore[dict-item]
    turn = {"from": "human", "value": placeholders + user_text(content.text)}
    return {"conversations": [turn], **media}


def with_completion(side: Mapping[str, Any], completion: str) -> dict[str, Any]:
    """Returns a side with an assistant's turn in place of any that it had."""
    human = side["conversations"][0]
    return {**side, "conversations": [human, {"from": "gpt", "value": completion}]}


def make_record(
    dataset: str, identity: str, modality: str | None, query: Content, positive: Content
) -> dict[str, Any]:
    """Returns a record that is to be annotated."""
    extra = {} if modality is None else {"modality": modality}
    sides = {"qry": make_side(query), "pos": make_side(positive)}
    return {"dataset_name": dataset, "id": identity, **extra, **sides}


def normalised(row: Any, where: str, number: int) -> dict[str, Any]:
    """Returns a row as a record with an ``id``, be it one or of MMEB-train's columns.

    Args:
        row: as JSON has it.
        where: file and line, for errors.
        number: of the row, from 1; less one, it is part of the id that a row without one gets.

    Raises:
        RecordError: it is neither, or a side is empty or misshapen; names the field.
    """
    if not isinstance(row, Mapping):
        raise RecordError(f"{where}: is a {type(row).__name__}, not a record")
    name = row.get("dataset_name", row.get("dataset"))
    if not isinstance(name, str) or not name:
        raise RecordError(f"{where}.dataset_name: needs the name of the dataset, not {name!r}")
    identity = str(row.get("id", f"{name}/{number - 1}"))
    if "pos_text" in row:
        query, positive = columns_content(row, where)
        record = make_record(name, identity, row.get("modality"), query, positive)
    else:
        record = {**row, "dataset_name": name, "id": identity}
        for side in SIDES:
            content_of(record.get(side), f"{where}.{side}")
    if record.get("modality", "image") not in MODALITIES:
        raise RecordError(f"{where}.modality: {record['modality']!r} is none of {', '.join(MODALITIES)}")
    return record


def columns_content(row: Mapping[str, Any], where: str) -> tuple[Content, Content]:
    """Returns query and positive of a row of MMEB-train; of several positives the first.

    Raises:
        RecordError: a column is missing or misshapen, or a side has neither text nor picture.
    """
    if missing := [name for name in COLUMNS if name not in row]:
        raise RecordError(f"{where}: has no column {', '.join(missing)}")
    sides = []
    for text_column, image_column in (COLUMNS[:2], COLUMNS[2:]):
        text, image = (_first(row[column], f"{where}.{column}") for column in (text_column, image_column))
        if not (text := bare(text)) and not image:
            raise RecordError(f"{where}.{text_column}: neither a text nor a picture")
        sides.append(Content(text, (image,) if image else ()))
    return sides[0], sides[1]


def content_of(side: Any, where: str) -> Content:
    """Returns what a side shows.

    Raises:
        RecordError: it does not have the official shape, or shows nothing.
    """
    try:
        human = side["conversations"][0]["value"]
    except (KeyError, IndexError, TypeError) as error:
        raise RecordError(f"{where}.conversations: needs a human turn with `value`") from error
    if not isinstance(human, str) or f"\n{DISC_MARKER}\n" not in human:
        raise RecordError(f"{where}: the human turn has no line {DISC_MARKER!r}: {str(human)[:80]!r}")
    images, frames = (_paths(side.get(name), f"{where}.{name}") for name in ("image", "video"))
    shown = tuple(path for path in images if path != BLANK)
    text = bare(human.rsplit(f"\n{DISC_MARKER}\n", 1)[0])
    if not text and not shown and not frames:
        raise RecordError(f"{where}: neither a text nor a picture")
    return Content(text, shown, frames)


def completion_of(side: Mapping[str, Any]) -> str | None:
    """Returns the assistant's turn of a side; None if it has none."""
    turns = side["conversations"]
    value = turns[1].get("value") if len(turns) > 1 and isinstance(turns[1], Mapping) else None
    return value if isinstance(value, str) else None


def pair_key(record: Mapping[str, Any]) -> bytes:
    """Returns 16 bytes that two records share if they show the same; completions do not count."""
    shown = [content_of(record[side], side) for side in SIDES]
    text = json.dumps([[one.text, one.images, one.frames] for one in shown], ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def modality_of(record: Mapping[str, Any]) -> str:
    """Returns the modality that a record names, or that its frames and its dataset's name suggest."""
    if record.get("modality") in MODALITIES:
        return str(record["modality"])
    if any(record[side].get("video") for side in SIDES):
        return "video"
    name = record["dataset_name"].lower()
    return "visdoc" if any(part in name for part in _VISDOC) else "image"


def place_blank(media: Path) -> None:
    """Writes the blank picture of 28 x 28 pixels under the media root if it is not there.

    Raises:
        ConfigError: it cannot be written.
    """
    from PIL import Image

    path = media / BLANK
    if path.is_file():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (28, 28), "white").save(path)
    except OSError as error:
        raise ConfigError(
            f"{path}, the blank picture of texts alone, cannot be written: {error}. Place it there, or give "
            "another media folder"
        ) from error


def bare(text: str) -> str:
    """Returns a text without placeholders and outer space."""
    for token in _TOKENS:
        text = text.replace(token, "")
    return text.strip()


def _first(value: Any, where: str) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if value else ""
    if value is not None and not isinstance(value, str):
        raise RecordError(f"{where}: is a {type(value).__name__}, not text: {str(value)[:80]!r}")
    return value or ""


def _paths(value: Any, where: str) -> tuple[str, ...]:
    paths = (value,) if isinstance(value, str) else value or ()
    if not isinstance(paths, Sequence) or not all(isinstance(path, str) and path for path in paths):
        raise RecordError(f"{where}: needs a path or a list of paths: {str(value)[:80]!r}")
    return tuple(paths)
