"""Sharing: what several callers want at the same time goes through the model in common batches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeAlias

from ume_r1_rag.backends.batching import BatchLimits, T, batches

Deliver: TypeAlias = Callable[[Any, Any], None]
"""Takes an item and its outcome, or the exception that ended its batch."""


class SharedBatches(Generic[T]):
    """Runs the prepared requests of all callers in one thread, which lives while there is work.

    Nothing is waited for: what comes while a batch runs is in the next one. Batches that decode and batches
    that do not take turns, so that a disc vector waits for one batch of generations at most; among its kind
    the oldest request is in the next batch.
    """

    def __init__(self, run: Callable[[list[T]], Iterable[tuple[T, Any]]], limits: BatchLimits) -> None:
        """Takes what runs a batch and yields each item with its outcome."""
        self._run, self._limits = run, limits
        self._waiting: dict[T, Deliver] = {}
        self._changed = threading.Condition()
        self._working = False
        self._decoded = False

    def add(self, items: Sequence[T], deliver: Deliver) -> None:
        """Queues items; ``deliver`` is called from the thread for each that is not dropped before."""
        with self._changed:
            self._waiting.update(dict.fromkeys(items, deliver))
            if self._working or not self._waiting:
                return
            self._working = True
        threading.Thread(target=self._work, name="ume-r1-batches").start()

    def drop(self, items: Iterable[T]) -> None:
        """Forgets items that wait; those of a running batch are its own affair."""
        with self._changed:
            for item in items:
                self._waiting.pop(item, None)
            self._changed.notify_all()

    def wait_for_room(self, gave_up: Callable[[], bool]) -> None:
        """Blocks while the visuals that wait fill a window, so that callers together stay within memory."""
        with self._changed:
            while self._is_full() and not gave_up():
                self._changed.wait(0.1)

    def _is_full(self) -> bool:
        return sum(item.visual_tokens for item in self._waiting) >= self._limits.window_visual_tokens

    def _work(self) -> None:
        while batch := self._next():
            try:
                for item, outcome in self._run(list(batch)):
                    batch.pop(item)(item, outcome)
            except BaseException as error:  # noqa: BLE001 -- handed to the awaiting sides, which raise it
                for item, deliver in batch.items():
                    deliver(item, error)

    def _next(self) -> dict[T, Deliver]:
        """Returns the next batch with whom it is for; an empty one ends the thread."""
        with self._changed:
            waiting = list(self._waiting)
            if not waiting:
                self._working = False
                return {}
            first = next((item for item in waiting if (item.decodes > 0) != self._decoded), waiting[0])
            self._decoded = first.decodes > 0
            batch = next(batch for batch in batches(waiting, self._limits) if first in batch)
            self._changed.notify_all()
            return {item: self._waiting.pop(item) for item in batch}
