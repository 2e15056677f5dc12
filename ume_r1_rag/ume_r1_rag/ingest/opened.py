"""Opened: a file as documents. PDFs give one a page, videos one a segment, pictures and texts one.

What a document's vectors depend on besides the encoder is its content hash: ``<SHA-256 of the file>;<how>``,
where ``how`` says which part was taken and by what options. What follows from the encoder (the pixels of a
page, the frames of a segment) is left to its fingerprint, so that hashes can be compared without any model.

A file may be replaced while it is read. Its hash is taken first, and is nobody's if it was replaced between
being opened and that, so that what was stored then differs from the file, and the next run mends it.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ume_r1_rag.errors import ConfigError, InputError
from ume_r1_rag.ingest.files import File
from ume_r1_rag.ingest.report import Failure
from ume_r1_rag.ingest.segments import SEGMENT_S, segments
from ume_r1_rag.media.mediatype import SNIFF_BYTES, kinds_of_bytes
from ume_r1_rag.template import INSTRUCTIONS, PRESETS
from ume_r1_rag.types import Document, Encoder, ItemKind, MultimodalInput
from ume_r1_rag.unicode import unicode_text

if TYPE_CHECKING:
    from ume_r1_rag.media import Span

READER = 1
"""Raised when the same file would be read otherwise; everything then counts as changed."""

MAX_TEXT_BYTES = 1 << 20
"""A longer text is refused: one vector cannot stand for a book, nor a model read it."""

_THUMBNAIL = 320
"""Longer side of a page's thumbnail in pixels."""

_BOMS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
         codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8-sig"}  # fmt: skip
