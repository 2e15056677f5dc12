"""Protocol presets: what surrounds the official prompt when an input is encoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ume_r1_rag.errors import ConfigError

MERGED_PIXELS = 28 * 28
"""Pixels behind one visual token of an image; of a video, two frames share one."""


@dataclass(frozen=True, slots=True)
class PixelLimits:
    """The least and the most pixels of one image or frame after resizing."""

    min_pixels: int
    max_pixels: int

    def __post_init__(self) -> None:
        """Refuses an empty range."""
        if not 0 < self.min_pixels <= self.max_pixels:
            raise ConfigError(
                f"pixel limits {self.min_pixels}..{self.max_pixels} are empty: need 0 < min <= max"
            )

    def within(self, checkpoint: PixelLimits) -> PixelLimits:
        """Returns the limits that respect both these and the checkpoint's own."""
        low = max(self.min_pixels, checkpoint.min_pixels)
        return PixelLimits(low, max(low, min(self.max_pixels, checkpoint.max_pixels)))


@dataclass(frozen=True, slots=True)
class RepetitionStop:
    """Ends a generation whose tail is one block of tokens again and again.

    Attributes:
        max_period: longest block looked for, in tokens.
        min_repeats: how often it must stand in a row.
        min_tokens: least length of the repeated tail, in tokens.
    """

    max_period: int = 48
    min_repeats: int = 4
    min_tokens: int = 48


@dataclass(frozen=True, slots=True)
class Preset:
    """One protocol.

    Attributes:
        name: how it is asked for, and what the fingerprint carries.
        blank_size: side in pixels of the white image that a text-only input gets, or None for none.
        image_limits: pixels of an image; a visual token costs 784.
        frame_limits: pixels of a video frame; a visual token costs 2 x 784.
        frames_replace_limits: take ``frame_limits`` as they are, even against the checkpoint's.
        num_frames: frames sampled from a video file.
        max_new_tokens: cap on one generation, reasoning and summary together.
        repetition: when to stop a generation that repeats itself, or None.
    """

    name: str
    blank_size: int | None
    image_limits: PixelLimits
    frame_limits: PixelLimits
    frames_replace_limits: bool
    num_frames: int
    max_new_tokens: int
    repetition: RepetitionStop | None

    @property
    def max_image_tokens(self) -> int:
        """The most visual tokens that one image can cost."""
        return self.image_limits.max_pixels // MERGED_PIXELS

    @property
    def max_video_tokens(self) -> int:
        """The most visual tokens that one video can cost."""
        return (self.num_frames + 1) // 2 * (self.frame_limits.max_pixels // MERGED_PIXELS)


PRESETS: dict[str, Preset] = {
    # The official evaluation: eval_collator.py, --resize_min_pixels 784 --resize_max_pixels 2359296,
    # frames treated like images, --max_new_tokens 8192. Up to 3,009 tokens an image.
    "paper": Preset(
        "paper", 28, PixelLimits(784, 2_359_296), PixelLimits(784, 2_359_296), False, 8, 8192, None
    ),
    # For a service: at most 1,280 tokens an image and 512 a video of 8 frames.
    "serving": Preset(
        "serving",
        28,
        PixelLimits(784, 1280 * MERGED_PIXELS),
        PixelLimits(784, 128 * MERGED_PIXELS),
        False,
        8,
        1024,
        RepetitionStop(),
    ),
    # mteb 2.26.24's UMER1Wrapper: its 56 x 56 blank, its video pixel rule, checkpoint limits for images.
    "mteb": Preset(
        "mteb",
        56,
        PixelLimits(1, 10**9),
        PixelLimits(128 * MERGED_PIXELS, 768 * MERGED_PIXELS),
        True,
        8,
        8192,
        None,
    ),
}


def load_preset(values: Mapping[str, Any]) -> Preset:
    """Returns a preset from ``dataclasses.asdict``'s or JSON's form of it.

    Raises:
        ConfigError: fields are missing or unknown, as in a collection of another version.
    """
    try:
        repetition = values["repetition"]
        parts = {
            "image_limits": PixelLimits(**values["image_limits"]),
            "frame_limits": PixelLimits(**values["frame_limits"]),
            "repetition": None if repetition is None else RepetitionStop(**repetition),
        }
        return Preset(**{**values, **parts})
    except (KeyError, TypeError) as error:
        raise ConfigError(f"no preset can be made of {dict(values)}: {error}") from error


def get_preset(preset: str | Preset) -> Preset:
    """Returns the preset of that name, or the preset itself.

    Raises:
        ConfigError: no preset has that name.
    """
    if isinstance(preset, Preset):
        return preset
    try:
        return PRESETS[preset]
    except KeyError:
        raise ConfigError(f"preset={preset!r} is unknown: use one of {', '.join(sorted(PRESETS))}") from None
