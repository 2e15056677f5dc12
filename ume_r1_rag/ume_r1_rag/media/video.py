"""Loading videos: a few frames, evenly spread, whatever the file.

Frames are counted before they are picked, because containers only estimate their number. A short video is
decoded as a whole; in a long one whose timestamps can be trusted the decoder is put before each wanted frame.
Both give the same frames; never are more than the wanted ones kept. Many segments of a file take one scan,
and two decodings where it cannot be sought in, however many they are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ume_r1_rag.describe import describe
from ume_r1_rag.errors import InputError
from ume_r1_rag.media.image import load_image
from ume_r1_rag.media.limits import LIMITS, MediaLimits
from ume_r1_rag.media.source import open_source
from ume_r1_rag.media.timeline import WHOLE, Span, pick

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from PIL.Image import Image

    from ume_r1_rag.media.fetch import Fetcher
    from ume_r1_rag.types import ImageSource, VideoSource

# Playlists (HLS, DASH, concat) are left out: they name further files and URLs, which FFmpeg would open.
_FORMATS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,apng,h264,hevc"

# Containers that store a presentation time with every frame. AVI has none, and MPEG-TS cannot seek exactly.
_SEEKABLE = ("mov", "matroska")
_SEEK_ABOVE = 400
"""Frames above which seeking beats decoding everything; below, decoding also checks the count."""


def load_video(
    source: VideoSource,
    num_frames: int,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    limits: MediaLimits = LIMITS,
    fetcher: Fetcher | None = None,
) -> list[Image]:
    """Returns at most ``num_frames`` frames in order, as RGB images of one size.

    Of the n frames of the video, or of its span, those at ``np.linspace(0, n - 1, num_frames, dtype=int)``
    are taken, as VLM2Vec's evaluator does; all n if there are no more. A list of frames is sampled in the
    same way. Rotation is applied. Frames of another size than the first are resized to it.

    Args:
        source: a file, a URL, a data URL, encoded bytes, or a list of frames.
        num_frames: most frames to return.
        start_s: seconds after the first frame at which the span begins.
        end_s: seconds after the first frame before which it ends, or None for the end.
        limits: what is refused or scaled down.
        fetcher: how to get a URL; by default URLs are refused unless ``UME_R1_ALLOW_FETCH=1``.

    Raises:
        ConfigError: ``num_frames`` is not positive, or the span is empty.
        InputError: the file is absent, corrupt, truncated, has no picture, or ends before the span.
        FetchError: the URL was refused or could not be had.
    """
    span = Span(start_s, end_s)
    if not isinstance(source, list | tuple):
        return VideoFile(source, limits=limits, fetcher=fetcher).frames(num_frames, span)
    if span != WHOLE:
        raise InputError(f"start_s={start_s}, end_s={end_s} for a list of frames: cut the list instead")
    return _one_size(_load_list(source, num_frames, limits, fetcher))


@dataclass(frozen=True, slots=True)
class _Packets:
    """What the container says of its frames, undecoded.

    Attributes:
        times: seconds of each, ascending, the first 0; guessed from the frame rate if it has none.
        pts: their timestamps, ascending; empty if some are missing or twice.
        keys: timestamps at which decoding can begin, ascending, each with where to seek for it.
    """

    times: tuple[float, ...]
    pts: tuple[int, ...]
    keys: tuple[tuple[int, int], ...]


class VideoFile:
    """One video, of which many segments are wanted. Its packets are read once; use it in one thread.

    Example:
        video = VideoFile("talk.mp4")
        for frames in video.segments([Span(0, 30), Span(30, None)], num_frames=8):
            ...
    """

    def __init__(
        self,
        source: VideoSource,
        *,
        limits: MediaLimits = LIMITS,
        fetcher: Fetcher | None = None,
    ) -> None:
        """Finds a file, a URL, a data URL or bytes; nothing is read yet.

        Raises:
            InputError: there is none, or it is empty.
            FetchError: the URL was refused or could not be had.
        """
        self._origin = open_source(source, "video", limits, fetcher)
        self._name, self._limits = describe(source), limits

    @cached_property
    def duration_s(self) -> float:
        """Seconds from the first frame to the end of the last one; 0 for a single frame."""
        times = self._packets.times if self._packets.pts else self._decode([], WHOLE)[1]
        if not times:
            raise self._without_frames()
        return times[-1] + (times[-1] - times[-2] if len(times) > 1 else 0.0)

    def frames(self, num_frames: int, span: Span = WHOLE) -> list[Image]:
        """Returns at most ``num_frames`` frames of a span, as ``load_video`` does.

        Raises:
            ConfigError: ``num_frames`` is not positive.
            InputError: the file is broken, has no picture, or ends before the span.
        """
        packets = self._packets
        wanted = self._choose(packets.times, num_frames, span)
        if self._seekable:
            found = self._seek(packets, wanted)
            if found is not None:
                return _one_size(found)
            self._seekable = False
        found, times = self._decode(wanted, span)
        exact = self._choose(times, num_frames, span)
        if exact != wanted:  # some packets show nothing (VP8's hidden frames), or had no time
            found, _ = self._decode(exact, span)
        return _one_size(found)

    def segments(self, spans: Sequence[Span], num_frames: int) -> Iterator[list[Image] | InputError]:
        """Yields what ``frames`` returns for each of some spans, or why one cannot be had.

        Args:
            spans: in the order of their starts.
            num_frames: most frames of each.

        Raises:
            ConfigError: ``num_frames`` is not positive.
        """
        try:
            for at, span in enumerate(spans):
                if not self._seekable and len(spans) > 1:
                    yield from self._in_passing(spans[at:], num_frames)
                    return
                try:
                    yield self.frames(num_frames, span)
                except InputError as error:
                    yield error
        except InputError as error:
            yield from [error] * len(spans)

    @cached_property
    def _seekable(self) -> bool:
        return bool(self._packets.keys) and len(self._packets.pts) > _SEEK_ABOVE

    def _in_passing(self, spans: Sequence[Span], num_frames: int) -> Iterator[list[Image] | InputError]:
        """Yields the frames of many spans of a file that has to be decoded from its start.

        The first decoding counts, the second one collects.
        """
        given = 0
        try:
            _, times = self._decode([], WHOLE)
            waiting = deque(self._wish(times, num_frames, span) for span in spans)
            with self._open() as (container, stream):
                for index, frame in enumerate(self._decoded(container, stream)):
                    # A frame may be on screen in several spans, if they are shorter than it lasts.
                    image = None
                    for wish in waiting:
                        if wish.first > index:
                            break
                        if index in wish.wanted:
                            image = image or self._image(frame)
                            wish.found.append(image)
                    while waiting and waiting[0].ready:
                        yield waiting.popleft().result()
                        given += 1
            broken = InputError(f"video {self._name} gave fewer frames when read again: is it being written?")
            yield from [broken] * len(waiting)
        except InputError as error:
            yield from [error] * (len(spans) - given)

    def _wish(self, times: Sequence[float], num_frames: int, span: Span) -> _Wish:
        try:
            return _Wish(self._choose(times, num_frames, span))
        except InputError as error:
            return _Wish([], error)

    def _choose(self, times: Sequence[float], num_frames: int, span: Span) -> list[int]:
        if not times:
            raise self._without_frames()
        inside = span.frames(times, self._name)
        return [inside.start + index for index in pick(len(inside), num_frames)]

    def _without_frames(self) -> InputError:
        return InputError(f"video {self._name} holds no frame that can be decoded: re-encode it")

    @contextmanager
    def _open(self) -> Iterator[tuple[Any, Any]]:
        """Yields the container and its video stream; FFmpeg's errors become ours."""
        import av

        try:
            # Always through a Python file, and no protocol: a crafted file can make FFmpeg open nothing else.
            with (
                self._origin.open("rb") if isinstance(self._origin, Path) else BytesIO(self._origin) as file,
                av.open(
                    file,
                    options={"format_whitelist": _FORMATS, "protocol_whitelist": "none"},
                    metadata_errors="replace",
                ) as container,
            ):
                yield container, self._stream(container)
        except (av.error.FFmpegError, OSError) as error:
            raise InputError(
                f"video {self._name} cannot be read ({error.strerror or type(error).__name__}): it is "
                "truncated, corrupt or no video; re-encode it, e.g. ffmpeg -i IN -c:v libx264 OUT.mp4"
            ) from error

    def _stream(self, container: Any) -> Any:
        import av

        cover = av.stream.Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & cover]
        if not streams:
            raise InputError(f"video {self._name} has no picture, only sound or data: give a file with video")
        stream = streams[0]
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > self._limits.max_pixels:
            raise InputError(
                f"video {self._name} has frames of {width}x{height}, more than {self._limits.max_pixels} "
                "pixels: scale it down"
            )
        stream.thread_type = "AUTO"
        return stream

    @cached_property
    def _packets(self) -> _Packets:
        """What the file says of its frames, read once without decoding.

        Raises:
            InputError: it holds clearly fewer frames than its header promises.
        """
        with self._open() as (container, stream):
            seen, shown = 0, []
            for packet in container.demux(stream):
                if packet.size:
                    seen += 1
                    if not packet.is_discard:
                        shown.append((packet.pts, packet.dts, packet.is_keyframe))
                if seen > self._limits.max_frames:
                    raise InputError(
                        f"video {self._name} has more than {self._limits.max_frames} frames: cut it"
                    )
            if stream.frames > seen + max(2, stream.frames // 100):
                raise InputError(
                    f"video {self._name} holds {seen} of the {stream.frames} frames its header promises: it "
                    "is truncated; download or export it again"
                )
            rate, base = float(stream.average_rate or 25), stream.time_base
            trusted = container.format.name.startswith(_SEEKABLE)
        known = sorted(pts for pts, _, _ in shown if pts is not None)
        if not known or len(set(known)) < len(shown) or not base:
            return _Packets(tuple(index / rate for index in range(len(shown))), (), ())
        keys = ((pts, pts if dts is None else min(pts, dts)) for pts, dts, is_key in shown if is_key)
        times = tuple(float((pts - known[0]) * base) for pts in known)
        return _Packets(times, tuple(known), tuple(sorted(keys)) if trusted else ())

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        """Yields decoded frames. What comes before the first key frame of a recording is passed over."""
        import av

        started = False
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                if started:
                    raise
                continue
            for frame in frames:
                started = True
                yield frame

    def _decode(self, wanted: Sequence[int], span: Span) -> tuple[list[Image], list[float]]:
        """Returns the frames at the indices ``wanted``, and the seconds of all frames to the span's end."""
        keep = frozenset(wanted)
        found: list[Image] = []
        times: list[float] = []
        with self._open() as (container, stream):
            rate = float(stream.average_rate or 25)
            first: float | None = None
            for index, frame in enumerate(self._decoded(container, stream)):
                seconds = index / rate if frame.time is None else frame.time
                first = seconds if first is None else first
                times.append(max(seconds - first, times[-1] if times else 0.0))
                if index in keep:
                    found.append(self._image(frame))
                if span.end_s is not None and times[-1] >= span.end_s:
                    break
        return found, times

    def _seek(self, packets: _Packets, wanted: Sequence[int]) -> list[Image] | None:
        """Returns the frames at the indices ``wanted``, or None if the file does not seek exactly."""
        starts = [pts for pts, _ in packets.keys]
        found: list[Image] = []
        with self._open() as (container, stream):
            frames: Iterator[Any] = iter(())
            position = packets.pts[0] - 1
            for pts in (packets.pts[index] for index in wanted):
                key = bisect_right(starts, pts) - 1
                if key < 0:
                    return None
                if starts[key] > position:
                    container.seek(packets.keys[key][1], stream=stream, backward=True)
                    frames = self._decoded(container, stream)
                frame = next((frame for frame in frames if frame.pts is None or frame.pts >= pts), None)
                if frame is None or frame.pts != pts:
                    return None
                found.append(self._image(frame))
                position = pts
        return found

    def _image(self, frame: Any) -> Image:
        """Returns a frame upright in RGB, scaled down while converted if it is over the limit."""
        size = _within(frame.width, frame.height, self._limits.max_frame_pixels)
        image: Image = frame.to_image(width=size[0], height=size[1])
        quarter_turns = round(frame.rotation / 90) % 4
        if quarter_turns:
            from PIL.Image import Transpose

            turns = (Transpose.ROTATE_90, Transpose.ROTATE_180, Transpose.ROTATE_270)
            image = image.transpose(turns[quarter_turns - 1])
        return image


@dataclass(slots=True)
class _Wish:
    """The frames that one span is waiting for, or why it cannot have any."""

    wanted: Sequence[int]
    error: InputError | None = None
    found: list[Image] = field(default_factory=list)

    @property
    def first(self) -> int:
        return self.wanted[0] if self.wanted else 0

    @property
    def ready(self) -> bool:
        return len(self.found) == len(self.wanted)

    def result(self) -> list[Image] | InputError:
        return self.error or _one_size(self.found)


def _load_list(
    frames: Sequence[ImageSource], num_frames: int, limits: MediaLimits, fetcher: Fetcher | None
) -> list[Image]:
    if not frames:
        raise InputError("video given as an empty list of frames: give at least one")
    chosen = (frames[index] for index in pick(len(frames), num_frames))
    return [_shrunk(load_image(frame, limits, fetcher=fetcher), limits.max_frame_pixels) for frame in chosen]


def _shrunk(image: Image, max_pixels: int) -> Image:
    size = _within(image.width, image.height, max_pixels)
    return image if size == image.size else image.resize(size)


def _within(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """Returns the size scaled down to at most ``max_pixels``."""
    if width * height <= max_pixels:
        return width, height
    scale = (max_pixels / (width * height)) ** 0.5
    return max(1, int(width * scale)), max(1, int(height * scale))


def _one_size(frames: list[Image]) -> list[Image]:
    return [frame if frame.size == frames[0].size else frame.resize(frames[0].size) for frame in frames]
