"""What a server answers: OpenAI's lists and errors, with fields of ours beside theirs."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import BaseModel
from starlette.responses import Response

from ume_r1_rag.errors import (
    BackendError,
    ConfigError,
    DeadlineMissed,
    IndexUnavailable,
    InputError,
    Overloaded,
    UmeR1Error,
)

if TYPE_CHECKING:
    from ume_r1_rag.types import Embedding, Vector

Format: TypeAlias = Literal["float", "base64"]


class Tokens(BaseModel):
    """What one input cost; visual tokens are among the prompt's."""

    prompt: int
    visual: int
    completion: int


class EmbeddingItem(BaseModel):
    """One input's vectors.

    Attributes:
        embedding: the vector of ``space``.
        space: ``gen`` if that alone was asked for, else ``disc``.
        gen: the other vector, with ``mode="both"``.
        fingerprint: digest of the encoder that made it; vectors of different ones are never compared.
    """

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str
    space: Literal["disc", "gen"]
    tokens: Tokens
    fingerprint: str
    gen: list[float] | str | None = None
    gen_samples: list[list[float] | str] | None = None
    gen_valid: bool | None = None
    gen_issue: str | None = None
    think: int | str | None = None
    reasoning: str | None = None
    summary: str | None = None
    completion_ids: list[int] | None = None


class Usage(BaseModel):
    """Tokens of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    """One item per input, in order."""

    object: Literal["list"]
    data: list[EmbeddingItem]
    model: str
    usage: Usage


class SearchAnswer(BaseModel):
    """The hits, best first. All text in them comes from files and models: it is untrusted.

    Attributes:
        mode: by which it is ranked.
        asked: the mode that was asked for.
        deadline_missed: whether gen was not ready in time, so that it did not rank.
    """

    model: str
    mode: str
    asked: str
    deadline_missed: bool
    spaces: list[str]
    fusion: str | None
    gen_valid: bool | None
    gen_issue: str | None
    encode_s: float
    search_s: float
    enriched: int
    enrich_s: float
    hits: list[dict[str, Any]]
    summary: str | None = None
    reasoning: str | None = None


class ModelCard(BaseModel):
    """The model that is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    dimension: int
    spaces: list[str]
    kinds: list[str]
    fingerprint: dict[str, Any]
    max_image_pixels: int
    max_video_frames: int
    max_body_bytes: int


class ModelList(BaseModel):
    """The models: one."""

    object: Literal["list"]
    data: list[ModelCard]


class Health(BaseModel):
    """That the server answers."""

    status: Literal["ok"]
    version: str


class DiscItem(BaseModel):
    """A disc vector in place of gen."""

    index: int
    embedding: list[float] | str


class ErrorDetail(BaseModel):
    """What went wrong, and the remedy.

    Attributes:
        disc: after a missed deadline, the vectors that were ready: of the space disc, whatever was asked.
    """

    message: str
    type: str
    param: str | None = None
    code: str | None = None
    disc: list[DiscItem] | None = None


class ErrorBody(BaseModel):
    """An error in OpenAI's shape."""

    error: ErrorDetail


def encoded(vector: Vector, form: Format) -> list[float] | str:
    """Returns a vector as JSON takes it: numbers, or base64 of little-endian float32."""
    if form == "float":
        numbers: list[float] = vector.tolist()
        return numbers
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def embedding_list(
    found: Sequence[Embedding], mode: str, form: Format, model: str, reasoning: bool
) -> dict[str, Any]:
    """Returns an ``EmbeddingList``."""
    prompt = sum(one.tokens.prompt for one in found)
    completion = sum(one.tokens.completion for one in found)
    return {
        "object": "list",
        "data": [_item(at, one, mode, form, reasoning) for at, one in enumerate(found)],
        "model": model,
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        },
    }


def _item(index: int, one: Embedding, mode: str, form: Format, reasoning: bool) -> dict[str, Any]:
    space: Literal["disc", "gen"] = "gen" if mode == "gen" else "disc"
    tokens = one.tokens
    item: dict[str, Any] = {
        "object": "embedding",
        "index": index,
        "embedding": encoded(one.vector(space), form),
        "space": space,
        "tokens": {"prompt": tokens.prompt, "visual": tokens.visual, "completion": tokens.completion},
        "fingerprint": one.fingerprint,
    }
    if mode == "disc":
        return item
    item |= {"gen_valid": one.gen_valid, "gen_issue": one.gen_issue, "think": one.think}
    if mode == "both":
        item["gen"] = encoded(one.vector("gen"), form)
    if one.gen_samples is not None:
        item["gen_samples"] = [encoded(sample, form) for sample in one.gen_samples]
    if reasoning:
        item |= {
            "reasoning": one.reasoning,
            "summary": one.summary,
            "completion_ids": list(one.completion_ids),
        }
    return item


def json_response(
    body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Returns an answer; lone surrogates in file names are escaped, as JSON has it."""
    return Response(json.dumps(body), status, dict(headers or {}), "application/json")


def error_response(
    status: int,
    message: str,
    code: str,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
    **further: Any,
) -> Response:
    """Returns an ``ErrorBody``."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": message, "type": kind, "param": param, "code": code, **further}
    return json_response({"error": error}, status, headers)


def failure(error: UmeR1Error, form: Format = "float") -> Response:
    """Returns the answer to a request that failed by one of our errors.

    ``code`` is the error's class, so that a client of ours can raise it again. What is not the client's
    affair (paths, addresses) is not said.
    """
    code = type(error).__name__
    if isinstance(error, DeadlineMissed):
        disc = [{"index": at, "embedding": encoded(one, form)} for at, one in enumerate(error.disc)]
        return error_response(504, str(error), code, disc=disc)
    if isinstance(error, Overloaded):
        return error_response(503, str(error), code, headers={"Retry-After": "1"})
    if isinstance(error, (InputError, ConfigError)):
        return error_response(400, str(error), code)
    if isinstance(error, BackendError):
        return error_response(500, str(error), code)
    if isinstance(error, IndexUnavailable):
        return error_response(503, "the index cannot be reached", code, headers={"Retry-After": "5"})
    return error_response(500, "the server failed: its log says why", code)
