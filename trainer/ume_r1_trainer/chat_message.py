"""Chat message: text and pictures as a user's turn of the OpenAI protocol."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ume_r1_rag.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

Messages = Sequence[Mapping[str, Any]]

_AS_THEY_ARE = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}
"""Picture formats that every endpoint takes; others are sent as PNG."""


def user_message(text: str, images: Sequence[Path | Image] = ()) -> dict[str, Any]:
    """Returns a user's message: the pictures as data URLs, then the text.

    Args:
        text: what is asked.
        images: files, sent byte for byte if they are PNG, JPEG, WebP or GIF; or pictures, sent as PNG.

    Raises:
        InputError: a file cannot be read as a picture.
    """
    parts = [{"type": "image_url", "image_url": {"url": _data_url(image)}} for image in images]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def _data_url(image: Path | Image) -> str:
    from PIL import Image as pil

    try:
        if isinstance(image, os.PathLike | str):
            content = Path(image).read_bytes()
            opened: Any = pil.open(BytesIO(content))
            kind = _AS_THEY_ARE.get(opened.format or "")
        else:
            content, opened, kind = b"", image, None
        if kind is None:
            buffer = BytesIO()
            opened.convert("RGBA" if "A" in opened.getbands() else "RGB").save(buffer, "PNG")
            content, kind = buffer.getvalue(), "image/png"
    except (OSError, SyntaxError, ValueError, pil.DecompressionBombError) as error:
        raise InputError(f"{image} cannot be read as a picture: {error}") from error
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
