"""Waiting: for an answer, but no longer than a deadline, and only while the client does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from starlette.requests import Request

T = TypeVar("T")


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


async def within(
    deadline_ms: int | None, full: Callable[[], Awaitable[T]], quick: Callable[[], Awaitable[T]]
) -> tuple[T, bool]:
    """Returns what ``full`` gives and False; past the deadline what ``quick`` gives and True.

    Both begin at once, the quick one first: it should be there when the deadline comes. It is waited for if
    it is not. Whatever is not needed is cancelled.
    """
    if deadline_ms is None:
        return await full(), False
    second, first = (asyncio.ensure_future(work()) for work in (quick, full))
    try:
        done, _ = await asyncio.wait({first}, timeout=deadline_ms / 1000)
        if done:
            return first.result(), False
        first.cancel()
        return await second, True
    finally:
        await _end(first, second)


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Returns what ``work`` gives; it is cancelled when the client goes away.

    Raises:
        ClientGone: it did.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        await _end(task, gone)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _end(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
