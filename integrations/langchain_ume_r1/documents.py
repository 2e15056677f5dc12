"""Documents: hits of the index as LangChain's documents."""

from __future__ import annotations

import mimetypes
from typing import Any

from langchain_core.documents import Document

from ume_r1_rag.types import Hit


def to_document(hit: Hit) -> Document:
    """Returns a hit as LangChain knows it: text for a model to read, and where it is from.

    The text is a page's own or the text itself, else what the model summed up, else what it reasoned.
    Pictures are named, in ``uri``, and never put into the text. All of it is untrusted.
    """
    metadata = {**metadata_of(hit), "score": hit.score, "scores": dict(hit.scores)}
    return Document(id=hit.key, page_content=content_of(hit), metadata=metadata)


def content_of(hit: Hit) -> str:
    """Returns the text that a language model gets to read of a document."""
    stored = hit.payload.get("page_content")
    choices = (hit.text, hit.summary, hit.reasoning, stored if isinstance(stored, str) else "", hit.title)
    return next((text for text in choices if text and text.strip()), hit.key)


def metadata_of(hit: Hit) -> dict[str, Any]:
    """Returns a document's own metadata, and over it what the index knows of the document."""
    known: dict[str, Any] = {
        "key": hit.key,
        "kind": hit.kind,
        "source": hit.uri,
        "uri": hit.uri,
        "mime_type": mime_type(hit.uri),
        "title": hit.title,
        "document": hit.document,
        "page": hit.page,
        "span_s": None if hit.span_s is None else list(hit.span_s),
        "summary": hit.summary,
        "reasoning": hit.reasoning,
        "gen_issue": hit.payload.get("ume_gen_issue"),
    }
    return {**own_metadata(hit), **{name: value for name, value in known.items() if value not in (None, "")}}


def own_metadata(hit: Hit) -> dict[str, Any]:
    """Returns the metadata that a document was given, as it was given."""
    # A point that a stock store wrote has it where those look for it.
    own = hit.payload.get("ume_metadata" if "ume_key" in hit.payload else "metadata")
    return dict(own) if isinstance(own, dict) else {}


def mime_type(uri: str) -> str | None:
    """Returns the MIME type that a file's name says, or None."""
    return mimetypes.guess_type(uri.partition("?")[0] if "://" in uri else uri)[0]
