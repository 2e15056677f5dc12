"""``RemoteEncoder``: a server's encoder, used like one that is here."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from ume_r1_rag.encoder.canaries import canaries
from ume_r1_rag.encoder.connection import Connection, answer_of
from ume_r1_rag.encoder.wire import to_embedding, to_messages
from ume_r1_rag.errors import (
    BackendError,
    ConfigError,
    InputError,
    ServerUnavailable,
    UmeR1Error,
)
from ume_r1_rag.inputs import to_inputs
from ume_r1_rag.types import (
    Embedding,
    Inputs,
    Mode,
    MultimodalInput,
    OnError,
    Space,
    Think,
    answer,
    check_on_error,
    check_think,
    spaces_of,
)

if TYPE_CHECKING:
    from types import TracebackType

    import httpx
    import numpy as np
    import numpy.typing as npt

T = TypeVar("T")
Role = Literal["query", "document"]

_CARD = (
    *("id", "dimension", "fingerprint", "spaces", "kinds"),
    *("max_image_pixels", "max_video_frames", "max_body_bytes"),
)
"""What a server must tell of its model."""


@dataclass(frozen=True, slots=True)
class _Call:
    """One call's inputs and what is said with each of them."""

    role: Role
    mode: Mode
    fields: Mapping[str, Any]


