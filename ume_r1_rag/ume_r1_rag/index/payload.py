"""Payload: what a point stores beside its vectors, in a form that three readers understand.

* LlamaIndex: the metadata flat, which is where its filters look, and ``_node_content`` (a node as JSON),
  ``_node_type``, ``doc_id``, ``document_id``, ``ref_doc_id``, so that ``metadata_dict_to_node(payload)``
  works. Metadata under one of the names here is in the nested form alone. The node is written by hand, after
  llama-index-core 0.14's ``node_to_metadata_dict``: importing the framework would cost seconds.
* LangChain: ``page_content`` and a nested ``metadata``.
* This package: ``ume_*``. A field without a value is left out.

All text may come from a model or from a file: it is untrusted, and stored as
:func:`ume_r1_rag.unicode.unicode_text` makes it.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import mimetypes
import numbers
import uuid
from collections.abc import Mapping
from typing import Any

from ume_r1_rag.index.tenant import FIELD as TENANT
from ume_r1_rag.types import Document, Embedding, Hit
from ume_r1_rag.unicode import unicode_text

NAMESPACE = uuid.UUID("31832da0-1634-46f9-a14c-f37c5ff4bfc3")
"""The namespace of this project's point ids. Changing it would orphan every stored point."""

FIELDS = frozenset(
    [
        "key",
        "kind",
        "uri",
        "title",
        "text",
        "page",
        "span_s",
        "reasoning",
        "summary",
        "gen_valid",
        "gen_issue",
        "think",
        "fingerprint",
        "thumbnail",
        "document",
        "content_hash",
        "metadata",
        "gen_fingerprint",
        "spaces",
        "tenant",
    ]
)
"""Our payload fields, without their ``ume_`` prefix."""


def point_id(key: str, tenant: str | None = None) -> str:
    """Returns the UUID of a document's point: uuid5 of its key, in a namespace of its tenant's own.

    A namespace for each tenant, rather than a joint string, leaves no two pairs that could collide.
    """
    space = NAMESPACE if tenant is None else uuid.uuid5(NAMESPACE, f"tenant:{tenant}")
    return str(uuid.uuid5(space, unicode_text(key)))


def build(
    document: Document,
    embedding: Embedding,
    id: str,
    *,
    tenant: str | None = None,
    store_reasoning: bool = True,
) -> dict[str, Any]:
    """Returns the payload of one point.

    Args:
        document: what was embedded.
        embedding: its embedding; the vectors are not stored here, reasoning and summary are.
        id: the point's id, which becomes the node id.
        tenant: whose point it is.
        store_reasoning: whether the reasoning is kept; the summary is in any case.
    """
    content = page_content(document, embedding)
    public = jsonable(_public_metadata(document))
    parent = unicode_text(document.document or document.key)
    payload: dict[str, Any] = {
        **{name: value for name, value in public.items() if not name.startswith(("ume_", "_node_"))},
        **_node(document, content, public, parent, id),
        "page_content": content,
        "metadata": public,
    }
    fields = {
        "key": document.key,
        "kind": document.kind,
        "uri": document.uri,
        "title": document.title,
        "text": document.text,
        "page": document.page,
        "span_s": document.span_s,
        **_generated(embedding, store_reasoning),
        "fingerprint": embedding.fingerprint,
        "thumbnail": base64.b64encode(document.thumbnail).decode() if document.thumbnail else None,
        "document": parent,
        "content_hash": document.content_hash,
        "metadata": dict(document.metadata) or None,
    }
    payload.update(_fields(fields))
    if tenant is not None:
        payload[TENANT] = tenant
    return payload


def with_generation(
    payload: Mapping[str, Any], embedding: Embedding, store_reasoning: bool = True
) -> dict[str, Any]:
    """Returns a stored payload with what a generation adds to it, in place of any earlier one's.

    Args:
        payload: of a point as it is stored.
        embedding: with a gen vector, of the same content.
        store_reasoning: whether the reasoning is kept.
    """
    generated = _generated(embedding, store_reasoning)
    earlier = {f"ume_{name}" for name in generated}
    kept = {name: value for name, value in payload.items() if name not in earlier}
    kept |= _fields(generated)
    summary = unicode_text(embedding.summary or "")
    # What a text says of itself goes before what is said of it.
    if not summary.strip() or kept.get("ume_kind") == "text":
        return kept
    kept["page_content"] = summary
    try:
        node = json.loads(kept["_node_content"])
        kept["_node_content"] = json.dumps({**node, "text": summary}, ensure_ascii=False)
    except (KeyError, TypeError, ValueError):  # written by someone else: LlamaIndex shows what there is
        pass
    return kept


