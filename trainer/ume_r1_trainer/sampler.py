"""Which rows make up a step's batch: one source a batch, in contiguous blocks, a function of the step alone.

The official file is pre-ordered by dataset and read in order so that a batch comes from one source. Here the
order inside a source is shuffled by blocks: rows that stand together stay together, so that siblings written
as hard negatives of one another meet in one batch. Being a function of (seed, step), it resumes for free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from ume_r1_rag.errors import ConfigError


class SourceSampler:
    """Same-source batches of row numbers, or batches interleaved of same-source sub-batches."""

    def __init__(
        self,
        datasets: Mapping[str, Sequence[int] | np.ndarray],
        batch_size: int,
        block_size: int = 4,
        seed: int = 0,
        weights: Mapping[str, float] | None = None,
        sub_batches: int = 1,
    ) -> None:
        """Prepares the sources.

        Args:
            datasets: name → row numbers in file order.
            batch_size: pairs in a batch, or in a sub-batch; a multiple of ``block_size``.
            block_size: rows that stay together.
            seed: of the order.
            weights: relative frequency of each source, those left out being 0; default by number of rows.
            sub_batches: how many of them make a batch, each from the source whose turn it is.

        Raises:
            ConfigError: the sizes do not fit, a source is smaller than a batch or a weight names no source.
        """
        if batch_size % block_size:
            raise ConfigError(f"batch_size={batch_size} is no multiple of block_size={block_size}")
        small = {name: len(rows) for name, rows in datasets.items() if len(rows) < batch_size}
        if small:
            raise ConfigError(
                f"sources smaller than one batch of {batch_size}: {small}; "
                "take a smaller batch_size, or a sub_batch that they fill"
            )
        unknown = set(weights or ()) - set(datasets)
        if unknown:
            raise ConfigError(f"source_weights name no source of the data: {sorted(unknown)}")
        self._rows = {name: np.asarray(rows) for name, rows in sorted(datasets.items())}
        self._batch, self._block, self._seed = batch_size, block_size, seed
        self._subs = sub_batches
        self._names = list(self._rows)
        sizes = {name: len(rows) for name, rows in self._rows.items()}
        share = np.array([(weights or sizes).get(name, 0.0) for name in self._names], float)
        self._share = share / share.sum()
        self._order = lru_cache(maxsize=len(self._names) * 2)(self._epoch_order)

    def batch(self, step: int) -> tuple[str, list[int]]:
        """Returns the source and the rows of a step; the sources of several sub-batches joined by ``+``."""
        parts = [self._one(step * self._subs + part) for part in range(self._subs)]
        sources = "+".join(sorted({source for source, _ in parts}))
        return sources, [row for _, rows in parts for row in rows]

    def _one(self, step: int) -> tuple[str, list[int]]:
        # Stratified over a short cycle, so that every source comes up in its share at any time.
        turn = self._turns(step)
        name = self._names[turn]
        seen = self._seen(step, turn)
        per_epoch = len(self._rows[name]) // self._batch
        epoch, position = divmod(seen, per_epoch)
        order = self._order(name, epoch)
        return name, [int(row) for row in order[position * self._batch : (position + 1) * self._batch]]

    def _turns(self, step: int) -> int:
        return int(self._cycle(step // 64)[step % 64])

    def _cycle(self, cycle: int) -> np.ndarray:
        # Systematic sampling: 64 evenly spaced points over the cumulated shares, one random offset.
        rng = np.random.default_rng([self._seed, 1, cycle])
        points = (np.arange(64) + rng.random()) / 64
        return rng.permutation(np.searchsorted(np.cumsum(self._share), points).clip(max=len(self._names) - 1))

    def _seen(self, step: int, turn: int) -> int:
        cycles = step // 64
        return self._seen_before(cycles, turn) + int((self._cycle(cycles)[: step % 64] == turn).sum())

    @lru_cache(maxsize=1024)  # noqa: B019 -- the sampler lives as long as the run
    def _seen_before(self, cycles: int, turn: int) -> int:
        if cycles == 0:
            return 0
        # Iterates rather than recurses when called far ahead, as a resumed run does.
        return sum(int((self._cycle(c) == turn).sum()) for c in range(cycles))

    def _epoch_order(self, name: str, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self._seed, 2, self._names.index(name), epoch])
        rows = self._rows[name]
        blocks = rng.permutation(len(rows) // self._block)
        return (rows[: len(rows) // self._block * self._block].reshape(-1, self._block)[blocks]).ravel()
