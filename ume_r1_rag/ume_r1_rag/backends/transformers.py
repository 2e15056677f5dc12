"""The reference backend: Hugging Face transformers on CPU, CUDA or MPS.

A disc request is one prefill of the prompt up to ``<disc_emb>`` (attention is causal, so nothing after the
marker matters). A gen request is ``generate`` with a hook that keeps the marker rows of the last hidden layer
alone. A request that continues an earlier one is prefilled again; no KV cache outlives a batch.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from ume_r1_rag.backends.base import FinishReason, Outcome, Request, Result
from ume_r1_rag.backends.batching import BatchLimits, batches, windows
from ume_r1_rag.backends.decoding import RowNoise, RowStop
from ume_r1_rag.backends.loading import best_device, choose_dtype, end_ids, load_model, load_processor
from ume_r1_rag.backends.sharing import SharedBatches
from ume_r1_rag.errors import BackendError, InputError, UmeR1Error
from ume_r1_rag.pooling import disc_index, gen_index, last_index
from ume_r1_rag.template import Patches, Preset, PromptTokenizer, VisualProcessor

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    """A request whose visuals are patches and whose pads are expanded; ``cancelled`` is its caller's."""

    request: Request
    cancelled: threading.Event
    ids: tuple[int, ...]
    prompt_length: int
    images: Patches | None
    videos: tuple[Patches, ...]
    disc_at: int

    @property
    def length(self) -> int:
        return len(self.ids)

    @property
    def visual_tokens(self) -> int:
        return sum(sum(p.tokens) for p in (self.images, *self.videos) if p is not None)

    @property
    def decodes(self) -> int:
        return self.request.sampling.max_new_tokens


