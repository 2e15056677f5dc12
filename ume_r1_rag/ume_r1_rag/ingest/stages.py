"""Stages: work that goes on in threads of its own, a bounded way before and behind the caller's.

Queues of the standard library cannot be closed before Python 3.13, so that a thread that waits for one can
only be ended by polling; hence a channel of our own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class _Channel(Generic[Item]):
    """A bounded queue from one thread to another that both can close."""

    def __init__(self, size: int) -> None:
        self._size, self._items = size, deque[Item]()
        self._changed = threading.Condition()
        self._open = True

    def put(self, item: Item) -> bool:
        """Waits for room; returns False if the channel is closed, and the item with it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._open or len(self._items) < self._size)
            if self._open:
                self._items.append(item)
                self._changed.notify_all()
            return self._open

    def get(self) -> tuple[bool, Item | None]:
        """Waits for an item; returns ``(False, None)`` if the channel is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or not self._open)
            if not self._items:
                return False, None
            item = self._items.popleft()
            self._changed.notify_all()
            return True, item

    def close(self, drop: bool = False) -> None:
        """Lets nothing more in; ``drop`` also throws away what nobody has taken yet."""
        with self._changed:
            self._open = False
            if drop:
                self._items.clear()
            self._changed.notify_all()


class Ahead(Generic[Item]):
    """An iterator whose items are made in a thread of its own, at most ``size`` ahead.

    A context manager: on leaving, the thread ends after the item that it is making, and the generator is
    closed in it. What it raised, the caller's iteration raises.
    """

    def __init__(self, items: Generator[Item, None, None], size: int, name: str) -> None:
        """Prepares the thread, which starts with the context."""
        self._items, self._channel = items, _Channel[Item](size)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._channel.put(item):
                    break
        except BaseException as error:  # noqa: BLE001 -- raised again by __iter__, in the caller's thread
            self._error = error
        finally:
            self._items.close()
            self._channel.close()

    def __iter__(self) -> Iterator[Item]:
        """Yields the items; afterwards raises what ended their making."""
        while True:
            found, item = self._channel.get()
            if not found:
                break
            yield item  # type: ignore[misc]  # there is one
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        """Starts the thread."""
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Ends the thread."""
        self._channel.close(drop=True)
        self._thread.join()


class Behind(Generic[Item, Outcome]):
    """A function that is called in a thread of its own, with one item after another, at most ``size`` behind.

    A context manager: on leaving, even by an exception, what was handed over is finished. What the function
    raised, the next ``put`` or the leaving raises; nothing is called after that.
    """

    def __init__(self, work: Callable[[Item], Outcome], size: int, name: str) -> None:
        """Prepares the thread, which starts with the context."""
        self._work, self._channel = work, _Channel[Item](size)
        self._outcomes = deque[Outcome]()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _run(self) -> None:
        try:
            while True:
                found, item = self._channel.get()
                if not found:
                    break
                self._outcomes.append(self._work(item))  # type: ignore[arg-type]  # there is one
        except BaseException as error:  # noqa: BLE001 -- raised again in the caller's thread
            self._error = error
            self._channel.close(drop=True)

    def put(self, item: Item) -> None:
        """Hands an item over, waiting while too many are ahead of it."""
        if not self._channel.put(item):
            self._raise()

    def outcomes(self) -> Iterator[Outcome]:
        """Yields the outcomes that there are by now, each once, in order."""
        while self._outcomes:
            yield self._outcomes.popleft()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        """Starts the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits until all is done."""
        self._channel.close()
        self._thread.join()
        if error is None:
            self._raise()


def in_order(
    work: Callable[[Item], Outcome], items: Iterable[Item], at_once: int, name: str
) -> Iterator[Outcome]:
    """Yields the outcome of each item, in order, while so many are worked on at a time.

    One at a time is worked on in the caller's thread, where an interrupt ends it at once; more are in threads
    of their own, and an interrupt waits for them. What an item raised is raised at its turn.
    """
    if at_once == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(at_once, name) as pool:
        begun = deque[Future[Outcome]]()
        try:
            for item in items:
                begun.append(pool.submit(work, item))
                if len(begun) == at_once:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()


class BusyClock:
    """Measures the time in which anybody is at work, however many at once.

    Attributes:
        seconds: so far.
    """

    def __init__(self) -> None:
        """Starts at 0."""
        self.seconds = 0.0
        self._lock, self._busy, self._since = threading.Lock(), 0, 0.0

    def __enter__(self) -> None:
        """Somebody begins."""
        with self._lock:
            if not self._busy:
                self._since = time.perf_counter()
            self._busy += 1

    def __exit__(self, *exc: object) -> None:
        """Somebody ends."""
        with self._lock:
            self._busy -= 1
            if not self._busy:
                self.seconds += time.perf_counter() - self._since
