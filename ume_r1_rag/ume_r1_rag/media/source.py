"""From a source to a file or to bytes, whatever the source is."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from ume_r1_rag.describe import describe
from ume_r1_rag.errors import InputError

if TYPE_CHECKING:
    from ume_r1_rag.media.fetch import Fetcher
    from ume_r1_rag.media.limits import MediaLimits
    from ume_r1_rag.media.mediatype import MediaKind


def open_source(source: Any, kind: MediaKind, limits: MediaLimits, fetcher: Fetcher | None) -> Path | bytes:
    """Returns an existing file's path, or the encoded bytes of anything else.

    Args:
        source: a path, a URL, a data URL or bytes.
        kind: what it should be; only said to the fetcher and in messages.
        limits: caps on a data URL.
        fetcher: how to get a URL; None takes ``Fetcher.from_env()``, which fetches nothing unless told to.

    Raises:
        InputError: there is no such file, it is empty, or the source is of an unknown type.
        FetchError: the URL was refused or could not be had.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return _not_empty(bytes(source), source, kind)
    if isinstance(source, str):
        if source.startswith(("http://", "https://")):
            from ume_r1_rag.media.fetch import Fetcher

            return (fetcher or Fetcher.from_env()).fetch(source, kind)
        if source.startswith("data:"):
            return _not_empty(parse_data_url(source, limits.max_data_url_bytes)[1], source, kind)
    elif not isinstance(source, os.PathLike):
        raise InputError(f"{describe(source)} is no {kind}: give a path, a URL, a data URL or bytes")
    return _existing(Path(source), kind)


def parse_data_url(url: str, max_bytes: int) -> tuple[str, bytes]:
    """Returns the MIME type and the bytes of a data URL.

    Args:
        url: ``data:[type][;parameter][;base64],data``; base64 may be URL-safe, unpadded or broken in lines.
        max_bytes: most bytes that it may hold.

    Raises:
        InputError: it has no comma, is too large, or its base64 is broken.
    """
    head, comma, body = url.partition(",")
    if not head.startswith("data:") or not comma:
        raise InputError(f"{describe(url)} is broken: it needs the form data:image/png;base64,...")
    mime, *parameters = head[5:].split(";")
    encoded = "base64" in (parameter.strip().lower() for parameter in parameters)
    if (len(body) * 3 // 4 if encoded else len(body)) > 3 * max_bytes:
        raise _too_large(url, max_bytes)  # even if every byte of it were percent-encoded
    data = unquote_to_bytes(body)
    if encoded:
        data = _from_base64(data, url)
    if len(data) > max_bytes:
        raise _too_large(url, max_bytes)
    return mime.strip().lower(), data


def _from_base64(data: bytes, url: str) -> bytes:
    data = b"".join(data.split()).translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
    try:
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except binascii.Error as error:
        raise InputError(f"{describe(url)} holds broken base64 ({error}): encode it again") from error


def _too_large(url: str, max_bytes: int) -> InputError:
    return InputError(
        f"{describe(url)} holds more than {max_bytes} bytes: write them to a file and pass its path"
    )


def _existing(path: Path, kind: MediaKind) -> Path:
    # os.path, not pathlib: pathlib 3.11 raises OSError for a name that is too long.
    if os.path.isdir(path):
        raise InputError(f"{describe(path)} is a folder, not a {kind} file: pass the file itself")
    if not os.path.isfile(path):
        raise InputError(f"{kind} file {describe(path)} does not exist: check the path")
    try:
        size = os.path.getsize(path)
    except OSError as error:
        raise InputError(f"{kind} file {describe(path)} cannot be read ({error.strerror})") from error
    if not size:
        raise InputError(f"{kind} file {describe(path)} is empty (0 bytes): write or download it again")
    return path


def _not_empty(data: bytes, source: Any, kind: MediaKind) -> bytes:
    if not data:
        raise InputError(f"{describe(source)} given as {kind}: it is empty, give the encoded file's content")
    return data
