"""When the frames of a video are shown, and which of them are taken."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ume_r1_rag.errors import ConfigError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a video in seconds after its first frame; ``end_s`` itself is outside.

    Attributes:
        start_s: where it begins.
        end_s: where it ends, or None for the end of the video.
    """

    start_s: float = 0.0
    end_s: float | None = None

    def __post_init__(self) -> None:
        """Refuses a span that is empty or begins before the video."""
        if not self.start_s >= 0 or (self.end_s is not None and not self.end_s > self.start_s):
            raise ConfigError(
                f"start_s={self.start_s}, end_s={self.end_s} is no span: need 0 <= start_s < end_s (seconds)"
            )

    def frames(self, times: Sequence[float], name: str) -> range:
        """Returns the indices of the frames within.

        A span that lies between two frames gives the one that is on screen at its start.

        Args:
            times: ascending seconds at which each frame appears, the first being 0.
            name: what to call the video in an error.

        Raises:
            InputError: the span begins after the video has ended.
        """
        low = bisect_left(times, self.start_s)
        high = len(times) if self.end_s is None else bisect_left(times, self.end_s)
        if low < high:
            return range(low, high)
        # The last frame is taken to stay for as long as the one before it.
        lasts = times[-1] - times[-2] if len(times) > 1 else 0.0
        if self.start_s > times[-1] + lasts:
            raise InputError(
                f"video {name} ends after {times[-1] + lasts:.2f} s: start_s={self.start_s} lies beyond it"
            )
        shown = max(0, bisect_right(times, self.start_s) - 1)
        return range(shown, shown + 1)


WHOLE = Span()
"""From the first frame to the last."""


def pick(count: int, num_frames: int) -> list[int]:
    """Returns the uniformly spaced indices of at most ``num_frames`` of ``count`` frames, ascending.

    The rule of VLM2Vec's evaluator: ``np.linspace(0, count - 1, num_frames, dtype=int)``, so first and last
    frame are always among them; all indices if there are no more frames than asked for. One frame of many
    is the first.

    Raises:
        ConfigError: ``num_frames`` is not positive.
    """
    import numpy as np

    if num_frames < 1:
        raise ConfigError(f"num_frames={num_frames} takes nothing: give a positive number")
    if count <= num_frames:
        return list(range(count))
    return [int(index) for index in np.linspace(0, count - 1, num_frames, dtype=int)]
