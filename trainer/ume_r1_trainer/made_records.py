"""A few records of the official shape with pictures, drawn on the spot: for proofs and measurements.

They are no benchmark: a world to learn from is made by ``ume-r1 world make --sft``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ume_r1_rag.template import completion_text, user_text

COLOURS = ("red", "green", "blue", "black", "purple", "orange", "brown", "grey")
SHAPES = ("disc", "square", "bar", "cross")


def write_records(
    folder: Path,
    pairs: int = 32,
    sources: int = 1,
    negatives: bool = False,
    words: tuple[int, int] = (4, 24),
    side: int = 84,
    seed: int = 0,
) -> Path:
    """Writes ``UME-sft-train.jsonl`` and its pictures and returns the folder; nothing, if it is there.

    Args:
        folder: where.
        pairs: of each source.
        sources: data sets, called ``made0``, ``made1``, ….
        negatives: give every other pair a hard negative, so that ranks have different numbers of them.
        words: least and most words of a trace.
        side: of a picture, in pixels.
        seed: of the pictures and traces.
    """
    path = folder / "UME-sft-train.jsonl"
    if path.exists():
        return folder
    (folder / "images").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (28, 28), "white").save(folder / "images/blank.jpg")
    rng = np.random.default_rng(seed)
    lines = []
    for source in range(sources):
        for number in range(pairs):
            name = f"images/{source}-{number}.png"
            colour, shape = COLOURS[number % len(COLOURS)], SHAPES[number // len(COLOURS) % len(SHAPES)]
            _draw(folder / name, colour, rng, side)
            what = f"a {colour} {shape}"
            record: dict[str, Any] = {
                "dataset_name": f"made{source}",
                "qry": _side(f"Find {what}.", "images/blank.jpg", what, rng, words),
                "pos": _side("Represent the given image.", name, what, rng, words),
            }
            if negatives and number % 3 == 0:
                other = f"images/{source}-{(number + 1) % pairs}.png"
                record["neg"] = [_side("Represent the given image.", other, "something else", rng, words)]
            lines.append(json.dumps(record))
    partial = path.with_suffix(".part")
    partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    partial.replace(path)
    return folder


def _draw(path: Path, colour: str, rng: np.random.Generator, side: int) -> None:
    picture = Image.new("RGB", (side, side), "white")
    left, top, size = (int(value) for value in rng.integers(4, side // 2, 3))
    ImageDraw.Draw(picture).ellipse((left, top, left + size, top + size), fill=colour)
    picture.save(path)


def _side(
    text: str, image: str, what: str, rng: np.random.Generator, words: tuple[int, int]
) -> dict[str, Any]:
    vocabulary = (*COLOURS, *SHAPES, "at", "near", "and", "one", "two", "large", "small")
    trace = " ".join(rng.choice(vocabulary, int(rng.integers(*words))))
    return {
        "conversations": [
            {"from": "human", "value": "<image>" + user_text(text)},
            {"from": "gpt", "value": completion_text(f"{trace}, {what}", what)},
        ],
        "image": image,
    }
