"""A run's batches: which sides a step has on this rank, in which chunks, collated ahead of the model.

A function of the step and the seed alone, so a run resumes where it stopped, on any number of ranks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from ume_r1_trainer.collate import Collator, SideBatch
from ume_r1_trainer.config import SftConfig
from ume_r1_trainer.contrast import Sides
from ume_r1_trainer.corpus import Corpus
from ume_r1_trainer.ranks import Ranks
from ume_r1_trainer.sampler import SourceSampler

AHEAD = 2
"""Chunks that are collated before they are asked for."""


@dataclass(slots=True)
class Batch:
    """A step's sides on this rank.

    Attributes:
        sides: the sides.
        chunks: numbers of the sides that go through the model together.
        whole: the chunks are so few that their graphs are all kept; else each is read twice.
    """

    sides: Sides
    chunks: list[list[int]]
    whole: bool
    _collate: Collator
    _pool: ThreadPoolExecutor
    _todo: deque[list[int]] = field(default_factory=deque)
    _ready: deque[tuple[list[int], Future[SideBatch]]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        """Begins to collate what will be asked for first."""
        self._todo.extend(self.chunks if self.whole else self.chunks * 2)
        self._fill()

    def read(self, chunk: Sequence[int]) -> SideBatch:
        """Returns the batch of a chunk; at once, if it is asked for when it is its turn."""
        if self._ready and self._ready[0][0] == chunk:
            batch = self._ready.popleft()[1].result()
            self._fill()
            return batch
        return self._make(chunk)

    def _fill(self) -> None:
        while self._todo and len(self._ready) < AHEAD:
            chunk = self._todo.popleft()
            self._ready.append((chunk, self._pool.submit(self._make, chunk)))

    def _make(self, chunk: Sequence[int]) -> SideBatch:
        return self._collate([self.sides.all[side] for side in chunk])


class Feed:
    """The batches of a corpus.

    Attributes:
        samplers: one for each phase.
    """

    def __init__(self, corpus: Corpus, collate: Collator, config: SftConfig, ranks: Ranks) -> None:
        """Takes a corpus whose rows are known (``Corpus.prepare``)."""
        self._corpus, self._collate, self._config, self._ranks = corpus, collate, config, ranks
        self._subs = config.batch_size // config.sub_batch if config.sub_batch else 1
        self.samplers = [self._sampler(phase) for phase in range(len(config.phases))]
        self._pool = ThreadPoolExecutor(1)
        self._planner = ThreadPoolExecutor(1)
        ranks.share(config.batch_size)

    def rows(self, step: int) -> tuple[str, list[int]]:
        """Returns the source and the rows of a step, on all ranks together."""
        return self.samplers[self._config.phase(step)].batch(step)

    def batch(self, step: int) -> Batch:
        """Returns this rank's part of a step."""
        config = self._config
        source, rows = self.rows(step)
        pairs = [self._corpus[row] for row in rows[self._ranks.share(len(rows))]]
        sides = Sides.of(source, pairs, config.hard_negatives, step)
        chunks = self._chunks(sides)
        return Batch(sides, chunks, not config.chunk_size, self._collate, self._pool)

    def steps(self, start: int, end: int) -> Iterator[Batch]:
        """Yields the batches of some steps, one step ahead of the model."""
        ahead = self._planner.submit(self.batch, start) if start < end else None
        for step in range(start, end):
            assert ahead is not None  # noqa: S101 -- for the type checker: it is there for every step
            batch = ahead.result()
            ahead = self._planner.submit(self.batch, step + 1) if step + 1 < end else None
            yield batch

    def _chunks(self, sides: Sides) -> list[list[int]]:
        everything = list(range(len(sides.all)))
        size = self._config.chunk_size
        if not size and self._config.deepspeed:
            # Of two graphs that are kept at once, ZeRO-3 silently spoils the first's gradients.
            return [everything]
        if not size:
            return [everything[: sides.pairs], everything[sides.pairs :]]
        if self._config.length_buckets:
            everything.sort(key=lambda side: self._collate.length(sides.all[side]), reverse=True)
        return [everything[start : start + size] for start in range(0, len(everything), size)]

    def _sampler(self, phase: int) -> SourceSampler:
        # Phases of the same sources share one order, so that the second goes on where the first stopped.
        config = self._config
        sources = [own.get("sources", config.source_weights) for own in config.phases]
        return SourceSampler(
            self._corpus.datasets,
            config.batch_size // self._subs,
            config.block_size,
            config.seed + sources.index(sources[phase]),
            sources[phase],
            self._subs,
        )
