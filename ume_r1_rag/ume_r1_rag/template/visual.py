"""Pixels: how images and frames are resized and cut into patches, by the checkpoint's own processors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ume_r1_rag.template.presets import PixelLimits, Preset

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import numpy.typing as npt
    import torch
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Patches:
    """Visuals as the model takes them.

    Attributes:
        pixels: ``(patches, patch_dim)`` float32.
        grid: ``(visuals, 3)`` int64: time, height, width in patches.
        tokens: merged visual tokens of each visual.
    """

    pixels: torch.Tensor
    grid: torch.Tensor
    tokens: tuple[int, ...]


class VisualProcessor:
    """Cuts images and videos into patches within a preset's pixel limits.

    Attributes:
        image_limits: the limits in force for an image.
        frame_limits: the limits in force for a video frame.
    """

    def __init__(self, processor: Any, preset: Preset) -> None:
        """Takes a Hugging Face multimodal processor and a preset."""
        self._image = processor.image_processor
        self._video = processor.video_processor
        own_image, own_frame = _limits(self._image), _limits(self._video)
        self.image_limits = preset.image_limits.within(own_image)
        self.frame_limits = (
            preset.frame_limits if preset.frames_replace_limits else preset.frame_limits.within(own_frame)
        )

    @property
    def signature(self) -> dict[str, Any]:
        """What the patches depend on besides the pixels: effective limits, normalisation, patch sizes."""
        names = ("image_mean", "image_std", "rescale_factor", "resample", "patch_size", "merge_size")
        own = {name: repr(getattr(self._image, name, None)) for name in (*names, "temporal_patch_size")}
        frames = {name: repr(getattr(self._video, name, None)) for name in (*names, "temporal_patch_size")}
        return {
            "image_pixels": [self.image_limits.min_pixels, self.image_limits.max_pixels],
            "frame_pixels": [self.frame_limits.min_pixels, self.frame_limits.max_pixels],
            "image": own,
            "frame": frames,
        }

    def images(self, images: Sequence[Image]) -> Patches:
        """Returns the patches of RGB images."""
        out = self._image(images=list(images), size=_size(self.image_limits), return_tensors="pt")
        return self._patches(out["pixel_values"], out["image_grid_thw"], self._image.merge_size)

    def video(self, frames: Sequence[Image]) -> Patches:
        """Returns the patches of one video, given its sampled RGB frames, all of one size."""
        out = self._video(
            videos=[list(frames)],
            size=_size(self.frame_limits),
            do_sample_frames=False,
            # Our limits are per frame already; without this the library warns and will change its mind.
            cap_pixels_per_frame=False,
            return_tensors="pt",
        )
        return self._patches(out["pixel_values_videos"], out["video_grid_thw"], self._video.merge_size)

    def resized_images(self, images: Sequence[Image]) -> tuple[list[npt.NDArray[np.uint8]], tuple[int, ...]]:
        """Returns ``(height, width, 3)`` RGB as ``images`` cuts it up, and the tokens of each image.

        For an engine that cuts by itself: what has its final size already is not resized again.
        """
        out = self._image(
            images=list(images),
            size=_size(self.image_limits),
            do_rescale=False,
            do_normalize=False,
            return_tensors="pt",
        )
        patches = self._patches(out["pixel_values"], out["image_grid_thw"], self._image.merge_size)
        return [frames[0] for frames in _uncut(patches, self._image)], patches.tokens

    def resized_video(self, frames: Sequence[Image]) -> tuple[npt.NDArray[np.uint8], int]:
        """Returns ``(frames, height, width, 3)`` RGB as ``video`` cuts it up, and its tokens."""
        out = self._video(
            videos=[list(frames)],
            size=_size(self.frame_limits),
            do_sample_frames=False,
            cap_pixels_per_frame=False,
            do_rescale=False,
            do_normalize=False,
            return_tensors="pt",
        )
        patches = self._patches(out["pixel_values_videos"], out["video_grid_thw"], self._video.merge_size)
        # An odd last frame was doubled to fill its pair.
        return next(_uncut(patches, self._video))[: len(frames)], patches.tokens[0]

    @staticmethod
    def _patches(pixels: torch.Tensor, grid: torch.Tensor, merge: int) -> Patches:
        return Patches(pixels, grid, tuple(int(n) for n in grid.prod(-1) // merge**2))


def _uncut(patches: Patches, processor: Any) -> Iterator[npt.NDArray[np.uint8]]:
    """Yields ``(frames, height, width, 3)`` of each visual, out of patches that were not normalised."""
    side, merge, pair = processor.patch_size, processor.merge_size, processor.temporal_patch_size
    sizes = patches.grid.prod(-1).tolist()
    for one, (time, rows, columns) in zip(patches.pixels.split(sizes), patches.grid.tolist(), strict=True):
        cut = one.reshape(time, rows // merge, columns // merge, merge, merge, 3, pair, side, side)
        whole = cut.permute(0, 6, 1, 3, 7, 2, 4, 8, 5)
        pixels: npt.NDArray[np.uint8] = (
            whole.reshape(time * pair, rows * side, columns * side, 3).round().byte().numpy()
        )
        yield pixels


def _limits(processor: Any) -> PixelLimits:
    size = dict(processor.size)
    return PixelLimits(size["shortest_edge"], size["longest_edge"])


def _size(limits: PixelLimits) -> dict[str, int]:
    return {"shortest_edge": limits.min_pixels, "longest_edge": limits.max_pixels}
