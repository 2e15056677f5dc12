"""UmeR1Reader: a folder as nodes, one for each page, picture, clip and text."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_index.core.schema import (
    ImageNode,
    MediaResource,
    Node,
    NodeRelationship,
    ObjectType,
    RelatedNodeInfo,
    TextNode,
)

from llama_index.embeddings.ume_r1 import EMBED_KEY, UmeR1Embedding
from llama_index.embeddings.ume_r1.given import embed_model_of
from ume_r1_rag.describe import describe
from ume_r1_rag.errors import InputError
from ume_r1_rag.frameworks import PageImages
from ume_r1_rag.index.payload import point_id
from ume_r1_rag.ingest import SEGMENT_S, Failure, Skipped, documents
from ume_r1_rag.ingest.files import as_paths, path_of

if TYPE_CHECKING:
    from llama_index.core.schema import BaseNode

    from ume_r1_rag.ingest import Source
    from ume_r1_rag.types import Document, Encoder

logger = logging.getLogger(__name__)

_SHOWN = frozenset({"title", "page", "span_s"})
"""What of the metadata a language model is told; the rest is bookkeeping."""


class UmeR1Reader:
    """Reads files as nodes that hold their pictures by path, never inside.

    A page is an ``ImageNode`` with the path of its rendered picture and its text layer, a picture one with
    its own path, a segment of a clip a ``Node`` with the clip's path and ``span_s``, a text a ``TextNode``.
    These are the classes that come out of a vector store as they went in. Ids are those of an index of ours:
    the same part of the same file has one id for ever.

    Example:
        >>> nodes = UmeR1Reader().load_nodes("papers")

    Attributes:
        failures: what could not be read, since the reader was made.
        skipped: files that are none of ours.
    """

    def __init__(
        self,
        page_images: str | Path | None = None,
        *,
        embed_model: UmeR1Embedding | Encoder | str | None = None,
        max_page_pixels: int | None = None,
        segment_s: float = SEGMENT_S,
    ) -> None:
        """Keeps how to read.

        Args:
            page_images: folder for the pictures of pages; see :func:`ume_r1_rag.frameworks.PageImages`.
            embed_model: what will see them, or the name of the model: pages are then rendered as large as it
                looks at them. Loads it.
            max_page_pixels: most pixels of one, for whomever; without either the ``serving`` preset's.
            segment_s: seconds of a clip's segments.

        Raises:
            ConfigError: ``max_page_pixels`` is not positive, or ``embed_model`` is another maker's.
        """
        model = None if embed_model is None else embed_model_of(embed_model)
        encoder = model.encoder if isinstance(model, UmeR1Embedding) else model
        size = max_page_pixels or (None if encoder is None else encoder.max_image_pixels)
        self._pages = PageImages(page_images, size)
        self._reading: dict[str, Any] = {
            "encoder": encoder,
            "max_page_pixels": max_page_pixels,
            "segment_s": segment_s,
        }
        self.failures: list[Failure] = []
        self.skipped: list[Skipped] = []

    def lazy_load_nodes(self, paths: Source | Iterable[Source]) -> Iterator[BaseNode]:
        """Yields the nodes of files and folders, in order of name.

        A file that cannot be read is logged and kept in ``failures``; the others are read.

        Raises:
            ConfigError: an option has an impossible value.
            InputError: one of the paths does not exist; nothing is read then.
        """
        given = as_paths(paths)
        for path in given:
            if not os.path.lexists(path):
                raise InputError(f"{describe(path)} does not exist (in {Path.cwd()}): check the path")
        for one in documents(given, **self._reading):
            if isinstance(one, Failure):
                self.failures.append(one)
                logger.warning("%s", one.reason)
            elif isinstance(one, Skipped):
                self.skipped.append(one)
            else:
                yield self._node(one)

    def load_nodes(self, paths: Source | Iterable[Source]) -> list[BaseNode]:
        """Returns all that :meth:`lazy_load_nodes` yields."""
        return list(self.lazy_load_nodes(paths))

    async def aload_nodes(self, paths: Source | Iterable[Source]) -> list[BaseNode]:
        """:meth:`load_nodes` without blocking the event loop."""
        return await asyncio.to_thread(self.load_nodes, paths)

    def _node(self, document: Document) -> BaseNode:
        fields = {
            "key": document.key,
            "kind": document.kind,
            "title": document.title,
            "document": document.document,
            "uri": document.uri,
            "page": document.page,
            "span_s": None if document.span_s is None else list(document.span_s),
            "content_hash": document.content_hash,
            EMBED_KEY: None if document.kind == "text" else "media",
        }
        metadata = {name: value for name, value in fields.items() if value is not None}
        common: dict[str, Any] = {
            "id_": point_id(document.key),
            "metadata": metadata,
            "excluded_embed_metadata_keys": list(metadata),
            "excluded_llm_metadata_keys": [name for name in metadata if name not in _SHOWN],
            "relationships": {
                NodeRelationship.SOURCE: RelatedNodeInfo(
                    node_id=document.document, node_type=ObjectType.DOCUMENT
                )
            },
        }
        if document.kind == "text":
            return TextNode(text=document.text, **common)
        # A title at least: LlamaIndex's indexes drop a node without text before anybody embeds it.
        text = document.text or document.title
        if document.kind == "clip":
            return Node(
                text_resource=MediaResource(text=text),
                video_resource=MediaResource.model_validate({"path": path_of(document.uri)}),
                **common,
            )
        path = path_of(document.uri) if document.kind == "image" else str(self._pages.of_document(document))
        return ImageNode(text=text, image_path=path, **common)
