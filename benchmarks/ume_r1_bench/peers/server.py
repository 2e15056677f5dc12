"""``ServerPeer``: whatever answers OpenAI's ``/v1/embeddings``; pictures and videos as vLLM's ``messages``.

A server does not say what its weights are, so its fingerprint is what it calls its model.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import TYPE_CHECKING, Any

from ume_r1_bench.peers.peer import FRAMES, PeerVectors, cosines, encode_batches, score_vectors, worded
from ume_r1_rag.errors import (
    BackendError,
    ConfigError,
    InputError,
    MissingExtra,
    ServerUnavailable,
    UmeR1Error,
)
from ume_r1_rag.types import MultimodalInput

if TYPE_CHECKING:
    from ume_r1_bench.peers.peer import Matrix


class ServerPeer:
    """A model behind an OpenAI-compatible server.

    Attributes:
        name: what a table calls it.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        concurrency: int = 8,
        batch_size: int = 32,
        timeout_s: float = 120.0,
        name: str | None = None,
        http_client: Any = None,
    ) -> None:
        """Makes a client; nothing is asked yet.

        Args:
            base_url: with its ``/v1``, as OpenAI's clients take it.
            model: what the server calls the model.
            api_key: default ``OPENAI_API_KEY``; a server that wants none takes any.
            concurrency: requests at a time.
            batch_size: most texts in one request; what has pictures is a request of its own.
            timeout_s: most seconds for one request; busy servers are asked again, twice.
            name: what a table calls it; by default the model's name.
            http_client: an ``httpx.Client`` to send the requests by.

        Raises:
            ConfigError: the address or a number cannot work.
            MissingExtra: openai is not installed.
        """
        try:
            from openai import OpenAI
        except ModuleNotFoundError as error:
            raise MissingExtra(f"embedding servers need {error.name}: pip install openai") from error
        import os

        if not base_url.startswith(("http://", "https://")):
            raise ConfigError(f"base_url={base_url!r} is no address: use http://HOST:PORT/v1 or https://…")
        if concurrency < 1 or batch_size < 1 or timeout_s <= 0:
            raise ConfigError(
                f"concurrency={concurrency}, batch_size={batch_size}, timeout_s={timeout_s}: all must be "
                "positive"
            )
        self.name, self._model = name or model, model
        self._batch_size, self._concurrency = batch_size, concurrency
        self._client = OpenAI(
            base_url=base_url,
            api_key=api_key or os.environ.get("OPENAI_API_KEY") or "none",
            timeout=timeout_s,
            max_retries=2,
            http_client=http_client,
        )

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """What the server calls its model; no more is known."""
        return {"peer": "server", "model": self._model, "max_video_frames": FRAMES, "weights": "not known"}

    def encode_queries(self, inputs: Sequence[MultimodalInput]) -> PeerVectors:
        """Returns the vectors of queries."""
        return encode_batches(self.name, inputs, self._round, batch_size=self._batch_size * self._concurrency)

    encode_documents = encode_queries

    def score(self, queries: PeerVectors, documents: PeerVectors) -> Matrix:
        """Returns cosines ``(Q, C)``; see ``Peer.score``."""
        return score_vectors(queries, documents, cosines)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _round(self, inputs: Sequence[MultimodalInput]) -> list[Any]:
        """Returns a vector or an error for each input, several requests at a time."""
        plain = [at for at, item in enumerate(inputs) if not item.images and item.video is None]
        groups = [plain[at : at + self._batch_size] for at in range(0, len(plain), self._batch_size)]
        groups += [[at] for at in range(len(inputs)) if at not in set(plain)]
        found: list[Any] = [None] * len(inputs)
        with ThreadPoolExecutor(self._concurrency) as pool:
            for group, vectors in zip(
                groups, pool.map(lambda group: self._group([inputs[at] for at in group]), groups), strict=True
            ):
                for at, vector in zip(group, vectors, strict=True):
                    found[at] = vector
        return found

    def _group(self, items: list[MultimodalInput]) -> list[Any]:
        """Returns vectors of one request, or of one for each input where the request is refused."""
        try:
            return self._ask(items)
        except (InputError, BackendError) as error:
            if isinstance(error, ServerUnavailable):
                raise
            if len(items) == 1:
                return [error]
            return [one for item in items for one in self._group([item])]

    def _ask(self, items: list[MultimodalInput]) -> list[Any]:
        import openai

        body: dict[str, Any] = {"model": self._model, "encoding_format": "float"}
        if len(items) > 1 or (not items[0].images and items[0].video is None):
            body["input"] = [worded(item) for item in items]
        else:
            body["messages"] = _messages(items[0])
        try:
            answer: Any = self._client.post("/embeddings", body=body, cast_to=object)
        except openai.APIError as error:
            raise self._error(error) from error
        try:
            rows = sorted(answer["data"], key=lambda row: int(row["index"]))
            vectors = [row["embedding"] for row in rows]
        except (KeyError, TypeError, ValueError) as error:
            raise BackendError(
                f"{self.name}: the server's answer is no list of embeddings ({type(error).__name__}: "
                f"{error}): is its address that of /v1?"
            ) from error
        if len(vectors) != len(items):
            raise BackendError(f"{self.name}: the server gave {len(vectors)} vectors for {len(items)} inputs")
        return vectors

    def _error(self, error: Any) -> UmeR1Error:
        import openai

        if isinstance(error, openai.APIConnectionError):  # a timeout is one too
            return ServerUnavailable(f"{self.name}: the server cannot be reached ({error}): is it running?")
        status = getattr(error, "status_code", None)
        said = str(getattr(error, "message", error))[:300]
        if status in (401, 403):
            return ConfigError(f"{self.name}: the server refuses the key ({said}): set OPENAI_API_KEY")
        if status == 404:
            return ConfigError(f"{self.name}: the server knows no such model or path ({said})")
        if status in (429, 503):
            return ServerUnavailable(f"{self.name}: the server stayed busy ({said}): try with less at a time")
        return (InputError if status in (400, 413, 422) else BackendError)(
            f"{self.name}: the server says {said}"
        )


def _messages(item: MultimodalInput) -> list[dict[str, Any]]:
    """Returns an input as one message, visuals first; a video as JPEG frames, which is what vLLM takes.

    Raises:
        InputError: a file is absent or cannot be read.
    """
    from ume_r1_rag.media import load_image, load_video

    parts: list[dict[str, Any]] = [
        {
            "type": "image_url",
            "image_url": {"url": f"data:image/png;base64,{_encoded(load_image(one), 'PNG')}"},
        }
        for one in item.images
    ]
    if item.video is not None:
        frames = ",".join(_encoded(frame, "JPEG") for frame in load_video(item.video, FRAMES))
        parts.append({"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{frames}"}})
    if text := worded(item):
        parts.append({"type": "text", "text": text})
    return [{"role": "user", "content": parts}]


def _encoded(image: Any, kind: str) -> str:
    buffer = BytesIO()
    image.convert("RGB").save(buffer, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return base64.b64encode(buffer.getvalue()).decode()
