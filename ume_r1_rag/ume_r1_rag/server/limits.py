"""What a server refuses before it can fill the memory or the queue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ume_r1_rag.errors import ConfigError, Overloaded
from ume_r1_rag.media import MediaLimits
from ume_r1_rag.types import MultimodalInput


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds on requests, one by one and together.

    Attributes:
        body_bytes: bytes of one body.
        bodies_bytes: bytes of all bodies that are being received or worked on.
        header_s: seconds in which the head of a request must be there; for ``bounded_protocol``.
        body_s: seconds in which a body must be there.
        queue: units of work that are accepted at a time, see ``cost``; beyond them requests are refused.
        images: pictures of one input, and frames of a video that comes as frames.
        characters: of one text.
        samples: of one input.
        hits: of one search, and a tenth of its candidates.
        media: what is decoded; to be given to the encoder.
    """

    body_bytes: int = 64 << 20
    bodies_bytes: int = 512 << 20
    header_s: float = 10.0
    body_s: float = 30.0
    queue: int = 512
    images: int = 32
    characters: int = 262_144
    samples: int = 8
    hits: int = 1000
    media: MediaLimits = field(
        default_factory=lambda: MediaLimits(
            max_pixels=64_000_000, max_frames=36_000, max_data_url_bytes=48 << 20
        )
    )

    def __post_init__(self) -> None:
        """Refuses bounds under which nothing could be served."""
        least = min(self.body_bytes, self.queue, self.header_s, self.body_s)
        if least <= 0 or self.bodies_bytes < self.body_bytes:
            raise ConfigError(
                f"body_bytes={self.body_bytes}, bodies_bytes={self.bodies_bytes}, header_s={self.header_s}, "
                f"body_s={self.body_s}, queue={self.queue}: all must be positive, and all bodies hold at "
                "least one"
            )


def cost(items: Sequence[MultimodalInput], samples: int = 0) -> int:
    """Returns the units of a request: one a text, picture or video, times the generations of each."""
    return sum(max(1, len(item.images) + (item.video is not None)) for item in items) * (1 + samples)


class Queue:
    """How much work is accepted at a time. It belongs to one event loop.

    Attributes:
        capacity: units.
        used: of them.
    """

    def __init__(self, capacity: int) -> None:
        """Makes an empty one."""
        self.capacity, self.used = capacity, 0

    @contextmanager
    def hold(self, units: int) -> Iterator[None]:
        """Takes units for as long as the block runs.

        Raises:
            ConfigError: more than there are at all.
            Overloaded: more than are free.
        """
        if units > self.capacity:
            raise ConfigError(
                f"{units} texts, pictures, videos and samples at once are more than this server takes "
                f"({self.capacity}): send fewer per request"
            )
        if self.used + units > self.capacity:
            raise Overloaded("this server has as much to do as it takes: try again in a moment")
        self.used += units
        try:
            yield
        finally:
            self.used -= units
