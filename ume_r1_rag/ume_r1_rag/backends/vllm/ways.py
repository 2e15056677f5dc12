"""The two ways to a vector: one engine that generates and sends states, or a second one that pools."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ume_r1_rag.backends.vllm.engine import Engine, Job, MakeEngine
from ume_r1_rag.backends.vllm.states.arguments import state_params
from ume_r1_rag.backends.vllm.states.receiver import Receiver
from ume_r1_rag.backends.vllm.task import Task
from ume_r1_rag.errors import BackendError, UmeR1Error
from ume_r1_rag.pooling import last_index

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ume_r1_rag.backends.vllm.norm import FinalNorm
    from ume_r1_rag.backends.vllm.options import Way
    from ume_r1_rag.backends.vllm.states.receiver import Rows
    from ume_r1_rag.template import Markers


class WayOfRunning(Protocol):
    """Runs tasks.

    Attributes:
        name: which of the two.
    """

    name: Way

    @property
    def error(self) -> UmeR1Error | None:
        """What an engine of it died of, or None."""
        ...

    def start(self, task: Task) -> None:
        """Sends a task off."""
        ...

    def abort(self, tasks: Sequence[Task]) -> None:
        """Ends tasks; nothing is heard of them any more."""
        ...

    def close(self) -> None:
        """Frees what runs them."""
        ...


def sampling_params(task: Task, end_ids: Sequence[int], extra: dict[str, Any] | None = None) -> Any:
    """Returns vLLM's sampling parameters for a task."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    how = task.prepared.request.sampling
    return SamplingParams(
        temperature=how.temperature,
        seed=how.seed if how.temperature > 0 else None,
        max_tokens=max(how.max_new_tokens, 1),
        # All end tokens are said here; the marker is none of them, because it must be fed to have a state.
        stop_token_ids=list(end_ids),
        ignore_eos=True,
        detokenize=False,
        # Loops are looked for on our side: with hidden states vLLM takes no logits processor.
        output_kind=RequestOutputKind.DELTA if how.repetition else RequestOutputKind.FINAL_ONLY,
        extra_args=extra,
    )


def _measured(output: Any, expected: int) -> None:
    """Refuses an output whose prompt is not as long as ours.

    Raises:
        BackendError: it is not.
    """
    found = len(output.prompt_token_ids or ())
    if found != expected:
        raise BackendError(
            f"vLLM made {found} tokens of a prompt that has {expected}: its image processor is not the "
            "checkpoint's. Please report this with `ume-r1 doctor`"
        )


class OneEngine:
    """Prompt, completion and states from one engine.

    Attributes:
        name: ``"one-engine"``.
    """

    name: Way = "one-engine"

    def __init__(
        self,
        arguments: Callable[[str], dict[str, Any]],
        make: MakeEngine,
        end_ids: Sequence[int],
        markers: Markers,
        norm: FinalNorm,
    ) -> None:
        """Starts the engine.

        Args:
            arguments: from the receiver's address to those of vLLM's engine.
            make: starts it.
            end_ids: what ends a completion.
            markers: ids of the markers.
            norm: the model's final norm; the states come from before it.

        Raises:
            ConfigError: vLLM cannot start.
        """
        self._end_ids, self._markers, self._norm = end_ids, markers, norm
        self._tasks: dict[str, Task] = {}
        self._receiver = Receiver(self._arrived)
        try:
            given = arguments(self._receiver.address)
            self._engine: Engine = make(given, awaiting=lambda: bool(self._tasks))
        except BaseException:
            self._receiver.close()
            raise

    @property
    def error(self) -> UmeR1Error | None:
        """What the engine died of, or None."""
        return self._engine.error

    def start(self, task: Task) -> None:
        """Sends a task off."""
        prepared, markers = task.prepared, self._markers
        prompt = (
            prepared.disc_prompt(markers) if task.disc_only else prepared.prompt(prepared.request.replay_ids)
        )
        extra = state_params(task.key, prepared.prompt_length)
        params = sampling_params(task, self._end_ids, extra)
        self._tasks[task.key] = task
        self._engine.start(
            Job(task.key, prompt, params, partial(self._take, task), partial(self._fail, task))
        )

    def abort(self, tasks: Sequence[Task]) -> None:
        """Ends tasks; nothing is heard of them any more."""
        for task in tasks:
            self._tasks.pop(task.key, None)
        self._engine.abort([task.key for task in tasks])

    def close(self) -> None:
        """Frees the engine."""
        self._tasks.clear()
        self._engine.close()
        self._receiver.close()

    def _take(self, task: Task, output: Any) -> None:
        prepared = task.prepared
        try:
            _measured(output, prepared.disc_at + 1 if task.disc_only else prepared.fed)
            if task.completion.take(output):
                # Aborted, it sends its rows all the same.
                self._engine.abort([task.key])
        except UmeR1Error as error:
            self._fail(task, error)
            return
        if task.completion.finish is not None:
            task.ended = time.monotonic()
            self._finish(task)

    def _arrived(self, key: str, rows: Rows) -> None:
        task = self._tasks.get(key)
        if task is not None:
            task.rows = rows
            self._finish(task)

    def _finish(self, task: Task) -> None:
        """Ends a task that has both its completion and its rows, which come in any order."""
        if task.completion.finish is None or task.rows is None or self._tasks.pop(task.key, None) is None:
            return
        gen = last_index(task.ids, self._markers.gen)
        places = {
            "disc": task.prepared.disc_at,
            "gen": None if gen is None else task.prepared.prompt_length + gen,
        }
        for space, (row, state) in task.rows.items():
            # vLLM may have gone on beyond what was kept of a completion.
            if row == places[space]:
                task.states[space] = self._norm(state)
        task.succeed()

    def _fail(self, task: Task, error: UmeR1Error) -> None:
        self._tasks.pop(task.key, None)
        task.fail(error)


