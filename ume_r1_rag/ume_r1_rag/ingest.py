"""Ingestion: files and folders become documents, documents become points. Nothing is held but a window."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ume_r1_rag.errors import ConfigError, InputError, UmeR1Error
from ume_r1_rag.index.payload import CONTENT_HASH, unicode_text
from ume_r1_rag.media.mediatype import kind_of_name
from ume_r1_rag.template import INSTRUCTIONS, PRESETS
from ume_r1_rag.types import Document, Embedding, Encoder, ItemKind, Mode, MultimodalInput, check_mode

if TYPE_CHECKING:
    from ume_r1_rag.index import QdrantIndex

logger = logging.getLogger(__name__)

TEXT_SUFFIXES = frozenset({".txt", ".md", ".markdown"})
MAX_TEXT_BYTES = 1 << 20
"""A longer text is refused: one vector cannot stand for a book, nor a model read it."""

_THUMBNAIL = 320
"""Longer side of a page's thumbnail in pixels."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that should have become a document and did not.

    Attributes:
        key: the document's key, or the file's if no document came of it.
        uri: where the file is.
        error: why.
    """

    key: str
    uri: str
    error: UmeR1Error


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is none of ours.

    Attributes:
        uri: where it is.
        reason: why it was left out.
    """

    uri: str
    reason: str


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingestion did.

    Attributes:
        indexed: how many documents were written.
        failed: what could not be read or encoded.
        skipped: what was left out on purpose.
        seconds: how long it took.
        kinds: documents written, per kind.
        flagged: generations whose gen vector was mended, per issue.
    """

    indexed: int
    failed: tuple[Failure, ...]
    skipped: tuple[Skipped, ...]
    seconds: float
    kinds: Mapping[str, int]
    flagged: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an ingestion is.

    Attributes:
        indexed: documents written so far.
        failed: failures so far.
        skipped: files left out so far.
        key: the last document of the window just written; empty if none came of it.
    """

    indexed: int
    failed: int
    skipped: int
    key: str


Item: TypeAlias = Document | Failure | Skipped
Source: TypeAlias = "str | os.PathLike[str]"


