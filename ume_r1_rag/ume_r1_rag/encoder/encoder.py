"""``UmeR1Encoder``: input → template → backend → pooling → ``Embedding``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ume_r1_rag.backends.base import Backend, Media, Request, Sampling
from ume_r1_rag.backends.choice import BackendName, check_backend, open_backend
from ume_r1_rag.checkpoints import NANO, ST_PREFIX, resolve_model, weights_digest
from ume_r1_rag.encoder.canaries import canaries
from ume_r1_rag.encoder.fingerprint import digest, make_fingerprint
from ume_r1_rag.encoder.instruction import instructed
from ume_r1_rag.encoder.loading import Loading
from ume_r1_rag.encoder.plan import Plan
from ume_r1_rag.encoder.samples import sampled
from ume_r1_rag.errors import CheckpointError, ConfigError, UmeR1Error
from ume_r1_rag.inputs import to_inputs
from ume_r1_rag.template import INSTRUCTIONS, Preset, get_preset, instruct
from ume_r1_rag.types import (
    Embedding,
    Inputs,
    Mode,
    MultimodalInput,
    OnError,
    Space,
    Think,
    answer,
    check_on_error,
    check_think,
    spaces_of,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ume_r1_rag.backends.vllm.options import VllmOptions
    from ume_r1_rag.media.fetch import Fetcher
    from ume_r1_rag.media.limits import MediaLimits


class UmeR1Encoder:
    """Embeds text, images, videos and mixes of them in both spaces.

    Example:
        >>> encoder = UmeR1Encoder("nano")
        >>> encoder.encode_query("a red circle", mode="both").gen.shape
        (128,)

    Attributes:
        model: the checkpoint's name.
        model_path: the checkpoint's directory.
        preset: the protocol in force.
        think: the default think budget.
        backend: what runs the model.
    """

    def __new__(
        cls,
        model: str | Path | None = None,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        **options: Any,
    ) -> Self:
        """Returns an encoder that is here, or with ``base_url`` the one of a server."""
        if base_url is None:
            if api_key is not None:
                raise ConfigError("api_key= is for a server: give base_url= as well")
            return super().__new__(cls)
        from ume_r1_rag.encoder.remote import RemoteEncoder

        foreign = sorted(options.keys() - {"think"})
        if foreign:
            raise ConfigError(f"{', '.join(foreign)}: the server at base_url decides that, leave it out")
        named = None if model is None else str(model)
        # Not of this class, so that __init__ is not called: it loads nothing.
        return RemoteEncoder(base_url, api_key=api_key, model=named, **options)  # type: ignore[return-value]

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        backend: BackendName = "auto",
        device: str | None = None,
        dtype: str = "auto",
        preset: str | Preset = "serving",
        think: Think = "full",
        max_new_tokens: int | None = None,
        revision: str | None = None,
        batch_size: int = 32,
        fetcher: Fetcher | None = None,
        media_limits: MediaLimits | None = None,
        vllm: VllmOptions | Mapping[str, Any] | None = None,
    ) -> None:
        """Loads a model.

        Args:
            model: ``"nano"``, a directory or a hub id; default ``UME_R1_MODEL``, else UME-R1-2B.
            base_url: address of an ``ume-r1 serve``; then this is a ``RemoteEncoder``, and takes ``model``,
                ``api_key`` and ``think`` alone.
            api_key: of that server.
            backend: ``"transformers"`` (which is what ``"auto"`` takes) or ``"vllm"``.
            device: e.g. ``"cuda:1"``; default CUDA, then MPS, then CPU.
            dtype: ``"float32"``, ``"bfloat16"`` or ``"auto"``.
            preset: ``"serving"``, ``"paper"``, ``"mteb"`` or one of your own.
            think: default think budget of gen: ``"full"``, ``"none"`` or a number of tokens.
            max_new_tokens: cap on one generation; default the preset's.
            revision: hub revision; default the pinned one.
            batch_size: most inputs in one batch; vLLM makes its batches itself.
            fetcher: how remote URLs are had; default refuses them.
            media_limits: which pictures and videos are refused; default only what could fill the memory.
            vllm: how vLLM is to run: ``VllmOptions``, or a mapping of its fields and any of vLLM's engine
                arguments; only with ``backend="vllm"``.

        Raises:
            CheckpointError: the model is absent or unusable.
            MarkerMissing: it is not a UME-R1 checkpoint.
            ConfigError: an option cannot work.
            MissingExtra: the backend is not installed.
        """
        check_backend(backend, vllm)
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size} must be at least 1")
        chosen = get_preset(preset)
        if max_new_tokens is not None:
            if max_new_tokens < 1:
                raise ConfigError(f"max_new_tokens={max_new_tokens} must be at least 1")
            chosen = replace(chosen, max_new_tokens=max_new_tokens)
        self.preset = chosen
        self.think: Think = check_think(think)
        checkpoint = resolve_model(model, revision)
        if checkpoint.name.startswith(ST_PREFIX):
            raise CheckpointError(f"{checkpoint.name} is not UME-R1: use SentenceTransformerEncoder")
        self.model, self.revision, self.model_path = checkpoint.name, checkpoint.revision, checkpoint.path
        self._fetcher, self._media_limits = fetcher, media_limits
        self._loading = Loading()
        self.backend: Backend = open_backend(
            backend, self.model_path, chosen, device, dtype, batch_size=batch_size, vllm=vllm
        )
        self._weights = weights_digest(self.model_path)
        self._canaries: dict[str, npt.NDArray[np.float32]] | None = None

    @property
    def dimension(self) -> int:
        """The length D of every vector."""
        return self.backend.dimension

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the vectors depend on, with the default think budget."""
        return self._fingerprint(self.think)

    @property
    def spaces(self) -> tuple[Space, ...]:
        """The spaces it encodes in: both."""
        return ("disc", "gen")

    @property
    def kinds(self) -> frozenset[str]:
        """The instruction presets, see ``encode_query``."""
        return frozenset(INSTRUCTIONS)

    @property
    def max_image_pixels(self) -> int:
        """The most pixels of an image that reach the model; rendering finer is wasted."""
        return self.backend.max_image_pixels

    @property
    def max_video_frames(self) -> int:
        """The frames of a video that reach the model; of more, evenly spread ones are taken."""
        return self.preset.num_frames

    def encode(
        self,
        inputs: Inputs,
        mode: Mode = "disc",
        *,
        think: Think | None = None,
        num_samples: int = 0,
        temperature: float = 1.0,
        seed: int = 0,
        show_progress: bool | None = None,
        on_error: OnError = "raise",
    ) -> Any:
        """Returns one ``Embedding`` per input, in order; a single one for a single input.

        Args:
            inputs: anything ``inputs.to_inputs`` takes.
            mode: ``"disc"``, ``"gen"`` or ``"both"``. Gen writes a reasoning first and costs that much more.
            think: think budget; default the encoder's.
            num_samples: further gen vectors from sampled generations, in ``gen_samples``.
            temperature: of those samples.
            seed: of those samples.
            show_progress: a progress bar; default for more than 64 inputs on a terminal.
            on_error: ``"raise"`` finishes everything, then raises; ``"return"`` puts errors in place.

        Raises:
            EncodeErrors: some inputs failed; the rest is in its ``results``. A single input raises its error.
            ConfigError: an option cannot work.
        """
        plans, single = self._plans(inputs, mode, think, num_samples, temperature, seed, on_error)
        with _progress(len(plans), show_progress) as bar:
            requests = self._first_round(plans)
            while requests:
                following = []
                for request_id, outcome in self.backend.run(requests):
                    following += self._take(plans, request_id, outcome)
                    bar.update()
                bar.total = bar.n + len(following)
                requests = following
        return self._collect(plans, single, on_error, think)

    async def aencode(
        self,
        inputs: Inputs,
        mode: Mode = "disc",
        *,
        think: Think | None = None,
        num_samples: int = 0,
        temperature: float = 1.0,
        seed: int = 0,
        on_error: OnError = "raise",
    ) -> Any:
        """``encode`` without blocking the event loop; cancelling stops the work."""
        # Looking at files and tokenising is work too: it belongs off the loop.
        plans, single = await asyncio.to_thread(
            self._plans, inputs, mode, think, num_samples, temperature, seed, on_error
        )
        requests = self._first_round(plans)
        while requests:
            following = []
            async for request_id, outcome in self.backend.arun(requests):
                following += self._take(plans, request_id, outcome)
            requests = following
        return await asyncio.to_thread(self._collect, plans, single, on_error, think)

    def encode_query(
        self, inputs: Inputs, mode: Mode = "disc", *, kind: str | None = None, **options: Any
    ) -> Any:
        """``encode`` with the query instruction of ``kind`` before each text that has none of its own.

        Args:
            inputs: the queries.
            mode: see ``encode``.
            kind: ``"page"``, ``"image"``, ``"clip"``, ``"product"``, ``"edit"``, ``"answer"`` or None.
            **options: see ``encode``.
        """
        return self.encode(instructed(inputs, kind, "query"), mode, **options)

    def encode_document(
        self, inputs: Inputs, mode: Mode = "disc", *, kind: str | None = None, **options: Any
    ) -> Any:
        """``encode`` with the document instruction of ``kind`` for each input that has no text."""
        return self.encode(instructed(inputs, kind, "document"), mode, **options)

    async def aencode_query(
        self, inputs: Inputs, mode: Mode = "disc", *, kind: str | None = None, **options: Any
    ) -> Any:
        """``encode_query`` without blocking the event loop."""
        return await self.aencode(await asyncio.to_thread(instructed, inputs, kind, "query"), mode, **options)

    async def aencode_document(
        self, inputs: Inputs, mode: Mode = "disc", *, kind: str | None = None, **options: Any
    ) -> Any:
        """``encode_document`` without blocking the event loop."""
        shown = await asyncio.to_thread(instructed, inputs, kind, "document")
        return await self.aencode(shown, mode, **options)

    def canaries(self) -> dict[str, npt.NDArray[np.float32]]:
        """Returns the vectors of two fixed inputs in both spaces, ``(D,)`` each, by name; computed once.

        Kept with a collection they show later whether what runs the model still computes the same.
        """
        if self._canaries is None:
            self._canaries = canaries(
                lambda inputs: self.encode(inputs, "both", think="none", show_progress=False), self.spaces
            )
        return self._canaries

    @property
    def error(self) -> UmeR1Error | None:
        """What the model died of, so that nothing will be encoded any more; or None."""
        error: UmeR1Error | None = getattr(self.backend, "error", None)
        return error

    def close(self) -> None:
        """Frees the model; encoding after that is refused."""
        self.backend.close()

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Frees the model."""
        self.close()

    def prompt_ids(self, item: MultimodalInput) -> tuple[int, ...]:
        """Returns the prompt of one input, with one pad token per visual."""
        images = len(item.images) + self._needs_blank(item)
        videos = int(item.video is not None)
        return self.backend.prompt_tokenizer.prompt_ids(instruct(item.instruction, item.text), images, videos)

    def load_media(self, item: MultimodalInput) -> Media:
        """Returns the visuals of one input, the blank image of a text-only one included."""
        from ume_r1_rag.media import LIMITS, load_image, load_video

        if self._needs_blank(item):
            from PIL import Image

            side = self.preset.blank_size or 0
            return Media((Image.new("RGB", (side, side), "white"),))
        limits, fetcher = self._media_limits or LIMITS, self._fetcher
        images = tuple(load_image(source, limits, fetcher=fetcher) for source in item.images)
        if item.video is None:
            return Media(images)
        frames = load_video(item.video, self.preset.num_frames, limits=limits, fetcher=fetcher)
        return Media(images, (tuple(frames),))

    def _needs_blank(self, item: MultimodalInput) -> bool:
        return self.preset.blank_size is not None and not item.images and item.video is None

    def _fingerprint(self, think: Think) -> dict[str, Any]:
        return make_fingerprint(
            self._weights,
            self.preset,
            self.backend.protocol,
            self.dimension,
            think,
            # A directory's name means nothing elsewhere.
            model=self.model if self.revision or self.model == NANO else "local",
            revision=self.revision,
        )

    def _plans(
        self,
        inputs: Inputs,
        mode: Mode,
        think: Think | None,
        num_samples: int,
        temperature: float,
        seed: int,
        on_error: OnError,
    ) -> tuple[list[Plan], bool]:
        spaces_of(mode)  # refuses what is no mode
        budget = self.think if think is None else check_think(think)
        check_on_error(on_error)
        greedy = Sampling(self.preset.max_new_tokens, repetition=self.preset.repetition)
        samples = sampled(greedy, num_samples, temperature, seed, mode=mode, think=budget)
        items, single = to_inputs(inputs, on_error="return")
        plans = []
        for position, item in enumerate(items):
            if isinstance(item, UmeR1Error):
                plans.append(Plan(position, error=item))
                continue
            load = self._loading.of(item, self.load_media)
            plans.append(Plan.make(position, self.prompt_ids(item), load, mode, budget, greedy, samples))
        return plans, single

    def _first_round(self, plans: Sequence[Plan]) -> list[Request]:
        tokens = self.backend.prompt_tokenizer
        return [request for plan in plans if plan.error is None for request in plan.requests(tokens)]

    def _take(self, plans: Sequence[Plan], request_id: str, outcome: Any) -> list[Request]:
        plan = plans[int(request_id.partition("/")[0])]
        following = plan.take(request_id, outcome, self.backend.prompt_tokenizer)
        return [] if following is None else [following]

    def _collect(self, plans: Sequence[Plan], single: bool, on_error: OnError, think: Think | None) -> Any:
        mark = digest(self._fingerprint(self.think if think is None else think))
        results: list[Embedding | UmeR1Error] = []
        for plan in plans:
            try:
                if plan.error is not None:
                    raise plan.error
                results.append(plan.embedding(self.backend.prompt_tokenizer, mark))
            except UmeR1Error as error:
                results.append(error)
        return answer(results, single=single, on_error=on_error)


def _progress(total: int, show: bool | None) -> Any:
    from tqdm.auto import tqdm

    wanted = total > 64 and sys.stderr.isatty() if show is None else show
    return tqdm(total=total, desc="encoding", unit="input", disable=not wanted)
