"""Ways to an application: in process, and over loopback as users have it; and an encoder that waits."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import httpx
import uvicorn
from hash_encoder import HashEncoder


class Served:
    """A real server over loopback, at ``url`` within a ``with`` block."""

    def __init__(self, app: Any, **config: Any) -> None:
        self.server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", **config))
        self._thread = threading.Thread(target=self.server.run, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        return self.server.servers[0].sockets[0].getsockname()[1]

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self.server.started)
        return self

    def stop(self) -> None:
        """Asks it to end, and waits until it has."""
        self.server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive()

    def __exit__(self, *error: object) -> None:
        self.stop()


class Patient(HashEncoder):
    """Gives disc at once, and gen when it is let go.

    Attributes:
        go: lets gen go.
        begun: whether gen has been asked for.
        given_up: how many calls were cancelled while they waited.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.go, self.begun, self.given_up = threading.Event(), threading.Event(), 0

    async def aencode_query(self, inputs: Any, mode: Any = "disc", **options: Any) -> Any:
        if mode != "disc":
            self.begun.set()
            try:
                await until(self.go.is_set)
            except asyncio.CancelledError:
                self.given_up += 1
                raise
        return await super().aencode_query(inputs, mode, **options)

    aencode_document = aencode_query


def in_process(app: Any, **options: Any) -> httpx.AsyncClient:
    """Returns a client of an application without a server; what it breaks by is its answer."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", **options)


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 -- what is waited for happens in threads
            await asyncio.sleep(0.005)


def wait_until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def data_url(image: Any, kind: str = "PNG") -> str:
    buffer = BytesIO()
    image.save(buffer, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def chat(*parts: str | dict[str, Any], system: str | None = None) -> list[dict[str, Any]]:
    """Returns ``messages`` of texts and of ``image_part`` and its like."""
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    told = [] if system is None else [{"role": "system", "content": system}]
    return [*told, {"role": "user", "content": content}]


def image_part(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def video_part(url: str) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url}}


def below(pid: int) -> dict[int, str]:
    """Returns the name of each process below one, by its id."""
    found: dict[int, str] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found |= {int(child): Path(f"/proc/{child}/comm").read_text(), **below(int(child))}
    return found


def runs(pid: int) -> bool:
    """Returns whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
