"""Stages: work that goes on in threads of its own, a bounded way before and behind the caller's.

Queues of the standard library cannot be closed before Python 3.13, so that a thread that waits for one can
only be ended by polling; hence a channel of our own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
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


class AtOnce(Generic[Item, Outcome]):
    """A function that several threads call, each with the next item; the outcomes come in the items' order.

    A context manager. No more than ``size`` items are taken whose outcomes were not. Iterating raises what an
    item raised at that item's turn, and what ended the items after the outcomes before; later items may have
    been worked on in vain. On leaving nothing more is begun; what is under way is waited for, but not by an
    interrupt.
    """

    def __init__(self, work: Callable[[Item], Outcome], items: Iterable[Item], size: int, name: str) -> None:
        """Prepares the threads, which start with the context."""
        self._work, self._items, self._size = work, iter(items), size
        self._pulling = threading.Lock()
        self._changed = threading.Condition()
        self._taken = self._given = self._working = 0
        self._done: dict[int, tuple[Outcome | None, BaseException | None]] = {}
        self._ended = False
        self._error: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._run, name=f"{name} {number}", daemon=True)
            for number in range(1, size + 1)
        ]

    def _run(self) -> None:
        while (found := self._pull()) is not None:
            number, item = found
            outcome: Outcome | None = None
            error: BaseException | None = None
            try:
                outcome = self._work(item)
            except BaseException as failure:  # noqa: BLE001 -- raised again by __iter__, in the caller's thread
                error = failure
            with self._changed:
                self._done[number] = (outcome, error)
                self._ended |= error is not None
                self._working -= 1
                self._changed.notify_all()

    def _pull(self) -> tuple[int, Item] | None:
        """Waits for room and the next item; returns it with its number, or None at the end."""
        with self._pulling:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._taken - self._given < self._size)
                if self._ended:
                    return None
            try:
                item = next(self._items)
            except BaseException as error:  # noqa: BLE001 -- raised again by __iter__, in the caller's thread
                with self._changed:
                    self._ended = True
                    self._error = None if isinstance(error, StopIteration) else error
                    self._changed.notify_all()
                return None
            with self._changed:
                if self._ended:  # while the item was waited for
                    return None
                number = self._taken
                self._taken += 1
                self._working += 1
            return number, item

    def __iter__(self) -> Iterator[Outcome]:
        """Yields the outcomes as soon as those before them are there."""
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._given in self._done or (self._ended and self._given == self._taken)
                )
                if self._given not in self._done:
                    break
                outcome, error = self._done.pop(self._given)
                self._given += 1
                self._changed.notify_all()
            if error is not None:
                raise error
            yield outcome  # type: ignore[misc]  # there is one
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Lets nothing more begin."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            if not isinstance(error, KeyboardInterrupt):
                self._changed.wait_for(lambda: not self._working)


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
