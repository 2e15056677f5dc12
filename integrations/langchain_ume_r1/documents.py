"""Documents: hits of the index as LangChain's documents."""

from __future__ import annotations

import mimetypes
from typing import Any

from langchain_core.documents import Document

from langchain_ume_r1.marks import FIELD, FILES, PLACE, mark
from ume_r1_rag.frameworks.hits import hit_metadata, hit_text
from ume_r1_rag.types import Hit


def to_document(hit: Hit) -> Document:
    """Returns a hit as LangChain knows it: text for a model to read, and where it is from.

    The text is a page's own or the text itself, else what the model summed up. Pictures are named, in
    ``uri``, and never put into the text. All of it is untrusted.
    """
    told = {"score": hit.score, "scores": dict(hit.scores)}
    return Document(id=hit.key, page_content=hit_text(hit), metadata={**metadata_of(hit), **told})


def metadata_of(hit: Hit) -> dict[str, Any]:
    """Returns a document's own metadata, and over it what the index knows of the document.

    Where the index has a file, what says which is the index's alone, and marked; see ``marks``.
    """
    known = hit_metadata(hit)
    known.pop(FIELD, None)
    for of_a_search in ("score", "scores"):
        del known[of_a_search]
    if hit.uri:
        known["source"] = hit.uri
        known["mime_type"] = mime_type(hit.uri)
    if hit.uri and hit.kind in FILES:
        for name in PLACE:
            own = hit.payload.get("ume_content_hash") if name == "content_hash" else getattr(hit, name)
            if own is None or own == "":
                known.pop(name, None)
            elif name == "content_hash":
                known[name] = own
        known[FIELD] = mark(known)
    return known


def own_metadata(hit: Hit) -> dict[str, Any]:
    """Returns the metadata that a document was given, as it was given but for a mark of its own."""
    # A point that a stock store wrote has it where those look for it.
    own = hit.payload.get("ume_metadata" if "ume_key" in hit.payload else "metadata")
    return {name: value for name, value in own.items() if name != FIELD} if isinstance(own, dict) else {}


def mime_type(uri: str) -> str | None:
    """Returns the MIME type that a file's name says, or None."""
    return mimetypes.guess_type(uri.partition("?")[0] if "://" in uri else uri)[0]