class TwoPass:
    """Completions from one engine; states from a second that pools prompt and completion by their ids.

    Stock vLLM throughout. The weights are held twice, once there is something to be generated.

    Attributes:
        name: ``"two-pass"``.
    """

    name: Way = "two-pass"

    def __init__(
        self,
        generating: Callable[[], dict[str, Any]],
        pooling: dict[str, Any],
        make: MakeEngine,
        end_ids: Sequence[int],
        markers: Markers,
    ) -> None:
        """Starts the pooling engine; the other starts when something is to be generated.

        Args:
            generating: arguments of the generating engine.
            pooling: arguments of the pooling one.
            make: starts them.
            end_ids: what ends a completion.
            markers: ids of the markers.

        Raises:
            ConfigError: vLLM cannot start.
        """
        self._end_ids, self._markers = end_ids, markers
        self._generating, self._make = generating, make
        self._pooler = make(pooling, pools=True)
        self._generator: Engine | None = None
        self._starting = threading.Lock()

    @property
    def error(self) -> UmeR1Error | None:
        """What an engine died of, or None."""
        generating = self._generator.error if self._generator is not None else None
        return self._pooler.error or generating

    def start(self, task: Task) -> None:
        """Sends a task off."""
        prepared = task.prepared
        if not prepared.request.sampling.max_new_tokens:
            task.completion.finish = "replay"
            self._pool(task)
            return
        with self._starting:
            if self._generator is None:
                self._generator = self._make(self._generating())
        self._generator.start(
            Job(
                task.key,
                prepared.prompt(prepared.request.replay_ids),
                sampling_params(task, self._end_ids),
                partial(self._take, task),
                task.fail,
            )
        )

    def abort(self, tasks: Sequence[Task]) -> None:
        """Ends tasks; nothing is heard of them any more."""
        if self._generator is not None:
            self._generator.abort([task.key for task in tasks])
        self._pooler.abort([f"{task.key}/{space}" for task in tasks for space in ("disc", "gen")])

    def close(self) -> None:
        """Frees the engines."""
        self._pooler.close()
        if self._generator is not None:
            self._generator.close()

    def _take(self, task: Task, output: Any) -> None:
        try:
            _measured(output, task.prepared.fed)
            stop = task.completion.take(output)
        except UmeR1Error as error:
            task.fail(error)
            return
        if stop and self._generator is not None:
            self._generator.abort([task.key])
        if task.completion.finish is not None:
            self._pool(task)

    def _pool(self, task: Task) -> None:
        prepared, parts = task.prepared, {}
        if "disc" in prepared.request.want:
            parts["disc"] = (prepared.disc_prompt(self._markers), prepared.disc_at + 1)
        gen = last_index(task.ids, self._markers.gen)
        if "gen" in prepared.request.want and gen is not None:
            parts["gen"] = (prepared.prompt(task.ids[: gen + 1]), prepared.prompt_length + gen + 1)
        task.missing = len(parts)
        if not parts:
            task.succeed()
        for space, (prompt, length) in parts.items():
            self._pooler.start(
                Job(
                    f"{task.key}/{space}",
                    prompt,
                    _pooling_params(),
                    partial(self._pooled, task, space, length),
                    task.fail,
                )
            )

    def _pooled(self, task: Task, space: str, length: int, output: Any) -> None:
        try:
            _measured(output, length)
        except UmeR1Error as error:
            task.fail(error)
            return
        with task.lock:
            task.states[space] = output.outputs.data.float().cpu().numpy()
            task.missing -= 1
            done = task.missing == 0
        if done:
            task.succeed()


def _pooling_params() -> Any:
    from vllm import PoolingParams

    return PoolingParams(task="embed", use_activation=False)