_NAMES = {"pdf": "a PDF", "image": "a picture", "video": "a video"}


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How files are read.

    Attributes:
        page_pixels: most pixels of a rendered page.
        frames: most frames of a segment.
        segment_s: seconds of a segment.
        fixed_pixels: whether ``page_pixels`` was asked for, and so is part of what a page is; otherwise it is
            the encoder's own.
    """

    page_pixels: int = PRESETS["serving"].image_limits.max_pixels
    frames: int = PRESETS["serving"].num_frames
    segment_s: float = SEGMENT_S
    fixed_pixels: bool = False

    @classmethod
    def of(
        cls, encoder: Encoder | None = None, max_page_pixels: int | None = None, segment_s: float = SEGMENT_S
    ) -> Self:
        """Returns how to read for an encoder; without one for the ``serving`` preset.

        Raises:
            ConfigError: ``max_page_pixels`` or ``segment_s`` is too small.
        """
        if max_page_pixels is not None and max_page_pixels < 1:
            raise ConfigError(f"max_page_pixels={max_page_pixels}: give a positive number")
        if not 0.1 <= segment_s < float("inf"):
            raise ConfigError(f"segment_s={segment_s}: give seconds, at least 0.1")
        default = cls(segment_s=segment_s, fixed_pixels=max_page_pixels is not None)
        return replace(
            default,
            page_pixels=max_page_pixels or (encoder.max_image_pixels if encoder else default.page_pixels),
            frames=encoder.max_video_frames if encoder else default.frames,
        )


class Opened(ABC):
    """A file that was looked into: its parts are known, none of them is read.

    Parts are numbered from 1. Use it in one thread, as a context manager.

    Attributes:
        kind: what its documents are.
        divisible: whether it may give several documents.
        file: the file.
        parts: how many documents it gives.
    """

    kind: ClassVar[ItemKind]
    divisible: ClassVar[bool] = False

    def __init__(self, file: File, reading: ReadOptions) -> None:
        """Keeps what is known; to be called before the file is opened."""
        self.file, self.parts, self._reading = file, 1, reading
        self._state = state_of(file.real)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file's bytes, in hex; of a file that changed since it was opened no file's."""
        digest = digest_of(self.file.real)
        return digest if state_of(self.file.real) == self._state else uuid.uuid4().hex * 2

    def part(self, number: int) -> str:
        """Returns what a key adds for a part, e.g. ``"page=3"``; empty where the file is one document."""
        return ""

    def key(self, number: int) -> str:
        """Returns a part's key."""
        part = self.part(number)
        return f"{self.file.key}#{part}" if part else self.file.key

    def content_hash(self, number: int) -> str:
        """Returns a part's content hash, for which the file is read if it was not yet."""
        instruction = INSTRUCTIONS[self.kind].document if self.kind in INSTRUCTIONS else ""
        worded = f";as={hashlib.sha256(instruction.encode()).hexdigest()[:8]}" if instruction else ""
        return f"{self.digest};r{READER};{self._how(number)}{worded}"

    def documents(self, numbers: Iterable[int]) -> Iterator[Document | Failure]:
        """Yields some parts, one after another; a broken one is a ``Failure``."""
        chosen = list(numbers)
        try:
            _ = self.digest  # before anything is read
        except OSError as error:
            yield from (self.failure(error, number) for number in chosen)
            return
        yield from self._documents(chosen)

    def _documents(self, numbers: Sequence[int]) -> Iterator[Document | Failure]:
        for number in numbers:
            try:
                yield self.read(number)
            except Exception as error:  # noqa: BLE001
                yield self.failure(error, number)

    def failure(self, error: Exception, number: int) -> Failure:
        """Returns what is reported when a part cannot be had."""
        return self.file.failure(_hinted(error, self.file), self.part(number))

    def close(self) -> None:  # noqa: B027 -- most have nothing to close
        """Closes the file."""

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Closes the file."""
        self.close()

    @abstractmethod
    def _how(self, number: int) -> str:
        """Returns which part is taken, and how, for the content hash."""

    @abstractmethod
    def read(self, number: int) -> Document:
        """Returns a part. :meth:`documents` is for what is to be stored: it takes the hash before.

        A broken one raises whatever its codec does.
        """

    def _document(self, number: int, item: MultimodalInput, **fields: Any) -> Document:
        return Document(
            key=self.key(number),
            kind=self.kind,
            input=item,
            uri=self.file.uri,
            title=self.file.title,
            document=self.file.key,
            content_hash=self.content_hash(number),
            **fields,
        )


class _Pages(Opened):
    """A PDF."""

    kind = "page"
    divisible = True

    def __init__(self, file: File, reading: ReadOptions) -> None:
        from ume_r1_rag.media import PdfPages

        super().__init__(file, reading)
        self._pdf = PdfPages(file.real)
        self.parts = len(self._pdf)

    def part(self, number: int) -> str:
        return f"page={number}"

    def close(self) -> None:
        self._pdf.close()

    def _how(self, number: int) -> str:
        pixels = f";pixels={self._reading.page_pixels}" if self._reading.fixed_pixels else ""
        return f"page={number}{pixels}"

    def read(self, number: int) -> Document:
        from ume_r1_rag.media import thumbnail

        image = self._pdf.render(number, self._reading.page_pixels)
        # A small model sees less than a person needs to recognise a page.
        shown = image if max(image.size) >= _THUMBNAIL else self._pdf.render(number, _THUMBNAIL**2)
        return self._document(
            number,
            MultimodalInput(images=(image,), instruction=INSTRUCTIONS["page"].document),
            text=unicode_text(self._pdf.text(number)),
            page=number,
            thumbnail=thumbnail(shown, _THUMBNAIL),
        )


class _Picture(Opened):
    """A picture; of an animation the first frame."""

    kind = "image"

    def _how(self, number: int) -> str:
        return "image"

    def read(self, number: int) -> Document:
        from ume_r1_rag.media import load_image, thumbnail

        # Decoded here and handed on, so that decoding and encoding overlap.
        image = load_image(Path(self.file.real))
        item = MultimodalInput(images=(image,), instruction=INSTRUCTIONS["image"].document)
        return self._document(number, item, thumbnail=thumbnail(image))


class Clips(Opened):
    """A video. A segment's input is its frames."""

    kind = "clip"
    divisible = True

    def __init__(self, file: File, reading: ReadOptions, spans: Sequence[Span] | None = None) -> None:
        """Looks for the segments, unless they are given."""
        from ume_r1_rag.media import VideoFile

        super().__init__(file, reading)
        self._video = VideoFile(Path(file.real))
        self._spans = spans or segments(self._video.duration_s, reading.segment_s)
        self.parts = len(self._spans)

    def part(self, number: int) -> str:
        """Returns ``"clip=N"``, or nothing if there is only one."""
        return f"clip={number}" if self.parts > 1 else ""

    def _documents(self, numbers: Sequence[int]) -> Iterator[Document | Failure]:
        # The file is gone through once.
        spans = [self._spans[number - 1] for number in numbers]
        found = self._video.segments(spans, self._reading.frames)
        for number, frames in zip(numbers, found, strict=True):
            if isinstance(frames, InputError):
                yield self.failure(frames, number)
                continue
            try:
                yield self._clip(number, frames)
            except Exception as error:  # noqa: BLE001
                yield self.failure(error, number)

    def _how(self, number: int) -> str:
        span = self._spans[number - 1]
        return f"clip={_seconds(span.start_s)}-{'' if span.end_s is None else _seconds(span.end_s)}"

    def read(self, number: int) -> Document:
        """Returns a part."""
        return self._clip(number, self._video.frames(self._reading.frames, self._spans[number - 1]))

    def _clip(self, number: int, frames: Sequence[Any]) -> Document:
        from ume_r1_rag.media import thumbnail

        span = self._spans[number - 1]
        end = self._video.duration_s if span.end_s is None else span.end_s
        item = MultimodalInput(video=tuple(frames), instruction=INSTRUCTIONS["clip"].document)
        small = thumbnail(frames[len(frames) // 2])
        return self._document(number, item, span_s=(span.start_s, round(end, 3)), thumbnail=small)


def _seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


class _Text(Opened):
    """A text, as UTF-8 or with a byte order mark."""

    kind = "text"

    def _how(self, number: int) -> str:
        return "text"

    def read(self, number: int) -> Document:
        size = os.path.getsize(self.file.real)
        if size > MAX_TEXT_BYTES:
            raise InputError(
                f"{self.file.uri} has {size} bytes, more than {MAX_TEXT_BYTES}: split it into parts"
            )
        data = Path(self.file.real).read_bytes()
        coding = next((name for bom, name in _BOMS.items() if data.startswith(bom)), "utf-8")
        text = data.decode(coding, "replace")
        if "\0" in text:
            raise InputError(f"{self.file.uri} holds NUL characters, so it is no text: check what it is")
        if not text.strip():
            raise InputError(f"{self.file.uri} holds nothing but whitespace: there is nothing to find")
        return self._document(number, MultimodalInput(text=text), text=text)


_KINDS: dict[ItemKind, type[Opened]] = {"page": _Pages, "image": _Picture, "clip": Clips, "text": _Text}


def open_file(file: File, reading: ReadOptions) -> Opened:
    """Returns a file that was looked into.

    Raises:
        InputError: it is none of ours, empty, or broken.
        OSError: it cannot be read.
    """
    if file.kind is None:
        raise InputError(f"{file.uri} has an extension that nothing reads: index it under another name")
    with Path(file.real).open("rb"):  # the libraries behind all kinds word a refusal in their own ways
        size = os.path.getsize(file.real)
    if not size:
        raise InputError(f"{file.uri} is empty (0 bytes): write or download it again")
    try:
        return _KINDS[file.kind](file, reading)
    except InputError as error:
        raise _hinted(error, file) from error


def _hinted(error: Exception, file: File) -> Exception:
    """Returns an error that also says what the file is, if its extension says something else."""
    if not isinstance(error, InputError):
        return error
    try:
        with Path(file.real).open("rb") as stream:
            head = stream.read(max(SNIFF_BYTES, 1024))
    except OSError:
        return error
    kinds = ("pdf",) if b"%PDF-" in head else kinds_of_bytes(head[:SNIFF_BYTES])
    own = {"page": "pdf", "image": "image", "clip": "video"}.get(file.kind or "")
    if not kinds or own in kinds:
        return error
    return InputError(f"{error}. By its content it is {_NAMES[kinds[0]]}: give it the extension of one")


def state_of(path: str) -> tuple[int, int, int]:
    """Returns what tells a file's versions apart without reading it: size, time and inode."""
    found = Path(path).stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def digest_of(path: str) -> str:
    """Returns the SHA-256 of a file's bytes, in hex."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
