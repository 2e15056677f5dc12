"""Page reader: what a page of the world says, by its pixels alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ume_r1_bench.world.page import DIGITS, HEADS, KEYS, KINDS, LETTERS
from ume_r1_bench.world.sheet import FONT_SIZE, INK, KEY_SLOT, PAPER, ROW, SIZE, SLOT, VALUE_SLOT

if TYPE_CHECKING:
    import numpy.typing as npt

HEADINGS: Final = tuple(f"{head} {kind}" for head, kind in product(HEADS, KINDS))
UNLIKE: Final = 400
"""Mean square from which on a picture's first row is no heading."""

LINES: Final = (1, 2, 3)
"""Rows with a key and a value."""


def read_page(picture: Image.Image) -> tuple[str, dict[str, str]] | None:
    """Returns a page's heading and its lines ``{key: value}``, or None if the picture is no such page."""
    if picture.width != picture.height:
        return None
    pixels = np.asarray(picture.resize((SIZE, SIZE)).convert("L"), dtype=np.float32)
    heading, error = _best(pixels[:ROW], HEADINGS)
    if error > UNLIKE:
        return None
    lines = {}
    for row in LINES:
        strip = pixels[row * ROW : (row + 1) * ROW]
        key, _ = _best(strip[:, KEY_SLOT * SLOT : VALUE_SLOT * SLOT], KEYS)
        letters = (tuple(LETTERS), tuple(DIGITS), tuple(LETTERS))
        places = range(VALUE_SLOT, VALUE_SLOT + len(letters))
        lines[key] = "".join(
            _best(strip[:, place * SLOT : (place + 1) * SLOT], those)[0]
            for place, those in zip(places, letters, strict=True)
        )
    return heading, lines


def _best(strip: npt.NDArray[np.float32], texts: Sequence[str]) -> tuple[str, float]:
    """Returns the text that a strip shows most likely, and the mean square by which it differs."""
    named, drawings = _drawn(tuple(texts), strip.shape[1])
    errors = ((drawings - strip) ** 2).mean(axis=(1, 2))
    at = int(errors.argmin())
    return named[at], float(errors[at])


@cache
def _drawn(texts: tuple[str, ...], width: int) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Returns each text as the world draws it, ``(N, ROW, width)``, at every jitter, and which text it is."""
    jitters = [(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if x == 0 or texts != HEADINGS]
    drawings = []
    for text, (right, down) in product(texts, jitters):
        image = Image.new("L", (width, ROW), PAPER[0])
        draw = ImageDraw.Draw(image)
        for slot, letter in enumerate(text):
            place = (slot * SLOT + SLOT // 2 + right, 20 + down)
            draw.text(place, letter, fill=INK[0], font=ImageFont.load_default(FONT_SIZE), anchor="ms")
        drawings.append(np.asarray(image, dtype=np.float32))
    return [text for text in texts for _ in jitters], np.stack(drawings)