class RemoteEncoder:
    """The encoder of an ``ume-r1 serve``, with the vectors and the fingerprint of its model.

    Each input is a request of its own, several at a time; the server puts what comes together into
    batches. A request that finds the server busy or out of reach is sent again, after what the server asks
    for or a growing pause. It may be used from any thread and any event loop.

    Example:
        >>> with RemoteEncoder("http://localhost:8000") as encoder:
        ...     encoder.encode_query("a red circle", mode="both").gen.shape
        (128,)

    Attributes:
        base_url: the server's address.
        model: what the server calls its model.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        model: str | None = None,
        think: Think | None = None,
        timeout_s: float = 600.0,
        max_retries: int = 6,
        concurrency: int = 32,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Asks a server for its model.

        Args:
            base_url: address of the server, with or without ``/v1``.
            api_key: its bearer token; default ``UME_R1_API_KEY``.
            model: the model that must be served; default whichever is.
            think: think budget of gen; default the server's.
            timeout_s: most seconds for one input, without retries; generations are slow.
            max_retries: how often a request is sent again.
            concurrency: requests, and connections, at a time.
            transport: what sends the requests; for tests and proxies.

        Raises:
            ConfigError: an option cannot work, the key is refused, or another model is served.
            ServerUnavailable: the server cannot be reached.
            BackendError: it is no ``ume-r1 serve``.
        """
        self._server = Connection(base_url, api_key, timeout_s, max_retries, concurrency, transport)
        self.base_url = self._server.base_url
        self._think = None if think is None else check_think(think)
        self._turns = asyncio.Semaphore(concurrency)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=_turn, args=(self._loop,), name="ume-r1-remote", daemon=True).start()
        try:
            self._card = self._sync(self._ask())
        except BaseException:
            self.close()
            raise
        self._server.dimension = self.dimension
        self.model: str = self._card["id"]
        if model not in (None, self.model):
            self.close()
            raise ConfigError(f"{self._server.where} serves {self.model!r} and not {model!r}")

    @property
    def dimension(self) -> int:
        """The length D of every vector."""
        return int(self._card["dimension"])

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The fingerprint of the server's encoder, with the think budget of this one."""
        found: dict[str, Any] = dict(self._card["fingerprint"])
        return found if self._think is None else {**found, "think": self._think}

    @property
    def spaces(self) -> tuple[Space, ...]:
        """The spaces that the server encodes in."""
        return tuple(self._card["spaces"])

    @property
    def kinds(self) -> frozenset[str]:
        """The server's."""
        return frozenset(self._card["kinds"])

    @property
    def max_image_pixels(self) -> int:
        """The server's."""
        return int(self._card["max_image_pixels"])

    @property
    def max_video_frames(self) -> int:
        """The server's."""
        return int(self._card["max_video_frames"])

    def encode(self, inputs: Inputs, mode: Mode = "disc", **options: Any) -> Any:
        """``encode_document`` by its other name."""
        return self.encode_document(inputs, mode, **options)

    async def aencode(self, inputs: Inputs, mode: Mode = "disc", **options: Any) -> Any:
        """``encode`` without blocking the event loop."""
        return await self.aencode_document(inputs, mode, **options)

    def encode_query(self, inputs: Inputs, mode: Mode = "disc", **options: Any) -> Any:
        """Returns one ``Embedding`` per query, in order; a single one for a single input.

        Args:
            inputs: anything ``inputs.to_inputs`` takes; files are read here, URLs are fetched by the server.
            mode: ``"disc"``, ``"gen"`` or ``"both"``.
            **options: ``kind``, ``think``, ``num_samples``, ``temperature``, ``seed`` and ``on_error`` as of
                ``UmeR1Encoder.encode_query``, and ``deadline_ms``, after which an input without gen fails
                with ``DeadlineMissed``, which has its disc vector.

        Raises:
            EncodeErrors: some inputs failed; the rest is in its ``results``. A single input raises its error.
            ConfigError: an option cannot work.
            ServerUnavailable: the server cannot be reached, or stayed busy.
        """
        return self._sync(self._encode("query", inputs, mode, **options))

    def encode_document(self, inputs: Inputs, mode: Mode = "disc", **options: Any) -> Any:
        """``encode_query`` for documents."""
        return self._sync(self._encode("document", inputs, mode, **options))

    async def aencode_query(self, inputs: Inputs, mode: Mode = "disc", **options: Any) -> Any:
        """``encode_query`` without blocking the event loop; cancelling gives the requests up."""
        return await asyncio.wrap_future(self._start(self._encode("query", inputs, mode, **options)))

    async def aencode_document(self, inputs: Inputs, mode: Mode = "disc", **options: Any) -> Any:
        """``encode_document`` without blocking the event loop; cancelling gives the requests up."""
        return await asyncio.wrap_future(self._start(self._encode("document", inputs, mode, **options)))

    def canaries(self) -> dict[str, npt.NDArray[np.float32]]:
        """Returns what ``UmeR1Encoder.canaries`` does, none for another model.

        Asked for anew each time: what runs at an address may be changed.
        """
        if "preset" not in self._card["fingerprint"]:
            return {}
        return canaries(lambda inputs: self.encode(inputs, "both", think="none"), self.spaces)

    def close(self) -> None:
        """Closes the connections; encoding after that is refused. The server is left as it is."""
        if not self._server.closed:
            self._sync(self._server.close())
            self._loop.call_soon_threadsafe(self._loop.stop)

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connections."""
        self.close()

    def _start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        if self._server.closed:
            work.close()
            raise BackendError("this encoder was closed: make a new one")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _sync(self, work: Coroutine[Any, Any, T]) -> T:
        future = self._start(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # of use where the waiting was interrupted
            raise

    async def _ask(self) -> dict[str, Any]:
        """Returns the card of the model that is served."""
        found = await self._server.send("GET", "/v1/models")
        try:
            card = found.json()["data"][0]
            return {name: card[name] for name in _CARD}
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise BackendError(f"{self._server.where} is no `ume-r1 serve`: check the address") from error

    async def _encode(
        self,
        role: Role,
        inputs: Inputs,
        mode: Mode,
        *,
        kind: str | None = None,
        think: Think | None = None,
        num_samples: int = 0,
        temperature: float = 1.0,
        seed: int = 0,
        deadline_ms: int | None = None,
        show_progress: bool | None = None,
        on_error: OnError = "raise",
    ) -> Any:
        spaces_of(mode)  # refuses what is no mode
        check_on_error(on_error)
        budget = self._think if think is None else check_think(think)
        fields: dict[str, Any] = {
            "kind": kind,
            "think": budget,
            "deadline_ms": deadline_ms,
        }
        if num_samples:
            fields |= {"num_samples": num_samples, "temperature": temperature, "seed": seed}
        call = _Call(role, mode, fields)
        items, single = await asyncio.to_thread(to_inputs, inputs, "return")
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._one(item, call)) for item in items]
        except BaseExceptionGroup as errors:
            # What is no single input's fault ends the call; the other requests were given up.
            raise errors.exceptions[0] from None
        return answer([task.result() for task in tasks], single=single, on_error=on_error)

    async def _one(self, item: MultimodalInput | UmeR1Error, call: _Call) -> Embedding | UmeR1Error:
        if isinstance(item, UmeR1Error):
            return item
        async with self._turns:
            try:
                body = await asyncio.to_thread(self._body, item, call)
                found = await self._server.send("POST", "/v1/embeddings", body)
                return to_embedding(answer_of(found)["data"][0], call.mode, self.dimension)
            except (ServerUnavailable, ConfigError):
                raise
            except UmeR1Error as error:
                return error
            except (KeyError, IndexError, TypeError):
                return BackendError(f"{self._server.where} answered without a vector: is it `ume-r1 serve`?")

    def _body(self, item: MultimodalInput, call: _Call) -> bytes:
        fields = {name: value for name, value in call.fields.items() if value is not None}
        request = {
            "messages": to_messages(item, self.max_video_frames),
            "mode": call.mode,
            "input_type": call.role,
            "encoding_format": "base64",
            "return_reasoning": call.mode != "disc",
            **fields,
        }
        body = json.dumps(request).encode()
        # The server hangs up on a larger one, which looks like a broken connection from here.
        if len(body) > self._card["max_body_bytes"]:
            raise InputError(
                f"an input of {len(body)} bytes on the way, where {self._server.where} takes "
                f"{self._card['max_body_bytes']}: scale its pictures down, or raise --max-body-mb there"
            )
        return body


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    """Turns a loop, which all connections belong to, whichever thread or loop a caller is in."""
    loop.run_forever()
    loop.close()
