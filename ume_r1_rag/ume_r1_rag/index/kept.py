"""Kept vectors: what a new version of a document takes over from the point that is stored.

Whoever indexes again with ``mode="disc"``, for a new title say, must not lose hours of reasoning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ume_r1_rag.types import Document, Embedding

if TYPE_CHECKING:
    from qdrant_client import models

FIELDS = [
    f"ume_{field}"
    for field in ("content_hash", "fingerprint", "gen_fingerprint", "reasoning", "summary", "gen_valid",
                  "gen_issue", "think")
]  # fmt: skip
"""The payload fields that :func:`complete` needs."""


def lacks_one(document: Document, embedding: Embedding) -> bool:
    """Returns whether a stored vector could complete an embedding."""
    return bool(document.content_hash) and (embedding.disc is None) != (embedding.gen is None)


def complete(
    pairs: Sequence[tuple[Document, Embedding]], records: Sequence[models.Record | None]
) -> list[tuple[Document, Embedding]]:
    """Returns the pairs; an embedding that lacks one vector has the stored one, if that still holds.

    It does if the document has a content hash, the point has the same one, and the same encoder made the
    stored vector. With a gen vector come its reasoning and summary; those of an earlier model, which have no
    vector any more, stay too.

    Args:
        pairs: what is to be written.
        records: of each the point that is stored, with vectors and :data:`FIELDS`, or None.
    """
    completed = []
    for (document, embedding), record in zip(pairs, records, strict=True):
        if record is not None and isinstance(record.vector, dict) and lacks_one(document, embedding):
            completed.append((document, _joined(document, embedding, record.payload or {}, record.vector)))
        else:
            completed.append((document, embedding))
    return completed


def _joined(
    document: Document, embedding: Embedding, payload: Mapping[str, Any], vectors: Mapping[str, Any]
) -> Embedding:
    import numpy as np

    lacking = "disc" if embedding.disc is None else "gen"
    maker = payload.get("ume_fingerprint" if lacking == "disc" else "ume_gen_fingerprint", "")
    if payload.get("ume_content_hash") != document.content_hash:
        return embedding
    if lacking not in vectors:
        own = lacking == "disc" or embedding.gen_fingerprint
        return embedding if own else with_texts(embedding, payload)
    if maker != embedding.fingerprint:
        return embedding
    found = np.asarray(vectors[lacking], dtype=np.float32)
    if lacking == "disc":
        return replace(embedding, disc=found)
    return replace(with_texts(embedding, payload), gen=found, gen_fingerprint="")


def with_texts(embedding: Embedding, payload: Mapping[str, Any]) -> Embedding:
    """Returns an embedding with the reasoning and summary of a stored point, and the name of their maker."""
    maker = payload.get("ume_gen_fingerprint")
    if not maker:
        return embedding
    return replace(
        embedding,
        reasoning=payload.get("ume_reasoning"),
        summary=payload.get("ume_summary"),
        gen_valid=payload.get("ume_gen_valid"),
        gen_issue=payload.get("ume_gen_issue"),
        think=payload.get("ume_think", "full"),
        gen_fingerprint=str(maker),
    )
