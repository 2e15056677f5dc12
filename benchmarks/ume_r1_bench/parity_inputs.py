"""Inputs on which two encoders are compared: every kind that the model takes, drawn by rule."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageDraw

from ume_r1_rag.types import MultimodalInput

_COLOURS = ("red", "green", "blue", "black", "orange", "purple", "gray")
_SHAPES = ("circle", "square", "triangle", "bar")
_PLACES = ("left", "right", "top", "bottom")
FRAMES = 8
"""Frames of a clip, as many as the official evaluation takes."""


@dataclass(frozen=True, slots=True)
class ParityInput:
    """One input and its kind: text, image, image+text, images, video, video+text or mix."""

    kind: str
    item: MultimodalInput


def picture(number: int, size: int = 84) -> Image.Image:
    """Returns a white RGB picture with one to three shapes on it."""
    image = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(image)
    for step in range(number % 3 + 1):
        left, top = (17 * number + 29 * step) % (size - 28), (31 * number + 11 * step) % (size - 28)
        _draw(draw, _SHAPES[(number + step) % 4], _COLOURS[(number + 2 * step) % 7], left, top)
    return image


def page(number: int) -> Image.Image:
    """Returns a page of 224 x 224 pixels: a heading, lines of keys and values, a bar chart."""
    image = Image.new("RGB", (224, 224), "white")
    draw = ImageDraw.Draw(image)
    draw.text((12, 10), f"Report {number}", fill="black")
    for line, key in enumerate(("total", "date", "owner")):
        draw.text((12, 40 + 22 * line), f"{key}: {(number * 37 + line * 11) % 100}", fill="black")
    for bar in range(4):
        height = (number * 13 + bar * 29) % 80 + 8
        draw.rectangle((20 + 48 * bar, 210 - height, 48 + 48 * bar, 210), fill=_COLOURS[bar])
    return image


def clip(number: int) -> tuple[Image.Image, ...]:
    """Returns the frames of a clip in which one shape moves."""
    frames = []
    for time in range(FRAMES):
        frame = Image.new("RGB", (84, 84), "white")
        left = 4 + 6 * time if number % 2 else 50 - 6 * time
        _draw(ImageDraw.Draw(frame), _SHAPES[number % 4], _COLOURS[number % 7], left, 8 + 7 * (number % 6))
        frames.append(frame)
    return tuple(frames)


@cache
def parity_inputs() -> tuple[ParityInput, ...]:
    """Returns 66 inputs: all kinds, short and long texts, several scripts."""
    inputs = [ParityInput("text", MultimodalInput(text)) for text in _texts()]
    inputs += [ParityInput("image", MultimodalInput(images=(picture(n),))) for n in range(12)]
    inputs += [ParityInput("image", MultimodalInput(images=(page(n),))) for n in range(2)]
    inputs += [
        ParityInput("image+text", MultimodalInput(_question(n), (picture(n + 20),))) for n in range(12)
    ]
    inputs += [ParityInput("image+text", MultimodalInput("what is the total?", (page(n),))) for n in (5, 6)]
    for number in range(6):
        images = tuple(picture(number + 40 + step) for step in range(2 + number % 2))
        inputs.append(ParityInput("images", MultimodalInput("which one is it?" * (number % 2), images)))
    inputs += [ParityInput("video", MultimodalInput(video=clip(n))) for n in range(6)]
    inputs += [ParityInput("video+text", MultimodalInput("what moves?", video=clip(n))) for n in (6, 7, 8)]
    for number in (9, 10, 11):
        item = MultimodalInput(
            "the same, but moving", (picture(number),), video=clip(number), instruction="Find a clip:"
        )
        inputs.append(ParityInput("mix", item))
    return tuple(inputs)


def _texts() -> list[str]:
    texts = [f"a {_COLOURS[n % 7]} {_SHAPES[n % 4]} on the {_PLACES[n % 3]}" for n in range(10)]
    return [
        *texts,
        "how many circles are there?",
        "two bars",
        "a page with a total of 45",
        "Report 7\nowner: 19",
        "naïve café, 東京の天気, Ωmega → ∞ 🎈",
        "the same picture, but " + "with a red circle to the left of a blue square and " * 6 + "nothing else",
        "x",
        "moves to the right",
        "the grey triangle disappears",
        "Find me an everyday image that matches the given caption: a green bar",
    ]


def _question(number: int) -> str:
    asked = (
        "what colour is it?",
        "how many shapes are there?",
        "the same, but blue",
        "Represent the given image.",
    )
    return asked[number % 4]


def _draw(draw: ImageDraw.ImageDraw, shape: str, colour: str, left: int, top: int) -> None:
    box = (left, top, left + 26, top + 26)
    if shape == "circle":
        draw.ellipse(box, fill=colour)
    elif shape == "square":
        draw.rectangle(box, fill=colour)
    elif shape == "triangle":
        draw.polygon([(left + 13, top), (left, top + 26), (left + 26, top + 26)], fill=colour)
    else:
        draw.rectangle((left, top + 9, left + 26, top + 17), fill=colour)
