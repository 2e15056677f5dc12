"""The strings around queries and candidates, byte for byte as VLM2Vec's evaluator makes them.

Source: VLM2Vec ``src/model/processor.py:650`` and ``src/data/eval_dataset/*``; UME-R1's
``eval_collator.py``, which takes the visual tokens out again and strips.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from ume_r1_bench.mmeb.row import Item

IMAGE: Final = "<|image_pad|>"
VIDEO: Final = "<|video_pad|>"
PLACEHOLDER: Final = "<|image_1|>"
"""How the image tasks' data write an image; every model has a token of its own for it."""

QUESTION: Final = (
    "Given a video and a question, select the most accurate answer from the provided candidates. "
    "Return only the exact text of your chosen answer. Question: "
)
"""Stands before the questions of all video QA tasks; a space follows all the same."""


def render(instruction: str, text: str = "", visual: Literal["image", "video"] | None = None) -> str:
    """Returns ``[token ]instruction[ text]``."""
    prompt = f"{instruction} {text}" if text else instruction
    token = {None: "", "image": f"{IMAGE} ", "video": f"{VIDEO} "}[visual]
    return token + prompt


def mend(prompt: str) -> str:
    """Returns a prompt of an image task without the space before a line's end, as in MMEB-V1."""
    return prompt.replace(" \n", "\n")


def user_text(rendered: str) -> str | None:
    """Returns what UME-R1's evaluator puts into its own prompt; None where nothing is left."""
    return rendered.replace(IMAGE, "").replace(VIDEO, "").strip() or None


def item(rendered: str, images: Sequence[Path] = (), frames: Sequence[Path] = ()) -> Item:
    """Returns an item of a rendered string and what it shows."""
    return Item(user_text(rendered), tuple(images), tuple(frames), rendered)


def text_item(text: str) -> Item:
    """Returns a candidate that is text alone."""
    return item(text)


def options_listed(options: Sequence[str]) -> list[str]:
    """Returns options with their letters, ``["(A) one", "(B) two"]``."""
    return [f"({chr(ord('A') + number)}) {option}" for number, option in enumerate(options)]


def multiple_choice(question: str, options: Sequence[str]) -> str:
    """Returns the prompt of a question with its options listed below."""
    listed = "\n".join(options_listed(options))
    return f"{VIDEO} {QUESTION} {question}\nOptions:\n{listed}".rstrip()
