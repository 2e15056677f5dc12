"""Segments: how a video is cut into documents."""

from __future__ import annotations

from ume_r1_rag.media import Span

SEGMENT_S = 30.0
"""Seconds of a segment: an encoder sees eight frames of it or so, about one in four seconds."""


def segments(duration_s: float, segment_s: float = SEGMENT_S) -> list[Span]:
    """Returns the spans of a video's segments, in order.

    All are ``segment_s`` long but the last, which takes a remainder of less than half a segment as well. A
    video shorter than one and a half segments is one. The last span is open, so that no frame is lost to
    rounding.

    Args:
        duration_s: of the video, in seconds.
        segment_s: seconds of a segment, at least 0.1.
    """
    count = max(1, int(duration_s / segment_s + 0.5))
    starts = [round(number * segment_s, 3) for number in range(count)]
    return [Span(start, end) for start, end in zip(starts, [*starts[1:], None], strict=True)]
