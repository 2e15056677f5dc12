"""One vLLM engine behind three calls, and the one that runs in this process, on a thread of ours."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from ume_r1_rag.errors import BackendError, ConfigError, InputError, UmeR1Error

logger = logging.getLogger(__name__)

_STEP = threading.Lock()
"""vLLM keeps what belongs to a forward in module variables: engines in one process take turns."""


_ALIVE: dict[int, bool] = {}
"""Engines in this process, and whether each hands out states. One that does must be alone: of the connector
that carries them, vLLM has one per process, and every engine there would use it."""


@dataclass(frozen=True, slots=True)
class Job:
    """One prompt on its way through an engine.

    Attributes:
        key: unique among all jobs of the engine.
        prompt: token ids and visuals, as vLLM takes them.
        params: its ``SamplingParams`` or ``PoolingParams``.
        take: gets each of vLLM's outputs, on a thread of the engine.
        fail: gets the error that befell the job, on a thread of the engine.
    """

    key: str
    prompt: dict[str, Any]
    params: Any
    take: Callable[[Any], None]
    fail: Callable[[UmeR1Error], None]


class Engine(Protocol):
    """Runs jobs, many at a time; every call may come from any thread.

    Attributes:
        error: what it died of, or None.
    """

    @property
    def error(self) -> BackendError | None:
        """What it died of, or None."""
        ...

    def start(self, job: Job) -> None:
        """Sends a job off."""
        ...

    def abort(self, keys: list[str]) -> None:
        """Ends jobs; nothing is heard of them any more."""
        ...

    def close(self) -> None:
        """Frees the engine; jobs under way are dropped."""
        ...


def died(error: BaseException) -> BackendError:
    """Returns what to say of an engine that cannot go on."""
    return BackendError(
        f"the vLLM engine died ({type(error).__name__}: {error}). vLLM's log above says why. What was "
        "finished is kept; make a new encoder to go on, with less gpu_memory_utilization or max_num_seqs if "
        "memory ran out"
    )


def closed() -> BackendError:
    """Returns what to say of what was under way when its encoder was closed."""
    return BackendError("this encoder was closed: make a new one")


def refused(error: BaseException) -> UmeR1Error:
    """Returns what to say of a single job that vLLM would not take."""
    return InputError(f"vLLM refused the input: {error}")


class MakeEngine(Protocol):
    """Starts an engine here or in processes of its own."""

    def __call__(
        self, arguments: dict[str, Any], /, *, pools: bool = False, awaiting: Callable[[], bool] | None = None
    ) -> Engine:
        """Returns it, started.

        Args:
            arguments: of vLLM's ``EngineArgs``.
            pools: whether its jobs are ``PoolingParams``.
            awaiting: whether states are missing that another step would send; None if it sends none.

        Raises:
            ConfigError: vLLM cannot start.
        """
        ...


class InProcessEngine:
    """An engine in this process, stepped by a thread of ours: nothing is started, nothing serialised."""

    def __init__(self, arguments: dict[str, Any], awaiting: Callable[[], bool] | None = None) -> None:
        """Starts the engine.

        Args:
            arguments: of vLLM's ``EngineArgs``.
            awaiting: whether states are missing that another step would send; None if it sends none.

        Raises:
            ConfigError: vLLM cannot start with them, or there is another engine in this process.
        """
        if any(_ALIVE.values()) or (awaiting is not None and _ALIVE):
            raise ConfigError(
                "another encoder runs vLLM in this process, which cannot hold two of them: close it first, "
                "or pass in_process=False to one"
            )
        # Read by vLLM when it plans the worker, too, not only where an argument says so.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        from vllm import EngineArgs
        from vllm.v1.engine.llm_engine import LLMEngine

        with starting(), _STEP:
            self._engine: Any = LLMEngine.from_engine_args(EngineArgs(**arguments))
        _ALIVE[id(self)] = awaiting is not None
        self._awaiting = awaiting or (lambda: False)
        self._commands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._jobs: dict[str, Job] = {}
        self.error: BackendError | None = None
        self._thread = threading.Thread(target=self._work, name="ume-r1-vllm", daemon=True)
        self._thread.start()

    def start(self, job: Job) -> None:
        """Sends a job off."""
        self._commands.put(lambda: self._add(job))

    def abort(self, keys: list[str]) -> None:
        """Ends jobs; nothing is heard of them any more."""
        self._commands.put(lambda: self._drop(keys))

    def close(self) -> None:
        """Frees the engine; jobs under way are dropped."""
        self._commands.put(None)
        self._thread.join()
        self.error = self.error or closed()
        if self._engine is not None:
            with _STEP, contextlib.suppress(Exception):
                self._engine.engine_core.shutdown()
        self._engine = None
        _ALIVE.pop(id(self), None)

    def _add(self, job: Job) -> None:
        if self.error is not None:
            job.fail(self.error)
            return
        try:
            self._engine.add_request(job.key, job.prompt, job.params)
        except Exception as error:  # noqa: BLE001 -- a bad input must not end the engine
            job.fail(refused(error))
        else:
            self._jobs[job.key] = job

    def _drop(self, keys: list[str]) -> None:
        known = [key for key in keys if self._jobs.pop(key, None)]
        if known and self.error is None:
            self._engine.abort_request(known)

    def _work(self) -> None:
        while True:
            idle = self.error is not None or not (self._jobs or self._awaiting())
            while True:
                try:
                    command = self._commands.get(block=idle)
                except queue.Empty:
                    break
                if command is None:
                    return
                command()
                idle = False
            if self.error is None:
                self._step()

    def _step(self) -> None:
        try:
            with _STEP:
                outputs = self._engine.step()
        except Exception as error:
            # Whatever it is, the engine's state is unknown.
            self.error = died(error)
            logger.exception("the vLLM engine died")
            jobs, self._jobs = list(self._jobs.values()), {}
            for job in jobs:
                job.fail(self.error)
            return
        if not outputs and not self._jobs:
            # Only states are awaited, and they are on their way from another thread.
            time.sleep(0.001)
        for output in outputs:
            job = self._jobs.get(output.request_id)  # type: ignore[assignment]
            if job is None:
                continue
            if output.finished:
                del self._jobs[job.key]
            job.take(output)


@contextlib.contextmanager
def starting(hint: str = "") -> Iterator[None]:
    """Turns whatever keeps vLLM from starting into our error."""
    try:
        yield
    except UmeR1Error:
        raise
    except Exception as error:
        raise ConfigError(
            f"vLLM cannot start with this model and these options ({type(error).__name__}: {error}): see its "
            f"log above and `ume-r1 doctor`.{hint}"
        ) from error
