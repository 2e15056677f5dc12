"""Enrich: gen vectors for documents that were indexed without, all of them or those that a search found.

Which ones lack it is read from the index, so that a run that was broken off goes on when it is started again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ume_r1_rag.describe import shorten
from ume_r1_rag.errors import ConfigError, UmeR1Error
from ume_r1_rag.ingest.again import Again, Triple
from ume_r1_rag.ingest.report import Failure
from ume_r1_rag.retriever.canary import recheck
from ume_r1_rag.types import Encoder, Hit

if TYPE_CHECKING:
    from ume_r1_rag.index import Filter, QdrantIndex

logger = logging.getLogger(__name__)

Stopped = Literal["done", "limit", "budget", "asked"]
"""Why a run ended: nothing was left, ``limit`` or ``budget_s`` was reached, or ``stop`` said so."""


@dataclass(frozen=True, slots=True)
class EnrichReport:
    """What a run of ``enrich`` did.

    Attributes:
        written: documents that were given a gen vector.
        flagged: generations that did not end by themselves in the right format, per issue.
        outdated: documents that changed or went while they were encoded, and were left alone.
        failed: documents that could not be read or encoded; they still lack the vector.
        failures: the first of them.
        points: documents that match the filter.
        covered: how many of these have a gen vector now.
        stopped: why the run ended.
        seconds: how long it took.
        encode_s: seconds of that in which the encoder ran.
    """

    written: int
    flagged: Mapping[str, int]
    outdated: int
    failed: int
    failures: tuple[Failure, ...]
    points: int
    covered: int
    stopped: Stopped
    seconds: float
    encode_s: float


def enrich(
    encoder: Encoder,
    index: QdrantIndex,
    *,
    filter: Filter = None,
    budget_s: float | None = None,
    limit: int | None = None,
    batch_size: int = 16,
    stop: Callable[[], bool] | None = None,
    show_progress: bool = False,
) -> EnrichReport:
    """Gives documents without a gen vector one, with its reasoning and summary; returns what happened.

    Each is read again from its file. One whose file is gone or has changed is a failure, for it must be
    indexed again first. An encoder that fails as such ends the run with its error, as it does
    ``ume_r1_rag.ingest.ingest``. What was written stays, however a run ends.

    Args:
        encoder: what encodes; its fingerprint must be the index's.
        index: where the documents are.
        filter: which of them, see :func:`ume_r1_rag.index.to_filter`; all by default.
        budget_s: seconds after which nothing more is begun. A window is begun only if the slowest one so far
            would still fit, so that only the first can run over.
        limit: at most so many documents are tried.
        batch_size: documents that are encoded together.
        stop: asked before each window; True ends the run.
        show_progress: show a bar on standard error.

    Raises:
        ConfigError: the encoder has no gen vectors, or an option has an impossible value.
        IndexMismatch: the index was written by another encoder, or with another think budget.
    """
    from tqdm import tqdm

    for name, value in (("batch_size", batch_size), ("limit", limit), ("budget_s", budget_s)):
        if value is not None and value <= 0:
            raise ConfigError(f"{name}={value} must be positive")
    _check(encoder, index)
    started = time.perf_counter()
    points, covered = _coverage(index, filter)
    total = points - covered if limit is None else min(points - covered, limit)
    pace = _Pace(started, budget_s, stop)
    again = Again(encoder, "gen", _writer(index), batch_size)
    with tqdm(total=total, desc="enriching", unit=" documents", disable=not show_progress) as bar:

        def tell() -> None:
            sums = again.sums
            now = f"gen {covered + sums.written}/{points}"
            bar.set_postfix_str(f"{now}, failed {sums.failed}" if sums.failed else now, refresh=False)
            bar.update(sums.written + sums.outdated + sums.failed - bar.n)

        done = again.run(index.lacking("gen", filter, limit), pace.halt, tell)
    points, covered = _coverage(index, filter)
    sums = again.sums
    tried = sums.written + sums.outdated + sums.failed
    return EnrichReport(
        written=sums.written,
        flagged=dict(sums.flagged),
        outdated=sums.outdated,
        failed=sums.failed,
        failures=tuple(sums.failures),
        points=points,
        covered=covered,
        stopped=pace.reason if not done else "limit" if tried == limit else "done",
        seconds=time.perf_counter() - started,
        encode_s=sums.encode_s,
    )


class Enricher:
    """Writes gen vectors for what a search found without: reasoning only about what is asked for.

    A ``Retriever`` calls it with its first hits. The first search that finds a document pays for it, any
    later one does not. Safe to call from several threads: one at a time works, and what another one has
    written meanwhile is not done again.

    Attributes:
        encoder: what encodes.
        index: where the documents are.
        written: documents that were given a gen vector so far.
        failures: what could not be read or encoded so far, by document key.
    """

    def __init__(self, encoder: Encoder, index: QdrantIndex, *, batch_size: int = 16) -> None:
        """Joins the two.

        Args:
            encoder: what encodes; its fingerprint must be the index's.
            index: where the documents are.
            batch_size: documents that are encoded together.

        Raises:
            ConfigError: the encoder has no gen vectors.
            IndexMismatch: the index was written by another encoder, or with another think budget.
        """
        _check(encoder, index)
        self.encoder, self.index = encoder, index
        self.written = 0
        self.failures: dict[str, Failure] = {}
        self._batch_size = batch_size
        self._lock = threading.Lock()

    def enrich(self, hits: Sequence[Hit]) -> int:
        """Returns how many of these documents have been given a gen vector in the index.

        One that failed before is not tried again by this object; one that fails is
        counted in the log, kept in ``failures`` and passed over.
        """
        with self._lock:
            stored = self.index.stored(hit.key for hit in hits)
            lacking = {
                hit.key: hit
                for hit in hits
                if hit.key in stored and "gen" not in stored[hit.key].spaces and hit.key not in self.failures
            }
            if not lacking:
                return 0
            again = Again(self.encoder, "gen", _writer(self.index), self._batch_size)
            try:
                again.run(lacking.values(), lambda: False, lambda: None)
            except UmeR1Error as error:
                why = shorten(str(error), 300)
                logger.warning("no gen vectors were written for %d hits: %s", len(lacking), why)
            failed = again.sums.failures
            if failed:
                logger.warning("%d hits were given no gen vector, see Enricher.failures", len(failed))
            for failure in failed:
                self.failures[failure.key] = failure
                # Names and reasons are a stranger's text: not for every log, and never raw.
                logger.debug("no gen vector: %s: %s", shorten(failure.name), shorten(failure.reason, 300))
            self.written += again.sums.written
            return again.sums.written


class _Pace:
    """Decides before each window whether there is time for it."""

    def __init__(self, started: float, budget_s: float | None, stop: Callable[[], bool] | None) -> None:
        self._deadline = None if budget_s is None else started + budget_s
        self._stop = stop
        self._last: float | None = None
        self._slowest = 0.0
        self.reason: Stopped = "done"

    def halt(self) -> bool:
        now = time.perf_counter()
        if self._last is not None:
            self._slowest = max(self._slowest, now - self._last)
        self._last = now
        if self._stop is not None and self._stop():
            self.reason = "asked"
            return True
        if self._deadline is not None and now + self._slowest > self._deadline:
            self.reason = "budget"
            return True
        return False


def _check(encoder: Encoder, index: QdrantIndex) -> None:
    if "gen" not in encoder.spaces:
        raise ConfigError(
            f"this encoder has {', '.join(encoder.spaces)} vectors alone: nothing to enrich with"
        )
    index.check(encoder.fingerprint, ignore=())
    recheck(encoder, index)


def _coverage(index: QdrantIndex, filter: Filter) -> tuple[int, int]:
    """Returns how many documents match a filter, and how many of them have a gen vector."""
    from qdrant_client import models

    from ume_r1_rag.index import to_filter

    selected = to_filter(filter)
    with_gen: list[models.Condition] = [models.HasVectorCondition(has_vector="gen")]
    if selected is not None:
        with_gen.append(selected)
    return index.count(filter), index.count(models.Filter(must=with_gen))


def _writer(index: QdrantIndex) -> Callable[[Sequence[Triple]], int]:
    from ume_r1_rag.index import Stored

    def write(triples: Sequence[Triple]) -> int:
        pairs = [
            (Stored(hit.id, hit.key, content_hash=str(hit.payload.get("ume_content_hash", ""))), made)
            for hit, _, made in triples
        ]
        return index.write_gen(pairs)

    return write
