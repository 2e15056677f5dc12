"""``VllmBackend``: many requests at a time through vLLM, results as they finish.

Prompts, pixels and end tokens are the transformers backend's, so vectors of the two mix. A request that
continues an earlier one finds its prefix in vLLM's cache.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig, GenerationConfig

from ume_r1_rag.backends.base import Outcome, Request
from ume_r1_rag.backends.batching import BatchLimits
from ume_r1_rag.backends.loading import choose_dtype, end_ids, load_processor
from ume_r1_rag.backends.threads import outcomes_of_thread
from ume_r1_rag.backends.vllm import check
from ume_r1_rag.backends.vllm.completion import Completion
from ume_r1_rag.backends.vllm.engine import Engine, InProcessEngine, closed
from ume_r1_rag.backends.vllm.norm import FinalNorm
from ume_r1_rag.backends.vllm.options import VllmOptions
from ume_r1_rag.backends.vllm.prepare import prepare
from ume_r1_rag.backends.vllm.processes import AsyncEngine
from ume_r1_rag.backends.vllm.states import arguments
from ume_r1_rag.backends.vllm.task import Task
from ume_r1_rag.backends.vllm.ways import OneEngine, TwoPass, WayOfRunning
from ume_r1_rag.errors import BackendError, CheckpointError, ConfigError, UmeR1Error
from ume_r1_rag.template import Preset, PromptTokenizer, VisualProcessor

if TYPE_CHECKING:
    from ume_r1_rag.backends.vllm.options import Way

logger = logging.getLogger(__name__)


class VllmBackend:
    """Runs requests on vLLM.

    Attributes:
        name: ``"vllm"``.
        device: kind of device that vLLM runs on.
        dtype: it computes in.
        dimension: D.
        max_length: the most tokens of a prompt and its completion.
        markers: ids of the markers.
        prompt_tokenizer: how prompts become ids.
        visual: how pixels are resized.
        max_image_pixels: pixels of an image beyond which it is scaled down.
        protocol: see ``Backend``.
        options: as given.
        way: how vectors are had.
    """

    name = "vllm"

    def __init__(
        self,
        path: Path | str,
        preset: Preset,
        device: str | None = None,
        dtype: str = "auto",
        limits: BatchLimits | None = None,
        options: VllmOptions | Mapping[str, Any] | None = None,
    ) -> None:
        """Loads a checkpoint directory.

        Args:
            path: directory with config, tokenizer, processor and safetensors.
            preset: whose pixel limits apply.
            device: vLLM takes what CUDA_VISIBLE_DEVICES shows; only the kind of device may be said.
            dtype: ``"float32"``, ``"bfloat16"``, or ``"auto"``: bfloat16 on a GPU, float32 on a CPU.
            limits: how many requests are looked at ahead.
            options: how vLLM is to run.

        Raises:
            CheckpointError: the directory cannot be loaded.
            MarkerMissing: its tokenizer lacks a marker.
            ConfigError: an option cannot work here, or vLLM does not start.
        """
        self.path, self.options = Path(path), VllmOptions.of(options)
        self.device = arguments.device_type()
        if device is not None and device != self.device:
            raise ConfigError(
                f"device={device!r}: vLLM runs on {self.device!r} here and takes the GPUs that "
                "CUDA_VISIBLE_DEVICES shows: set that instead"
            )
        self.dtype = choose_dtype(dtype, self.device)
        processor = load_processor(path)
        self.prompt_tokenizer = PromptTokenizer(processor.tokenizer, str(path))
        self.markers = self.prompt_tokenizer.markers
        self.visual = VisualProcessor(processor, preset)
        text, generation = _configs(self.path)
        self.dimension: int = text.hidden_size
        self.max_length: int = min(
            text.max_position_embeddings, self.options.max_model_len or text.max_position_embeddings
        )
        self._layers: int = text.num_hidden_layers
        self._limits = limits or BatchLimits()
        self._end_ids = end_ids(generation, processor.tokenizer)
        self._norm = FinalNorm(self.path, text.rms_norm_eps)
        self.max_image_pixels = self.visual.image_limits.max_pixels
        self.protocol: Mapping[str, Any] = {
            "prompt": self.prompt_tokenizer.signature,
            "visual": self.visual.signature,
            "end_ids": self._end_ids,
        }
        self._way: WayOfRunning | None = self._start()

    @property
    def way(self) -> Way:
        """How vectors are had: of one engine or in two passes."""
        return self._running().name

    @property
    def error(self) -> UmeR1Error | None:
        """What its engine died of, or None."""
        return self._way.error if self._way is not None else None

    def run(self, requests: Iterable[Request]) -> Iterator[Outcome]:
        """Yields every request's outcome as it finishes; see ``Backend.run``."""
        return self._run(requests, threading.Event())

    async def arun(self, requests: Iterable[Request]) -> AsyncIterator[Outcome]:
        """The same from a worker thread; cancelling stops the work at the next token."""
        cancelled = threading.Event()
        async for outcome in outcomes_of_thread(lambda: self._run(requests, cancelled), cancelled):
            yield outcome

    def close(self) -> None:
        """Frees the engines; requests after that are refused."""
        if self._way is not None:
            self._way.close()
            self._way = None

    def _start(self) -> WayOfRunning:
        if self.options.way != "auto":
            return self.two_pass() if self.options.way == "two-pass" else self.one_engine()
        if self.options.quantized_cache:
            logger.warning(
                "vLLM in two passes, which holds the weights twice: kv_cache_dtype=%s leaves no room for "
                "hidden states",
                self.options.kv_cache_dtype,
            )
            return self.two_pass()
        return self._checked()

    def _checked(self) -> WayOfRunning:
        """Returns the one-engine way if the self-check allows it, now or earlier, else two passes."""
        given = check.conditions(self.path, self.options, self.dtype, arguments.device_name())
        verdict = check.recall(given)
        way: WayOfRunning | None = None
        when = "earlier, and is not repeated"
        if verdict is None:
            verdict, way = self.self_check()
            check.keep(given, verdict)
            when = "now"
        if verdict.agreed:
            logger.info("vLLM in one engine: its self-check passed %s (%s)", when, verdict)
            return way or self.one_engine()
        logger.warning(
            "vLLM in two passes, which holds the weights twice: the self-check of one engine did not pass on "
            "this machine, tried %s (%s). `ume-r1 verify` shows more; please report it",
            when,
            verdict,
        )
        return self.two_pass()

    def self_check(self) -> tuple[check.Verdict, OneEngine | None]:
        """Runs the built-in inputs both ways; returns the verdict, and the one engine if it may be kept."""
        requests = check.check_requests(self.prompt_tokenizer)
        # Whoever waits for minutes, for the first time, should know what for; many see warnings alone.
        logger.warning(
            "first use of vLLM with this model, these options and versions on this machine: %d requests go "
            "both ways and their vectors are compared. That starts vLLM twice in place of once, which takes "
            "minutes; the verdict is kept",
            len(requests),
        )
        # Never both at a time: they may share one GPU.
        stock = self.two_pass(stock=True)
        try:
            expected = list(run_tasks(self, stock, requests, threading.Event()))
        finally:
            stock.close()
        try:
            one = self.one_engine()
        except ConfigError as error:
            return check.Verdict(False, None, str(error)), None
        try:
            verdict = check.compare(run_tasks(self, one, requests, threading.Event()), expected)
        except BaseException:
            one.close()
            raise
        if verdict.agreed:
            return verdict, one
        one.close()
        return verdict, None

    def one_engine(self, share: float = 1.0) -> OneEngine:
        """Returns the one-engine way on this model, started; on a share of the memory."""
        here = arguments.runs_here(self.options)
        return OneEngine(
            lambda address: {
                **self._common(share),
                **arguments.with_states(self._layers, self.markers, address, here),
            },
            self._make,
            self._end_ids,
            self.markers,
            self._norm,
        )

    def two_pass(self, share: float = 0.5, stock: bool = False) -> TwoPass:
        """Returns the two-pass way on this model, started.

        Args:
            share: of the memory, for each engine.
            stock: nothing of ours inside vLLM.
        """
        here = arguments.runs_here(self.options)
        given = {**self._common(share), **({} if stock else arguments.our_model(here))}
        return TwoPass(
            lambda: given, {**given, **arguments.pooling()}, self._make, self._end_ids, self.markers
        )

    def _make(
        self, given: dict[str, Any], *, pools: bool = False, awaiting: Callable[[], bool] | None = None
    ) -> Engine:
        options = self.options
        if arguments.runs_here(options):
            return InProcessEngine(given, awaiting)
        return AsyncEngine(given, pools, options.start_timeout, options.silence_timeout)

    def _common(self, share: float) -> dict[str, Any]:
        return arguments.common(self.path, self.options, self.dtype, self.visual, share)

    def _running(self) -> WayOfRunning:
        if self._way is None:
            raise closed()
        return self._way

    def _run(self, requests: Iterable[Request], cancelled: threading.Event) -> Iterator[Outcome]:
        yield from run_tasks(self, self._running(), requests, cancelled)

    def task(self, request: Request, inbox: queue.SimpleQueue[Task]) -> Task:
        """Returns a request made ready; its task goes to ``inbox`` when it ends.

        Raises:
            UmeR1Error: it cannot be run.
        """
        prepared = prepare(request, self.prompt_tokenizer, self.visual, self.max_length)
        return Task(prepared, Completion(request.sampling, self._end_ids), inbox.put)

    def room(self, flying: Mapping[str, Task]) -> bool:
        """Returns whether another request may be sent off beside those under way."""
        visual_tokens = sum(task.prepared.visual_tokens for task in flying.values())
        return len(flying) < self._limits.window and visual_tokens < self._limits.window_visual_tokens


