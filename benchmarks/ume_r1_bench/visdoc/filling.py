"""Filling: a corpus into an index, by the project's own ingestion, with what it cost.

PDFs go through ``ume_r1_rag.ingest.ingest``. Pages that are pictures are written as documents of kind
``page`` with the page's instruction: as files of a folder they would be pictures of things. Both leave what
is there as it is, so that a run that was broken off goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ume_r1_bench.visdoc.corpus import Corpus, Picture
from ume_r1_rag.encoder.fingerprint import digest
from ume_r1_rag.ingest import DeadLetters, ingest
from ume_r1_rag.ingest.patience import Patience
from ume_r1_rag.template import INSTRUCTIONS
from ume_r1_rag.types import Document, Embedding, Encoder, Mode, MultimodalInput, spaces_of

if TYPE_CHECKING:
    from ume_r1_rag.index import QdrantIndex

BATCH = 16
COST = "cost.json"


@dataclass(frozen=True, slots=True)
class Cost:
    """What writing an index took, over all runs that wrote to it and came to an end.

    Attributes:
        pages: pages written.
        seconds: how long that took, reading and rasterising included.
    """

    pages: int = 0
    seconds: float = 0.0

    @property
    def per_1000(self) -> float | None:
        """Seconds for 1,000 pages; None if nothing was measured."""
        return 1000 * self.seconds / self.pages if self.pages else None


def fill(
    index: QdrantIndex, encoder: Encoder, corpus: Corpus, mode: Mode, kept: Path, *, progress: bool = False
) -> tuple[Cost, list[str]]:
    """Returns what writing an index cost, and what could not be written.

    Args:
        index: the index; what is in it of other corpora is deleted.
        encoder: what encodes.
        corpus: what is to be in it.
        mode: the vectors of each page.
        kept: a folder for the cost, as a later run finds the pages written.
        progress: whether to show a bar.
    """
    began = time.perf_counter()
    _delete_others(index, corpus)
    written, failures = 0, []
    if corpus.pdfs:
        files = [corpus.root / name for name in corpus.pdfs]
        report = ingest(encoder, index, files, mode, batch_size=BATCH, show_progress=progress)
        written += report.indexed
        failures += [f"{failure.name}: {failure.reason}" for failure in DeadLetters(index)]
    if corpus.pictures:
        count, wrong = write_pictures(index, encoder, corpus.pictures, mode, progress=progress)
        written += count
        failures += wrong
    cost = _read(kept)
    if written:
        cost = Cost(cost.pages + written, cost.seconds + time.perf_counter() - began)
        (kept / COST).write_text(json.dumps(asdict(cost)), encoding="utf-8")
    return cost, failures


def write_pictures(
    index: QdrantIndex,
    encoder: Encoder,
    pictures: Sequence[Picture],
    mode: Mode,
    *,
    progress: bool = False,
) -> tuple[int, list[str]]:
    """Returns how many pages were written that were not there, and what could not be.

    Raises:
        UmeR1Error: the encoder fails at everything.
    """
    from tqdm import tqdm

    failures: list[str] = []
    count = 0
    patience = Patience()
    bar = tqdm(desc="indexing", unit=" pages", total=len(pictures), disable=not progress)
    with bar:
        for start in range(0, len(pictures), BATCH):
            batch = pictures[start : start + BATCH]
            missing = list(_missing(index, encoder, batch, mode))
            bar.update(len(batch) - len(missing))
            if not missing:
                continue
            results = encoder.encode_document([one.input for one in missing], mode=mode, on_error="return")
            pairs = []
            for document, result in zip(missing, results, strict=True):
                if isinstance(result, Embedding):
                    pairs.append((document, result))
                    patience.ends(result)
                else:
                    failures.append(f"{document.key}: {result}")
                    if patience.ends(result):
                        raise result
            if pairs:
                documents, embeddings = zip(*pairs, strict=True)
                count += index.upsert(documents, embeddings)
            bar.update(len(missing))
    return count, failures


def _missing(
    index: QdrantIndex, encoder: Encoder, pictures: Sequence[Picture], mode: Mode
) -> Iterator[Document]:
    """Yields the pages that are not in an index as they would be written now."""
    stored = index.stored([one.id for one in pictures])
    mark = digest(dict(encoder.fingerprint))
    for one in pictures:
        document = _document(one)
        there = stored.get(one.id)
        if (
            there is None
            or there.content_hash != document.content_hash
            or there.fingerprint != mark
            or not set(spaces_of(mode)) <= there.spaces
        ):
            yield document


def _document(picture: Picture) -> Document:
    state = picture.image.stat()
    return Document(
        key=picture.id,
        kind="page",
        input=MultimodalInput(images=(picture.image,), instruction=INSTRUCTIONS["page"].document),
        uri=str(picture.image),
        title=picture.document,
        text=picture.text,
        page=picture.number,
        document=picture.document,
        content_hash=digest({"size": state.st_size, "time": state.st_mtime_ns, "text": picture.text}),
    )


def _delete_others(index: QdrantIndex, corpus: Corpus) -> None:
    """Deletes what is left of files that are no longer in the corpus."""
    files, pages = set(corpus.names), {one.id for one in corpus.pictures}
    fields = ["ume_key", "ume_document"]
    stored = index.scroll(fields=fields)
    gone = [hit.key for hit in stored if hit.document not in files and hit.key not in pages]
    if gone:
        index.delete(keys=gone)
    letters = DeadLetters(index)
    letters.remove([failure.key for failure in letters if failure.document not in files])


def _read(kept: Path) -> Cost:
    try:
        return Cost(**json.loads((kept / COST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Cost()