def documents(paths: Source | Iterable[Source], *, max_page_pixels: int | None = None) -> Iterator[Item]:
    """Yields what the files under some paths hold, in order of name, one at a time.

    PDFs give a document a page, rendered, with its text layer; pictures, videos and texts (``.txt``,
    ``.md``, UTF-8) one each. A broken file gives a ``Failure``, an unknown one a ``Skipped``; hidden ones
    (``.name``) are passed over. Symlinks are followed, but no folder is entered twice.

    A key is the path below the given one, or the name of a file given itself; pages add ``#page=N``.

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


def ingest(
    encoder: Encoder,
    index: QdrantIndex,
    paths: Source | Iterable[Source],
    mode: Mode = "both",
    *,
    batch_size: int = 16,
    max_page_pixels: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    show_progress: bool = False,
) -> IngestReport:
    """Encodes files and folders and writes them to an index; returns what happened to each.

    A file or document that fails is reported and the run goes on. A document that is in the index already
    is written again, whole. An encoder or index that fails as such ends the run with its error; whatever
    was written stays.

    Args:
        encoder: what encodes; its fingerprint must be the index's.
        index: where the documents go.
        paths: files and folders, see :func:`documents`.
        mode: which vectors each document gets.
        batch_size: documents that are encoded together, and the most that are held.
        max_page_pixels: pixels of a rendered page; the encoder's ``max_image_pixels`` by default.
        progress: called after each window.
        show_progress: show a bar on standard error.

    Raises:
        ConfigError: an option has an impossible value.
        IndexMismatch: the index was written by another encoder.
    """
    from tqdm import tqdm

    check_mode(mode)
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size}: encode at least one document at a time")
    index.check(encoder.fingerprint, ignore=())
    if max_page_pixels is None:
        max_page_pixels = getattr(encoder, "max_image_pixels", None)
    started = time.perf_counter()
    kinds, flagged = Counter[str](), Counter[str]()
    failed, skipped = list[Failure](), list[Skipped]()
    items = documents(paths, max_page_pixels=max_page_pixels)
    with tqdm(desc="indexing", unit=" documents", disable=not show_progress) as bar:
        while window := list(itertools.islice(items, batch_size)):
            skipped += [item for item in window if isinstance(item, Skipped)]
            failed += [item for item in window if isinstance(item, Failure)]
            found = [item for item in window if isinstance(item, Document)]
            written, refused = _write(encoder, index, found, mode)
            failed += refused
            kinds.update(document.kind for document, _ in written)
            flagged.update(embedding.gen_issue for _, embedding in written if embedding.gen_issue)
            bar.update(len(written))
            if progress is not None:
                last = found[-1].key if found else ""
                progress(Progress(kinds.total(), len(failed), len(skipped), last))
    seconds = time.perf_counter() - started
    return IngestReport(kinds.total(), tuple(failed), tuple(skipped), seconds, dict(kinds), dict(flagged))


def _write(
    encoder: Encoder, index: QdrantIndex, found: Sequence[Document], mode: Mode
) -> tuple[list[tuple[Document, Embedding]], list[Failure]]:
    """Encodes and writes one window; returns what was written, and what was not."""
    if not found:
        return [], []
    results = encoder.encode_document([document.input for document in found], mode=mode, on_error="return")
    good: list[tuple[Document, Embedding]] = []
    failed: list[Failure] = []
    for document, result in zip(found, results, strict=True):
        if isinstance(result, Embedding):
            good.append((document, result))
        else:
            failed.append(Failure(document.key, document.uri, result))
    try:
        index.upsert(*_columns(good))
    except InputError:  # one vector is NaN, say: find out whose, and write the others
        written: list[tuple[Document, Embedding]] = []
        for document, embedding in good:
            try:
                index.upsert([document], [embedding])
                written.append((document, embedding))
            except InputError as error:
                failed.append(Failure(document.key, document.uri, error))
        return written, failed
    return good, failed


def _columns(pairs: Sequence[tuple[Document, Embedding]]) -> tuple[list[Document], list[Embedding]]:
    return [document for document, _ in pairs], [embedding for _, embedding in pairs]


@dataclass(frozen=True, slots=True)
class _File:
    """One file to be read: where it is, and the key that its documents start with."""

    path: Path
    key: str

    @property
    def uri(self) -> str:
        return unicode_text(str(self.path.absolute()))

    def failure(self, error: Exception, key: str | None = None) -> Failure:
        ours = error if isinstance(error, UmeR1Error) else None
        # Codecs raise whatever they like, down to struct.error, and hours of work hang on the next file.
        if ours is None:
            ours = InputError(
                f"{self.uri} cannot be read: {type(error).__name__}: {unicode_text(str(error))}"
            )
            ours.__cause__ = error
        logger.debug("%s failed", self.uri, exc_info=error)
        return Failure(key or self.key, self.uri, ours)


def _documents(roots: Sequence[Path], max_page_pixels: int) -> Iterator[Item]:
    taken: dict[str, Path] = {}
    for root in roots:
        for file in _walk(root):
            if isinstance(file, _File):
                # Within one root keys are unique; two may hold files of one name, and the second would
                # silently replace the first.
                if len(roots) > 1 and taken.setdefault(file.key, file.path) != file.path:
                    yield file.failure(
                        InputError(
                            f"the key {file.key!r} is that of {unicode_text(str(taken[file.key]))!r}: "
                            "index the folder that holds both"
                        )
                    )
                    continue
                yield from _read(file, max_page_pixels)
            else:
                yield file


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
            key = f"{file.key}#page={page}"
            try:
                image = pdf.render(page, max_page_pixels)
                # A small model sees less than a person needs to recognise a page.
                shown = image if max(image.size) >= _THUMBNAIL else pdf.render(page, _THUMBNAIL**2)
                yield Document(
                    key=key,
                    kind="page",
                    input=MultimodalInput(images=(image,), instruction=_instruction("page")),
                    uri=file.uri,
                    title=unicode_text(file.path.name),
                    text=unicode_text(pdf.text(page)),
                    page=page,
                    thumbnail=thumbnail(shown, _THUMBNAIL),
                    metadata={CONTENT_HASH: digest},
                )
            except Exception as error:  # noqa: BLE001
                yield file.failure(error, key)


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
        title=unicode_text(file.path.name),
        text=text,
        span_s=span_s,
        thumbnail=small,
        metadata={CONTENT_HASH: _digest(file.path)},
    )


def _instruction(kind: ItemKind) -> str:
    return INSTRUCTIONS[kind].document


def _digest(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
