"""Hits as nodes: what a language model is shown of them, and what is told of them."""

from __future__ import annotations

import logging
from typing import Any

from llama_index.core.schema import (
    ImageNode,
    NodeRelationship,
    NodeWithScore,
    ObjectType,
    RelatedNodeInfo,
    TextNode,
)

from ume_r1_rag.errors import UmeR1Error
from ume_r1_rag.frameworks import PageImages, hit_metadata, hit_text
from ume_r1_rag.frameworks.page_images import whole_file
from ume_r1_rag.types import Hit

logger = logging.getLogger(__name__)

SHOWN = frozenset({"title", "page", "span_s", "summary"})
"""Metadata that a language model is shown beside the text or the picture; enough to cite by."""


def hit_node(hit: Hit, pages: PageImages) -> NodeWithScore:
    """Returns a hit as a node: an ``ImageNode`` with a path where there is something to see.

    Of a page that is its rendered picture, of a clip its middle frame. Where the picture cannot be had (the
    file is gone, or is another one by now), the node is a ``TextNode`` whose metadata say why in
    ``image_error``.

    Args:
        hit: the hit.
        pages: where pages are rendered to.
    """
    metadata = hit_metadata(hit)
    text = hit_text(hit)
    path: str | None = None
    try:
        path = _picture(hit, pages)
    except (UmeR1Error, OSError) as error:
        metadata["image_error"] = str(error)
        logger.warning("no picture of %s for the language model: %s", hit.key, error)
    # A picture goes to a model without the node's text, so what it is called and taken for is told beside it.
    told = SHOWN if path is not None else SHOWN - {name for name in SHOWN if metadata.get(name) == text}
    hidden = [name for name in metadata if name not in told]
    fields: dict[str, Any] = {
        "id_": str(metadata.pop("node_id", None) or hit.id),
        "text": text,
        "metadata": metadata,
        "excluded_embed_metadata_keys": list(metadata),
        "excluded_llm_metadata_keys": hidden,
    }
    if hit.document:
        fields["relationships"] = {
            NodeRelationship.SOURCE: RelatedNodeInfo(node_id=hit.document, node_type=ObjectType.DOCUMENT)
        }
    node = TextNode(**fields) if path is None else ImageNode(image_path=path, **fields)
    return NodeWithScore(node=node, score=hit.score)


def _picture(hit: Hit, pages: PageImages) -> str | None:
    """Returns the path of what is to be seen of a hit, or None of a text.

    Raises:
        UmeR1Error: it cannot be had.
    """
    if hit.kind == "page":
        return str(pages.of_payload(hit.payload))
    if hit.kind == "clip":
        return str(pages.of_thumbnail(hit.payload))
    if hit.kind != "image":
        return None
    return whole_file(hit.payload)
