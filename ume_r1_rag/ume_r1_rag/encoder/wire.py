"""The wire between ``RemoteEncoder`` and a server: an input as messages, an answer as an ``Embedding``.

Files travel as they are, pictures in memory as PNG, a video as the frames that the model would see: all
without loss, so that a vector does not depend on which side reads the file.
"""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ume_r1_rag.describe import is_pil_image
from ume_r1_rag.errors import BackendError
from ume_r1_rag.media import LIMITS, load_image, load_video
from ume_r1_rag.media.source import open_source
from ume_r1_rag.types import Embedding, TokenCounts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL.Image import Image

    from ume_r1_rag.types import ImageSource, MultimodalInput, Vector, VideoSource

_REMOTE = ("http://", "https://")


def to_messages(item: MultimodalInput, max_frames: int) -> list[dict[str, Any]]:
    """Returns an input as vLLM's ``messages``, files read; a URL is left to the server.

    Raises:
        InputError: a file is absent or cannot be read.
    """
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": _image_url(image)}} for image in item.images
    ]
    if item.video is not None:
        parts.append({"type": "video_url", "video_url": {"url": _video_url(item.video, max_frames)}})
    if item.text is not None:
        parts.append({"type": "text", "text": item.text})
    messages = [{"role": "user", "content": parts}]
    if item.instruction:
        messages.insert(0, {"role": "system", "content": item.instruction})
    return messages


def to_embedding(item: Mapping[str, Any], mode: str, dimension: int) -> Embedding:
    """Returns what a server answered for one input.

    Raises:
        BackendError: it is not what this version understands.
    """
    try:
        vectors: dict[str, Vector] = {item["space"]: _vector(item["embedding"], dimension)}
        if mode == "both":
            vectors["gen"] = _vector(item["gen"], dimension)
        for space in ("disc", "gen") if mode == "both" else (mode,):
            vectors[space]  # never one space's vector for the other's
        samples = item.get("gen_samples")
        return Embedding(
            disc=vectors.get("disc"),
            gen=vectors.get("gen"),
            gen_samples=None if samples is None else np.stack([_vector(one, dimension) for one in samples]),
            reasoning=item.get("reasoning"),
            summary=item.get("summary"),
            gen_valid=item.get("gen_valid"),
            gen_issue=item.get("gen_issue"),
            think=item.get("think", "full"),
            tokens=TokenCounts(**item["tokens"]),
            fingerprint=item["fingerprint"],
            completion_ids=tuple(item.get("completion_ids") or ()),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BackendError(
            f"the server's answer is none of `ume-r1 serve` ({type(error).__name__}: {error}): are both of "
            "one version?"
        ) from error


def disc_vectors(error: Mapping[str, Any], dimension: int) -> list[Vector]:
    """Returns the disc vectors that the error of a missed deadline carries."""
    return [_vector(one["embedding"], dimension) for one in error.get("disc") or ()]


def _vector(text: str, dimension: int) -> Vector:
    vector = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
    if len(vector) != dimension or not np.isfinite(vector).all():
        raise ValueError(f"a vector of {len(vector)} numbers, where the model has {dimension}")
    return vector


def _image_url(source: ImageSource) -> str:
    if isinstance(source, str) and source.startswith((*_REMOTE, "data:")):
        return source
    if is_pil_image(source):
        return f"data:image/png;base64,{_png(load_image(source))}"
    found = open_source(source, "image", LIMITS, None)
    data = found.read_bytes() if isinstance(found, Path) else found
    return f"data:image/*;base64,{base64.b64encode(data).decode()}"


def _video_url(source: VideoSource, max_frames: int) -> str:
    if isinstance(source, str) and source.startswith(_REMOTE):
        return source
    frames = load_video(source, max_frames)
    return "data:video/png;base64," + ",".join(_png(frame) for frame in frames)


def _png(image: Image) -> str:
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode()
