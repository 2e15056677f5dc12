"""Header time: how long a client may take to say what it wants.

uvicorn waits for the head of a request without end, so that whoever opens connections and says nothing holds
them all. Bodies have their time in the gate.
"""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import Any


def bounded_protocol(header_s: float) -> type[asyncio.Protocol]:
    """Returns uvicorn's HTTP protocol, which hangs up if a request's head takes longer than that.

    Between two requests uvicorn's own ``timeout_keep_alive`` holds, until the next one's first byte.
    """
    base = _base()

    class Bounded(base):  # type: ignore[misc, valid-type]
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._let_be()
            super().connection_lost(exc)

        def _watch(self) -> None:
            # A cycle begins when a head is there.
            if self.cycle is not None and not self.cycle.response_complete:
                self._let_be()
            elif self._late is None:
                self._late = self.loop.call_later(header_s, self.transport.close)

        def _let_be(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

    return Bounded


def _base() -> type[asyncio.Protocol]:
    """Returns what uvicorn takes by itself."""
    if find_spec("httptools") is not None:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

        return HttpToolsProtocol
    from uvicorn.protocols.http.h11_impl import H11Protocol

    return H11Protocol
