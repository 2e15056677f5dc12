"""``SentenceTransformerEncoder``: any sentence-transformers model as an ``Encoder`` with disc vectors alone.

What the model makes of text, pictures and videos is its own affair: its prompts and its pooling hold. Ours
are the loading of media, with all its guards, the length of 1, and the fingerprint.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from ume_r1_rag.checkpoints import ST_PREFIX, resolve_model, weights_digest
from ume_r1_rag.checkpoints.layout import SENTENCE_TRANSFORMERS
from ume_r1_rag.encoder.fingerprint import digest
from ume_r1_rag.errors import (
    BackendError,
    CheckpointError,
    ConfigError,
    InputError,
    MissingExtra,
    UmeR1Error,
)
from ume_r1_rag.inputs import to_inputs
from ume_r1_rag.pooling import normalize
from ume_r1_rag.template import PRESETS
from ume_r1_rag.types import (
    Embedding,
    Inputs,
    Mode,
    MultimodalInput,
    OnError,
    Space,
    answer,
    check_on_error,
    spaces_of,
)

if TYPE_CHECKING:
    from PIL.Image import Image

    from ume_r1_rag.media.fetch import Fetcher
    from ume_r1_rag.media.limits import MediaLimits

Role = Literal["query", "document"]
Sample: TypeAlias = "str | dict[str, Any]"
"""One input as sentence-transformers takes it."""

SCHEMA = 1
"""Raised when the way from an input to a vector changes."""


class SentenceTransformerEncoder:
    """Embeds with a sentence-transformers model: ``disc`` is its vector, there is no ``gen``.

    A query gets the model's prompt named ``query``, a document the one named ``document``, where it has
    them. An instruction goes before the text; a picture or video without text has no place for one, so the
    model sees it without. Input that the model does not read, such as a picture given to a text model, is
    that input's error.

    Example:
        >>> encoder = SentenceTransformerEncoder("models/static-retrieval")
        >>> encoder.encode_query("a red circle").disc.shape
        (1024,)

    Attributes:
        model: the checkpoint's name, with its ``st:``.
        model_path: the checkpoint's directory.
        revision: the hub commit, or None.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str | None = None,
        revision: str | None = None,
        batch_size: int = 32,
        max_image_pixels: int | None = None,
        max_video_frames: int = 8,
        fetcher: Fetcher | None = None,
        media_limits: MediaLimits | None = None,
    ) -> None:
        """Loads a model. Nothing is unpickled, and no code of the model's own is run.

        Args:
            model: a folder that sentence-transformers saved, or a hub id at a full commit
                (``owner/name@COMMIT``), with or without ``st:`` before it.
            device: e.g. ``"cuda:1"``; by default the best there is.
            revision: full commit of a hub id.
            batch_size: most inputs in one forward pass.
            max_image_pixels: larger pictures and frames are scaled down before the model's own processor
                gets them; by default as in the ``serving`` preset.
            max_video_frames: frames sampled from a video.
            fetcher: how remote URLs are had; default refuses them.
            media_limits: which pictures and videos are refused; default only what could fill the memory.

        Raises:
            CheckpointError: the model is absent, incomplete, pickled or unusable.
            ConfigError: an option cannot work.
            MissingExtra: sentence-transformers is not installed.
        """
        pixels = PRESETS["serving"].image_limits.max_pixels if max_image_pixels is None else max_image_pixels
        for name, value in (
            ("batch_size", batch_size),
            ("max_image_pixels", pixels),
            ("max_video_frames", max_video_frames),
        ):
            if value < 1:
                raise ConfigError(f"{name}={value} must be at least 1")
        asked = str(model)
        checkpoint = resolve_model(asked if asked.startswith(ST_PREFIX) else f"{ST_PREFIX}{asked}", revision)
        self.model, self.revision, self.model_path = checkpoint.name, checkpoint.revision, checkpoint.path
        self._max_image_pixels, self._max_video_frames = pixels, max_video_frames
        self._batch_size, self._fetcher, self._media_limits = batch_size, fetcher, media_limits
        self._weights = weights_digest(self.model_path, SENTENCE_TRANSFORMERS)
        self._lock = threading.Lock()
        self._model: Any = _load(self.model_path, device)
        self._reads = frozenset(kind for kind in ("text", "image", "video") if self._model.supports(kind))
        self._dimension = self._model.get_embedding_dimension() or self._run("document", ["a"], None).shape[1]

    @property
    def dimension(self) -> int:
        """The length D of every vector."""
        return int(self._dimension)

    @property
    def spaces(self) -> tuple[Space, ...]:
        """Disc alone: nothing is generated."""
        return ("disc",)

    @property
    def kinds(self) -> frozenset[str]:
        """The names of the model's own prompts."""
        return frozenset(self._loaded().prompts)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the vectors depend on. The model's prompts and settings are among its weights' files."""
        return {
            "schema": SCHEMA,
            "encoder": "sentence-transformers",
            "weights": self._weights,
            "dimension": self.dimension,
            "max_image_pixels": self._max_image_pixels,
            "max_video_frames": self._max_video_frames,
            # A directory's name means nothing elsewhere.
            "model": self.model if self.revision else "local",
            "revision": self.revision,
        }

    @property
    def max_image_pixels(self) -> int:
        """The most pixels of an image that reach the model's processor."""
        return self._max_image_pixels

    @property
    def max_video_frames(self) -> int:
        """The most frames of a video that reach the model's processor."""
        return self._max_video_frames

    def encode_query(
        self,
        inputs: Inputs,
        mode: Mode = "disc",
        *,
        kind: str | None = None,
        show_progress: bool | None = None,
        on_error: OnError = "raise",
        **options: Any,
    ) -> Any:
        """Returns one ``Embedding`` per query, in order; a single one for a single input.

        Args:
            inputs: anything ``inputs.to_inputs`` takes.
            mode: ``"disc"``.
            kind: the name of another one of the model's prompts; its ``query`` prompt by default.
            show_progress: a progress bar.
            on_error: ``"raise"`` finishes everything, then raises; ``"return"`` puts errors in place.
            **options: of other encoders; refused, for they mean nothing here.

        Raises:
            EncodeErrors: some inputs failed; the rest is in its ``results``. A single input raises its error.
            ConfigError: an option cannot work.
        """
        self._check(mode, kind, on_error, options)
        return self._encode("query", inputs, kind, bool(show_progress), on_error)

    def encode_document(
        self,
        inputs: Inputs,
        mode: Mode = "disc",
        *,
        kind: str | None = None,
        show_progress: bool | None = None,
        on_error: OnError = "raise",
        **options: Any,
    ) -> Any:
        """``encode_query`` for documents, with the model's ``document`` prompt."""
        self._check(mode, kind, on_error, options)
        return self._encode("document", inputs, kind, bool(show_progress), on_error)

    async def aencode_query(self, inputs: Inputs, mode: Mode = "disc", **options: Any) -> Any:
        """``encode_query`` without blocking the event loop."""
        return await asyncio.to_thread(self.encode_query, inputs, mode, **options)

    async def aencode_document(self, inputs: Inputs, mode: Mode = "disc", **options: Any) -> Any:
        """``encode_document`` without blocking the event loop."""
        return await asyncio.to_thread(self.encode_document, inputs, mode, **options)

    def close(self) -> None:
        """Frees the model; encoding after that is refused."""
        with self._lock:
            self._model = None

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Frees the model."""
        self.close()

    def _check(self, mode: Mode, kind: str | None, on_error: OnError, options: dict[str, Any]) -> None:
        if spaces_of(mode) != self.spaces:
            raise ConfigError(f'mode={mode!r}: {self.model} has disc vectors alone: use mode="disc"')
        check_on_error(on_error)
        unknown = sorted(name for name, value in options.items() if value is not None)
        if unknown:
            raise ConfigError(f"{', '.join(unknown)} mean nothing to {self.model}: leave them out")
        if kind is not None and kind not in self.kinds:
            known = ", ".join(sorted(self.kinds)) or "none"
            raise ConfigError(
                f"kind={kind!r} is no prompt of {self.model}, which has {known}: UME-R1's instructions are "
                "of no use to another model; leave it out"
            )

    def _loaded(self) -> Any:
        if self._model is None:
            raise BackendError(f"{self.model} was closed: make a new encoder")
        return self._model

    def _encode(
        self, role: Role, inputs: Inputs, kind: str | None, show_progress: bool, on_error: OnError
    ) -> Any:
        from tqdm import tqdm

        items, single = to_inputs(inputs, on_error="return")
        mark = digest(self.fingerprint)
        results: list[Any] = [None] * len(items)
        with tqdm(total=len(items), desc="encoding", unit="input", disable=not show_progress) as bar:
            for places, samples in self._batches(items, results):
                for place, vector in zip(places, self._vectors(role, samples, kind), strict=True):
                    results[place] = (
                        vector
                        if isinstance(vector, UmeR1Error)
                        else Embedding(disc=vector, gen=None, fingerprint=mark)
                    )
                bar.update(len(places))
        return answer(results, single=single, on_error=on_error)

    def _batches(
        self, items: Sequence[MultimodalInput | UmeR1Error], results: list[Any]
    ) -> Iterator[tuple[list[int], list[Sample]]]:
        """Yields samples of one shape with their positions; puts what cannot be read into ``results``.

        sentence-transformers makes chat messages of a batch with several shapes, so that a vector would
        depend on its neighbours.
        """
        shapes: dict[tuple[bool, int, bool], list[int]] = {}
        for place, item in enumerate(items):
            if isinstance(item, UmeR1Error):
                results[place] = item
            else:
                shape = (bool(_text(item)), len(item.images), item.video is not None)
                shapes.setdefault(shape, []).append(place)
        for places in shapes.values():
            for start in range(0, len(places), self._batch_size):
                read: list[int] = []
                samples: list[Sample] = []
                for place in places[start : start + self._batch_size]:
                    try:
                        samples.append(self._sample(items[place]))
                        read.append(place)
                    except UmeR1Error as error:
                        results[place] = error
                if samples:
                    yield read, samples

    def _sample(self, item: Any) -> Sample:
        """Returns one input as the model takes it, its media loaded.

        Raises:
            InputError: the model does not read it, or its file cannot be used.
        """
        from ume_r1_rag.media import LIMITS, load_image, load_video

        limits, fetcher = self._media_limits or LIMITS, self._fetcher
        text = _text(item)
        parts: dict[str, Any] = {"text": text} if text else {}
        lacking = [
            kind
            for kind, there in (("text", text), ("image", item.images), ("video", item.video is not None))
            if there and kind not in self._reads
        ]
        if lacking:
            raise InputError(
                f"{self.model} reads {' and '.join(sorted(self._reads)) or 'nothing of ours'}, no "
                f"{' and no '.join(lacking)}: use a model that does, or leave such inputs out"
            )
        if item.images:
            images = [self._fitted(load_image(one, limits, fetcher=fetcher)) for one in item.images]
            parts["image"] = images[0] if len(images) == 1 else images
        if item.video is not None:
            frames = load_video(item.video, self._max_video_frames, limits=limits, fetcher=fetcher)
            parts["video"] = [self._fitted(frame) for frame in frames]
        kinds = tuple(parts)
        if len(kinds) > 1 and not self._loaded().supports(kinds):
            raise InputError(
                f"{self.model} does not read {' and '.join(kinds)} in one input: give them one by one"
            )
        # A text model's first module may take plain strings alone; to one that also sees, a plain string
        # could be a path or a URL to open.
        return text if self._reads == {"text"} else parts

    def _fitted(self, image: Image) -> Image:
        """Returns a picture of at most ``max_image_pixels``."""
        pixels = image.width * image.height
        if pixels <= self._max_image_pixels:
            return image
        scale = (self._max_image_pixels / pixels) ** 0.5
        return image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))))

    def _vectors(self, role: Role, samples: Sequence[Sample], kind: str | None) -> list[Any]:
        """Returns a vector ``(D,)`` or an error for each sample; a failing one does not take others along."""
        try:
            found = list(self._run(role, samples, kind))
        except UmeR1Error:
            raise
        except Exception as error:  # noqa: BLE001 -- the model's own code may raise anything
            if len(samples) > 1:
                return [self._vectors(role, [sample], kind)[0] for sample in samples]
            failed = BackendError(f"{self.model} failed on this input: {type(error).__name__}: {error}")
            failed.__cause__ = error
            return [failed]
        return [self._unit(one) for one in found]

    def _unit(self, vector: Any) -> Any:
        try:
            return normalize(vector)
        except ValueError:
            return InputError(f"{self.model} makes nothing of this input: it knows none of its words")

    def _run(self, role: Role, samples: Sequence[Sample], kind: str | None) -> Any:
        with self._lock:
            model = self._loaded()
            encode = model.encode_query if role == "query" else model.encode_document
            return encode(
                list(samples), prompt_name=kind, batch_size=self._batch_size, show_progress_bar=False
            )


def _text(item: MultimodalInput) -> str:
    """Returns an input's text after its instruction; without a text there is no place for one."""
    if not item.text or not item.text.strip():
        return ""
    return f"{item.instruction} {item.text}" if item.instruction else item.text


def _load(path: Path, device: str | None) -> Any:
    try:
        from sentence_transformers import SentenceTransformer

        from ume_r1_rag.backends.loading import best_device, choose_dtype
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"sentence-transformers models need {error.name}: pip install 'ume-r1-rag[sentence-transformers]'"
        ) from error
    device = device or best_device()
    options = {"dtype": choose_dtype("auto", device)}
    try:
        return SentenceTransformer(str(path), device=device, local_files_only=True, model_kwargs=options)
    except Exception as error:  # JSON, safetensors, torch, the model's modules: these share no base
        raise CheckpointError(f"cannot load {path} with sentence-transformers: {error}") from error
