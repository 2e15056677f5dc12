"""Files: what lies under some paths, read as documents one at a time."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ume_r1_rag.errors import ConfigError, InputError, UmeR1Error
from ume_r1_rag.index.payload import unicode_text
from ume_r1_rag.ingest.report import Failure, Skipped
from ume_r1_rag.media.mediatype import kind_of_name
from ume_r1_rag.template import INSTRUCTIONS, PRESETS
from ume_r1_rag.types import Document, ItemKind, MultimodalInput

logger = logging.getLogger(__name__)

TEXT_SUFFIXES = frozenset({".txt", ".md", ".markdown"})
MAX_TEXT_BYTES = 1 << 20
"""A longer text is refused: one vector cannot stand for a book, nor a model read it."""

_THUMBNAIL = 320
"""Longer side of a page's thumbnail in pixels."""

Item: TypeAlias = Document | Failure | Skipped
Source: TypeAlias = "str | os.PathLike[str]"


def documents(paths: Source | Iterable[Source], *, max_page_pixels: int | None = None) -> Iterator[Item]:
    """Yields what the files under some paths hold, in order of name, one at a time.

    PDFs give a document a page, rendered, with its text layer; pictures, videos and texts (``.txt``,
    ``.md``, UTF-8) one each. A broken file gives a ``Failure``, an unknown one a ``Skipped``; hidden ones
    (``.name``) are passed over. Symlinks are followed, but no folder is entered twice.

    A key is the file's absolute path with its links resolved, whichever way it was reached; pages add
    ``#page=N``. A second path to one file is ``Skipped``. A title is the path below the given one, or the
    name of a file given itself.

    Args:
        paths: files and folders.
        max_page_pixels: pixels of a rendered page; by default the ``serving`` preset's for an image. An
            encoder has its own in ``max_image_pixels``.

    Raises:
        ConfigError: ``max_page_pixels`` is not positive.
    """
    pixels = PRESETS["serving"].image_limits.max_pixels if max_page_pixels is None else max_page_pixels
    if pixels < 1:
        raise ConfigError(f"max_page_pixels={pixels}: give a positive number")
    roots = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    return _documents([Path(root) for root in roots], pixels)


@dataclass(frozen=True, slots=True)
class _File:
    """One file to be read: where it is, and what its documents are called."""

    path: Path
    title: str

    @property
    def key(self) -> str:
        """What its documents' keys start with: one file has one, through whichever links it is reached."""
        return unicode_text(Path(os.path.realpath(self.path)).as_posix())

    @property
    def uri(self) -> str:
        return unicode_text(str(self.path.absolute()))

    def failure(self, error: Exception, page: int | None = None) -> Failure:
        ours = error if isinstance(error, UmeR1Error) else None
        # Codecs raise whatever they like, down to struct.error, and hours of work hang on the next file.
        if ours is None:
            ours = InputError(
                f"{self.uri} cannot be read: {type(error).__name__}: {unicode_text(str(error))}"
            )
            ours.__cause__ = error
        logger.debug("%s failed", self.uri, exc_info=error)
        part = "" if page is None else f"#page={page}"
        return Failure(f"{self.key}{part}", self.uri, ours, f"{self.title}{part}")


def _documents(roots: Sequence[Path], max_page_pixels: int) -> Iterator[Item]:
    read: set[str] = set()
    for root in roots:
        for file in _walk(root):
            if not isinstance(file, _File):
                yield file
            elif (key := file.key) in read:
                yield Skipped(file.uri, "a second path to a file that was read already")
            else:
                for item in _read(file, max_page_pixels):
                    # A link without an extension must not hide the file that it leads to.
                    if not isinstance(item, Skipped):
                        read.add(key)
                    yield item


