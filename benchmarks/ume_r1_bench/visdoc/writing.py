"""Writing: pages that are no PDF's, or that are read as text alone, as documents of an index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from ume_r1_bench.visdoc.corpus import Corpus, page_id
from ume_r1_rag.encoder.fingerprint import digest
from ume_r1_rag.errors import InputError, UmeR1Error
from ume_r1_rag.ingest.patience import Patience
from ume_r1_rag.template import INSTRUCTIONS
from ume_r1_rag.types import Document, Embedding, Encoder, Mode, MultimodalInput, spaces_of

if TYPE_CHECKING:
    from ume_r1_rag.index import QdrantIndex

BATCH = 16


def reads_pictures(encoder: Encoder) -> bool:
    """Returns whether an encoder takes pictures; of one that does not it is every picture's own error."""
    from PIL import Image

    tried = encoder.encode_document([Image.new("RGB", (56, 56), "white")], mode="disc", on_error="return")
    return not isinstance(tried[0], InputError)


def pictures_of(corpus: Corpus) -> Iterator[Document]:
    """Yields the pages of a corpus that are pictures, each with its text layer for search by words."""
    for one in corpus.pictures:
        state = one.image.stat()
        yield Document(
            key=one.id,
            kind="page",
            input=MultimodalInput(images=(one.image,), instruction=INSTRUCTIONS["page"].document),
            uri=str(one.image),
            title=one.document,
            text=one.text,
            page=one.number,
            document=one.document,
            content_hash=digest({"size": state.st_size, "time": state.st_mtime_ns, "text": one.text}),
        )


def texts_of(corpus: Corpus, failures: list[str]) -> Iterator[Document]:
    """Yields every page that has a text layer, as that text.

    Args:
        corpus: whose pages. One without a text layer is never found.
        failures: gets what could not be read.
    """
    from ume_r1_rag.media import PdfPages

    for name, count in corpus.pdfs.items():
        with PdfPages(corpus.root / name) as pdf:
            for number in range(1, count + 1):
                try:
                    text = pdf.text(number)
                except InputError as error:
                    failures.append(str(error))
                    continue
                if text.strip():
                    yield _text(page_id(name, number), name, number, text)
    for one in corpus.pictures:
        if one.text.strip():
            yield _text(one.id, one.document, one.number, one.text)


def _text(key: str, document: str, number: int | None, text: str) -> Document:
    return Document(
        key=key,
        kind="page",
        input=MultimodalInput(text=text),
        title=document,
        text=text,
        page=number,
        document=document,
        content_hash=digest({"text": text}),
    )


def write_documents(
    index: QdrantIndex, encoder: Encoder, documents: Iterable[Document], mode: Mode, *, progress: bool = False
) -> tuple[int, list[str]]:
    """Returns how many documents were written that were not there, and what could not be.

    Raises:
        UmeR1Error: the encoder fails at everything.
    """
    from tqdm import tqdm

    failures: list[str] = []
    count = 0
    patience = Patience()
    given = iter(documents)
    with tqdm(desc="indexing", unit=" pages", disable=not progress) as bar:
        while batch := list(islice(given, BATCH)):
            missing = list(_missing(index, encoder, batch, mode))
            if missing:
                inputs = [one.input for one in missing]
                results = encoder.encode_document(inputs, mode=mode, on_error="return")
                count += _written(index, missing, results, patience, failures)
            bar.update(len(batch))
    return count, failures


def _written(
    index: QdrantIndex,
    documents: Sequence[Document],
    results: Sequence[Embedding | UmeR1Error],
    patience: Patience,
    failures: list[str],
) -> int:
    """Writes what was encoded and notes what was not; returns how many were written."""
    found = patience.take(documents, results)
    failures += [f"{document.key}: {error}" for document, error in found.failed]
    if found.made:
        index.upsert(*zip(*found.made, strict=True))
    if found.broken is not None:
        raise found.broken
    return len(found.made)


def _missing(
    index: QdrantIndex, encoder: Encoder, documents: Sequence[Document], mode: Mode
) -> Iterator[Document]:
    """Yields the documents that are not in an index as they would be written now."""
    stored = index.stored([one.key for one in documents])
    mark = digest(dict(encoder.fingerprint))
    for one in documents:
        there = stored.get(one.key)
        if (
            there is None
            or there.content_hash != one.content_hash
            or there.fingerprint != mark
            or not set(spaces_of(mode)) <= there.spaces
        ):
            yield one
