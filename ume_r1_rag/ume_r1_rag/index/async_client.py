"""Async client: an embedded client for callers on an event loop."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qdrant_client import QdrantClient


class ThreadedClient:
    """An ``AsyncQdrantClient`` in all but name, over a client that several callers share.

    A folder admits one client, so a real ``AsyncQdrantClient`` could not open it a second time. Each method
    here awaits the shared client's in a thread, under the lock that keeps the other callers apart.
    """

    def __init__(self, client: QdrantClient, use: Callable[[], AbstractContextManager[None]]) -> None:
        """Wraps a client.

        Args:
            client: the client that is shared.
            use: what to hold it by during a call.
        """
        self._client = client
        self._use = use

    def __getattr__(self, name: str) -> Any:
        """Returns the client's attribute, a method as a coroutine function."""
        found = getattr(self._client, name)
        if not callable(found):
            return found

        @functools.wraps(found)
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(held, *args, **kwargs)

        def held(*args: Any, **kwargs: Any) -> Any:
            with self._use():
                return found(*args, **kwargs)

        return call

    async def close(self, **kwargs: Any) -> None:
        """Does nothing: the client is its index's to close."""
