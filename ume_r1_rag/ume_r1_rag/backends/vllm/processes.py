"""A vLLM engine in processes of its own: how it serves on a GPU, where preparing and computing overlap."""

from __future__ import annotations

import asyncio
import atexit
import logging
import multiprocessing
import os
import threading
import time
from concurrent.futures import wait
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ume_r1_rag.backends.vllm.engine import closed, died, refused, starting
from ume_r1_rag.backends.vllm.states import child
from ume_r1_rag.errors import BackendError, ConfigError

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from ume_r1_rag.backends.vllm.engine import Job

logger = logging.getLogger(__name__)

_PULSE_S = 5.0
"""Seconds between two questions for a sign of life, while something is under way."""

_LAST_S = 15.0
"""Seconds in which an engine that is told to end, or was killed, must be gone."""


class AsyncEngine:
    """An engine that is spoken to through vLLM's ``AsyncLLM``, on a thread with a loop of its own."""

    def __init__(
        self, arguments: dict[str, Any], pools: bool, start_timeout: float, silence_timeout: float
    ) -> None:
        """Starts the engine.

        Args:
            arguments: of vLLM's ``AsyncEngineArgs``.
            pools: whether its jobs are ``PoolingParams``.
            start_timeout: seconds after which an engine that has not started is given up.
            silence_timeout: seconds after which an engine that gives no sign of life is.

        Raises:
            ConfigError: vLLM cannot start with them, or not in time.
        """
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1"
        # This process has threads, which a fork would cut off wherever they are.
        os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
        self._pools, self._silence = pools, silence_timeout
        self._error: BackendError | None = None
        self._engine: Any = None
        self._jobs: dict[str, tuple[Job, asyncio.Task[None]]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ume-r1-vllm", daemon=True)
        self._thread.start()
        try:
            with starting(
                ' A script must make its encoder below `if __name__ == "__main__":`, for vLLM\'s processes '
                "import it."
            ):
                self._engine = self._started(arguments, start_timeout)
        except BaseException:
            self._stop_loop()
            raise
        self._watching = asyncio.run_coroutine_threadsafe(self._watch(), self._loop)
        # An interpreter that ends ends its processes: to an engine that was not closed that is its death, and
        # vLLM says so at length.
        atexit.register(self.close)

    @property
    def error(self) -> BackendError | None:
        """What it died of, or None."""
        if self._error is None and self._engine.errored:
            self._error = died(self._engine.dead_error)
        return self._error

    def start(self, job: Job) -> None:
        """Sends a job off."""
        try:
            self._loop.call_soon_threadsafe(self._start, job)
        except RuntimeError:  # the loop is closed
            job.fail(self._error or closed())

    def abort(self, keys: list[str]) -> None:
        """Ends jobs; nothing is heard of them any more."""
        # Where the loop is closed, all have ended.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cancel, keys)

    def close(self) -> None:
        """Frees the engine; jobs under way are dropped."""
        atexit.unregister(self.close)
        if not self._thread.is_alive():
            return
        self._error = self._error or closed()
        self._loop.call_soon_threadsafe(self._cancel, None)
        self._watching.cancel()
        # It would call the engine's end an error, at length.
        if (handler := getattr(self._engine, "output_handler", None)) is not None:
            self._loop.call_soon_threadsafe(handler.cancel)
        self._end_processes()
        self._stop_loop()

    def _end_processes(self) -> None:
        """Ends the engine's processes, after some seconds by force, and waits until their memory is free."""
        self._engine.shutdown()
        last = time.monotonic() + _LAST_S
        for process in self._processes:
            process.join(max(0.0, last - time.monotonic()))

    def _started(self, arguments: dict[str, Any], timeout: float) -> Any:
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        async def make() -> Any:
            return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))

        before = set(multiprocessing.active_children())
        with child.marked():
            future = asyncio.run_coroutine_threadsafe(make(), self._loop)
            try:
                started = bool(wait([future], timeout).done)
            except BaseException:  # Ctrl-C
                _kill(before)
                raise
        self._processes = _engines(before)
        if started:
            return future.result()
        # vLLM waits for its processes without end; it raises once they are gone.
        _kill(before)
        wait([future], _LAST_S)
        raise ConfigError(
            f"vLLM has not started within {timeout:.0f} s: see its log above, free cores or memory, or raise "
            "start_timeout"
        )

    def _start(self, job: Job) -> None:
        if (error := self.error) is not None:
            job.fail(error)
            return
        task = self._loop.create_task(self._run(job))
        self._jobs[job.key] = job, task
        task.add_done_callback(lambda _: self._jobs.pop(job.key, None))

    def _cancel(self, keys: list[str] | None) -> None:
        for key in list(self._jobs) if keys is None else keys:
            if found := self._jobs.get(key):
                # vLLM aborts a request whose iterator is cancelled.
                found[1].cancel()

    async def _run(self, job: Job) -> None:
        from vllm.v1.engine.exceptions import EngineDeadError

        run = self._engine.encode if self._pools else self._engine.generate
        try:
            async for output in run(job.prompt, job.params, request_id=job.key):
                job.take(output)
        except EngineDeadError as error:
            job.fail(self._error or died(error))
        except Exception as error:  # noqa: BLE001 -- a bad input must not end the loop
            job.fail(self.error or refused(error))

    async def _watch(self) -> None:
        """Gives the engine up when it stays silent: a process that hangs ends no wait of vLLM's."""
        while True:
            await asyncio.sleep(_PULSE_S)
            if not self._jobs:
                continue
            asked = time.monotonic()
            try:
                # The engine answers between two steps.
                await asyncio.wait_for(self._engine.is_sleeping(), self._silence)
            except TimeoutError:
                await self._give_up(time.monotonic() - asked)
                return
            except Exception as error:  # noqa: BLE001 -- jobs hear of an engine's death by themselves
                logger.debug("no sign of life of the vLLM engine: %s", error)

    async def _give_up(self, seconds: float) -> None:
        self._error = BackendError(
            f"the vLLM engine gave no sign of life for {seconds:.0f} s and was ended. What was finished is "
            "kept; make a new encoder to go on, with a larger silence_timeout if a single step takes so long"
        )
        logger.error("%s", self._error)
        for job, task in list(self._jobs.values()):
            task.cancel()
            job.fail(self._error)
        await self._loop.run_in_executor(None, self._end_processes)

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_LAST_S)
        if not self._thread.is_alive():
            self._loop.close()


def _engines(before: set[BaseProcess]) -> list[BaseProcess]:
    """Returns vLLM's processes that were not there before."""
    now = multiprocessing.active_children()
    return [one for one in now if one not in before and one.name.startswith(("EngineCore", "VLLM_DP"))]


def _kill(before: set[BaseProcess]) -> None:
    # Their workers see that they are gone, and end.
    for process in _engines(before):
        process.kill()
