"""Pages as pixels: letters in fixed slots, so that a patch never cuts the same text in two ways."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from ume_r1_bench.world.page import Chart, Line, Page
from ume_r1_bench.world.split import make_rng

SIZE: Final = 224
SLOT: Final = 14
ROW: Final = 28
PAPER: Final = (255, 255, 255)
INK: Final = (16, 16, 16)
FONT_SIZE: Final = 18
KEY_SLOT: Final = 2
VALUE_SLOT: Final = 8
LINE: Final = 12 * SLOT
CHART_TOP: Final = 4 * ROW
CHART_FLOOR: Final = 7 * ROW
_BAR: Final = (70, 110, 170)
_UNIT: Final = 13


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(FONT_SIZE)


def _draw_text(
    draw: ImageDraw.ImageDraw, text: str, slot: int, row: int, shift: tuple[int, int] = (0, 0)
) -> None:
    for index, character in enumerate(text):
        x = (slot + index) * SLOT + SLOT // 2 + shift[0]
        draw.text((x, row * ROW + 20 + shift[1]), character, fill=INK, font=_font(), anchor="ms")


def _draw_chart(image: Image.Image, chart: Chart, *, labelled: bool) -> None:
    draw = ImageDraw.Draw(image)
    # The jitter of a chart is its own, so that a blanked page shows nothing of the text that stood on it.
    rng = make_rng("jitter", chart.key)
    for index, (label, height) in enumerate(chart.bars):
        centre = 2 * ROW * index + ROW + rng.randint(-1, 1)
        draw.rectangle(
            (centre - 12, CHART_FLOOR - height * _UNIT, centre + 12, CHART_FLOOR - 2), fill=_BAR, outline=INK
        )
        if labelled:
            draw.text((centre, CHART_FLOOR + 18), label, fill=INK, font=_font(), anchor="ms")
    draw.line((4, CHART_FLOOR - 1, SIZE - 5, CHART_FLOOR - 1), fill=INK)


def draw_line(line: Line) -> Image.Image:
    """Returns a line as 168 by 28 pixels: a page's row, without the page."""
    image = Image.new("RGB", (LINE, ROW), PAPER)
    draw = ImageDraw.Draw(image)
    rng = make_rng("jitter", line.key)
    shift = (rng.randint(-1, 1), rng.randint(-1, 1))
    _draw_text(draw, line.name, KEY_SLOT, 0, shift)
    _draw_text(draw, line.value, VALUE_SLOT, 0, shift)
    return image


def draw_page(page: Page) -> Image.Image:
    """Returns a page as 224 by 224 pixels; the jitter is a function of the page."""
    image = Image.new("RGB", (SIZE, SIZE), PAPER)
    draw = ImageDraw.Draw(image)
    rng = make_rng("jitter", page.key)
    _draw_text(draw, page.heading, 0, 0, (0, rng.randint(-1, 1)))
    for row, (key, value) in enumerate(page.lines, 1):
        shift = (rng.randint(-1, 1), rng.randint(-1, 1))
        _draw_text(draw, key, KEY_SLOT, row, shift)
        _draw_text(draw, value, VALUE_SLOT, row, shift)
    _draw_chart(image, page.chart, labelled=True)
    return image


def blank_text(page: Page) -> Image.Image:
    """Returns a page drawn without its text and with its bars unlabelled, as a control."""
    image = Image.new("RGB", (SIZE, SIZE), PAPER)
    _draw_chart(image, page.chart, labelled=False)
    return image


def erase_text(image: Image.Image) -> Image.Image:
    """Returns a drawn or decoded page with the rows painted over in which there is text."""
    erased = image.convert("RGB")
    erased.paste(PAPER, (0, 0, SIZE, CHART_TOP))
    erased.paste(PAPER, (0, CHART_FLOOR, SIZE, SIZE))
    return erased