def _walk(root: Path) -> Iterator[_File | Failure | Skipped]:
    """Yields the files under a path in order of name, depth first."""
    if not root.is_dir():
        file = _File(root, unicode_text(root.name))
        if root.is_file():
            yield file
        elif root.exists():
            yield Skipped(file.uri, "neither a file nor a folder")
        else:
            yield file.failure(InputError(f"{file.uri} does not exist: check the path"))
        return
    entered: set[str] = set()
    waiting = [root]
    while waiting:
        path = waiting.pop()
        file = _File(path, unicode_text(path.relative_to(root).as_posix()))
        try:
            if path.is_dir():
                real = os.path.realpath(path)
                if real not in entered:
                    entered.add(real)
                    inside = sorted(child for child in path.iterdir() if not child.name.startswith("."))
                    waiting.extend(reversed(inside))
            elif path.is_file():
                yield file
            else:
                dangling = path.is_symlink() and not path.exists()
                reason = "a link that leads nowhere" if dangling else "neither a file nor a folder"
                yield Skipped(file.uri, reason)
        except OSError as error:
            yield file.failure(error)


def _read(file: _File, max_page_pixels: int) -> Iterator[Item]:
    """Yields what one file holds."""
    suffix = file.path.suffix.lower()
    kind = kind_of_name(file.path.name)
    try:
        if suffix == ".pdf":
            yield from _pages(file, max_page_pixels)
        elif kind == "image":
            yield _image(file)
        elif kind == "video":
            yield _clip(file)
        elif suffix in TEXT_SUFFIXES:
            yield _text(file)
        else:
            yield Skipped(file.uri, f"unknown extension {unicode_text(suffix)!r}")
    except Exception as error:  # noqa: BLE001
        yield file.failure(error)


def _pages(file: _File, max_page_pixels: int) -> Iterator[Item]:
    from ume_r1_rag.media import PdfPages, thumbnail

    digest = _digest(file.path)
    with PdfPages(file.path) as pdf:
        for page in range(1, len(pdf) + 1):
            try:
                image = pdf.render(page, max_page_pixels)
                # A small model sees less than a person needs to recognise a page.
                shown = image if max(image.size) >= _THUMBNAIL else pdf.render(page, _THUMBNAIL**2)
                yield Document(
                    key=f"{file.key}#page={page}",
                    kind="page",
                    input=MultimodalInput(images=(image,), instruction=_instruction("page")),
                    uri=file.uri,
                    title=file.title,
                    document=file.key,
                    text=unicode_text(pdf.text(page)),
                    page=page,
                    thumbnail=thumbnail(shown, _THUMBNAIL),
                    content_hash=digest,
                )
            except Exception as error:  # noqa: BLE001
                yield file.failure(error, page)


def _image(file: _File) -> Document:
    from ume_r1_rag.media import load_image, thumbnail

    small = thumbnail(load_image(file.path))
    # The encoder gets the path: it loads the picture when its batch comes up, and the window stays small.
    return _document(
        file, "image", MultimodalInput(images=(file.path,), instruction=_instruction("image")), small
    )


def _clip(file: _File) -> Document:
    from ume_r1_rag.media import load_video, thumbnail, video_duration

    frames = load_video(file.path, 3)
    small = thumbnail(frames[len(frames) // 2])
    item = MultimodalInput(video=file.path, instruction=_instruction("clip"))
    return _document(file, "clip", item, small, span_s=(0.0, round(video_duration(file.path), 3)))


def _text(file: _File) -> Document:
    size = file.path.stat().st_size
    if size > MAX_TEXT_BYTES:
        raise InputError(f"{file.uri} has {size} bytes, more than {MAX_TEXT_BYTES}: split it into parts")
    text = file.path.read_text(encoding="utf-8-sig", errors="replace")
    return _document(file, "text", MultimodalInput(text=text), None, text=text)


def _document(
    file: _File,
    kind: ItemKind,
    item: MultimodalInput,
    small: bytes | None,
    text: str = "",
    span_s: tuple[float, float] | None = None,
) -> Document:
    return Document(
        key=file.key,
        kind=kind,
        input=item,
        uri=file.uri,
        title=file.title,
        document=file.key,
        text=text,
        span_s=span_s,
        thumbnail=small,
        content_hash=_digest(file.path),
    )


def _instruction(kind: ItemKind) -> str:
    return INSTRUCTIONS[kind].document


def _digest(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
