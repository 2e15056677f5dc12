"""Kept vectors: what a new version of a document takes over from the point that is stored.

Whoever indexes again with ``mode="disc"``, for a new title say, must not lose hours of reasoning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ume_r1_rag.index.payload import point_id
from ume_r1_rag.types import Document, Embedding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qdrant_client import QdrantClient

_READ = "content_hash fingerprint reasoning summary gen_valid gen_issue think".split()


def complete(
    client: QdrantClient, collection: str, pairs: Sequence[tuple[Document, Embedding]]
) -> list[tuple[Document, Embedding]]:
    """Returns the pairs; an embedding that lacks one vector has the stored one, if that still holds.

    It does if the document has a content hash, and the point has the same one and is of the same encoder.
    With a gen vector come its reasoning and summary.
    """
    lacking = [point_id(document.key) for document, embedding in pairs if _lacks_one(document, embedding)]
    if not lacking:
        return list(pairs)
    records = client.retrieve(
        collection, ids=lacking, with_payload=[f"ume_{field}" for field in _READ], with_vectors=True
    )
    stored = {str(record.id): record for record in records}
    completed = []
    for document, embedding in pairs:
        record = stored.get(point_id(document.key)) if _lacks_one(document, embedding) else None
        if record is not None and isinstance(record.vector, dict):
            completed.append((document, _joined(document, embedding, record.payload or {}, record.vector)))
        else:
            completed.append((document, embedding))
    return completed


def _lacks_one(document: Document, embedding: Embedding) -> bool:
    return bool(document.content_hash) and (embedding.disc is None) != (embedding.gen is None)


def _joined(
    document: Document, embedding: Embedding, payload: Mapping[str, Any], vectors: Mapping[str, Any]
) -> Embedding:
    import numpy as np

    if (
        payload.get("ume_content_hash") != document.content_hash
        or payload.get("ume_fingerprint", "") != embedding.fingerprint
    ):
        return embedding
    found = {space: np.asarray(vector, dtype=np.float32) for space, vector in vectors.items()}
    if embedding.disc is None:
        return replace(embedding, disc=found.get("disc"))
    if "gen" not in found:
        return embedding
    return replace(
        embedding,
        gen=found["gen"],
        reasoning=payload.get("ume_reasoning"),
        summary=payload.get("ume_summary"),
        gen_valid=payload.get("ume_gen_valid"),
        gen_issue=payload.get("ume_gen_issue"),
        think=payload.get("ume_think", "full"),
    )
