"""Keys: by what a node is known in an index, today and when the pipeline is run again."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from llama_index.core.schema import MetadataMode

from ume_r1_rag.index.payload import point_id
from ume_r1_rag.types import MultimodalInput

if TYPE_CHECKING:
    from llama_index.core.schema import BaseNode

_VOLATILE: Final = frozenset(
    {"creation_date", "last_modified_date", "last_accessed_date", "file_size", "gen_issue"}
)
"""Metadata that change while what a node stands for does not, as LlamaIndex's own reader writes them."""


def is_read(node: BaseNode) -> bool:
    """Returns whether a node is one of our reader's as it came: its id is the one of the key that it names.

    A splitter copies the metadata, key and all, to every chunk, and anybody may call a field of his own so.
    """
    key = node.metadata.get("key")
    return isinstance(key, str) and node.node_id == point_id(key)


def id_key(node: BaseNode) -> str:
    """Returns the key of a node by its id: of one of our reader's the key that it names."""
    return str(node.metadata["key"]) if is_read(node) else str(node.node_id)


def is_random(id: str) -> bool:
    """Returns whether an id is a random UUID, which LlamaIndex draws anew for every node and chunk."""
    try:
        found = uuid.UUID(id)
    except ValueError:
        return False
    return found.version == 4 and str(found) == id.lower()


def source_of(node: BaseNode) -> str:
    """Returns what a node is a part of: its source's id, but for a random one the file that metadata name."""
    source = node.ref_doc_id or ""
    return str(node.metadata.get("file_path") or source) if is_random(source) else source


def content_key(node: BaseNode, item: MultimodalInput, digest: str | None, seen: Counter[str]) -> str:
    """Returns a key that is the same whenever the same node is made again: of its source, place and content.

    Args:
        node: the node.
        item: what the encoder sees of it.
        digest: of that; None where only the encoder can know, as of a URL, which goes by its name here.
        seen: how often each was met in this run, for nodes that are alike in all of it; is counted up.
    """
    shown: Any = None
    if item.images or item.video is not None:  # of a text the digest knows what is volatile, too
        shown = digest or [str(one) for one in (*item.images, item.video)]
    source = node.ref_doc_id
    told: list[Any] = [
        source if source is not None and not is_random(source) else None,
        getattr(node, "start_char_idx", None),
        node.get_content(metadata_mode=MetadataMode.NONE),
        shown,
        {name: value for name, value in node.metadata.items() if name not in _VOLATILE},
    ]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:40]
    seen[digest] += 1
    return f"node:{digest}" if seen[digest] == 1 else f"node:{digest}:{seen[digest]}"
