"""Reindex: the next version of a collection, with another model's vectors, built beside the live one.

The documents are read again from where they lie. What an earlier model reasoned about them stays with them,
under that model's name; it is written anew only where that is asked for.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ume_r1_rag.encoder.fingerprint import digest
from ume_r1_rag.errors import BackendError, ConfigError, UmeR1Error
from ume_r1_rag.index.kept import with_texts
from ume_r1_rag.ingest.again import Again, Sums, Triple
from ume_r1_rag.ingest.changes import Wanted
from ume_r1_rag.ingest.patience import Patience
from ume_r1_rag.ingest.report import Failure
from ume_r1_rag.retriever.canary import recheck
from ume_r1_rag.types import Encoder, Hit, Mode, spaces_of

if TYPE_CHECKING:
    from ume_r1_rag.index import QdrantIndex, Storage, Stored

_LOOKUP = 256
_MOST_PASSES = 5


@dataclass(frozen=True, slots=True)
class ReindexReport:
    """What a build of the next version did.

    Attributes:
        physical: the version that was built.
        points: documents in it now, of all tenants.
        tenants: whose documents these are; None for those of nobody.
        written: documents that were encoded and written by this run.
        unchanged: documents that an earlier run had written.
        removed: documents deleted from it that the live version no longer has.
        texts: written documents that keep an earlier model's reasoning or summary.
        flagged: new generations that did not end by themselves in the right format, per issue.
        missing: documents of the live version that the new one lacks: those that failed.
        blameless: how many of these failed by no fault of their own: the same command may well succeed.
        failures: the first of them: files that are gone, have changed or cannot be encoded.
        complete: whether it was built to the end; otherwise ``stop`` said so.
        seconds: how long it took.
        encode_s: seconds of that in which the encoder ran.
    """

    physical: str
    points: int
    tenants: tuple[str | None, ...]
    written: int
    unchanged: int
    removed: int
    texts: int
    flagged: Mapping[str, int]
    missing: int
    blameless: int
    failures: tuple[Failure, ...]
    complete: bool
    seconds: float
    encode_s: float


def reindex(
    index: QdrantIndex,
    encoder: Encoder,
    mode: Mode = "disc",
    *,
    storage: Storage | None = None,
    batch_size: int = 16,
    store_reasoning: bool | None = None,
    stop: Callable[[], bool] | None = None,
    show_progress: bool = False,
) -> ReindexReport:
    """Builds the next version of a collection with another encoder, for all tenants; returns what happened.

    The live version is not touched, and answers meanwhile. A run that was broken off goes on when it is
    started again. When all is well, :func:`swap` makes it live.

    Args:
        index: the collection, opened without a tenant.
        encoder: the other encoder.
        mode: which of its vectors. With ``"disc"`` a document keeps the reasoning and summary that it has;
            ``"gen"`` and ``"both"`` have the encoder write its own in their place.
        storage: how the new version keeps its vectors; like the live one by default.
        batch_size: documents that are encoded together.
        store_reasoning: whether the new version keeps reasonings, an earlier model's among them, and finds
            documents by their words; like the live one by default.
        stop: asked before each window; True ends the run.
        show_progress: show a bar on standard error.

    Raises:
        ConfigError: the index is a tenant's, or the encoder lacks a space.
        IndexMismatch: the encoder computes other vectors than when the build was begun.
        UmeR1Error: the encoder is broken: it failed at ``BROKEN_AFTER`` documents in a row that are not to
            blame. What it encoded before is written.
    """
    from tqdm import tqdm

    started = time.perf_counter()
    _check(encoder, mode, batch_size)
    target = index.build_next(encoder.fingerprint, storage, store_reasoning)
    recheck(encoder, target, keep=True)
    parts = _parts(index, target, encoder, mode, batch_size)
    with (
        target.bulk(),
        tqdm(total=sum(part.source.count() for part in parts), desc="reindexing", unit=" documents",
             disable=not show_progress) as bar,
    ):  # fmt: skip

        def tell() -> None:
            done = sum(part.unchanged + part.sums.written + part.sums.failed for part in parts)
            bar.set_postfix(failed=sum(part.sums.failed for part in parts), refresh=False)
            bar.update(max(0, done - bar.n))

        complete = all(part.build(stop or (lambda: False), tell) for part in parts)
    flagged = Counter[str]()
    for part in parts:
        flagged.update(part.sums.flagged)
    return ReindexReport(
        physical=target.physical,
        points=sum(part.target.count() for part in parts),
        tenants=tuple(part.source.tenant for part in parts if part.source.count()),
        written=sum(part.sums.written for part in parts),
        unchanged=sum(part.unchanged for part in parts),
        removed=sum(part.removed for part in parts),
        texts=sum(part.texts for part in parts),
        flagged=dict(flagged),
        missing=sum(part.sums.failed for part in parts),
        blameless=sum(len(part.sums.blameless) for part in parts),
        failures=tuple(itertools.chain.from_iterable(part.sums.failures for part in parts)),
        complete=complete,
        seconds=time.perf_counter() - started,
        encode_s=sum(part.sums.encode_s for part in parts),
    )


def swap(
    index: QdrantIndex,
    encoder: Encoder,
    mode: Mode = "disc",
    *,
    allow_missing: bool = False,
    storage: Storage | None = None,
    batch_size: int = 16,
    store_reasoning: bool | None = None,
) -> ReindexReport:
    """Makes the version that :func:`reindex` built live, with what was indexed since; returns what that was.

    What could not be taken over, in the last moment either, is in the report: ``missing`` and ``failures``.

    Takes over what has changed in the live version first, which costs little if nothing has, and once more
    when the name leads to the new version and nobody writes to the other one any longer: no write that was
    confirmed is lost. A document that somebody deletes within that moment, though its file is there, may be
    there again.

    Args:
        index: as in :func:`reindex`; it is on the new version afterwards.
        encoder: as in :func:`reindex`.
        mode: as in :func:`reindex`.
        allow_missing: swap even if documents of the live version cannot be taken over because their files
            are gone, have changed or cannot be read. Where it is the encoder that fails nothing is swapped.
        storage: as in :func:`reindex`.
        batch_size: as in :func:`reindex`.
        store_reasoning: as in :func:`reindex`.

    Raises:
        ConfigError: as in :func:`reindex`, or documents would be missing; then nothing was swapped.
        BackendError: documents would be missing because the encoder failed; then nothing was swapped.
        UmeR1Error: the new version is live, but what was indexed in the last moment could not be taken over.
    """
    before = index.for_tenant(None)
    report = reindex(
        index, encoder, mode, storage=storage, batch_size=batch_size, store_reasoning=store_reasoning
    )
    if report.blameless:
        raise BackendError(
            f"{report.physical!r} would lack {report.blameless} documents that the encoder failed at by no "
            "fault of theirs: try again, or delete them"
        )
    if report.missing and not allow_missing:
        raise ConfigError(
            f"{report.physical!r} would lack {report.missing} documents: index them again first (or prune "
            "them), or give allow_missing=True"
        )
    # A tenant of whom nothing could be taken over is then among the missing.
    index.make_live(
        index.build_next(encoder.fingerprint, storage, store_reasoning), allow_missing=allow_missing
    )
    late = _parts(before, index, encoder, mode, batch_size)
    try:
        for part in late:
            part.follow()
    except UmeR1Error as error:
        raise UmeR1Error(
            f"{index.physical!r} is live, but what was indexed in the last moment could not be taken over: "
            f"index it again ({error})"
        ) from error
    # What had failed before was tried once more: these are all that the new version lacks.
    lost = [part.lost() for part in late]
    return replace(
        report,
        written=report.written + sum(part.sums.written for part in late),
        points=sum(part.target.count() for part in late),
        missing=sum(map(len, lost)),
        blameless=sum(len(part.sums.blameless) for part in late),
        failures=tuple(
            failure
            for part, keys in zip(late, lost, strict=True)
            for failure in part.sums.failures
            if failure.key in keys
        ),
    )


def _check(encoder: Encoder, mode: Mode, batch_size: int) -> None:
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size}: encode at least one document at a time")
    if lacking := frozenset(spaces_of(mode)) - frozenset(encoder.spaces):
        raise ConfigError(f"mode={mode!r}: this encoder has no {', '.join(sorted(lacking))} vectors")


def _parts(
    source: QdrantIndex, target: QdrantIndex, encoder: Encoder, mode: Mode, batch_size: int
) -> list[_Part]:
    """Returns the parts of all tenants: also of those that an earlier run took over and that have left."""
    patience = Patience()
    return [
        _Part(source.for_tenant(tenant), target.for_tenant(tenant), encoder, mode, batch_size, patience)
        for tenant in (None, *sorted({*source.tenants(), *target.tenants()}))
    ]


class _Part:
    """One tenant's part of the next version.

    Attributes:
        source: the live version.
        target: the next one.
        unchanged: documents that an earlier run had written.
        removed: documents deleted from the next version that the live one no longer has.
        texts: written documents that keep an earlier model's texts.
    """

    def __init__(
        self,
        source: QdrantIndex,
        target: QdrantIndex,
        encoder: Encoder,
        mode: Mode,
        batch_size: int,
        patience: Patience,
    ) -> None:
        self.source, self.target = source, target
        self.unchanged = self.removed = self.texts = 0
        self._mode = mode
        self._wanted = Wanted(frozenset(spaces_of(mode)), digest(encoder.fingerprint))
        self._again = Again(encoder, mode, self._write, batch_size, patience)

    @property
    def sums(self) -> Sums:
        """What was done so far."""
        return self._again.sums

    def build(self, stop: Callable[[], bool], tell: Callable[[], None]) -> bool:
        """Brings this part up to date with the live version; returns whether that was done to the end."""
        for number in range(_MOST_PASSES):
            before = self.sums.written + self.sums.failed
            if not self._again.run(self._todo(first=number == 0), stop, tell):
                return False
            # Another pass sees what was indexed meanwhile.
            if self.sums.written + self.sums.failed == before:
                break
        self._remove()
        tell()
        return True

    def follow(self) -> None:
        """Takes over what this part lacks of a version that was live until now.

        Deletes nothing: others write to this one.
        """
        self._again.run(self._todo(first=False), lambda: False, lambda: None)

    def lost(self) -> set[str]:
        """Returns the keys of what could not be taken over and is not there, or not for sure as it should be.

        What others have written to this version meanwhile, from a file that is another one now, is no loss.
        """
        failed = self.sums.failed_keys
        return (failed - self.target.stored(failed).keys()) | self.sums.blameless

    def _todo(self, first: bool) -> Iterator[Hit]:
        """Yields the live documents that the next version lacks, or has in another state."""
        hits = self.source.scroll()
        while chunk := list(itertools.islice(hits, _LOOKUP)):
            stored = self.target.stored(hit.key for hit in chunk)
            for hit in chunk:
                if hit.key in stored and self._holds(stored[hit.key], hit):
                    self.unchanged += first
                elif hit.key not in self.sums.failed_keys:
                    yield hit

    def _holds(self, stored: Stored, hit: Hit) -> bool:
        if not self._wanted.holds(stored, str(hit.payload.get("ume_content_hash", ""))):
            return False
        # The live version may have been enriched since.
        made = str(hit.payload.get("ume_gen_fingerprint", ""))
        return self._mode != "disc" or "gen" in stored.spaces or stored.gen_fingerprint == made

    def _write(self, triples: Sequence[Triple]) -> int:
        embeddings = [
            made if made.gen is not None else with_texts(made, hit.payload) for hit, _, made in triples
        ]
        documents = [document for _, document, _ in triples]
        count = self.target.upsert(documents, embeddings)
        self.texts += sum(bool(made.gen_fingerprint) for made in embeddings)
        return count

    def _remove(self) -> None:
        """Deletes what the live version no longer has."""
        keys = (hit.key for hit in self.target.scroll(fields=["ume_key"]))
        gone: list[str] = []
        while chunk := list(itertools.islice(keys, _LOOKUP)):
            stored = self.source.stored(chunk)
            gone += [key for key in chunk if key not in stored]
        if gone:
            self.target.delete(keys=gone)
        self.removed += len(gone)
