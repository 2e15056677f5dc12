"""Observed: what LlamaIndex tells its handlers of an embedding, for pictures and clips as for texts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llama_index.core.base.embeddings.base import BaseEmbedding

dispatcher = get_dispatcher(__name__)

Vectors = list[list[float]]


def observed(embedder: BaseEmbedding, chunks: Sequence[str], work: Callable[[], Vectors]) -> Vectors:
    """Returns what ``work`` does, told to callbacks and instrumentation, after the rate limiter.

    Args:
        embedder: who embeds.
        chunks: a text for each input; of a picture what it is, never what is in it. LlamaIndex's own token
            counter takes every chunk for a text.
        work: embeds them.
    """
    with _told(embedder, chunks) as done:
        if embedder.rate_limiter is not None:
            embedder.rate_limiter.acquire()
        found = work()
        done.append(found)
    return found


async def aobserved(
    embedder: BaseEmbedding, chunks: Sequence[str], work: Callable[[], Awaitable[Vectors]]
) -> Vectors:
    """:func:`observed` for work that is awaited."""
    with _told(embedder, chunks) as done:
        if embedder.rate_limiter is not None:
            await embedder.rate_limiter.async_acquire()
        found = await work()
        done.append(found)
    return found


@contextmanager
def _told(embedder: BaseEmbedding, chunks: Sequence[str]) -> Iterator[list[Vectors]]:
    payload: dict[str, Any] = embedder.to_payload()
    dispatcher.event(EmbeddingStartEvent(model_dict=payload))
    done: list[Vectors] = []
    with embedder.callback_manager.event(
        CBEventType.EMBEDDING, payload={EventPayload.SERIALIZED: payload}
    ) as event:
        yield done
        event.on_end(payload={EventPayload.CHUNKS: list(chunks), EventPayload.EMBEDDINGS: done[0]})
    dispatcher.event(EmbeddingEndEvent(chunks=list(chunks), embeddings=done[0]))
