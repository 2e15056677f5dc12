"""Leaf types: what goes in, what comes out. Nothing of the package but ``errors`` is imported here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from ume_r1_rag.errors import ConfigError, EncodeErrors, InputError, UmeR1Error

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

    Vector: TypeAlias = npt.NDArray[np.float32]

Space = Literal["disc", "gen"]
"""One of the two embedding spaces. Vectors of different spaces are never compared."""

SearchSpace = Literal["disc", "gen", "text"]
"""What can be searched: the embedding spaces, and the words (sparse, BM25)."""

Mode = Literal["disc", "gen", "both"]
"""What an encoder is asked for."""

OnError = Literal["raise", "return"]
"""What an encoder does about inputs that fail: finish the others and raise, or put errors in place."""

Think: TypeAlias = int | Literal["full", "none"]
"""A think budget: ``"full"``, ``"none"``, or the number of tokens after which the thinking is closed."""

ImageSource: TypeAlias = "Image | Path | str | bytes"
"""A PIL image, a file path, a URL, a data URL, or the encoded bytes. A str here is never plain text."""

VideoSource: TypeAlias = "Path | str | bytes | Sequence[ImageSource]"
"""A video file, a URL, a data URL, encoded bytes, or a list of frames."""


def check_think(think: Think) -> Think:
    """Returns ``think`` if it is a valid budget.

    Raises:
        ConfigError: it is neither ``"full"``, ``"none"`` nor a positive integer.
    """
    if think in ("full", "none") or (isinstance(think, int) and not isinstance(think, bool) and think > 0):
        return think
    raise ConfigError(f'think={think!r} is no budget: use "full", "none" or a positive number of tokens')


def spaces_of(mode: Mode) -> tuple[Space, ...]:
    """Returns the spaces that a mode stands for, in their usual order.

    Raises:
        ConfigError: there is no such mode.
    """
    if mode not in _SPACES_OF:
        raise ConfigError(f'mode={mode!r} is unknown: use "disc", "gen" or "both"')
    return _SPACES_OF[mode]


def mode_of(spaces: Iterable[Space]) -> Mode:
    """Returns the mode that stands for some spaces, at least one; the inverse of :func:`spaces_of`."""
    found = set(spaces)
    return next(mode for mode, those in _SPACES_OF.items() if found == set(those))


_SPACES_OF: Mapping[Mode, tuple[Space, ...]] = {"disc": ("disc",), "gen": ("gen",), "both": ("disc", "gen")}


@dataclass(frozen=True, slots=True)
class MultimodalInput:
    """One thing to embed: text, images, a video, or any mix, with an optional instruction.

    Attributes:
        text: the text; may be None when there are visuals.
        images: zero or more image sources, loaded when they are needed.
        video: one video source, or None.
        instruction: put before the text, separated by a space.
    """

    text: str | None = None
    images: tuple[ImageSource, ...] = ()
    video: VideoSource | None = None
    instruction: str | None = None

    def __post_init__(self) -> None:
        """Refuses an input that holds nothing."""
        if not isinstance(self.images, tuple):
            object.__setattr__(self, "images", tuple(self.images))
        if not self.images and self.video is None and not (self.text and self.text.strip()):
            raise InputError(f"empty input (text={self.text!r}): give a text, an image or a video")


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """What one embedding cost.

    Attributes:
        prompt: prompt tokens, visual ones included.
        visual: visual tokens among them.
        completion: decoded tokens over all samples; forced ones are not counted.
    """

    prompt: int
    visual: int
    completion: int


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """Both embeddings of one input.

    Attributes:
        disc: ``(D,)`` float32, L2-normalised; None if not asked for.
        gen: ``(D,)`` float32, L2-normalised; None if not asked for.
        gen_samples: ``(k, D)`` float32 of k sampled generations; None unless ``num_samples`` was given.
        reasoning: text inside ``<think>``; untrusted, generated text.
        summary: text after ``<answer>``; untrusted, generated text.
        gen_valid: whether the generation ended with ``<gen_emb>`` by itself in the right format.
        gen_issue: why not: ``"missing marker"``, ``"token limit"``, ``"repetition"`` or ``"format"``.
        think: the think budget that made ``gen``.
        tokens: what it cost.
        fingerprint: digest of the encoder that made it.
        gen_fingerprint: digest of the encoder that wrote reasoning and summary, if that was another one: an
            earlier model, whose texts are kept while its vectors are not; empty otherwise.
        completion_ids: the generated token ids, from which the gen vector can be computed again.
        sample_texts: reasoning and summary of each of ``gen_samples``; empty where a server made them.
    """

    disc: Vector | None
    gen: Vector | None
    gen_samples: Vector | None = None
    reasoning: str | None = None
    summary: str | None = None
    gen_valid: bool | None = None
    gen_issue: str | None = None
    think: Think = "full"
    tokens: TokenCounts = TokenCounts(0, 0, 0)
    fingerprint: str = ""
    gen_fingerprint: str = ""
    completion_ids: tuple[int, ...] = ()
    sample_texts: tuple[tuple[str, str], ...] = ()

    def vector(self, space: Space) -> Vector:
        """Returns the vector of ``space``.

        Raises:
            ConfigError: the embedding was made without it.
        """
        found = self.disc if space == "disc" else self.gen
        if found is None:
            raise ConfigError(f'this embedding has no {space} vector: encode with mode="{space}" or "both"')
        return found


ItemKind = Literal["page", "image", "clip", "text"]
"""What a document is to a user."""


@dataclass(frozen=True, slots=True)
class Document:
    """One entry of a corpus: a page, an image, a clip or a text.

    Attributes:
        key: unique and stable, e.g. ``"/data/reports/q3.pdf#page=2"``; point ids derive from it.
        kind: page, image, clip or text.
        input: what the encoder sees.
        uri: where the file is.
        title: what a user calls it.
        text: the text layer, if there is one.
        page: page number from 1, for pages.
        span_s: start and end in seconds, for clips.
        thumbnail: a small JPEG, if there is one.
        metadata: any further fields, kept and filterable.
        document: the key of the file that this is a part of, by which parts are grouped; ``key`` if empty.
        content_hash: digest of all that the vectors depend on besides the encoder: the file's bytes and how
            they were read (pixels of a page, segment, instruction); empty if it is not known.
    """

    key: str
    kind: ItemKind
    input: MultimodalInput
    uri: str = ""
    title: str = ""
    text: str = ""
    page: int | None = None
    span_s: tuple[float, float] | None = None
    thumbnail: bytes | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    document: str = ""
    content_hash: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer of a search.

    What is stored of the document is in properties: ``""`` or None where it is absent. All their text comes
    from files and models: it is untrusted, and to be escaped where it is shown.

    Attributes:
        key: the document's key.
        score: the score that ranked it; which one is the search's choice.
        scores: cosine per embedding space, BM25 for ``"text"``; for every space that was asked.
        payload: all stored fields; text in it is untrusted.
        id: the point id.
    """

    key: str
    score: float
    scores: Mapping[str, float]
    payload: Mapping[str, Any]
    id: str = ""

    @property
    def kind(self) -> str:
        """``"page"``, ``"image"``, ``"clip"`` or ``"text"``."""
        return self._text("kind") or ""

    @property
    def uri(self) -> str:
        """Where the file is."""
        return self._text("uri") or ""

    @property
    def title(self) -> str:
        """What a user calls it."""
        return self._text("title") or ""

    @property
    def document(self) -> str:
        """The key of the file that it is a part of."""
        return self._text("document") or ""

    @property
    def page(self) -> int | None:
        """Page number from 1, of a page."""
        page = self.payload.get("ume_page")
        return page if isinstance(page, int) and not isinstance(page, bool) else None

    @property
    def span_s(self) -> tuple[float, float] | None:
        """Start and end in seconds, of a clip."""
        span = self.payload.get("ume_span_s")
        if not isinstance(span, list | tuple) or len(span) != 2:
            return None
        start, end = span
        return (start, end) if isinstance(start, int | float) and isinstance(end, int | float) else None

    @property
    def text(self) -> str:
        """The text itself, or a page's text layer."""
        own = self.payload.get("page_content") if self.kind == "text" else None
        return self._text("text") or (own if isinstance(own, str) else "")

    @property
    def summary(self) -> str | None:
        """What the model took it to be."""
        return self._text("summary")

    @property
    def reasoning(self) -> str | None:
        """What the model thought about it, if that was stored."""
        return self._text("reasoning")

    def _text(self, field: str) -> str | None:
        found = self.payload.get(f"ume_{field}")
        return found if isinstance(found, str) else None


