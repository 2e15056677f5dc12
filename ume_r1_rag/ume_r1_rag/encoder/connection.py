"""Connection: requests to an ``ume-r1 serve``, sent again where it is busy, its errors made ours."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx

from ume_r1_rag.describe import describe_url, shorten
from ume_r1_rag.encoder.wire import disc_vectors
from ume_r1_rag.errors import (
    BackendError,
    ConfigError,
    DeadlineMissed,
    FetchError,
    InputError,
    ServerUnavailable,
    UmeR1Error,
)

_ERRORS: Mapping[str, type[UmeR1Error]] = {
    error.__name__: error for error in (InputError, FetchError, ConfigError, BackendError)
}
_BUSY = (429, 503)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0


class Connection:
    """A server's address, the key for it, and the way there.

    Attributes:
        base_url: the address, without ``/v1``.
        dimension: the length D of the vectors that come, once it is known.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        timeout_s: float,
        max_retries: int,
        concurrency: int,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        """Prepares it; see ``RemoteEncoder``. Nothing is sent yet.

        Raises:
            ConfigError: an option cannot work.
        """
        if not base_url.startswith(("http://", "https://")):
            raise ConfigError(f"base_url={base_url!r} is no address: use http://HOST:PORT or https://…")
        if timeout_s <= 0 or max_retries < 0 or concurrency < 1:
            raise ConfigError(
                f"timeout_s={timeout_s}, max_retries={max_retries}, concurrency={concurrency}: the first and "
                "the last must be positive, retries not negative"
            )
        self.base_url = base_url.rstrip("/").removesuffix("/v1")
        self.dimension = 0
        self._timeout_s, self._retries = timeout_s, max_retries
        key = api_key or os.environ.get("UME_R1_API_KEY")
        self._client = httpx.AsyncClient(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            # Waiting for a connection is waiting for one's turn, which has no limit.
            timeout=httpx.Timeout(timeout_s, connect=min(10.0, timeout_s), pool=None),
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
            transport=transport,
        )

    @property
    def where(self) -> str:
        """The address as it may be shown: without a password."""
        return describe_url(self.base_url)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._client.is_closed

    async def close(self) -> None:
        """Closes it."""
        await self._client.aclose()

    async def send(self, method: str, path: str, body: bytes | None = None) -> httpx.Response:
        """Returns an answer that is none of an error; busy servers are asked again.

        Raises:
            ServerUnavailable: there was none.
            UmeR1Error: what the server says is wrong.
        """
        wait_s, why = _FIRST_PAUSE_S, ""
        for attempt in range(self._retries + 1):
            asked_s: float | None = None
            try:
                response = await self._client.request(
                    method, path, content=body, headers={"Content-Type": "application/json"}
                )
            except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
                raise ServerUnavailable(
                    f"{self.where} took longer than {self._timeout_s:g} s: raise timeout_s=, or ask for less"
                ) from error
            except httpx.TransportError as error:
                why = f"cannot be reached ({type(error).__name__}: {shorten(str(error), 80)})"
            else:
                if response.status_code not in _BUSY:
                    return self._checked(response)
                why, asked_s = f"is busy ({response.status_code})", _retry_after(response)
            if attempt < self._retries:
                # Apart from each other, so that those who were refused together do not come together again.
                await pause(max(asked_s or 0.0, wait_s * random.uniform(0.5, 1.0)))
                wait_s = min(2 * wait_s, _LONGEST_PAUSE_S)
        raise ServerUnavailable(
            f"{self.where} {why}, {self._retries + 1} times: is it running, and not overloaded?"
        )

    def _checked(self, response: httpx.Response) -> httpx.Response:
        if response.is_success:
            return response
        if response.status_code == 401:
            raise ConfigError(f"{self.where} refuses the API key: set UME_R1_API_KEY or pass api_key=")
        error = answer_of(response).get("error")
        error = error if isinstance(error, dict) else {}
        message = shorten(str(error.get("message") or response.reason_phrase), 400)
        code = str(error.get("code"))
        if code == DeadlineMissed.__name__:
            raise DeadlineMissed(message, disc_vectors(error, self.dimension))
        if code in _ERRORS:
            raise _ERRORS[code](message)
        if response.status_code == 413:
            raise InputError(f"{self.where}: {message}")
        raise BackendError(f"{self.where} answered {response.status_code}: {message}")


def answer_of(response: httpx.Response) -> dict[str, Any]:
    """Returns the object that an answer holds; an empty one if it holds none."""
    with suppress(ValueError):
        found = response.json()
        if isinstance(found, dict):
            return found
    return {}


def _retry_after(response: httpx.Response) -> float | None:
    """Returns the seconds that a server asks to wait, bounded; a date, as of a proxy, counts as none."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), 120.0) if text.isascii() and text.isdigit() else None


async def pause(seconds: float) -> None:
    """Waits between two tries."""
    await asyncio.sleep(seconds)