def _generated(embedding: Embedding, store_reasoning: bool) -> dict[str, Any]:
    # Texts may be here without a vector: an earlier model's.
    maker = embedding.gen_fingerprint or (embedding.fingerprint if embedding.gen is not None else None)
    return {
        "reasoning": embedding.reasoning if store_reasoning else None,
        "summary": embedding.summary,
        "gen_valid": embedding.gen_valid,
        "gen_issue": embedding.gen_issue,
        "think": embedding.think if maker else None,
        "gen_fingerprint": maker,
    }


def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns our fields by their stored names; one without a value is left out."""
    return {f"ume_{name}": jsonable(v) for name, v in values.items() if v is not None and v != ""}


def hit(
    payload: Mapping[str, Any], id: str = "", score: float = 0.0, scores: Mapping[str, float] | None = None
) -> Hit:
    """Returns a hit read from a stored payload; a foreign point without ``ume_key`` goes by its id."""
    return Hit(str(payload.get("ume_key", id)), score, dict(scores or {}), payload, id)


def thumbnail(payload: Mapping[str, Any]) -> bytes | None:
    """Returns the stored thumbnail as encoded JPEG, or None if there is none or it is no base64."""
    stored = payload.get("ume_thumbnail")
    if not isinstance(stored, str) or not stored:
        return None
    try:
        return base64.b64decode(stored, validate=True)
    except (binascii.Error, ValueError):
        return None


def page_content(document: Document, embedding: Embedding) -> str:
    """Returns the text that stands for a document where a framework knows only text.

    A text stands for itself. Anything else by the generated summary, which says what is to be seen, then
    by its text layer, caption, title, key.
    """
    caption = document.metadata.get("caption")
    choices = [embedding.summary, document.text, caption, document.title]
    if document.kind == "text":
        choices.insert(0, document.text or document.input.text)
    return unicode_text(next((str(text) for text in choices if text and str(text).strip()), document.key))


def jsonable(value: Any) -> Any:
    """Returns ``value`` as JSON can hold it.

    Tuples become lists; numpy scalars numbers; NaN and infinities None; anything unknown its ``str``.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return unicode_text(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {unicode_text(str(k)): jsonable(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        value = sorted(value, key=str)
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    return unicode_text(str(value))


def _public_metadata(document: Document) -> dict[str, Any]:
    """Returns the metadata a framework's user sees: the document's own, then ours, which win."""
    ours = {
        "key": document.key,
        "kind": document.kind,
        "uri": document.uri,
        "title": document.title,
        "page": document.page,
        "span_s": document.span_s,
        "document": document.document or document.key,
    }
    return {**document.metadata, **{k: v for k, v in ours.items() if v is not None and v != ""}}


def _node(
    document: Document, content: str, metadata: Mapping[str, Any], parent: str, id: str
) -> dict[str, Any]:
    """Returns the LlamaIndex keys: an ImageNode where the uri is a picture, a TextNode elsewhere."""
    node: dict[str, Any] = {
        "id_": id,
        "embedding": None,
        "metadata": metadata,
        "relationships": {"1": {"node_id": parent, "node_type": "4", "class_name": "RelatedNodeInfo"}},
        "text": content,
        "mimetype": "text/plain",
        "class_name": "TextNode",
    }
    mime = mimetypes.guess_type(document.uri)[0] or ""
    if mime.startswith("image/"):
        remote = document.uri.startswith(("http://", "https://"))
        node |= {
            "image_url" if remote else "image_path": unicode_text(document.uri),
            "image_mimetype": mime,
            "class_name": "ImageNode",
        }
    return {
        "_node_content": json.dumps(node, ensure_ascii=False),
        "_node_type": node["class_name"],
        "doc_id": parent,
        "document_id": parent,
        "ref_doc_id": parent,
    }
