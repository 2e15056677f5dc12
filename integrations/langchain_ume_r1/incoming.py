"""Incoming: what a caller adds to a store, as documents of the index."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from langchain_ume_r1.content import text_inputs, visual_inputs
from ume_r1_rag.cache.content import content_digest
from ume_r1_rag.describe import is_pil_image
from ume_r1_rag.errors import ConfigError, InputError
from ume_r1_rag.types import Document, ItemKind, MultimodalInput


def text_documents(
    texts: Iterable[str], metadatas: Any, ids: Sequence[str | int | None] | None
) -> Iterator[Document]:
    """Yields texts as documents, ids made up where there are none.

    Raises:
        InputError: a text is empty.
        ConfigError: there are not as many metadatas or ids as texts.
    """
    listed = list(texts)
    given = (listed, _each(metadatas, listed, "metadatas"), _each(ids, listed, "ids"), text_inputs(listed))
    for text, metadata, id, item in zip(*given, strict=True):
        yield Document(
            _id(id), "text", item, text=text, metadata=metadata or {}, content_hash=_content_hash(item)
        )


def visual_documents(kind: ItemKind, uris: Sequence[Any], metadatas: Any, ids: Any) -> Iterator[Document]:
    """Yields pictures (``"image"``) or videos (``"clip"``) as documents; its place is the id by default.

    Raises:
        InputError: one cannot be used.
        ConfigError: there are not as many metadatas or ids as uris.
    """
    if isinstance(uris, str | bytes | os.PathLike) or is_pil_image(uris):
        raise ConfigError("uris is a list: put a single one into [ ]")
    items, _ = visual_inputs("image" if kind == "image" else "video", list(uris))
    for uri, item, metadata, id in zip(
        uris, items, _each(metadatas, uris, "metadatas"), _each(ids, uris, "ids"), strict=True
    ):
        place, title = _place_of(uri)
        yield Document(
            _id(id if id is not None else place or None),
            kind,
            item,
            uri=place,
            title=title,
            thumbnail=_thumbnail(item),
            metadata=metadata or {},
            content_hash=_content_hash(item),
        )


def _place_of(uri: Any) -> tuple[str, str]:
    """Returns where a picture or video is and what a user calls it; both empty for one that is nowhere."""
    if isinstance(uri, str) and uri.startswith(("http://", "https://")):
        return uri, uri.rpartition("/")[2]
    # A data URL is the picture itself: not a place, and far too long for one.
    if isinstance(uri, os.PathLike) or (isinstance(uri, str) and not uri.startswith("data:")):
        path = Path(os.path.realpath(uri))
        return path.as_posix(), path.name
    return "", ""


def _content_hash(item: MultimodalInput) -> str:
    """Returns what lets a vector that is stored already be kept when the other one is added."""
    return content_digest(item) or ""


def _thumbnail(item: MultimodalInput) -> bytes | None:
    """Returns a preview of a picture of this machine."""
    from ume_r1_rag.media import load_image, thumbnail

    if not item.images or (isinstance(item.images[0], str) and not item.images[0].startswith("data:")):
        return None
    try:
        return thumbnail(load_image(item.images[0]))
    except InputError:  # the encoder says so, with the position
        return None


def _each(values: Sequence[Any] | None, items: Sequence[Any], name: str) -> Sequence[Any]:
    if values is None:
        return [None] * len(items)
    if len(values) != len(items):
        raise ConfigError(f"{len(values)} {name} for {len(items)} items: give one for each")
    return values


def _id(id: str | int | None) -> str:
    return uuid.uuid4().hex if id is None else str(id)


def batches(documents: Iterable[Document], size: int) -> Iterator[list[Document]]:
    """Yields the documents in lists of at most ``size``."""
    if size < 1:
        raise ConfigError(f"batch_size={size} must be at least 1")
    left = iter(documents)
    while batch := list(islice(left, size)):
        yield batch