def check_on_error(on_error: str) -> None:
    """Raises ``ConfigError`` unless ``on_error`` is ``"raise"`` or ``"return"``."""
    if on_error not in ("raise", "return"):
        raise ConfigError(f'on_error={on_error!r} is unknown: use "raise" or "return"')


def answer(results: Sequence[Embedding | UmeR1Error], *, single: bool, on_error: OnError) -> Any:
    """Returns what an encoder gives for its inputs: a list, or the one result of a single input.

    Args:
        results: an embedding or an error for each input, in order.
        single: whether it was one input and no batch.
        on_error: ``"return"`` leaves errors in their places.

    Raises:
        EncodeErrors: some of a batch failed; the rest is in its ``results``.
        UmeR1Error: the error of a single input.
    """
    failures = [(at, one) for at, one in enumerate(results) if isinstance(one, UmeR1Error)]
    if failures and on_error == "raise":
        if single:
            raise failures[0][1]
        raise EncodeErrors([one if isinstance(one, Embedding) else None for one in results], failures)
    return results[0] if single else list(results)


Inputs: TypeAlias = Any
"""Anything ``ume_r1_rag.inputs.to_inputs`` understands: one input or a sequence of them."""


INFORMATIVE_FIELDS = frozenset({"model", "revision"})
"""Fields of a fingerprint that say what a model was called. Vectors depend on its weights alone."""


