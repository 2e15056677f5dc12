"""Worker: an object in a process of its own, asked call by call, so that two can take turns undisturbed."""

from __future__ import annotations

import multiprocessing
import traceback
from multiprocessing.connection import Connection
from typing import Any, Self

from ume_r1_bench.stores.errors import BenchError


class Worker:
    """An object in another process; a context manager."""

    def __init__(self, kind: type[Any], *given: Any) -> None:
        """Starts the process and makes the object there.

        Args:
            kind: its class, importable by name, with a method ``close``.
            *given: what it is made with.

        Raises:
            BenchError: it cannot be made.
        """
        self._name = " ".join([kind.__name__, *map(str, given)])
        # Not forked: threads of numerical libraries do not survive that.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, kind, given))
        self._process.start()
        theirs.close()
        try:
            self._answer()
        except BaseException:
            self.__exit__()
            raise

    def call(self, method: str, *given: Any) -> Any:
        """Returns what a method gives.

        Raises:
            BenchError: it failed, with the other process's traceback.
        """
        self._pipe.send((method, given))
        return self._answer()

    def _answer(self) -> Any:
        try:
            failed, answer = self._pipe.recv()
        except EOFError as error:
            self._process.join()
            raise BenchError(
                f"{self._name}: the process ended with {self._process.exitcode}, for want of memory perhaps: "
                "measure less"
            ) from error
        if failed:
            raise BenchError(f"{self._name} failed: {answer}")
        return answer

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Ends the process."""
        self._pipe.close()
        self._process.join()


def _serve(pipe: Connection, kind: type[Any], given: tuple[Any, ...]) -> None:
    """Answers calls until the pipe is closed."""
    served: Any = None
    try:
        served = kind(*given)
        pipe.send((False, None))
        while True:
            method, arguments = pipe.recv()
            pipe.send((False, getattr(served, method)(*arguments)))
    except (EOFError, BrokenPipeError):
        pass
    except Exception:  # noqa: BLE001 -- told to the other side, which raises it
        pipe.send((True, traceback.format_exc()))
    finally:
        if served is not None:
            served.close()
