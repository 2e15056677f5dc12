"""Content: what an input holds, as a digest. A file counts by its bytes, never by its name."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ume_r1_rag.describe import is_pil_image
from ume_r1_rag.errors import InputError

if TYPE_CHECKING:
    from ume_r1_rag.types import MultimodalInput

_VISUALS = ("images", "video")


def content_digest(item: MultimodalInput) -> str | None:
    """Returns a SHA-256 in hex of all that an encoder reads of an input; None if only the encoder can know.

    That is the case of a URL, whose content may be another one tomorrow, and of a file that cannot be read,
    about which the encoder has the better error. A picture in memory counts by its pixels as the model gets
    them, upright and in RGB; an encoded one by its bytes, be they in a file, in memory or in a data URL.
    """
    digest = hashlib.sha256()
    # Over all fields, so that one that is added later makes a difference too.
    for field in fields(item):
        value = getattr(item, field.name)
        try:
            parts = _visual(value) if field.name in _VISUALS else value
        except (InputError, OSError):
            return None
        if parts is _UNKNOWN:
            return None
        digest.update(f"{field.name}={json.dumps(parts)}\n".encode())
    return digest.hexdigest()


def reads_files(item: MultimodalInput) -> bool:
    """Returns whether an input names files, which may change while it is encoded."""
    video = item.video
    sources = [*item.images, *(video if isinstance(video, (list, tuple)) else (video,))]
    return any(_is_path(source) for source in sources)


_UNKNOWN: Any = object()


def _visual(value: Any) -> Any:
    """Returns JSON that stands for a source or for several, or ``_UNKNOWN``."""
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        parts = [_visual(one) for one in value]
        return _UNKNOWN if _UNKNOWN in parts else parts
    if is_pil_image(value):
        from ume_r1_rag.media import load_image

        pixels = load_image(value)
        return ["pixels", *pixels.size, hashlib.sha256(pixels.tobytes()).hexdigest()]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return ["bytes", hashlib.sha256(value).hexdigest()]
    if _is_path(value):
        with Path(value).open("rb") as stream:
            return ["bytes", hashlib.file_digest(stream, "sha256").hexdigest()]
    if isinstance(value, str) and value.startswith("data:"):
        from ume_r1_rag.media import LIMITS, parse_data_url

        return ["bytes", hashlib.sha256(parse_data_url(value, LIMITS.max_data_url_bytes)[1]).hexdigest()]
    return _UNKNOWN


def _is_path(source: Any) -> bool:
    if isinstance(source, str):
        return not source.startswith(("http://", "https://", "data:"))
    return isinstance(source, os.PathLike)