class _MarkerRows:
    """A forward hook that keeps the hidden states at markers: disc in the prefill, gen wherever it is fed."""

    def __init__(self, disc_columns: list[int], gen_columns: list[int | None], gen_id: int) -> None:
        self.disc: list[torch.Tensor] = []
        self.gen: list[tuple[int, torch.Tensor] | None] = [None] * len(disc_columns)
        self._disc_columns, self._gen_columns, self._gen_id = disc_columns, gen_columns, gen_id
        self._fed = 0

    def __call__(self, module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        states, ids = output.last_hidden_state, kwargs["input_ids"]
        if not self.disc:
            for row, (disc, gen) in enumerate(zip(self._disc_columns, self._gen_columns, strict=True)):
                self.disc.append(states[row, disc].float().cpu())
                if gen is not None:
                    self.gen[row] = (gen, states[row, gen].float().cpu())
        elif states.shape[1] == 1:
            for row in (ids[:, -1] == self._gen_id).nonzero()[:, 0].tolist():
                self.gen[row] = (self._fed, states[row, -1].float().cpu())
        self._fed += states.shape[1]


class TransformersBackend:
    """Runs requests on a model loaded with transformers.

    Attributes:
        name: ``"transformers"``.
        device: where the model is.
        dtype: of the weights.
        dimension: D.
        max_length: positions of the model.
        markers: ids of the markers.
        prompt_tokenizer: how prompts become ids.
        visual: how pixels become patches.
        max_image_pixels: pixels of an image beyond which it is scaled down.
        protocol: see ``Backend``.
    """

    name = "transformers"

    def __init__(
        self,
        path: Path | str,
        preset: Preset,
        device: str | None = None,
        dtype: str = "auto",
        limits: BatchLimits | None = None,
    ) -> None:
        """Loads a checkpoint directory.

        Args:
            path: directory with config, tokenizer, processor and safetensors.
            preset: whose pixel limits apply.
            device: e.g. ``"cuda:1"``; default CUDA, then MPS, then CPU.
            dtype: ``"float32"``, ``"bfloat16"``, or ``"auto"``: bfloat16 on CUDA, float32 elsewhere.
            limits: sizes of a batch.

        Raises:
            CheckpointError: the directory cannot be loaded.
            MarkerMissing: its tokenizer lacks a marker.
            ConfigError: there is no such device or dtype.
        """
        self.device = device or best_device()
        self.dtype = choose_dtype(dtype, self.device)
        self.processor = load_processor(path)
        self.prompt_tokenizer = PromptTokenizer(self.processor.tokenizer, str(path))
        self.model = load_model(path, self.device, self.dtype)
        self.markers = self.prompt_tokenizer.markers
        self.visual = VisualProcessor(self.processor, preset)
        text_config = self.model.config.get_text_config()
        self.dimension: int = text_config.hidden_size
        self.max_length: int = text_config.max_position_embeddings
        self._limits = limits or BatchLimits()
        self._end_ids = end_ids(self.model.generation_config, self.processor.tokenizer)
        self.max_image_pixels = self.visual.image_limits.max_pixels
        self.protocol: Mapping[str, Any] = {
            "prompt": self.prompt_tokenizer.signature,
            "visual": self.visual.signature,
            "end_ids": self._end_ids,
        }
        # A checkpoint may ask for sampling or penalties; ours is what the request says and nothing else.
        self.model.generation_config = GenerationConfig()
        self._lock = threading.Lock()
        self._shared = SharedBatches(self._run_batch, self._limits)

    def run(self, requests: Iterable[Request]) -> Iterator[Outcome]:
        """Yields every request's outcome, batch by batch; see ``Backend.run``."""
        return self._run(requests, threading.Event())

    async def arun(self, requests: Iterable[Request]) -> AsyncIterator[Outcome]:
        """The same in batches shared with all other calls; cancelling stops the work at the next token."""
        loop = asyncio.get_running_loop()
        outcomes: asyncio.Queue[tuple[_Prepared, Any]] = asyncio.Queue()
        cancelled, failed = threading.Event(), list[Outcome]()

        def deliver(item: _Prepared, outcome: Any) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(outcomes.put_nowait, (item, outcome))

        taken = windows(self._prepared(requests, failed, cancelled), self._limits)
        waiting: set[_Prepared] = set()
        try:
            while window := await asyncio.to_thread(next, taken, ()):
                waiting.update(window)
                self._shared.add(window, deliver)
                while waiting:
                    item, outcome = await outcomes.get()
                    waiting.remove(item)
                    if isinstance(outcome, BaseException) and not isinstance(outcome, UmeR1Error):
                        raise outcome
                    yield item.request.id, outcome
            for outcome in failed:
                yield outcome
        finally:
            cancelled.set()
            self._shared.drop(waiting)

    def close(self) -> None:
        """Frees the model's memory when the batch that runs is done; requests after that are refused."""
        with self._lock:
            self.model = None
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _run(self, requests: Iterable[Request], cancelled: threading.Event) -> Iterator[Outcome]:
        failed: list[Outcome] = []
        for window in windows(self._prepared(requests, failed, cancelled), self._limits):
            yield from failed
            failed.clear()
            for batch in batches(window, self._limits):
                for item, outcome in self._run_batch(batch):
                    yield item.request.id, outcome
        yield from failed

    def _prepared(
        self, requests: Iterable[Request], failed: list[Outcome], cancelled: threading.Event
    ) -> Iterator[_Prepared]:
        self._check_open()
        for request in requests:
            self._shared.wait_for_room(cancelled.is_set)
            if cancelled.is_set():
                return
            try:
                yield self._prepare(request, cancelled)
            except UmeR1Error as error:
                failed.append((request.id, error))

    def _check_open(self) -> None:
        if self.model is None:
            raise BackendError("this encoder was closed: make a new one")

    def _run_batch(self, batch: list[_Prepared]) -> Iterator[tuple[_Prepared, Result | UmeR1Error]]:
        with self._turn(batch) as mine:
            if not mine:
                return
            self._check_open()
            results = self._forward_within_memory(batch)
        if results is None:
            # Out here the failed forward's tensors are gone: its error, which held them, was let go.
            if self.device.startswith("cuda"):
                torch.cuda.empty_cache()
            if len(batch) == 1:
                yield (
                    batch[0],
                    BackendError(
                        f"out of memory on {self.device} for one input of {batch[0].length} tokens: "
                        "lower the pixel budget (preset) or use a larger device"
                    ),
                )
                return
            logger.warning("out of memory on a batch of %s: going on with halves", len(batch))
            half = len(batch) // 2
            yield from self._run_batch(batch[:half])
            yield from self._run_batch(batch[half:])
            return
        for item, result in zip(batch, results, strict=True):
            if not item.cancelled.is_set():
                yield item, result

    def _forward_within_memory(self, batch: list[_Prepared]) -> list[Result] | None:
        """Returns the results, or None where the device's memory did not do."""
        try:
            with torch.inference_mode():
                return self._forward(batch)
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
        return None

    @contextmanager
    def _turn(self, batch: list[_Prepared]) -> Iterator[bool]:
        """Holds the model, which runs one batch at a time; yields False if nobody waits for it any more."""
        while not self._lock.acquire(timeout=0.1):
            if all(item.cancelled.is_set() for item in batch):
                yield False
                return
        try:
            yield not all(item.cancelled.is_set() for item in batch)
        finally:
            self._lock.release()

    def _prepare(self, request: Request, cancelled: threading.Event) -> _Prepared:
        media = request.load_media()
        try:
            images = self.visual.images(media.images) if media.images else None
            videos = tuple(self.visual.video(frames) for frames in media.videos)
        except ValueError as error:
            raise InputError(f"the processor refused a visual: {error}") from error
        prompt = self.prompt_tokenizer.expand(
            request.prompt_ids,
            images.tokens if images else (),
            [patches.tokens[0] for patches in videos],
        )
        disc_at = disc_index(prompt, self.markers.disc)
        decodes = request.sampling.max_new_tokens
        needs_all = "gen" in request.want or decodes
        ids = (*prompt, *request.replay_ids) if needs_all else prompt[: disc_at + 1]
        if len(ids) + decodes > self.max_length:
            raise InputError(
                f"{len(ids)} tokens and up to {decodes} new ones exceed the model's {self.max_length}: "
                "shorten the text, or lower the pixel budget or max_new_tokens"
            )
        return _Prepared(request, cancelled, ids, len(prompt), images, videos, disc_at)

    def _forward(self, batch: list[_Prepared]) -> list[Result]:
        inputs = self._tensors(batch)
        width = inputs["input_ids"].shape[1]
        pads = [width - item.length for item in batch]
        forced = [gen_index(item.ids[item.prompt_length :], self.markers.gen) for item in batch]
        rows = _MarkerRows(
            [pad + item.disc_at for pad, item in zip(pads, batch, strict=True)],
            [
                None if at is None else p + i.prompt_length + at
                for p, at, i in zip(pads, forced, batch, strict=True)
            ],
            self.markers.gen,
        )
        if hasattr(self.model.model, "rope_deltas"):
            # The model keeps the last batch's deltas and would use them for a batch without visuals.
            self.model.model.rope_deltas = None
        hook = self.model.model.register_forward_hook(rows, with_kwargs=True)
        try:
            if batch[0].decodes:
                decoded, stop = self._generate(batch, inputs)
            else:
                self.model.model(**inputs, use_cache=False)
                decoded, stop = [[] for _ in batch], None
        finally:
            hook.remove()
        return [
            self._result(item, pads[row], decoded[row], stop, rows, row) for row, item in enumerate(batch)
        ]

    def _generate(
        self, batch: list[_Prepared], inputs: dict[str, torch.Tensor]
    ) -> tuple[list[list[int]], RowStop]:
        samplings = [item.request.sampling for item in batch]
        width = inputs["input_ids"].shape[1]
        stop = RowStop(samplings, width, [item.cancelled for item in batch])
        processors = [RowNoise(samplings)] if any(s.temperature > 0 for s in samplings) else []
        sequences = self.model.generate(
            **inputs,
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=max(s.max_new_tokens for s in samplings),
                eos_token_id=self._end_ids,
                pad_token_id=self.processor.tokenizer.pad_token_id,
            ),
            stopping_criteria=StoppingCriteriaList([stop]),
            logits_processor=LogitsProcessorList(processors),
        )
        return sequences[:, width:].tolist(), stop

    def _result(
        self, item: _Prepared, pad: int, decoded: list[int], stop: RowStop | None, rows: _MarkerRows, row: int
    ) -> Result:
        finish: FinishReason = "replay"
        tokens, spent = decoded, len(decoded)
        if stop is not None:
            # Padding follows the end of a row that was stopped here, and the pad is an end token, too.
            finish, spent = stop.ended.get(row, ("length", spent))
            tokens = decoded[:spent]
            end = next((at for at, token in enumerate(tokens) if token in self._end_ids), None)
            if end is not None:
                finish, spent, tokens = "stop", end + 1, tokens[:end]
        completion = (*item.ids[item.prompt_length :], *tokens)
        gen_state = None
        at = last_index(completion, self.markers.gen)
        seen = rows.gen[row]
        # A marker decoded as the very last token was never fed back, so it has no state.
        if (
            "gen" in item.request.want
            and at is not None
            and seen
            and seen[0] == pad + item.prompt_length + at
        ):
            gen_state = seen[1].numpy()
        return Result(
            disc_state=rows.disc[row].numpy() if "disc" in item.request.want else None,
            gen_state=gen_state,
            completion_ids=completion,
            finish=finish,
            prompt_tokens=item.prompt_length,
            visual_tokens=item.visual_tokens,
            decoded_tokens=spent,
        )

    def _tensors(self, batch: list[_Prepared]) -> dict[str, torch.Tensor]:
        width = max(item.length for item in batch)
        pad_id = self.processor.tokenizer.pad_token_id
        ids = torch.tensor([[pad_id] * (width - item.length) + list(item.ids) for item in batch])
        mask = torch.tensor([[0] * (width - item.length) + [1] * item.length for item in batch])
        tokens = self.prompt_tokenizer
        kinds = (ids == tokens.image_id).int() + 2 * (ids == tokens.video_id).int()
        inputs = {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": kinds}
        images = [item.images for item in batch if item.images is not None]
        videos = [patches for item in batch for patches in item.videos]
        dtype = getattr(torch, self.dtype)
        if images:
            inputs["pixel_values"] = torch.cat([p.pixels for p in images]).to(dtype)
            inputs["image_grid_thw"] = torch.cat([p.grid for p in images])
        if videos:
            inputs["pixel_values_videos"] = torch.cat([p.pixels for p in videos]).to(dtype)
            inputs["video_grid_thw"] = torch.cat([p.grid for p in videos])
        return {name: tensor.to(self.device) for name, tensor in inputs.items()}


def _out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(
        words in text for words in ("out of memory", "can't allocate memory", "not enough memory")
    )
