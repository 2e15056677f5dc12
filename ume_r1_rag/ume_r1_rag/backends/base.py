"""The seam between the encoder and a model: requests in, raw marker states out, each as it finishes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

    from ume_r1_rag.errors import UmeR1Error
    from ume_r1_rag.template import Markers, PromptTokenizer, RepetitionStop
    from ume_r1_rag.types import Space

FinishReason = Literal["stop", "length", "repetition", "replay"]
"""Why a completion ended: end token, token cap, a loop, or it was only replayed."""


@dataclass(frozen=True, slots=True)
class Media:
    """The visuals of one request, decoded to RGB and not yet resized.

    Attributes:
        images: in prompt order.
        videos: each a list of sampled frames of one size.
    """

    images: tuple[Image, ...] = ()
    videos: tuple[tuple[Image, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a completion is decoded. Whatever a checkpoint's generation_config says is ignored.

    Attributes:
        max_new_tokens: cap on decoded tokens; 0 decodes nothing.
        temperature: 0 is greedy.
        seed: makes a sampled completion repeatable.
        repetition: when to stop a loop, or None.
    """

    max_new_tokens: int = 0
    temperature: float = 0.0
    seed: int = 0
    repetition: RepetitionStop | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to be run.

    Attributes:
        id: unique within a run.
        prompt_ids: prompt tokens with one pad token per visual.
        media: the visuals, or a callable that loads them when their batch comes up.
        want: which states are wanted.
        sampling: how to decode.
        replay_ids: completion tokens to be forced before any are decoded.
    """

    id: str
    prompt_ids: tuple[int, ...]
    media: Media | Callable[[], Media] = field(default_factory=Media)
    want: frozenset[Space] = frozenset({"disc"})
    sampling: Sampling = Sampling()
    replay_ids: tuple[int, ...] = ()

    def load_media(self) -> Media:
        """Returns the visuals, loading them if they are lazy."""
        return self.media() if callable(self.media) else self.media


@dataclass(frozen=True, slots=True)
class Result:
    """What a request gave.

    Attributes:
        disc_state: ``(D,)`` float32 last-layer state at the prompt's ``<disc_emb>``, after the final norm;
            None if not wanted.
        gen_state: the same at the last ``<gen_emb>`` of the completion; None if not wanted or not there.
        completion_ids: forced and decoded tokens, the end token dropped.
        finish: why the completion ended.
        prompt_tokens: prompt length, visual tokens included.
        visual_tokens: visual tokens among them.
        decoded_tokens: tokens that were decoded, the end token included.
    """

    disc_state: npt.NDArray[np.float32] | None
    gen_state: npt.NDArray[np.float32] | None
    completion_ids: tuple[int, ...]
    finish: FinishReason
    prompt_tokens: int
    visual_tokens: int
    decoded_tokens: int


Outcome: TypeAlias = "tuple[str, Result | UmeR1Error]"
"""A request's id with its result, or with the error that befell this one alone."""


class Backend(Protocol):
    """Runs requests on a model.

    Attributes:
        name: of the backend.
        device: where the model is.
        dtype: it computes in.
        dimension: D.
        max_length: positions of the model.
        max_image_pixels: pixels of an image beyond which it is scaled down.
        markers: ids of the markers.
        prompt_tokenizer: how prompts become ids.
        protocol: what, besides weights and preset, moves vectors: prompt, pixels, end tokens; as in JSON.
    """

    name: str
    device: str
    dtype: str
    dimension: int
    max_length: int
    max_image_pixels: int
    markers: Markers
    prompt_tokenizer: PromptTokenizer
    protocol: Mapping[str, Any]

    def run(self, requests: Iterable[Request]) -> Iterator[Outcome]:
        """Yields every request's outcome as it finishes, in any order.

        ``requests`` is consumed lazily, in windows. Closing the iterator stops the work and frees its slots.
        A disc request that is later continued to gen is a new request; whether its prefix is prefilled
        again is the backend's affair and stated by it.
        """
        ...

    def arun(self, requests: Iterable[Request]) -> AsyncIterator[Outcome]:
        """The same without blocking the event loop; cancelling stops the work at the next token."""
        ...

    def close(self) -> None:
        """Frees the model."""
        ...
