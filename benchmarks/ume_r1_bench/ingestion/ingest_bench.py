"""IngestBench: pages ingested in a process of its own, by ``ingest`` or by a loop of plain calls."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any, Final

from ume_r1_bench.ingestion.priced import ModelClock, priced_encoder
from ume_r1_bench.stores.peak import Peak
from ume_r1_bench.stores.plain import NAME, Plain
from ume_r1_bench.stores.points import Points
from ume_r1_bench.stores.store_bench import Side
from ume_r1_rag.encoder import UmeR1Encoder
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.ingest import documents, ingest
from ume_r1_rag.types import Document

NANO: Final = "nano"

_BATCH: Final = 16
"""The default of ``ingest``."""


class IngestBench:
    """An encoder that pages are ingested with."""

    def __init__(self, side: Side, model: str, cost_ms: float, folder: str) -> None:
        """Loads the encoder.

        Args:
            side: who ingests.
            model: ``"nano"``; any other is made to cost what is said.
            cost_ms: milliseconds that a page costs such a model.
            folder: where this side may make folders.
        """
        self._side, self._folder = side, Path(folder)
        self._encoder = (
            UmeR1Encoder(NANO) if model == NANO else priced_encoder(cost_ms, self._folder / f"{side}-model")
        )
        self._clock = ModelClock(self._encoder)
        # The first call of an encoder compiles and allocates; a new collection asks for its canaries, once.
        self._encoder.encode("warm", "disc")
        self._encoder.canaries()
        self._peak = Peak()

    def run(self, pages: str) -> dict[str, float]:
        """Ingests a folder; returns the counts of ``Ingesting`` by name."""
        before, processor = self._clock.seconds, time.process_time()
        place = self._folder / f"{self._side}-{Path(pages).name}"
        done = self._ours(pages, place) if self._side == "ours" else self._plain(pages, place)
        return {
            **done,
            "model_s": self._clock.seconds - before,
            "cpu_s": time.process_time() - processor,
        }

    def peak(self) -> float | None:
        """Returns the most memory since the encoder was loaded in MiB, or None where it cannot be known."""
        return self._peak.mib()

    def close(self) -> None:
        """Frees the model."""
        self._encoder.close()

    def _ours(self, pages: str, place: Path) -> dict[str, float]:
        with QdrantIndex(place, fingerprint=self._encoder.fingerprint) as index:
            report = ingest(self._encoder, index, pages, "disc", batch_size=_BATCH)
        return {"pages": report.indexed, "seconds": report.seconds, "encode_s": report.encode_s}

    def _plain(self, pages: str, place: Path) -> dict[str, float]:
        """Reads, encodes and writes by turns; the client is given its payloads and words ready made."""
        store = Plain(Points(self._encoder.dimension), str(place))
        began, encode_s, count = time.perf_counter(), 0.0, 0
        read = documents(pages, max_page_pixels=self._encoder.max_image_pixels)
        found = (one for one in read if isinstance(one, Document))
        while batch := list(itertools.islice(found, _BATCH)):
            asked = time.perf_counter()
            embeddings: list[Any] = self._encoder.encode_document([one.input for one in batch], mode="disc")
            encode_s += time.perf_counter() - asked
            store.write(store.prepare_pairs(batch, embeddings))
            count += len(batch)
        seconds = time.perf_counter() - began
        if store.client.count(NAME).count != count:
            raise RuntimeError(f"{place} does not hold the {count} pages that were written")
        store.close()
        return {"pages": count, "seconds": seconds, "encode_s": encode_s}
