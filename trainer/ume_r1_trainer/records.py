r"""Records: the official ``UME-sft-train`` shape, and MMEB-train's columns.

Official: ``{"dataset_name", "qry": side, "pos": side}``; a side is ``{"conversations": [human, gpt],
"image": path | [paths]}`` or ``"video": [frame paths]``. The human turn is
``<image>{text}\\n<disc_emb>\\n{P}``.
``"neg"``, a side or a list of sides, is ours: hard negatives with their traces.

MMEB-train: ``qry, qry_image_path, pos_text, pos_image_path, neg_text, neg_image_path``, any but the first two
pairs a list where there are several. It has no traces, so it trains disc alone. VLM2Vec's loader reads its
negatives and its collator drops them; here they take part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ume_r1_rag.errors import InputError
from ume_r1_rag.template import DISC_MARKER, GEN_MARKER, THINK_OPEN

BLANK = "blank:"
"""Stands in ``Side.images`` for the white image that a text alone gets, where no file holds it."""

COLUMNS = ("qry", "qry_image_path", "pos_text", "pos_image_path")
"""What a row of MMEB-train must have; ``neg_text`` and ``neg_image_path`` may be absent."""


class RecordError(InputError):
    """A record does not have the shape that it should have."""


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a pair.

    Attributes:
        text: the user's text, without placeholders, marker and instruction.
        images: image paths under the media root, or ``BLANK``.
        frames: frame paths of the video under the media root; empty if there is none.
        completion: the assistant's turn, up to and with ``<gen_emb>``; empty where nobody reasoned.
    """

    text: str
    images: tuple[str, ...]
    frames: tuple[str, ...]
    completion: str

    @property
    def key(self) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        """What is embedded; two sides of one key are the same input."""
        return self.text, self.images, self.frames


@dataclass(frozen=True, slots=True)
class Pair:
    """A query with its positive target and any hard negatives."""

    dataset: str
    query: Side
    positive: Side
    negatives: tuple[Side, ...] = ()

    def sides(self) -> Iterator[tuple[str, Side]]:
        """Yields the sides with the names of their fields."""
        yield "qry", self.query
        yield "pos", self.positive
        for negative in self.negatives:
            yield "neg", negative


def parse_side(side: Any, where: str) -> Side:
    """Returns one side of an official record.

    Raises:
        RecordError: a field is missing or has another shape; names the place.
    """
    try:
        human, gpt = (turn["value"] for turn in side["conversations"])
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"{where}.conversations: need a human and a gpt turn, each with `value`") from error
    if not isinstance(human, str) or f"\n{DISC_MARKER}\n" not in human:
        raise RecordError(f"{where}: the human turn has no line {DISC_MARKER!r}: {str(human)[:80]!r}")
    if not isinstance(gpt, str) or not gpt.startswith(THINK_OPEN) or GEN_MARKER not in gpt:
        raise RecordError(f"{where}: the gpt turn is not {THINK_OPEN}…{GEN_MARKER}: {str(gpt)[:80]!r}")
    images, frames = (_paths(side.get(name), f"{where}.{name}") for name in ("image", "video"))
    text = human.rsplit(f"\n{DISC_MARKER}\n", 1)[0].replace("<image>", "").replace("<video>", "").strip()
    return Side(text, images, frames, gpt)


def parse_pair(record: Any, where: str) -> Pair:
    """Returns a record as a pair.

    Raises:
        RecordError: it does not have the official shape; names the place.
    """
    try:
        dataset, query, positive = record["dataset_name"], record["qry"], record["pos"]
    except (KeyError, TypeError) as error:
        raise RecordError(f"{where}: needs dataset_name, qry and pos") from error
    negatives = record.get("neg") or ()
    negatives = (negatives,) if isinstance(negatives, Mapping) else negatives
    return Pair(
        dataset,
        parse_side(query, f"{where}.qry"),
        parse_side(positive, f"{where}.pos"),
        tuple(parse_side(side, f"{where}.neg[{n}]") for n, side in enumerate(negatives)),
    )


def parse_columns(row: Any, dataset: str, where: str) -> Pair:
    """Returns a row of MMEB-train as a pair; further positives of a row are not used, as officially.

    Raises:
        RecordError: a column is missing or has another shape; names the place.
    """
    if missing := [name for name in COLUMNS if not isinstance(row, Mapping) or name not in row]:
        raise RecordError(f"{where}: has no {', '.join(missing)}")
    query = _column_side(row["qry"], row["qry_image_path"], f"{where}.qry")
    positives = _column_sides(row["pos_text"], row["pos_image_path"], f"{where}.pos_text")
    if query is None or not positives:
        raise RecordError(f"{where}.{'pos_text' if query else 'qry'}: neither a text nor an image")
    negatives = _column_sides(row.get("neg_text"), row.get("neg_image_path"), f"{where}.neg_text")
    return Pair(dataset, query, positives[0], negatives)


def _column_sides(texts: Any, images: Any, where: str) -> tuple[Side, ...]:
    texts, images = (
        [value] if value is None or isinstance(value, str) else list(value) for value in (texts, images)
    )
    # A negative may be text alone or an image alone: then the other column is short or empty.
    count = max(len(texts), len(images))
    texts, images = texts + [None] * (count - len(texts)), images + [None] * (count - len(images))
    sides = (_column_side(text, image, where) for text, image in zip(texts, images, strict=True))
    return tuple(side for side in sides if side is not None)


def _column_side(text: Any, image: Any, where: str) -> Side | None:
    for value, name in ((text, where), (image, f"{where} (image path)")):
        if value is not None and not isinstance(value, str):
            raise RecordError(f"{name}: is {type(value).__name__}, not text: {str(value)[:80]!r}")
    words = (text or "").replace("<|image_1|>", "").strip()
    if not words and not image:
        return None
    return Side(words, (image or BLANK,), (), "")


def _paths(value: Any, where: str) -> tuple[str, ...]:
    paths = (value,) if isinstance(value, str) else tuple(value or ())
    if not all(isinstance(path, str) and path for path in paths):
        raise RecordError(f"{where}: needs a path or a list of paths: {str(value)[:80]!r}")
    return paths
