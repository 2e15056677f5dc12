"""Content blocks: what a chat model is to see of retrieved documents, pages as pictures."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_ume_r1.marks import FIELD, PLACE, marked
from ume_r1_rag.describe import printable, shorten
from ume_r1_rag.errors import ConfigError, InputError, UmeR1Error
from ume_r1_rag.frameworks import PageImages
from ume_r1_rag.frameworks.page_images import whole_file
from ume_r1_rag.template import PRESETS

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from PIL.Image import Image

logger = logging.getLogger(__name__)

MAX_PIXELS = PRESETS["serving"].image_limits.max_pixels


def content_blocks(
    documents: Iterable[Document],
    *,
    max_pixels: int = MAX_PIXELS,
    frames: int = 4,
    texts: bool = True,
    start: int = 1,
    page_images: str | Path | PageImages | None = None,
) -> list[dict[str, Any]]:
    """Returns documents as blocks of a message: of each a line with its number and source, text and pictures.

    A page is drawn from its PDF, of a clip some frames are taken. Pictures are read now, from where the index
    found them, and are never stored in documents. One that cannot be had (the file is gone, or has changed
    since it was indexed) is told of in its place.

    Args:
        documents: as ``UmeR1Retriever`` or ``UmeR1QdrantVectorStore`` return them. Files are opened that the
            index named to this process, and no others, whatever a document's own metadata says; others go
            as text.
        max_pixels: most pixels of a picture; larger ones are scaled down.
        frames: frames of a clip, spread evenly.
        texts: whether a document's text goes along with its picture.
        start: the number of the first one, for those of a later search in the same conversation.
        page_images: folder in which drawn pages are kept, see ``ume_r1_rag.frameworks.PageImages``.

    Raises:
        ConfigError: ``max_pixels`` or ``frames`` is not positive.
    """
    if max_pixels < 1 or frames < 1:
        raise ConfigError(f"max_pixels={max_pixels}, frames={frames}: both must be positive")
    if not isinstance(page_images, PageImages) or page_images.max_pixels != max_pixels:
        folder = page_images.folder if isinstance(page_images, PageImages) else page_images
        page_images = PageImages(folder, max_pixels)
    blocks: list[dict[str, Any]] = []
    for number, document in enumerate(documents, start=start):
        try:
            pictures = [_within(one, max_pixels) for one in _pictures(document, page_images, frames)]
            missing = ""
        except (UmeR1Error, OSError) as error:
            pictures, missing = [], f"\n(its picture cannot be shown: {shorten(str(error), 300)})"
            logger.warning("%s cannot be shown: %s", cite(document), error)
        text = document.page_content if texts or not pictures else ""
        label = f"[{number}] {cite(document)}"
        blocks.append({"type": "text", "text": f"{label}\n{text}{missing}".strip()})
        blocks += [_block(picture) for picture in pictures]
    return blocks


def cite(document: Document) -> str:
    """Returns where a document is from, as a person says it: ``"report.pdf, page 2"``; untrusted text."""
    known = document.metadata
    name = known.get("title") or Path(str(known.get("uri") or "")).name or document.id or "untitled"
    parts = [str(name)]
    if known.get("page") is not None:
        parts.append(f"page {known['page']}")
    span = known.get("span_s")
    if isinstance(span, list | tuple) and len(span) == 2:
        parts.append(f"{span[0]:.1f} to {span[1]:.1f} s")
    return printable(", ".join(parts))


def _pictures(document: Document, pages: PageImages, frames: int) -> Iterable[Image]:
    from ume_r1_rag.media import Span, VideoFile, load_image

    known = document.metadata
    if FIELD not in known:
        return []
    if not marked(known):
        raise InputError("its mark is not of this process, or its place was changed since: search again")
    payload = {f"ume_{name}": known.get(name) for name in (*PLACE, "key", "title")}
    uri, kind = known["uri"], known["kind"]
    if kind == "page":
        return [pages.image(payload)]
    if kind == "image":
        remote = str(uri).startswith(("http://", "https://"))
        return [load_image(uri if remote else Path(whole_file(payload)))]
    if kind == "clip":
        start, end = known.get("span_s") or (0.0, None)
        return VideoFile(Path(whole_file(payload))).frames(frames, Span(float(start), end))
    return []


def _within(image: Image, max_pixels: int) -> Image:
    pixels = image.width * image.height
    if pixels <= max_pixels:
        return image
    scale = (max_pixels / pixels) ** 0.5
    return image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))))


def _block(image: Image) -> dict[str, Any]:
    out = BytesIO()
    # Full chroma: thin coloured lines are what pages are made of.
    image.save(out, "JPEG", quality=92, subsampling=0)
    return {
        "type": "image",
        "base64": base64.b64encode(out.getvalue()).decode(),
        "mime_type": "image/jpeg",
    }
