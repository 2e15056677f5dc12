"""Estimate: what an ingestion would cost, from a sample that is read, encoded, and stored elsewhere."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ume_r1_rag.encoder.fingerprint import digest
from ume_r1_rag.errors import ConfigError, InputError
from ume_r1_rag.ingest.changes import Change, Comparison, Wanted
from ume_r1_rag.ingest.files import File, Source, Walk, as_paths
from ume_r1_rag.ingest.opened import ReadOptions, open_file
from ume_r1_rag.ingest.report import MOST_FAILURES, Failure, Skipped, failure_of
from ume_r1_rag.ingest.segments import SEGMENT_S
from ume_r1_rag.types import Document, Embedding, Encoder, ItemKind, Mode, mode_of, spaces_of

if TYPE_CHECKING:
    from ume_r1_rag.index import QdrantIndex, Storage

SAMPLE = 20
"""Documents that are tried."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an ingestion would cost.

    Attributes:
        items: documents that would be written, per kind.
        unchanged: documents that would be left alone.
        skipped: files that would be left out.
        failed: files that cannot be opened.
        failures: the first of them.
        sampled: documents that were tried, per kind.
        sample_failures: those of them that failed.
        visual_tokens: of all documents.
        generated_tokens: that would be written to reason about all of them; 0 without gen.
        seconds: of the whole, reading, encoding and writing side by side, on this machine as it is now.
        read_s: of reading, rasterising and decoding.
        encode_s: of encoding.
        write_s: of writing; 0 for a server, where it was not tried.
        bytes: of the new points on disk.
    """

    items: Mapping[ItemKind, int]
    unchanged: int
    skipped: int
    failed: int
    failures: tuple[Failure, ...]
    sampled: Mapping[ItemKind, int]
    sample_failures: tuple[Failure, ...]
    visual_tokens: int
    generated_tokens: int
    seconds: float
    read_s: float
    encode_s: float
    write_s: float
    bytes: int

    @property
    def hours(self) -> float:
        """The seconds as hours."""
        return self.seconds / 3600

    @property
    def found(self) -> bool:
        """Whether there is anything that could be indexed, or should be."""
        return bool(self.items or self.unchanged or self.failed)


def estimate(
    encoder: Encoder,
    index: QdrantIndex | None,
    paths: Source | Iterable[Source],
    mode: Mode | None = None,
    *,
    batch_size: int = 16,
    max_page_pixels: int | None = None,
    segment_s: float = SEGMENT_S,
    force: bool = False,
    sample: int = SAMPLE,
    seed: int = 0,
    server: Storage | None = None,
) -> Estimate:
    """Returns what :func:`ingest` would cost; writes nothing to the index.

    All files are looked into, which counts their pages and segments. A sample, of every kind in its share, is
    then read and encoded, and stored in a temporary folder.

    Args:
        encoder: what would encode.
        index: the index, or None if there is none yet.
        paths: files and folders.
        mode: which vectors each document would get; all that the encoder has by default.
        batch_size: documents that would be encoded together.
        max_page_pixels: see ``ingest``.
        segment_s: see ``ingest``.
        force: see ``ingest``.
        sample: documents to be tried, at least one of each kind.
        seed: which ones.
        server: how a server would keep the vectors, if the index is not embedded; its bytes are computed.

    Raises:
        ConfigError: an option has an impossible value.
        IndexMismatch: the index was written by another encoder.
        InputError: nothing in the sample can be encoded.
    """
    if sample < 1 or batch_size < 1:
        raise ConfigError(f"sample={sample}, batch_size={batch_size}: both must be at least 1")
    if index is not None:
        index.check(encoder.fingerprint, ignore=())
    reading = ReadOptions.of(encoder, max_page_pixels, segment_s)
    mode = mode or mode_of(encoder.spaces)
    wanted = Wanted(frozenset(spaces_of(mode)), digest(encoder.fingerprint), force)
    count = _Count(sample, random.Random(seed))
    for change in Comparison(index, wanted, reading, None).changes(Walk(as_paths(paths))):
        count.take(change)
    measured = {kind: _Measured() for kind in count.items}
    failures: list[Failure] = []
    if count.items:
        documents = list(_read(count.chosen(), reading, measured, failures))
        pairs = _encode(encoder, documents, mode, batch_size, measured, failures)
        if not pairs:
            raise InputError(f"none of the sample could be encoded, e.g. {failures[0].reason}")
        size, write_s = _store(encoder, pairs, mode, server)
    else:
        size, write_s = 0.0, 0.0
    total = sum(count.items.values())
    read_s = _total(count.items, measured, "read_s")
    encode_s = _total(count.items, measured, "encode_s")
    return Estimate(
        items=dict(count.items),
        unchanged=count.unchanged,
        skipped=count.skipped,
        failed=count.failed,
        failures=tuple(count.failures),
        sampled={kind: one.read for kind, one in measured.items()},
        sample_failures=tuple(failures),
        visual_tokens=round(_total(count.items, measured, "visual")),
        generated_tokens=round(_total(count.items, measured, "generated")),
        seconds=max(read_s, encode_s, write_s * total),
        read_s=read_s,
        encode_s=encode_s,
        write_s=write_s * total,
        bytes=round(size * total),
    )


@dataclass(slots=True)
class _Measured:
    """Sums over the sample of one kind."""

    read: int = 0
    read_s: float = 0.0
    encoded: int = 0
    encode_s: float = 0.0
    visual: int = 0
    generated: int = 0


class _Count:
    """Counts documents, and keeps a sample of each kind that is as likely as any other."""

    def __init__(self, sample: int, rng: random.Random) -> None:
        self.items = Counter[ItemKind]()
        self.unchanged = self.skipped = self.failed = 0
        self.failures: list[Failure] = []
        self._sample, self._random = sample, rng
        self._kept: defaultdict[ItemKind, list[tuple[File, int]]] = defaultdict(list)

    def take(self, change: object) -> None:
        """Counts what a file would give."""
        if isinstance(change, Change):
            self.unchanged += change.unchanged
            for number in change.todo:
                self._draw(change.opened.kind, (change.opened.file, number))
        else:
            self.skipped += isinstance(change, Skipped)
            if isinstance(change, Failure):
                self.failed += 1
                self.failures += [change][: MOST_FAILURES - len(self.failures)]

    def chosen(self) -> list[tuple[File, int]]:
        """Returns the sample: of each kind its share, and one at least; parts of a file beside each other."""
        total = self.items.total()
        found: list[tuple[File, int]] = []
        for kind, kept in self._kept.items():
            found += kept[: max(1, round(self._sample * self.items[kind] / total))]
        return sorted(found, key=lambda one: (one[0].real, one[1]))

    def _draw(self, kind: ItemKind, one: tuple[File, int]) -> None:
        """Algorithm R: the n-th comes in with probability sample / n."""
        self.items[kind] += 1
        kept = self._kept[kind]
        if len(kept) < self._sample:
            kept.append(one)
            return
        place = self._random.randrange(self.items[kind])
        if place < self._sample:
            kept[place] = one


def _read(
    chosen: Sequence[tuple[File, int]],
    reading: ReadOptions,
    measured: Mapping[ItemKind, _Measured],
    failures: list[Failure],
) -> Iterator[Document]:
    """Yields the sample's documents."""
    by_file: defaultdict[File, list[int]] = defaultdict(list)
    for file, number in chosen:
        by_file[file].append(number)
    for file, numbers in by_file.items():
        try:
            opened = open_file(file, reading)
        except Exception as error:  # noqa: BLE001 -- it could be opened a moment ago
            failures.append(file.failure(error))
            continue
        with opened:
            _ = opened.digest  # once a file, however many documents it has: no part of a page's time
            began = time.perf_counter()
            for item in opened.documents(numbers):
                one = measured[opened.kind]
                one.read += 1
                one.read_s += time.perf_counter() - began
                if isinstance(item, Document):
                    yield item
                else:
                    failures.append(item)
                began = time.perf_counter()


