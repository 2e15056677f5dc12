"""What is refused or scaled down before it can fill the memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """Caps on what is decoded.

    Attributes:
        max_pixels: pixels of one image, read from its header before anything is decoded. Pillow refuses
            at the same number by itself.
        max_aspect: longer side over shorter side; Qwen2-VL's processor refuses more than 200.
        max_frame_pixels: pixels of a video frame; a larger one is scaled down as it is decoded. Above
            every preset's limit, so that only the memory notices.
        max_frames: frames of a video file, counted before any is decoded.
        max_data_url_bytes: bytes of a data URL once decoded.
    """

    max_pixels: int = 178_956_970
    max_aspect: float = 200.0
    max_frame_pixels: int = 2048 * 2048
    max_frames: int = 10_000_000
    max_data_url_bytes: int = 128 << 20


LIMITS = MediaLimits()
"""The limits in force unless others are given."""