@runtime_checkable
class Encoder(Protocol):
    """What an index, a retriever or a framework class needs of an encoder, local or remote.

    Every method may be called by several threads at a time: ``ingest`` and the server do.
    """

    @property
    def dimension(self) -> int:
        """The length D of every vector."""
        ...

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """What the vectors depend on: weights, preset, protocol, think, D; and what the model is called."""
        ...

    @property
    def spaces(self) -> tuple[Space, ...]:
        """The spaces it can encode in; asked for another one, it raises ``ConfigError``."""
        ...

    @property
    def kinds(self) -> frozenset[str]:
        """What ``kind=`` may name: its instructions or prompts; another one raises ``ConfigError``."""
        ...

    @property
    def max_image_pixels(self) -> int:
        """Pixels of an image beyond which it is scaled down; rendering finer is wasted."""
        ...

    @property
    def max_video_frames(self) -> int:
        """Frames of a video beyond which it is sampled; decoding more is wasted."""
        ...

    def encode_query(self, inputs: Inputs, mode: Mode = "disc", **options: Any) -> Any:
        """Returns one ``Embedding``, or a list in the inputs' order."""
        ...

    def encode_document(self, inputs: Inputs, mode: Mode = "disc", **options: Any) -> Any:
        """Returns one ``Embedding``, or a list in the inputs' order."""
        ...

    async def aencode_query(self, inputs: Inputs, mode: Mode = "disc", **options: Any) -> Any:
        """``encode_query`` without blocking the event loop."""
        ...

    async def aencode_document(self, inputs: Inputs, mode: Mode = "disc", **options: Any) -> Any:
        """``encode_document`` without blocking the event loop."""
        ...
