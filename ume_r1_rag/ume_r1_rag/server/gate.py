"""The gate: who may come in, and with how much. It stands before everything that reads a body."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias

from ume_r1_rag.server.answers import error_response

if TYPE_CHECKING:
    from ume_r1_rag.server.limits import ServerLimits
    from ume_r1_rag.server.metrics import Metrics

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN = ("/health",)
"""What is answered without a key: a load balancer has none."""

ROUTES = ("/v1/embeddings", "/v1/search", "/v1/models", "/health", "/metrics", "/openapi.json")
_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]", ""})


class _Refusal(Exception):
    """An answer to a request that is not let in: status, code, message, further headers."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Gate:
    """Middleware: key, host, size and time of a body; counts every answer.

    Bodies are received whole before the application sees them, so that a slow client holds nothing but its
    bytes.
    """

    def __init__(
        self, app: App, limits: ServerLimits, metrics: Metrics, api_key: str | None, local_only: bool
    ) -> None:
        """Puts itself before ``app``.

        Args:
            app: what is guarded.
            limits: bounds on bodies.
            metrics: where answers are counted.
            api_key: the bearer token that a request must carry, or None.
            local_only: whether the ``Host`` header must name this machine. Without it, a page in a browser
                could reach a server on loopback by a name of its own (DNS rebinding).
        """
        self._app, self._limits, self._metrics = app, limits, metrics
        self._key = None if api_key is None else api_key.encode()
        self._local_only = local_only
        self._bytes = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Lets a request through, or answers it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        held = [0]

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self._admit(scope)
            await self._app(scope, await self._received(scope, receive, held), noted)
        except _Refusal as refusal:
            answer = error_response(refusal.status, str(refusal), refusal.code, headers=refusal.headers)
            await answer(scope, receive, noted)
        except _Gone:
            status = 499
        finally:
            self._bytes -= held[0]
            # By what was asked for, so that a stranger's paths do not fill the memory of whoever counts.
            route = scope["path"] if scope["path"] in ROUTES else "other"
            self._metrics.answered(route, status, time.perf_counter() - started)

    def _admit(self, scope: Message) -> None:
        headers = dict(scope["headers"])
        if self._local_only:
            host = headers.get(b"host", b"").decode("latin-1").lower()
            name = host if host.endswith("]") else host.rpartition(":")[0] or host
            if name not in _LOCAL:
                raise _Refusal(
                    403, "forbidden_host", "without an API key this server answers to localhost alone"
                )
        if self._key is None or scope["path"] in OPEN:
            return
        scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(key.strip(), self._key):
            raise _Refusal(
                401,
                "invalid_api_key",
                "this server wants its API key: Authorization: Bearer KEY",
                WWW_Authenticate="Bearer",
            )

    async def _received(self, scope: Message, receive: Receive, held: list[int]) -> Receive:
        """Returns a ``receive`` that gives the whole body at once, and what comes from the client then."""
        promised = dict(scope["headers"]).get(b"content-length", b"")
        self._check(int(promised) if promised.isdigit() else 0, self._bytes)
        chunks, more = list[bytes](), True
        try:
            async with asyncio.timeout(self._limits.body_s):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    chunk, more = message.get("body", b""), message.get("more_body", False)
                    held[0] += len(chunk)
                    self._bytes += len(chunk)
                    self._check(held[0], self._bytes - held[0])
                    chunks.append(chunk)
        except TimeoutError:
            raise _Refusal(408, "timeout", f"the body took more than {self._limits.body_s:g} s") from None
        whole: Message | None = {"type": "http.request", "body": b"".join(chunks), "more_body": False}
        chunks.clear()

        async def replayed() -> Message:
            nonlocal whole
            if whole is None:
                return await receive()
            message, whole = whole, None
            return message

        return replayed

    def _check(self, size: int, others: int) -> None:
        """Refuses a body of ``size`` bytes that is too large by itself or beside ``others``."""
        if size > self._limits.body_bytes:
            raise _Refusal(
                413,
                "body_too_large",
                f"the body is larger than {self._limits.body_bytes} bytes: send fewer or smaller files",
                Connection="close",
            )
        if others + size > self._limits.bodies_bytes:
            raise _Refusal(
                503,
                "overloaded",
                "this server has as much to do as it takes: try again in a moment",
                Retry_After="1",
            )


class _Gone(Exception):
    """The client went away before its body was there."""
