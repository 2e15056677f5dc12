"""The inputs of a verification: drawn by rule, so the same everywhere, and nothing is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ume_r1_rag.types import MultimodalInput

if TYPE_CHECKING:
    from PIL.Image import Image

COUNT = 64
"""How many there are: as many of each kind."""

_COLOURS = ("red", "green", "blue", "black", "orange", "purple", "gray", "brown")
_SHAPES = ("circle", "square", "bar")


def verify_inputs(side: int = 224) -> list[MultimodalInput]:
    """Returns texts, pictures, pictures with a text, several pictures, videos, and mixes of all.

    Args:
        side: of a picture, in pixels.
    """
    return [_input(number, side) for number in range(COUNT)]


def _input(number: int, side: int) -> MultimodalInput:
    colour, shape = _COLOURS[number % 8], _SHAPES[number % 3]
    text = f"a {colour} {shape}, number {number}"
    kind = number % 8
    if kind in (0, 1):
        return MultimodalInput(
            text if kind else f"{text}. " + "It was bought in spring and sold again. " * 12
        )
    if kind in (2, 3):
        return MultimodalInput(images=(_picture(number, side),))
    if kind == 4:
        return MultimodalInput(f"Is there {text}?", (_picture(number, side),))
    if kind == 5:
        return MultimodalInput(
            "Which of them is larger?", (_picture(number, side), _picture(number + 1, side))
        )
    frames = [_picture(number, side // 2, 6 * step) for step in range(8)]
    if kind == 6:
        return MultimodalInput(video=frames)
    return MultimodalInput(f"Find {text}:", (_picture(number, side),), frames)


def _picture(number: int, side: int, moved: int = 0) -> Image:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)
    size = side // 4
    for step in range(1 + number % 3):
        left = (37 * number + 61 * step + moved) % (side - size)
        top = (53 * number + 29 * step) % (side - size)
        box = (left, top, left + size, top + (size if (number + step) % 3 < 2 else size // 3))
        fill = _COLOURS[(number + 3 * step) % 8]
        if (number + step) % 3 == 0:
            draw.ellipse(box, fill=fill)
        else:
            draw.rectangle(box, fill=fill)
    return image
