"""A blocking iterator of outcomes, awaited from an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from ume_r1_rag.backends.base import Outcome


async def outcomes_of_thread(
    run: Callable[[], Iterator[Outcome]], cancelled: threading.Event
) -> AsyncIterator[Outcome]:
    """Yields what an iterator yields, which runs on a thread of its own.

    A thread of its own, because a pool's would be the most requests that are served at a time. Leaving the
    iteration, by cancelling too, sets ``cancelled`` and waits until the thread has ended.

    Args:
        run: returns the iterator; it ends soon after ``cancelled`` is set.
        cancelled: see there.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Outcome | BaseException | None] = asyncio.Queue()
    ended = asyncio.Event()

    def tell(item: Outcome | BaseException | None) -> None:
        # A loop that was closed meanwhile has nobody left who would hear.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(queue.put_nowait, item)

    def work() -> None:
        last: BaseException | None = None
        try:
            for outcome in run():
                tell(outcome)
        except BaseException as error:  # noqa: BLE001 -- handed to the awaiting side, which raises it
            last = error
        tell(last)
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=work, name="ume-r1-run", daemon=True).start()
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        cancelled.set()
        await asyncio.shield(ended.wait())