def run_tasks(
    backend: VllmBackend, way: WayOfRunning, requests: Iterable[Request], cancelled: threading.Event
) -> Iterator[Outcome]:
    """Yields the outcomes of requests, reading no further ahead than there is room for."""
    inbox: queue.SimpleQueue[Task] = queue.SimpleQueue()
    flying: dict[str, Task] = {}
    waiting, more = iter(requests), True
    try:
        while (more or flying) and not cancelled.is_set():
            if more and backend.room(flying):
                request = next(waiting, None)
                if request is None:
                    more = False
                    continue
                try:
                    task = backend.task(request, inbox)
                except UmeR1Error as error:
                    yield request.id, error
                    continue
                flying[task.key] = task
                way.start(task)
            # As long as there is room, the next request is more urgent than waiting for an answer.
            wait = 0.0 if more and backend.room(flying) else 0.05
            try:
                done = inbox.get(timeout=wait) if wait else inbox.get_nowait()
            except queue.Empty:
                _end_stuck(way, flying, backend.options.silence_timeout)
                continue
            del flying[done.key]
            if done.outcome is not None:
                yield done.prepared.request.id, done.outcome
    finally:
        if flying:
            way.abort(list(flying.values()))


def _end_stuck(way: WayOfRunning, flying: Mapping[str, Task], patience: float) -> None:
    """Ends tasks that nobody else will: their states do not come, or the engine died meanwhile."""
    if way.error is not None:
        for task in flying.values():
            task.fail(way.error)
        return
    now = time.monotonic()
    # States take one more step of the engine.
    stuck = [task for task in flying.values() if task.ended and now - task.ended > patience]
    if stuck:
        way.abort(stuck)
    for task in stuck:
        task.fail(
            BackendError(
                f"vLLM sent no hidden states within {patience:.0f} s of a completion's end: use "
                'way="two-pass", and report this with `ume-r1 verify`'
            )
        )


def _configs(path: Path) -> tuple[Any, Any]:
    """Returns the configs of a checkpoint's text model and of its generation.

    Raises:
        CheckpointError: they cannot be read.
    """
    try:
        text = AutoConfig.from_pretrained(path).get_text_config()
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"cannot read the config of {path}: {error}") from error
    try:
        generation = GenerationConfig.from_pretrained(path)
    except OSError:
        generation = GenerationConfig(eos_token_id=text.eos_token_id)
    return text, generation