def _encode(
    encoder: Encoder,
    documents: Sequence[Document],
    mode: Mode,
    batch_size: int,
    measured: Mapping[ItemKind, _Measured],
    failures: list[Failure],
) -> list[tuple[Document, Embedding]]:
    """Returns the sample's embeddings; every kind is timed by itself, in batches as they would be."""
    pairs: list[tuple[Document, Embedding]] = []
    for document in documents[:1]:  # the first call of a model pays for much that later ones do not
        encoder.encode_document([document.input], mode=encoder.spaces[0], on_error="return")
    for kind, one in measured.items():
        own = [document for document in documents if document.kind == kind]
        for start in range(0, len(own), batch_size):
            batch = own[start : start + batch_size]
            began = time.perf_counter()
            results = encoder.encode_document([d.input for d in batch], mode=mode, on_error="return")
            one.encode_s += time.perf_counter() - began
            for document, result in zip(batch, results, strict=True):
                one.encoded += 1
                if isinstance(result, Embedding):
                    one.visual += result.tokens.visual
                    one.generated += result.tokens.completion
                    pairs.append((document, result))
                else:
                    failures.append(failure_of(document, result))
    return pairs


def _store(
    encoder: Encoder, pairs: Sequence[tuple[Document, Embedding]], mode: Mode, server: Storage | None
) -> tuple[float, float]:
    """Returns bytes and seconds of one point."""
    import json

    from ume_r1_rag.index import QdrantIndex

    documents, embeddings = [document for document, _ in pairs], [embedding for _, embedding in pairs]
    with TemporaryDirectory(prefix="ume-r1-estimate-") as folder:
        with QdrantIndex(folder, fingerprint=encoder.fingerprint) as scratch:
            empty = _size(folder)
            began = time.perf_counter()
            scratch.upsert(documents, embeddings)
            write_s = (time.perf_counter() - began) / len(pairs)
            payload = sum(len(json.dumps(hit.payload)) for hit in scratch.scroll()) // len(pairs)
        if server is None:
            return (_size(folder) - empty) / len(pairs), write_s
    spaces = len(spaces_of(mode))
    return float(server.bytes_per_point(encoder.dimension, spaces=spaces, payload=payload).disk), 0.0


def _size(folder: str) -> int:
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


def _total(items: Mapping[ItemKind, int], measured: Mapping[ItemKind, _Measured], what: str) -> float:
    """Returns a sum for all documents: each kind's mean in the sample, times how many there are."""
    every = "read" if what == "read_s" else "encoded"
    tried = sum(getattr(one, every) for one in measured.values())
    mean = sum(getattr(one, what) for one in measured.values()) / max(1, tried)
    total = 0.0
    for kind, number in items.items():
        own = getattr(measured[kind], every)
        total += number * (getattr(measured[kind], what) / own if own else mean)
    return total
