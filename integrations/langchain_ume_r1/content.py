"""Content: what LangChain's users have (texts, URIs, content blocks) as inputs of an encoder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from ume_r1_rag.describe import describe
from ume_r1_rag.errors import InputError
from ume_r1_rag.inputs import to_input, to_inputs
from ume_r1_rag.template import INSTRUCTIONS
from ume_r1_rag.types import MultimodalInput

Kind = Literal["image", "video"]

_INSTRUCTED = {"image": INSTRUCTIONS["image"].document, "video": INSTRUCTIONS["clip"].document}
"""What is said with a wordless picture or video, as when a folder is indexed."""
_DEFAULT_MIME = {"image": "image/png", "video": "video/mp4"}


def text_inputs(texts: Iterable[str]) -> list[MultimodalInput]:
    """Returns texts as inputs. A text is a text, whatever it looks like: it opens no file and fetches no URL.

    Raises:
        InputError: one is no text, or is empty; its position is named.
    """
    checked = [text if isinstance(text, str) else _no_text(at, text) for at, text in enumerate(texts)]
    return to_inputs([{"text": text} for text in checked])[0]


def visual_inputs(kind: Kind, uris: Any) -> tuple[list[MultimodalInput], bool]:
    """Returns pictures or videos as inputs, and whether it was a single one.

    Args:
        kind: ``"image"`` or ``"video"``.
        uris: one path, URL, data URL, PIL image or encoded bytes, or a list of those.

    Raises:
        InputError: one cannot be used; of a list its position is named.
    """
    single = not isinstance(uris, list | tuple)
    items = to_input({kind: uris}) if single else to_inputs([{kind: uri} for uri in uris])[0]
    found = [items] if isinstance(items, MultimodalInput) else items
    return [replace(item, instruction=_INSTRUCTED[kind]) for item in found], single


def content_input(parts: Any) -> MultimodalInput:
    """Returns content blocks as one input: texts are joined by newlines, pictures keep their order.

    Args:
        parts: a str, a mapping or a list of those. A mapping is a content block as of a message (``text``,
            ``image``, ``video``, or OpenAI's ``image_url``, ``video_url``), or has a key ``text``, ``image``
            or ``video`` with a path, URL, PIL image or bytes. A block's ``url`` is never a file of this
            machine: blocks may come from elsewhere.

    Raises:
        InputError: a block is of an unknown type or cannot be used, or there are two videos.
    """
    texts: list[str] = []
    visuals: dict[Kind, list[Any]] = {"image": [], "video": []}
    for at, part in enumerate(_as_list(parts)):
        try:
            kind, value = _read(part)
        except InputError as error:
            raise InputError(f"part {at}: {error}") from error
        if kind == "text":
            texts.append(value)
        else:
            visuals["image" if kind == "image" else "video"].append(value)
    if len(visuals["video"]) > 1:
        raise InputError(f"{len(visuals['video'])} videos in one content: the model sees one, embed each")
    fields: dict[str, Any] = {}
    if any(text.strip() for text in texts):
        fields["text"] = "\n".join(texts)
    if visuals["image"]:
        fields["image"] = visuals["image"]
    if visuals["video"]:
        fields["video"] = visuals["video"][0]
    item = to_input(fields)
    if item.text:
        return item
    return replace(item, instruction=_INSTRUCTED["image" if item.video is None else "video"])


def _as_list(parts: Any) -> Sequence[Any]:
    if isinstance(parts, list | tuple):
        return parts
    return [parts]


def _read(part: Any) -> tuple[Literal["text", "image", "video"], Any]:
    if isinstance(part, str):
        return "text", part
    if not isinstance(part, Mapping):
        return ("image" if to_input(part).images else "video"), part
    kind = part.get("type")
    if kind == "text":
        return "text", str(part.get("text", ""))
    if kind in ("image_url", "video_url"):
        inner = part.get(kind)
        url = inner.get("url") if isinstance(inner, Mapping) else inner
        return ("image" if kind == "image_url" else "video"), _url(url)
    if kind in ("image", "video"):
        visual: Kind = "image" if kind == "image" else "video"
        return visual, _of_block(part, visual)
    if kind is None:
        for name in ("text", "image", "video"):
            if name in part:
                return name, part[name]
    raise InputError(
        f"a content block of type {kind!r} cannot be embedded: use text, image, video, image_url or video_url"
    )


def _of_block(block: Mapping[str, Any], kind: Kind) -> Any:
    """Returns the source of an image or video block, in the present shape or LangChain's first one."""
    data = block.get("base64") or (block.get("data") if block.get("source_type") == "base64" else None)
    if data is not None:
        return f"data:{block.get('mime_type') or _DEFAULT_MIME[kind]};base64,{data}"
    if block.get("url") is not None:
        return _url(block["url"])
    own = block.get(kind)
    if own is not None:
        return own
    raise InputError(f"the {kind} block names no source: give url or base64 with mime_type")


def _url(url: Any) -> str:
    if isinstance(url, str) and url.startswith(("http://", "https://", "data:")):
        return url
    raise InputError(
        f"{describe(url)} is no URL: a block's url starts with http://, https:// or data:; for a file of "
        'this machine pass {"image": path} or {"video": path}'
    )


def _no_text(at: int, value: Any) -> str:
    hint = " (embed_image and embed_video take files)" if isinstance(value, os.PathLike) else ""
    raise InputError(f"input {at}: {describe(value)} is no text{hint}")
