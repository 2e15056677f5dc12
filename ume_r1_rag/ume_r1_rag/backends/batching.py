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
        window: at most so many requests are looked at together, to be sorted by length.
        window_visual_tokens: and about so many visual tokens; the patches of one take 19 KB.
    """

    requests: int = 32
    tokens: int = 32_768
    visual_tokens: int = 16_384
    window: int = 256
    window_visual_tokens: int = 65_536


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


def windows(prepared: Iterable[T], limits: BatchLimits) -> Iterator[list[T]]:
    """Yields consecutive lists of requests within the window's limits, reading no further ahead.

    A window ends with the request that reaches a limit, so the visual tokens of that one may exceed it.
    """
    window: list[T] = []
    visual_tokens = 0
    for item in prepared:
        window.append(item)
        visual_tokens += item.visual_tokens
        if len(window) == limits.window or visual_tokens >= limits.window_visual_tokens:
            yield window
            window, visual_tokens = [], 0
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
