"""Item: the inputs of a measurement, drawn by number, so that every way gets the same and none twice."""

from __future__ import annotations

from typing import Final

from PIL import Image, ImageDraw

from ume_r1_bench.speed.cell import Kind
from ume_r1_rag.types import MultimodalInput

FRAMES: Final = 8

_COLOURS: Final = ("red", "green", "blue", "black", "orange", "purple", "gray")
_SIDE: Final = 224
_FRAME_SIDE: Final = 112  # smaller ones stock vLLM places otherwise than transformers 5 does


def items(kind: Kind, first: int, count: int) -> list[MultimodalInput]:
    """Returns inputs number ``first`` and following: text of about 20 words, 64 visual tokens otherwise."""
    return [_item(kind, number) for number in range(first, first + count)]


def thought(number: int) -> str:
    """Returns a completion to be replayed: some words of reasoning, a summary, the marker."""
    steps = " ".join(f"step {step}: part {number + step} is seen" for step in range(2 + number % 5))
    return f"<think>{steps}</think><answer>number {number}\n<gen_emb>"


def _item(kind: Kind, number: int) -> MultimodalInput:
    if kind == "image":
        return MultimodalInput(images=(_picture(number, _SIDE),))
    if kind == "video":
        frames = tuple(_picture(number, _FRAME_SIDE, 4 * step) for step in range(FRAMES))
        return MultimodalInput(video=frames)
    colour, other = _COLOURS[number % 7], _COLOURS[number // 7 % 7]
    return MultimodalInput(
        f"{number:06}: a {colour} circle above a {other} square, drawn on paper and sold as {number:06}"
    )


def _picture(number: int, side: int, moved: int = 0) -> Image.Image:
    """Returns shapes on white; the number is written on it as bits, so no two are the same."""
    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)
    size = side // 4
    for step in range(1 + number % 3):
        left = (37 * number + 61 * step + moved) % (side - size)
        top = (53 * number + 29 * step) % (side - size)
        draw.rectangle((left, top, left + size, top + size), fill=_COLOURS[(number + 3 * step) % 7])
    for bit in range(20):
        if number >> bit & 1:
            draw.rectangle((5 * bit, 0, 5 * bit + 3, 3), fill="black")
    return image
