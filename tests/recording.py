"""An encoder around an encoder, which notes what it was asked."""

from __future__ import annotations

import asyncio
import threading
from typing import Any


class Recording:
    """Passes everything on.

    Attributes:
        calls: ``(role, mode, number of inputs)`` of every call.
        inputs: every input, in order.
        threads: the threads in which the encoder was called synchronously.
        most: the most asynchronous calls at a time.
    """

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        self.calls: list[tuple[str, str, int]] = []
        self.inputs: list[Any] = []
        self.threads: set[int] = set()
        self.most = self._running = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode_query(self, inputs: Any, mode: Any = "disc", **options: Any) -> Any:
        self._note("query", inputs, mode)
        return self._encoder.encode_query(inputs, mode, **options)

    def encode_document(self, inputs: Any, mode: Any = "disc", **options: Any) -> Any:
        self._note("document", inputs, mode)
        return self._encoder.encode_document(inputs, mode, **options)

    async def aencode_query(self, inputs: Any, mode: Any = "disc", **options: Any) -> Any:
        self._note("async query", inputs, mode, sync=False)
        return await self._counted(self._encoder.aencode_query(inputs, mode, **options))

    async def aencode_document(self, inputs: Any, mode: Any = "disc", **options: Any) -> Any:
        self._note("async document", inputs, mode, sync=False)
        return await self._counted(self._encoder.aencode_document(inputs, mode, **options))

    async def _counted(self, work: Any) -> Any:
        self._running += 1
        self.most = max(self.most, self._running)
        try:
            await asyncio.sleep(0)  # so that others can begin
            return await work
        finally:
            self._running -= 1

    def _note(self, role: str, inputs: Any, mode: str, sync: bool = True) -> None:
        items = inputs if isinstance(inputs, list) else [inputs]
        self.calls.append((role, mode, len(items)))
        self.inputs += items
        if sync:
            self.threads.add(threading.get_ident())
