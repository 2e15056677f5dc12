"""Pages as pixels: letters in fixed slots, so that a patch never cuts the same text in two ways."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from ume_r1_bench.world.page import Bar, Heading, Line, Page, Part, Row
from ume_r1_bench.world.split import make_rng

SIZE: Final = 224
SLOT: Final = 14
ROW: Final = 28
PAPER: Final = (255, 255, 255)
INK: Final = (16, 16, 16)
FONT_SIZE: Final = 18
KEY_SLOT: Final = 2
VALUE_SLOT: Final = 8
CHART_TOP: Final = 4 * ROW
CHART_LEFT: Final = 4 * SLOT
_BAR: Final = (70, 110, 170)
_UNIT: Final = 26


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(FONT_SIZE)


def _draw_text(
    draw: ImageDraw.ImageDraw, text: str, slot: int, row: int, shift: tuple[int, int] = (0, 0)
) -> None:
    for index, character in enumerate(text):
        x = (slot + index) * SLOT + SLOT // 2 + shift[0]
        draw.text((x, row * ROW + 20 + shift[1]), character, fill=INK, font=_font(), anchor="ms")


def _draw_bar(draw: ImageDraw.ImageDraw, bar: Bar, row: int, shift: int) -> None:
    top = row * ROW + 6 + shift
    draw.rectangle((CHART_LEFT, top, CHART_LEFT + bar.length * _UNIT, top + 15), fill=_BAR, outline=INK)


def draw_part(part: Part) -> Image.Image:
    """Returns n rows as 224 by 28 n pixels: what stands on a page, without the page."""
    image = Image.new("RGB", (SIZE, ROW * len(part.rows)), PAPER)
    draw = ImageDraw.Draw(image)
    rng = make_rng("jitter", part.key)
    for number, row in enumerate(part.rows):
        _draw_row(draw, row, number, (rng.randint(-1, 1), rng.randint(-1, 1)))
    return image


def _draw_row(draw: ImageDraw.ImageDraw, row: Row, number: int, shift: tuple[int, int]) -> None:
    if isinstance(row, Heading):
        _draw_text(draw, row.words, 0, number, (0, shift[1]))
    elif isinstance(row, Line):
        _draw_text(draw, row.name, KEY_SLOT, number, shift)
        _draw_text(draw, row.value, VALUE_SLOT, number, shift)
    else:
        _draw_text(draw, row.label, KEY_SLOT, number, shift)
        _draw_bar(draw, row, number, shift[1])


def draw_page(page: Page) -> Image.Image:
    """Returns a page as 224 by 224 pixels; the jitter is a function of the page."""
    image = Image.new("RGB", (SIZE, SIZE), PAPER)
    draw = ImageDraw.Draw(image)
    rng = make_rng("jitter", page.key)
    for number, row in enumerate(page.rows):
        # A bar's jitter is its length's own, so that a blanked page shows nothing of its text.
        own = make_rng("jitter", row.length, number) if isinstance(row, Bar) else rng
        _draw_row(draw, row, number, (own.randint(-1, 1), own.randint(-1, 1)))
    return image


def erase_text(image: Image.Image) -> Image.Image:
    """Returns a drawn or decoded page with its text painted over; the bars stay, without their labels."""
    erased = image.convert("RGB")
    erased.paste(PAPER, (0, 0, SIZE, CHART_TOP))
    erased.paste(PAPER, (0, CHART_TOP, CHART_LEFT - 2, SIZE))
    return erased
