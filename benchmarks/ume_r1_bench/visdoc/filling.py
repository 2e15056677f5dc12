"""Filling: a corpus into an index, by the project's own ingestion, with what it cost.

PDFs go through ``ume_r1_rag.ingest.ingest``. Pages that are pictures are written as documents of kind
``page`` with the page's instruction: as files of a folder they would be pictures of things. A model that
reads no pictures gets the text layers. All of it leaves what is there as it is: a stopped run goes on.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ume_r1_bench.visdoc.corpus import Corpus
from ume_r1_bench.visdoc.writing import BATCH, pictures_of, reads_pictures, texts_of, write_documents
from ume_r1_rag.ingest import DeadLetters, ingest
from ume_r1_rag.types import Encoder, Mode

if TYPE_CHECKING:
    from ume_r1_rag.index import QdrantIndex

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

    Raises:
        UmeR1Error: the encoder fails at everything.
    """
    sees = reads_pictures(encoder)  # which loads what is loaded at the first input, too
    began = time.perf_counter()
    _delete_others(index, corpus)
    written, failures = 0, []
    if corpus.pdfs and sees:
        files = [corpus.root / name for name in corpus.pdfs]
        report = ingest(encoder, index, files, mode, batch_size=BATCH, show_progress=progress)
        written += report.indexed
        failures += [f"{failure.name}: {failure.reason}" for failure in DeadLetters(index)]
    documents = pictures_of(corpus) if sees else texts_of(corpus, failures)
    count, wrong = write_documents(index, encoder, documents, mode, progress=progress)
    written, failures = written + count, [*failures, *wrong]
    cost = _read(kept)
    if written:
        cost = Cost(cost.pages + written, cost.seconds + time.perf_counter() - began)
        (kept / COST).write_text(json.dumps(asdict(cost)), encoding="utf-8")
    return cost, failures


def _delete_others(index: QdrantIndex, corpus: Corpus) -> None:
    """Deletes what is left of files that are no longer in the corpus."""
    files, pages = set(corpus.names), set(corpus.documents)
    stored = index.scroll(fields=["ume_key", "ume_document"])
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
