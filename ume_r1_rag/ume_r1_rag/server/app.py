"""The application: routes around an encoder and, where there is an index, a retriever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ume_r1_rag.describe import shorten
from ume_r1_rag.errors import ConfigError, DeadlineMissed, InputError, Overloaded, UmeR1Error
from ume_r1_rag.server.answers import (
    EmbeddingList,
    ErrorBody,
    Format,
    Health,
    ModelList,
    SearchAnswer,
    embedding_list,
    error_response,
    failure,
    json_response,
)
from ume_r1_rag.server.gate import Gate
from ume_r1_rag.server.limits import Queue, ServerLimits, cost
from ume_r1_rag.server.metrics import Metrics
from ume_r1_rag.server.requests import EmbeddingsRequest, SearchRequest
from ume_r1_rag.server.waiting import ClientGone, while_connected, within
from ume_r1_rag.types import Embedding, Encoder, MultimodalInput

if TYPE_CHECKING:
    from ume_r1_rag.retriever import Retriever, SearchResult

logger = logging.getLogger(__name__)

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "The request cannot be served, and why."},
    401: {"model": ErrorBody, "description": "The API key is absent or wrong."},
    403: {"model": ErrorBody, "description": "Without an API key, only this machine is answered."},
    404: {"model": ErrorBody, "description": "Another model is served."},
    408: {"model": ErrorBody, "description": "The body came too slowly."},
    413: {"model": ErrorBody, "description": "The body is too large."},
    500: {"model": ErrorBody, "description": "The model failed."},
    503: {"model": ErrorBody, "description": "Too much to do: again after `Retry-After` seconds."},
}
_LATE: dict[int | str, dict[str, Any]] = {
    504: {"model": ErrorBody, "description": "Gen was not ready in time; `error.disc` holds disc."}
}
_THREADS = 32
"""Threads beyond one for each unit of the queue: a backend may take one for each call that it runs."""


def create_app(
    encoder: Encoder,
    retriever: Retriever | None = None,
    *,
    name: str | None = None,
    api_key: str | None = None,
    limits: ServerLimits | None = None,
    local_only: bool = False,
) -> FastAPI:
    """Returns the application, an ASGI one; closing it leaves encoder and index open.

    Args:
        encoder: what encodes; one made with ``limits.media`` refuses large pictures and long videos.
        retriever: what searches; without it there is no ``/v1/search``.
        name: what the model is called; by default what its fingerprint says.
        api_key: the bearer token that all but ``/health`` asks for; None for none.
        limits: bounds on requests.
        local_only: whether requests must be to a name of this machine's own; for loopback without a key.
    """
    bounds = limits or ServerLimits()
    server = _Server(encoder, retriever, name or str(encoder.fingerprint.get("model", "local")), bounds)
    app = FastAPI(
        title="ume-r1-rag",
        description="Embeddings that reason: disc and gen, in OpenAI's shape.",
        docs_url=None,
        redoc_url=None,
        lifespan=_with_threads(bounds.queue + _THREADS),
    )
    app.state.name = server.name
    app.add_middleware(Gate, limits=bounds, metrics=server.metrics, api_key=api_key, local_only=local_only)
    _add_routes(app, server, searches=retriever is not None)
    _add_handlers(app)
    _describe(app, keyed=api_key is not None)
    return app


def _with_threads(most: int) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Returns a lifespan in which the loop has so many threads, made as they are needed."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with ThreadPoolExecutor(most) as pool:
            asyncio.get_running_loop().set_default_executor(pool)
            yield

    return lifespan


def _add_routes(app: FastAPI, server: _Server, *, searches: bool) -> None:
    encoder = server.encoder

    @app.post("/v1/embeddings", response_model=EmbeddingList, responses={**_ERRORS, **_LATE})
    async def embeddings(body: EmbeddingsRequest, request: Request) -> Response:
        """Embeds texts, pictures and videos."""
        server.check_model(body.model)
        try:
            return await while_connected(request, server.embed(body))
        except UmeR1Error as error:
            return _failed(error, body.encoding_format)

    if searches:

        @app.post("/v1/search", response_model=SearchAnswer, responses={**_ERRORS, **_LATE})
        async def search(body: SearchRequest, request: Request) -> Response:
            """Searches the index that this server holds."""
            server.check_model(body.model)
            return await while_connected(request, server.search(body))

    @app.get("/v1/models", response_model=ModelList, responses=_ERRORS)
    async def models() -> Response:
        """Says which model is served, and what its vectors depend on."""
        return json_response({"object": "list", "data": [server.card()]})

    @app.get("/health", response_model=Health, responses=_ERRORS)
    async def health() -> Response:
        """Says that the server answers, its model lives, and its index is there if it was given one."""
        from ume_r1_rag import __version__

        if getattr(encoder, "error", None) is not None:
            return error_response(503, "the model died: the log says why", "BackendError")
        if server.retriever is not None:
            await asyncio.to_thread(server.retriever.index.has, "disc")
        return json_response({"status": "ok", "version": __version__})

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}, **_ERRORS})
    async def metrics() -> Response:
        """Returns counters for Prometheus."""
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


class _Server:
    """What the routes do."""

    def __init__(
        self, encoder: Encoder, retriever: Retriever | None, name: str, limits: ServerLimits
    ) -> None:
        self.encoder, self.retriever, self.name, self.limits = encoder, retriever, name, limits
        self.queue = Queue(limits.queue)
        self.metrics = Metrics(self.queue)

    def check_model(self, model: str | None) -> None:
        """Refuses a request for another model."""
        if model not in (None, "", self.name):
            raise HTTPException(
                404, f"model {shorten(str(model), 60)!r} is not served here: use {self.name!r}"
            )

    def card(self) -> dict[str, Any]:
        """Returns the ``ModelCard``."""
        encoder = self.encoder
        return {
            "id": self.name,
            "object": "model",
            "created": 0,
            "owned_by": "ume-r1-rag",
            "dimension": encoder.dimension,
            "spaces": list(encoder.spaces),
            "kinds": sorted(encoder.kinds),
            "fingerprint": dict(encoder.fingerprint),
            "max_image_pixels": encoder.max_image_pixels,
            "max_video_frames": encoder.max_video_frames,
            "max_body_bytes": self.limits.body_bytes,
        }

    async def embed(self, body: EmbeddingsRequest) -> Response:
        """Answers ``/v1/embeddings``."""
        if body.dimensions not in (None, self.encoder.dimension):
            raise ConfigError(
                f"dimensions={body.dimensions} cannot be had: this is no Matryoshka model, and its vectors "
                f"have {self.encoder.dimension}"
            )
        if body.num_samples > self.limits.samples:
            raise ConfigError(f"num_samples={body.num_samples}: at most {self.limits.samples}")
        items, options = body.items(self.limits), body.options()
        encode = self.encoder.aencode_query if body.input_type == "query" else self.encoder.aencode_document

        async def gen() -> list[Embedding]:
            return _sound(await encode(items, body.mode, on_error="return", **options))

        async def disc() -> list[Embedding]:
            kind = {"kind": body.kind} if body.kind is not None else {}
            return _sound(await encode(items, "disc", on_error="return", **kind))

        deadline = None if body.mode == "disc" else body.deadline_ms
        with self.queue.hold(cost(items, body.num_samples)):
            found, missed = await within(deadline, gen, disc)
        for one in found:
            self.metrics.embedded(one)
        if missed:
            self.metrics.missed("/v1/embeddings")
            raise DeadlineMissed(
                f"gen was not ready within {deadline} ms; error.disc holds the disc vectors, which are of "
                "another space",
                [one.vector("disc") for one in found],
            )
        form, reasoning = body.encoding_format, body.return_reasoning
        return json_response(embedding_list(found, body.mode, form, self.name, reasoning))

    async def search(self, body: SearchRequest) -> Response:
        """Answers ``/v1/search``."""
        item, options = body.item(self.limits), body.options(self.limits)
        with self.queue.hold(cost([item])):
            found, missed = await self._find(item, body, options)
        if found.query_embedding.tokens.prompt:
            self.metrics.embedded(found.query_embedding)
        answer = {
            "model": self.name,
            "asked": body.mode,
            "deadline_missed": missed,
            **found.as_dict(),
        }
        if not body.return_reasoning:
            for one in (answer, *answer["hits"]):
                del one["reasoning"]
        return json_response(answer)

    async def _find(
        self, item: MultimodalInput, body: SearchRequest, options: dict[str, Any]
    ) -> tuple[SearchResult, bool]:
        retriever = self.retriever
        if retriever is None:
            raise ConfigError("this server has no index")

        async def full() -> SearchResult:
            return await retriever.asearch(item, body.k, body.mode, **options)

        reasons = body.mode == "gen" or (body.mode == "fused" and "gen" in (body.spaces or ("gen",)))
        if body.deadline_ms is None or not reasons:
            return await full(), False

        async def quick() -> SearchResult | None:
            return await self._without_gen(retriever, item, body, options)

        found, missed = await within(body.deadline_ms, full, quick)
        if missed:
            self.metrics.missed("/v1/search")
        if found is None:
            raise DeadlineMissed(
                f"gen was not ready within {body.deadline_ms} ms, and nothing but gen is there to rank by"
            )
        return found, missed

    async def _without_gen(
        self, retriever: Retriever, item: MultimodalInput, body: SearchRequest, options: dict[str, Any]
    ) -> SearchResult | None:
        """Returns the ranking by the rest of what was asked for and is there; None if that is nothing."""
        rest: dict[str, Any] = {**options, "think": None}
        if body.mode == "gen":
            if not await asyncio.to_thread(retriever.index.has, "disc"):
                return None
            return await retriever.asearch(item, body.k, "disc", **rest)
        words = bool((body.text if body.text is not None else item.text or "").strip())
        wanted: Sequence[str] = body.spaces or ("disc", *(["text"] if words else []))
        spaces = [space for space in wanted if space != "gen"]
        if "disc" in spaces and not await asyncio.to_thread(retriever.index.has, "disc"):
            spaces.remove("disc")
        if not spaces:
            return None
        weights = {space: weight for space, weight in (body.weights or {}).items() if space in spaces}
        if weights and not any(weights.get(space, 1.0) for space in spaces):  # type: ignore[call-overload]
            return None
        rest |= {"spaces": spaces, "weights": weights or None}
        return await retriever.asearch(item, body.k, "fused", **rest)


def _sound(found: list[Embedding | UmeR1Error]) -> list[Embedding]:
    """Returns the embeddings; the first error of one names its input."""
    for at, one in enumerate(found):
        if isinstance(one, UmeR1Error):
            raise type(one)(f"input {at}: {one}") if isinstance(one, InputError) and len(found) > 1 else one
    return [one for one in found if isinstance(one, Embedding)]


def _failed(error: UmeR1Error, form: Format = "float") -> Response:
    answer = failure(error, form)
    if answer.status_code >= 500 and not isinstance(error, (DeadlineMissed, Overloaded)):
        logger.error("%s: %s", type(error).__name__, shorten(str(error), 400))
    return answer


def _add_handlers(app: FastAPI) -> None:
    @app.exception_handler(UmeR1Error)
    async def ours(_: Request, error: UmeR1Error) -> Response:
        return _failed(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        # What was sent is not repeated: it may be long, and none of a log's business.
        first = error.errors()[0]
        field = next((part for part in first["loc"][1:] if isinstance(part, str)), None)
        if field is None:
            message = "send a JSON object, as application/json"
        else:
            message = f"{shorten(field, 80)}: {first['msg'].removeprefix('Value error, ')}"
        return error_response(400, message, "invalid_request", field and shorten(field, 80))

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
        return error_response(error.status_code, str(error.detail), code, headers=error.headers)

    @app.exception_handler(ClientGone)
    async def gone(_: Request, __: ClientGone) -> Response:
        return error_response(499, "the client went away", "client_gone")

    @app.exception_handler(Exception)
    async def broken(_: Request, __: Exception) -> Response:
        return error_response(500, "the server failed: its log says why", "internal_error")


def _describe(app: FastAPI, keyed: bool) -> None:
    """Makes the OpenAPI document true: bad requests are 400 here, and there may be a key."""
    document = app.openapi()
    for path, methods in document["paths"].items():
        for operation in methods.values():
            operation["responses"].pop("422", None)
            if keyed and path != "/health":
                operation["security"] = [{"key": []}]
    for unused in ("HTTPValidationError", "ValidationError"):
        document.get("components", {}).get("schemas", {}).pop(unused, None)
    if keyed:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
