"""Pipeline: files become documents, documents become points. Nothing is held but a window."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from ume_r1_rag.errors import ConfigError, InputError, UmeR1Error
from ume_r1_rag.ingest.files import Source, documents
from ume_r1_rag.ingest.report import Failure, IngestReport, Progress, Skipped
from ume_r1_rag.types import Document, Embedding, Encoder, Mode, check_mode

if TYPE_CHECKING:
    from ume_r1_rag.index import QdrantIndex


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
    is written again; of an unchanged one the vectors that ``mode`` does not ask for are kept. An encoder or
    index that fails as such ends the run with its error; whatever was written stays.

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
        max_page_pixels = encoder.max_image_pixels
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
            failed.append(_failure(document, result))
    try:
        index.upsert(*_columns(good))
    except InputError:  # one vector is NaN, say: find out whose, and write the others
        written: list[tuple[Document, Embedding]] = []
        for document, embedding in good:
            try:
                index.upsert([document], [embedding])
                written.append((document, embedding))
            except InputError as error:
                failed.append(_failure(document, error))
        return written, failed
    return good, failed


def _columns(pairs: Sequence[tuple[Document, Embedding]]) -> tuple[list[Document], list[Embedding]]:
    return [document for document, _ in pairs], [embedding for _, embedding in pairs]


def _failure(document: Document, error: UmeR1Error) -> Failure:
    part = "" if document.page is None else f"#page={document.page}"
    return Failure(document.key, document.uri, error, f"{document.title}{part}")
