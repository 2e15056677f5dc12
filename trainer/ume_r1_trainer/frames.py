"""Videos for Qwen3-VL, which writes the time before every pair of frames.

The times stand in place of the brackets around the video, as transformers 4.57 has it; the processor of
5.19 leaves these around the whole. Qwen2-VL and Qwen2.5-VL have one run of video tokens instead and need none
of this. Records hold frames without their times; they count as ``FRAME_RATE`` a second, Qwen3-VL's own rate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ume_r1_rag.template import Patches, PixelLimits, Preset, PromptTokenizer, VisualProcessor

if TYPE_CHECKING:
    from PIL.Image import Image

FRAME_RATE = 2.0
"""Frames a second."""


class FrameStamps:
    """Cuts up videos and writes their prompts for Qwen3-VL."""

    def __init__(self, processor: Any, tokens: PromptTokenizer, preset: Preset) -> None:
        """Takes a Qwen3-VL processor."""
        self._processor, self._tokens, self._preset = processor, tokens, preset
        ids = processor.tokenizer.convert_tokens_to_ids
        self._open, self._close = ids("<|vision_start|>"), ids("<|vision_end|>")

    @staticmethod
    def of(processor: Any, tokens: PromptTokenizer, preset: Preset) -> FrameStamps | None:
        """Returns what writes times for a processor, or None if its model wants none."""
        return FrameStamps(processor, tokens, preset) if "Qwen3VL" in type(processor).__name__ else None

    def video(self, frames: Sequence[Image]) -> Patches:
        """Returns the patches of a video; Qwen3-VL's limits are those of all frames together."""
        limits, count = self._preset.frame_limits, len(frames)
        whole = PixelLimits(limits.min_pixels * count, limits.max_pixels * count)
        preset = dataclasses.replace(self._preset, frame_limits=whole)
        return VisualProcessor(self._processor, preset).video(frames)

    def expand(self, ids: Sequence[int], patches: Patches) -> tuple[int, ...]:
        """Returns ids in which the one video pad, with its brackets, is every pair's time and tokens."""
        pairs = int(patches.grid[0, 0])
        run = [self._tokens.video_id] * (patches.tokens[0] // pairs)
        size = self._processor.video_processor.temporal_patch_size
        stamped: list[int] = []
        for pair in range(pairs):
            seconds = (pair * size + (size - 1) / 2) / FRAME_RATE
            stamped += [*self._tokens.plain_ids(f"<{seconds:.1f} seconds>"), self._open, *run, self._close]
        at = list(ids).index(self._tokens.video_id)
        return (*ids[: at - 1], *stamped, *ids[at + 2 :])
