"""Scenes as pixels."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

from PIL import Image, ImageDraw

from ume_r1_bench.world.scene import Scene, Thing
from ume_r1_bench.world.split import make_rng

SIZE: Final = 84
CELL: Final = 28
RADIUS: Final = 10
BACKGROUND: Final = (244, 244, 244)
RGB: Final = {
    "red": (222, 30, 36),
    "green": (28, 150, 50),
    "blue": (36, 66, 224),
    "yellow": (246, 208, 0),
    "purple": (142, 44, 180),
    "orange": (255, 128, 0),
    "cyan": (0, 196, 214),
    "black": (24, 24, 24),
}
_SCALE: Final = 8


def _star(centre: float, radius: float) -> list[tuple[float, float]]:
    points = []
    for corner in range(10):
        reach = radius * (1.1 if corner % 2 == 0 else 0.45)
        angle = math.pi * (corner / 5 - 0.5)
        points.append((centre + reach * math.cos(angle), centre + reach * math.sin(angle)))
    return points


@lru_cache(maxsize=256)
def stamp(shape: str, radius: int) -> Image.Image:
    """Returns the smooth mask of a shape, ``2 * radius + 5`` pixels wide and centred."""
    side = (2 * radius + 5) * _SCALE
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    centre, reach = side / 2, radius * _SCALE
    box = (centre - reach, centre - reach, centre + reach, centre + reach)
    if shape == "circle":
        draw.ellipse(box, fill=255)
    elif shape == "ring":
        draw.ellipse(box, outline=255, width=round(reach * 0.42))
    elif shape == "square":
        inner = reach * 0.88
        draw.rectangle((centre - inner, centre - inner, centre + inner, centre + inner), fill=255)
    elif shape == "triangle":
        low = centre + reach * 0.85
        draw.polygon([(centre, centre - reach), (centre - reach, low), (centre + reach, low)], fill=255)
    elif shape == "star":
        draw.polygon(_star(centre, reach), fill=255)
    else:
        arm = reach * 0.36
        draw.rectangle((centre - arm, centre - reach, centre + arm, centre + reach), fill=255)
        draw.rectangle((centre - reach, centre - arm, centre + reach, centre + arm), fill=255)
    return mask.resize((side // _SCALE, side // _SCALE), Image.Resampling.BOX)


def paste_thing(image: Image.Image, thing: Thing, centre: tuple[int, int], radius: int = RADIUS) -> None:
    """Draws a thing in place."""
    mask = stamp(thing.shape, radius)
    corner = (centre[0] - mask.width // 2, centre[1] - mask.height // 2)
    image.paste(RGB[thing.colour], (*corner, corner[0] + mask.width, corner[1] + mask.height), mask)


def draw_scene(scene: Scene, take: int = 0) -> Image.Image:
    """Returns a scene as an 84 by 84 picture.

    Args:
        scene: what it shows.
        take: the jitter is a function of the scene and this number.
    """
    rng = make_rng("jitter", scene.key, take)
    image = Image.new("RGB", (SIZE, SIZE), BACKGROUND)
    for cell, thing in scene.objects:
        row, column = divmod(cell, 3)
        x = column * CELL + CELL // 2 + rng.randint(-2, 2)
        y = row * CELL + CELL // 2 + rng.randint(-2, 2)
        paste_thing(image, thing, (x, y))
    return image
