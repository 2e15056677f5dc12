"""Fleet: one process for each runner, kept alive and asked by turns."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from ume_r1_bench.speed.runner import Runner
from ume_r1_bench.speed.way import ABOUT, RunnerName, Way
from ume_r1_bench.stores.errors import BenchError
from ume_r1_bench.stores.worker import Worker


class Fleet:
    """The runners of one checkpoint; a context manager. Only one works at a time."""

    def __init__(self, path: Path, engine: Mapping[str, Any]) -> None:
        """Takes the checkpoint, and vLLM's options; a process is started when it is first asked.

        One each, because vLLM takes a process for itself, and because a library sets up threads and memory
        in ways that another would feel.
        """
        self._path, self._engine = path, dict(engine)
        self._workers: dict[RunnerName, Worker] = {}

    def call(self, way: Way, method: str, *given: Any) -> Any:
        """Returns what a method of the way's :class:`Runner` gives.

        Raises:
            BenchError: it failed. Its process is gone, and the next call starts another.
        """
        name = ABOUT[way].runner
        try:
            if name not in self._workers:
                self._workers[name] = Worker(*_made(name, self._path, self._engine))
            return self._workers[name].call(method, way, *given)
        except BenchError:
            self._end(name)
            raise

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Ends all processes."""
        for name in list(self._workers):
            self._end(name)

    def _end(self, name: RunnerName) -> None:
        worker = self._workers.pop(name, None)
        if worker is not None:
            with suppress(OSError):
                worker.__exit__()


def _made(name: RunnerName, path: Path, engine: Mapping[str, Any]) -> tuple[Any, ...]:
    """Returns a runner's class and what it is made with."""
    found: tuple[type[Runner], tuple[Any, ...]]
    if name == "card":
        from ume_r1_bench.speed.card import CardRunner

        found = CardRunner, (path,)
    elif name == "mteb":
        from ume_r1_bench.speed.wrapper import WrapperRunner

        found = WrapperRunner, (path,)
    elif name == "stock":
        from ume_r1_bench.speed.stock import StockRunner

        found = StockRunner, (path, engine)
    else:
        from ume_r1_bench.speed.encoders import EncoderRunner

        vllm = None if name == "transformers" else {**engine, "way": name}
        found = EncoderRunner, (path, vllm)
    return found[0], *found[1]
