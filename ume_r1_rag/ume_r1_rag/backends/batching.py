"""Windows and batches: bounded memory over any number of requests, little padding inside a batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How large a batch may become.

    Attributes:
        requests: at most so many rows.
        tokens: at most so many tokens, padding and the tokens to be decoded included.
        visual_tokens: at most so many visual tokens.
        window: requests looked at together, to be sorted by length.
    """

    requests: int = 32
    tokens: int = 32_768
    visual_tokens: int = 16_384
    window: int = 256


class Sized(Protocol):
    """What batching needs to know of a prepared request."""

    @property
    def length(self) -> int:
        """Tokens that are fed, visual ones included."""
        ...

    @property
    def visual_tokens(self) -> int:
        """Visual tokens among them."""
        ...

    @property
    def decodes(self) -> int:
        """The most tokens that are decoded after them."""
        ...


T = TypeVar("T", bound=Sized)
U = TypeVar("U")


def windows(requests: Iterable[U], size: int) -> Iterator[list[U]]:
    """Yields consecutive lists of at most ``size`` requests, reading no further ahead."""
    window: list[U] = []
    for request in requests:
        window.append(request)
        if len(window) == size:
            yield window
            window = []
    if window:
        yield window


def batches(prepared: Sequence[T], limits: BatchLimits) -> Iterator[list[T]]:
    """Yields batches of similar length, longest first so that memory runs out early if it does.

    Requests that decode and requests that do not never share a batch. A request over the limits by itself
    is a batch of its own.
    """
    for decodes in (False, True):
        group = [item for item in prepared if (item.decodes > 0) == decodes]
        group.sort(key=lambda item: item.length + item.decodes, reverse=True)
        batch: list[T] = []
        for item in group:
            longest = max(x.length + x.decodes for x in [*batch, item])
            if batch and (
                len(batch) == limits.requests
                or longest * (len(batch) + 1) > limits.tokens
                or sum(x.visual_tokens for x in batch) + item.visual_tokens > limits.visual_tokens
            ):
                yield batch
                batch = []
            batch.append(item)
        if batch:
            yield batch
