"""A hit as a framework tells it: metadata, and a text for a model that reads."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ume_r1_rag.describe import printable
from ume_r1_rag.types import Hit

if TYPE_CHECKING:
    from ume_r1_rag.retriever import SearchResult

logger = logging.getLogger(__name__)


def hit_metadata(hit: Hit) -> dict[str, Any]:
    """Returns a hit's metadata: the document's own, then ours, which win.

    Ours are ``key``, ``kind``, ``title``, ``document``, ``uri``, ``page``, ``span_s``, ``summary``,
    ``reasoning``, ``gen_issue``, ``score`` and ``scores`` (by space); what is absent is left out. Text of
    files and models is rid of control characters, and stays untrusted.
    """
    own = hit.payload.get("ume_metadata")
    span = hit.span_s
    ours: dict[str, Any] = {
        "key": hit.key,
        "kind": hit.kind,
        "title": printable(hit.title),
        "document": hit.document,
        "uri": hit.uri,
        "page": hit.page,
        "span_s": None if span is None else list(span),
        "summary": None if hit.summary is None else printable(hit.summary),
        "reasoning": None if hit.reasoning is None else printable(hit.reasoning),
        "gen_issue": hit.payload.get("ume_gen_issue"),
        "score": hit.score,
        "scores": dict(hit.scores),
    }
    return {
        **(own if isinstance(own, dict) else {}),
        **{name: value for name, value in ours.items() if value is not None and value != ""},
    }


def hit_text(hit: Hit) -> str:
    """Returns what a model that reads is given: the text, else the summary, else what stands for it."""
    content = hit.payload.get("page_content")
    choices = (hit.text, hit.summary, content if isinstance(content, str) else None, hit.title, hit.key)
    return printable(next(text for text in choices if text is not None and (text.strip() or text is hit.key)))


def told(found: SearchResult) -> SearchResult:
    """Returns an answer, after saying in the log how many were ranked without the gen that was asked for.

    A document without gen is judged by what it has (see ``ume_r1_rag.retriever``), which a list of nodes or
    documents does not show.
    """
    lacking = sum("gen" in found.spaces and "gen" not in hit.scores for hit in found.hits)
    if lacking and (found.mode == "gen" or lacking == len(found.hits)):
        logger.warning(
            "%d of %d found have no gen vector and are %s: index with mode='both', or run `ume-r1 enrich`",
            lacking,
            len(found.hits),
            "judged by the rest" if found.fusion else "ranked by disc",
        )
    return found
