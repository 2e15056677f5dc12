"""What the encoder sees of a node: its text, its pictures, its clip, or all of them as one input."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from llama_index.core.schema import BaseNode, ImageNode, MediaResource, MetadataMode, Node

from ume_r1_rag.describe import shorten
from ume_r1_rag.errors import InputError, UmeR1Error
from ume_r1_rag.inputs import to_input
from ume_r1_rag.template import INSTRUCTIONS
from ume_r1_rag.types import MultimodalInput

EMBED_KEY: Final = "ume_embed"
"""The metadata key by which a node says what of it is embedded: ``"all"`` (the default), ``"media"`` or
``"text"``. Our reader says ``"media"`` of a page, whose text is what stands on its picture anyway."""

_CHOICES = ("all", "media", "text")


def node_input(
    node: BaseNode, max_frames: int | None = None, max_pixels: int | None = None
) -> MultimodalInput:
    """Returns a node as one input.

    A node with a picture, a clip and a text is one input of all three; one with media alone gets the
    instruction of its kind, which metadata may name (``kind``: page, image or clip). Text is what LlamaIndex
    takes for embedding: the node's own with the metadata that is not excluded; metadata alone beside a
    picture is not embedded. A clip with ``span_s`` in its metadata is that part of its file. A page whose
    picture was deleted, of a PDF that is still what it was, is drawn again. URLs are left to the encoder,
    which refuses them unless fetching is on.

    Args:
        node: any node: ``TextNode``, ``ImageNode``, ``Document``, ``ImageDocument``, ``Node``.
        max_frames: frames of a part of a clip, see ``Encoder.max_video_frames``.
        max_pixels: of a page that is drawn again, see ``Encoder.max_image_pixels``.

    Raises:
        InputError: it holds nothing to embed, or something that cannot be; its id is named.
    """
    try:
        return _input(node, max_frames, max_pixels)
    except UmeR1Error as error:
        raise InputError(f"node {shorten(node.node_id, 60)}: {error}") from error


def _input(node: BaseNode, max_frames: int | None, max_pixels: int | None) -> MultimodalInput:
    what = node.metadata.get(EMBED_KEY, "all")
    if what not in _CHOICES:
        raise InputError(f"{EMBED_KEY}={what!r} is unknown: use one of {', '.join(_CHOICES)}")
    images, video = _media(node, max_pixels) if what != "text" else ((), None)
    text = _text(node) if what != "media" or (not images and video is None) else None
    if not images and video is None:
        text = text or node.get_content(metadata_mode=MetadataMode.EMBED)
        if not text.strip():
            raise InputError("it has neither text nor picture nor clip: leave it out, or give it one")
        return MultimodalInput(text=text)
    span = node.metadata.get("span_s")
    if video is not None and span is not None:
        video = _part(video, span, max_frames)
    return MultimodalInput(
        text=text, images=images, video=video, instruction=None if text else _instruction(node, video)
    )


def _text(node: BaseNode) -> str | None:
    """Returns the text of a node that has one of its own, with the metadata that is embedded with it."""
    own = node.get_content(metadata_mode=MetadataMode.NONE)
    return node.get_content(metadata_mode=MetadataMode.EMBED) if own.strip() else None


def _media(node: BaseNode, max_pixels: int | None) -> tuple[tuple[Any, ...], Any]:
    """Returns the pictures and the clip of a node, none of them loaded."""
    if isinstance(node, ImageNode):
        # Not resolve_image: it fetches any URL, of any size, from anywhere.
        image: Any = None
        if node.image is not None:
            image = _decoded(node.image)
        elif node.image_path is not None:
            image = _page(node, max_pixels) or _place(node.image_path)
        elif node.image_url is not None:
            image = str(node.image_url)
        else:
            raise InputError(
                "an ImageNode without a picture (LlamaIndex drops one given as data of image_resource): give "
                f"image_path, or say {EMBED_KEY}='text' in its metadata"
            )
        return to_input({"image": image}).images, None
    if not isinstance(node, Node):
        return (), None
    if node.audio_resource is not None:
        raise InputError("it holds sound, which is not embedded: leave audio_resource out")
    images: tuple[Any, ...] = ()
    video: Any = None
    if node.image_resource is not None:
        images = to_input({"image": _source(node.image_resource, "image")}).images
    if node.video_resource is not None:
        video = to_input({"video": _source(node.video_resource, "video")}).video
    return images, video


def _source(resource: MediaResource, kind: str) -> Any:
    if resource.data is not None:
        return _decoded(resource.data)
    if resource.path is not None:
        return Path(resource.path)
    if resource.url is not None:
        return str(resource.url)
    raise InputError(
        f"its {kind}_resource has neither data nor path nor url (data is lost when a node is stored: "
        "give a path)"
    )


def _page(node: ImageNode, max_pixels: int | None) -> Any:
    """Returns the picture of one of our reader's pages, drawn again; None where its file is there."""
    known: Mapping[str, Any] = node.metadata
    if known.get("kind") != "page" or not known.get("content_hash") or Path(node.image_path or "").exists():
        return None
    from ume_r1_rag.ingest import reread

    names = ("key", "uri", "title", "document", "content_hash")
    payload = {f"ume_{name}": known.get(name) for name in names}
    return reread(payload, max_page_pixels=max_pixels).input.images[0]


def _place(path: str) -> Any:
    # LlamaIndex's own readers put URLs here, too.
    return path if path.startswith(("http://", "https://", "data:")) else Path(path)


def _decoded(data: str | bytes) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"its picture is no base64 ({error}): give a path instead") from error


def _part(video: Any, span: Any, max_frames: int | None) -> tuple[Any, ...]:
    from ume_r1_rag.media import Span, VideoFile

    if not isinstance(span, list | tuple) or len(span) != 2 or not isinstance(video, Path | bytes):
        raise InputError(f"span_s={span!r} is no start and end in seconds of a file: leave it out")
    from ume_r1_rag.template import PRESETS

    frames = max_frames or PRESETS["serving"].num_frames
    return tuple(VideoFile(video).frames(frames, Span(float(span[0]), float(span[1]))))


def _instruction(node: BaseNode, video: Any) -> str:
    metadata: Mapping[str, Any] = node.metadata
    kind = metadata.get("kind")
    if kind not in ("page", "image", "clip"):
        kind = "image" if video is None else "clip"
    return INSTRUCTIONS[kind].document
