"""From whatever a caller has to ``MultimodalInput``. Nothing is decoded or fetched here.

THE RULE by which a ``str`` is a path or a text, the first that holds:

1. It starts with ``http://`` or ``https://`` and has no whitespace: a URL. What its path ends in tells a
   video from an image; if that says nothing, it is an image.
2. It starts with ``data:image/`` or ``data:video/``: a data URL.
3. It has no newline, fewer than 1024 characters, ends (in any case) in an extension of
   ``mediatype.IMAGE_EXTENSIONS`` or ``VIDEO_EXTENSIONS``, and there is such a file: a path.
4. It ends in such an extension, has no whitespace, and there is no such file: an ``InputError``, for it is
   most likely a mistyped path. So is the path of a PDF that is there, which is many inputs.
5. Anything else is text; so are ``"a picture called cat.png"`` and ``"report.pdf"`` where no such file is.

``{"text": ...}`` is text without any rule, ``{"image": ...}``, ``{"video": ...}`` and a ``Path`` are files
without any.

A query of a search has no such rule: :func:`to_query` takes every ``str`` for text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from ume_r1_rag.describe import describe, is_pil_image, shorten
from ume_r1_rag.errors import InputError, UmeR1Error
from ume_r1_rag.media.mediatype import SNIFF_BYTES, kind_of_name, kind_of_url, kinds_of_bytes
from ume_r1_rag.types import Document, MultimodalInput
from ume_r1_rag.unicode import unicode_text

if TYPE_CHECKING:
    from ume_r1_rag.media.mediatype import MediaKind

_KEYS = ("text", "image", "video", "instruction")
_LONGEST_PATH = 1024
_SPACE = re.compile(r"\s")
_ACCEPTED = (
    "a str, a PIL image, a Path, a URL, a data URL, encoded bytes, a dict with "
    f"{', '.join(_KEYS)}, a list of frames, a MultimodalInput or a Document"
)


@overload
def to_inputs(inputs: Any, on_error: Literal["raise"] = "raise") -> tuple[list[MultimodalInput], bool]: ...
@overload
def to_inputs(
    inputs: Any, on_error: Literal["return"]
) -> tuple[list[MultimodalInput | UmeR1Error], bool]: ...
def to_inputs(
    inputs: Any, on_error: Literal["raise", "return"] = "raise"
) -> tuple[list[MultimodalInput], bool] | tuple[list[MultimodalInput | UmeR1Error], bool]:
    """Returns the inputs in order, and whether it was a single one.

    A list, a tuple or any other iterable is a batch, even of one; within it a list is the frames of one
    video. Everything else is one input, read as ``to_input`` does.

    Args:
        inputs: one input, or a batch. An error of ours in it is an input that failed before.
        on_error: ``"raise"`` stops at the first input that cannot be used; ``"return"`` puts its error in
            its place.

    Raises:
        InputError: an input cannot be used; of a batch its position is named.
    """
    items, single = split_batch(inputs)
    found: list[MultimodalInput | UmeR1Error] = []
    for position, item in enumerate(items):
        try:
            if isinstance(item, UmeR1Error):
                raise item
            found.append(to_input(item))
        except UmeR1Error as error:
            if on_error == "return":
                found.append(error)
            elif single or not isinstance(error, InputError):
                raise
            else:
                raise InputError(f"input {position}: {error}") from error
    return found, single


def split_batch(inputs: Any) -> tuple[list[Any], bool]:
    """Returns the unread items of a batch, or the one input, and whether it was a single one.

    For callers that want each item's error by itself.
    """
    one = isinstance(
        inputs, str | bytes | bytearray | memoryview | os.PathLike | Mapping | MultimodalInput | Document
    )
    if one or is_pil_image(inputs) or _is_pixels(inputs) or not isinstance(inputs, Iterable):
        return [inputs], True
    return list(inputs), False


def to_input(one: Any) -> MultimodalInput:
    """Returns one input; for a ``str`` see THE RULE in this module's docstring.

    A dict has the keys ``text``, ``image``, ``video``, ``instruction``, all optional: a list under
    ``image`` is several images, one under ``video`` the frames of one video. A list is the frames of one
    video. Bytes are an image or a video by their first bytes. Text is made well-formed Unicode.

    Raises:
        InputError: it holds nothing, is of an unknown type, or names a file that is not there.
    """
    if isinstance(one, Document):
        one = one.input
    if isinstance(one, MultimodalInput):
        return _cleaned(one)
    if isinstance(one, str):
        return _from_str(one)
    if isinstance(one, Mapping):
        return _from_mapping(one)
    if isinstance(one, list | tuple):
        return MultimodalInput(video=_frames(one))
    if isinstance(one, os.PathLike):
        path = _file(Path(one))
        return _visual(path, kind_of_name(path.name) or _sniffed(path))
    if isinstance(one, bytes | bytearray | memoryview):
        return _visual(bytes(one), _sniffed(one))
    if is_pil_image(one):
        return MultimodalInput(images=(one,))
    raise _unknown(one)


def to_query(one: Any) -> MultimodalInput:
    """Returns one query, read as ``to_input`` does, but a ``str`` is always text.

    A query may be what someone typed into a web page: it must never open a file or fetch a URL.

    Raises:
        InputError: as ``to_input``.
    """
    return MultimodalInput(text=unicode_text(one)) if isinstance(one, str) else to_input(one)


def _cleaned(one: MultimodalInput) -> MultimodalInput:
    text, instruction = (None if old is None else unicode_text(old) for old in (one.text, one.instruction))
    same = text == one.text and instruction == one.instruction
    return one if same else replace(one, text=text, instruction=instruction)


def _from_str(text: str) -> MultimodalInput:
    kind = _kind_of_str(text)
    if kind is not None:
        return _visual(text, kind)
    return MultimodalInput(text=unicode_text(text))


def _kind_of_str(text: str) -> MediaKind | None:
    """Applies THE RULE; returns None for text."""
    spaced = _SPACE.search(text) is not None
    if text.startswith(("http://", "https://")) and not spaced:
        return _kind_of_url(text)
    if text.startswith(("data:image/", "data:video/")):
        return "image" if text.startswith("data:image/") else "video"
    kind = kind_of_name(text)
    if kind is None:
        if text.lower().endswith(".pdf") and len(text) < _LONGEST_PATH and os.path.isfile(text):
            _file(Path(text))  # refuses it
        return None
    exists = os.path.isfile(text)
    if exists and "\n" not in text and len(text) < _LONGEST_PATH:
        return kind
    if not exists and not spaced:
        raise InputError(
            f"{shorten(text)!r} looks like a file, but it does not exist: check the path, or pass "
            "{'text': ...} if it is meant as text"
        )
    return None


def _from_mapping(one: Mapping[Any, Any]) -> MultimodalInput:
    unknown = [str(key) for key in one if key not in _KEYS]
    if unknown:
        raise InputError(
            f"unknown keys {', '.join(shorten(key, 40) for key in unknown[:5])}: a dict input has "
            f"{', '.join(_KEYS)}"
        )
    image, video = one.get("image"), one.get("video")
    images = () if image is None else tuple(image) if isinstance(image, list | tuple) else (image,)
    if isinstance(video, list | tuple):
        video = _frames(video)
    elif video is not None:
        video = _source(video, "video")
    return MultimodalInput(
        text=_text(one, "text"),
        images=tuple(_source(source, "image") for source in images),
        video=video,
        instruction=_text(one, "instruction"),
    )


def _text(one: Mapping[Any, Any], key: str) -> str | None:
    value = one.get(key)
    if value is None or isinstance(value, str):
        return None if value is None else unicode_text(value)
    raise InputError(f"{key!r} is {describe(value)}, not a str: give one text per input")


def _frames(frames: list[Any] | tuple[Any, ...]) -> tuple[Any, ...]:
    if not frames:
        raise InputError("an empty list stands for a video without frames: give at least one frame")
    try:
        return tuple(_source(frame, "image") for frame in frames)
    except InputError as error:
        raise InputError(f"a list inside the inputs is the frames of one video: {error}") from error


def _source(source: Any, kind: MediaKind) -> Any:
    """Returns a source that is meant as ``kind``, files checked for being there.

    Raises:
        InputError: it is not there, of no known type, or clearly of the other kind.
    """
    if is_pil_image(source) and kind == "image":
        return source
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str) and source.startswith("data:"):
        _check_kind(source, "video" if source.startswith("data:video/") else "image", kind)
        return source
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        _check_kind(source, _kind_of_url(source), kind)
        return source
    if not isinstance(source, str | os.PathLike):
        raise InputError(f"{describe(source)} is no {kind}: give a path, a URL, a data URL or bytes")
    path = _file(Path(source))
    _check_kind(path, kind_of_name(path.name) or kind, kind)
    return path


def _check_kind(source: Any, found: MediaKind, wanted: MediaKind) -> None:
    # A URL that does not say counts as an image, and a GIF may be meant as a video.
    vague = wanted == "video" and (not isinstance(source, Path) or source.suffix.lower() in (".gif", ".apng"))
    data = isinstance(source, str) and source.startswith("data:image/") and "gif" not in source[:16]
    if found != wanted and (not vague or data):
        raise InputError(f"{describe(source)} is {found}, given as {wanted}: pass it under {found!r}")


def _visual(source: Any, kind: MediaKind) -> MultimodalInput:
    return MultimodalInput(video=source) if kind == "video" else MultimodalInput(images=(source,))


def _kind_of_url(url: str) -> MediaKind:
    try:
        return kind_of_url(url)
    except ValueError as error:
        raise InputError(f"{describe(url)} is no valid URL ({error}): check it") from error


def _file(path: Path) -> Path:
    """Returns the path of an existing file that is no PDF."""
    if not os.path.isfile(path):
        raise InputError(f"file {describe(path)} does not exist or is no file: check the path")
    if path.suffix.lower() == ".pdf":
        raise InputError(
            f"{describe(path)} is a PDF, which is many inputs: index it with `ume-r1 index`, or render its "
            "pages with ume_r1_rag.media.PdfPages"
        )
    return path


def _sniffed(source: Any) -> MediaKind:
    """Returns the kind of a file without a telling name, or of bytes, by the first of them."""
    head = bytes(source[:SNIFF_BYTES]) if not isinstance(source, Path) else _head(source)
    kinds = kinds_of_bytes(head)
    if not kinds:
        raise InputError(f"{describe(source)} is no known picture or video: convert it to PNG, JPEG or MP4")
    return kinds[0]


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(SNIFF_BYTES)
    except OSError as error:
        raise InputError(f"file {describe(path)} cannot be read ({error.strerror})") from error


def _is_pixels(value: Any) -> bool:
    """Returns whether ``value`` is an array of numbers, which would fall apart into rows."""
    dtype = getattr(value, "dtype", None)
    return dtype is not None and getattr(dtype, "kind", "f") in "biufc"


def _unknown(one: Any) -> InputError:
    if _is_pixels(one):
        return InputError(f"{describe(one)} is an array: make it a picture with PIL.Image.fromarray")
    return InputError(f"{describe(one)} is no input: give {_ACCEPTED}")
