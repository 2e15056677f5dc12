"""Sources: paths as documents, and a stored point's document again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ume_r1_rag.errors import FileGone, InputError
from ume_r1_rag.ingest.files import File, Source, Walk, as_paths, path_of
from ume_r1_rag.ingest.opened import READER, Clips, ReadOptions, digest_of, open_file, state_of
from ume_r1_rag.ingest.report import Failure, Skipped
from ume_r1_rag.ingest.retry import REMEDY
from ume_r1_rag.ingest.segments import SEGMENT_S
from ume_r1_rag.types import Document, Encoder
from ume_r1_rag.unicode import unicode_text

if TYPE_CHECKING:
    from ume_r1_rag.media import Span


def documents(
    paths: Source | Iterable[Source],
    *,
    encoder: Encoder | None = None,
    max_page_pixels: int | None = None,
    segment_s: float = SEGMENT_S,
) -> Iterator[Document | Failure | Skipped]:
    """Yields what the files under some paths hold, in order of name, one at a time.

    PDFs give a document a page, rendered, with its text layer; videos one a segment; pictures and texts
    (``.txt``, ``.md``) one each. A broken file gives a ``Failure``, an unknown one a ``Skipped``.

    A key is the file's absolute path with its links resolved, whichever way it was reached; pages add
    ``#page=N``, segments ``#clip=N`` if there are several. A title is the path below the given one, or the
    name of a file given itself.

    Args:
        paths: files and folders, see :class:`Walk`.
        encoder: what will see them; pages and clips are then read as it takes them.
        max_page_pixels: pixels of a rendered page; without an encoder the ``serving`` preset's for an image.
        segment_s: seconds of a video's segments.

    Raises:
        ConfigError: an option has an impossible value.
    """
    return _documents(Walk(as_paths(paths)), ReadOptions.of(encoder, max_page_pixels, segment_s))


def _documents(walk: Walk, reading: ReadOptions) -> Iterator[Document | Failure | Skipped]:
    for file in walk:
        if isinstance(file, File):
            try:
                with open_file(file, reading) as opened:
                    yield from opened.documents(range(1, opened.parts + 1))
            except Exception as error:  # noqa: BLE001
                yield file.failure(error)
        elif isinstance(file, Failure | Skipped):
            yield file


def reread(
    payload: Mapping[str, Any], *, max_page_pixels: int | None = None, max_frames: int | None = None
) -> Document:
    """Returns a stored point's document, read again from its file: what was encoded then, to be encoded now.

    Args:
        payload: of a point that :func:`ingest` wrote.
        max_page_pixels: pixels of a rendered page, where none were asked for when it was indexed: the
            encoder's ``max_image_pixels``.
        max_frames: frames of a segment: the encoder's ``max_video_frames``.

    Raises:
        InputError: the point is not from a file, the file is gone or broken, or it has changed.
    """
    shown = unicode_text(str(payload.get("ume_title") or payload.get("ume_key") or "a point"))
    stored = str(payload.get("ume_content_hash") or "")
    digest, *fields = stored.split(";")
    how = {name: value for name, _, value in (field.partition("=") for field in fields)}
    if len(digest) != 64 or f"r{READER}" not in how:
        raise InputError(f"{shown} was not indexed from a file by this version: it cannot be read again")
    places = (path_of(str(payload.get(f"ume_{field}") or "")) for field in ("document", "uri"))
    path = next((place for place in places if Path(place).is_absolute() and os.path.isfile(place)), None)
    if path is None:
        raise FileGone(f"the file of {shown} is gone: {payload.get('ume_uri')!r}; {REMEDY}")
    try:
        now = _known_digest(path, state_of(path))
        if now != digest:
            raise InputError(
                f"{payload.get('ume_uri')!r} has changed since it was indexed (SHA-256 {digest[:12]}… then, "
                f"{now[:12]}… now): index it again"
            )
        document = _reread(path, how, max_page_pixels, max_frames)
    except OSError as error:
        raise InputError(f"the file of {shown} cannot be read ({error.strerror})") from error
    return replace(
        document,
        key=str(payload["ume_key"]),
        uri=str(payload.get("ume_uri") or document.uri),
        title=str(payload.get("ume_title") or ""),
        document=str(payload.get("ume_document") or ""),
        metadata=dict(payload.get("ume_metadata") or {}),
        content_hash=stored,
    )


def _reread(path: str, how: Mapping[str, str], pixels: int | None, frames: int | None) -> Document:
    default = ReadOptions()
    reading = ReadOptions(int(how.get("pixels") or pixels or default.page_pixels), frames or default.frames)
    file = File.at(path)
    number = int(how.get("page", 1))
    with Clips(file, reading, [_span(how["clip"])]) if "clip" in how else open_file(file, reading) as opened:
        return opened.read(number)


def _span(text: str) -> Span:
    from ume_r1_rag.media import Span

    start, _, end = text.partition("-")
    return Span(float(start), float(end) if end else None)


@lru_cache(maxsize=1 << 16)
def _known_digest(path: str, state: tuple[int, int, int]) -> str:  # noqa: ARG001 -- it tells versions apart
    """Returns a file's digest; whoever reads 5,000 pages of one again should not read it 5,000 times."""
    return digest_of(path)
