"""Clips as frames. Every behaviour passes through the same middle frame, so one frame tells nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from PIL import Image

from ume_r1_bench.world.clip import Clip
from ume_r1_bench.world.picture import BACKGROUND, SIZE, paste_thing
from ume_r1_bench.world.split import make_rng

FRAMES: Final = 8
MIDDLE: Final = 4
RATE: Final = 4
_RADIUS: Final = 9
_ACROSS: Final = 6
_ALONG: Final = 3

T = TypeVar("T")


def _pose(behaviour: str, step: int) -> tuple[int, int, int] | None:
    """Returns the offset and radius ``step`` frames after the middle, None where nothing is to be seen."""
    moves = {
        "moves left": (-_ACROSS * step, 0, _RADIUS),
        "moves right": (_ACROSS * step, 0, _RADIUS),
        "rises": (0, -_ALONG * step, _RADIUS),
        "falls": (0, _ALONG * step, _RADIUS),
        "grows": (0, 0, _RADIUS + (3 * step) // 2),
        "shrinks": (0, 0, _RADIUS - (3 * step) // 2),
        "appears": None if step < -1 else (0, 0, _RADIUS),
        "vanishes": None if step > 1 else (0, 0, _RADIUS),
    }
    return moves[behaviour]


def draw_clip(clip: Clip) -> list[Image.Image]:
    """Returns a clip's eight frames; where the things stand is a function of the cast alone."""
    rng = make_rng("jitter", clip.cast.key)
    homes = [(SIZE // 2 + rng.randint(-2, 2), y + rng.randint(-1, 1)) for y in (21, 63)]
    frames = []
    for index in range(FRAMES):
        frame = Image.new("RGB", (SIZE, SIZE), BACKGROUND)
        for (x, y), (_, thing, behaviour) in zip(homes, clip.acts, strict=True):
            pose = _pose(behaviour, index - MIDDLE)
            if pose is not None:
                paste_thing(frame, thing, (x + pose[0], y + pose[1]), pose[2])
        frames.append(frame)
    return frames


def single_frame(frames: Sequence[T]) -> list[T]:
    """Returns the middle frame as often as there are frames: the control that takes the motion away.

    Works on images and on paths alike.
    """
    return [frames[MIDDLE * len(frames) // FRAMES]] * len(frames)
