"""An HTTP server over loopback that fails when it is told to; what it answers is for others to say."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, Self
from urllib.parse import urlsplit

How = Literal["500", "503", "429", "reset", "silent close", "garbled", "half", "slow"]


@dataclass
class Request:
    """A request as it came."""

    method: str
    path: str
    size: int


@dataclass
class Failure:
    """What goes wrong with the next requests that match.

    Attributes:
        how: an answer that is an error, a connection that is reset without one, or a connection that is
            closed after a proper answer, as an idle one is; a body that is no JSON, one that breaks off, or
            an answer after ``slow_s``.
        pattern: is searched for in the request's method and path.
        times: with how many requests.
        after: whether the request is carried out before it fails.
    """

    how: How
    pattern: str = ""
    times: int = 1
    after: bool = False


class Loopback:
    """A server at ``url`` within a ``with`` block; it can stop in between and start again.

    Attributes:
        requests: every request, in order.
        port: where it listens, or listened last; 0 before.
        retry_after: what an answer of status 429 asks for.
        slow_s: how long a slow answer takes.
    """

    retry_after = "7"
    slow_s = 2.0

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.port = 0
        self._failures: list[Failure] = []
        self._open: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, request: Request, body: bytes, key: str | None) -> tuple[int, bytes]:
        """Returns a status and a body."""
        raise NotImplementedError

    def error(self, message: str) -> bytes:
        """Returns the body of an error."""
        raise NotImplementedError

    def start(self) -> None:
        handler = type("Handler", (_Handler,), {"loopback": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Is gone: hangs up, and listens no more."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        for connection in list(self._open):
            _reset(connection)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def fail(self, how: How, pattern: str = "", times: int = 1, after: bool = False) -> None:
        """Says what is to go wrong, see ``Failure``."""
        self._failures.append(Failure(how, pattern, times, after))

    def _failure(self, request: Request) -> Failure | None:
        for failure in self._failures:
            if failure.times and re.search(failure.pattern, f"{request.method} {request.path}"):
                failure.times -= 1
                return failure
        return None


class _Handler(BaseHTTPRequestHandler):
    loopback: Loopback
    protocol_version = "HTTP/1.1"  # connections are kept, as by any server
    wbufsize = -1  # head and body in one piece: two would wait 40 ms for each other
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.loopback._open.add(self.connection)

    def finish(self) -> None:
        self.loopback._open.discard(self.connection)
        with contextlib.suppress(OSError, ValueError):  # it was reset
            super().finish()

    def serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, urlsplit(self.path).path, len(body))
        self.loopback.requests.append(request)
        failure = self.loopback._failure(request)
        status, content = 503, self.loopback.error("Service internal error: told to")
        if failure is None or failure.after or failure.how in ("silent close", "half", "slow"):
            bearer = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            status, content = self.loopback.answer(
                request, body, self.headers.get("api-key") or bearer or None
            )
        how = None if failure is None else failure.how
        if how == "reset":
            self.close_connection = True
            _reset(self.connection)
            return
        if how == "slow":
            time.sleep(self.loopback.slow_s)
        if how == "garbled":
            status, content = 200, b'{"choices": [{"mess'
        if how in ("500", "503", "429"):
            status, content = int(how), self.loopback.error("told to fail")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if how == "429":
            self.send_header("Retry-After", self.loopback.retry_after)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if how == "half" else content)
        if how in ("silent close", "half"):
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = serve  # noqa: N815 - http.server's names

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:  # the other end is gone
            self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def _reset(connection: socket.socket) -> None:
    """Ends a connection so that the other end gets an error, and not an end."""
    with contextlib.suppress(OSError):  # it is gone already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)
    connection.close()
