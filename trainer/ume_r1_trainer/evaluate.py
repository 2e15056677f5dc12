"""How well a run does on pairs that it does not train on, by which its best checkpoint is chosen.

What is measured is the training objective: gen under true traces, hits in pools of one batch. That is enough
to choose by and no figure to report; figures come from `ume-r1 bench` on data that chose nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch

from ume_r1_trainer.cached import Encode
from ume_r1_trainer.collate import Collator
from ume_r1_trainer.config import SftConfig
from ume_r1_trainer.corpus import Corpus
from ume_r1_trainer.feed import Feed
from ume_r1_trainer.ranks import Ranks
from ume_r1_trainer.step import Objective


def held_out(corpus: Corpus, config: SftConfig, ranks: Ranks) -> Corpus | None:
    """Returns the pairs to evaluate on, or None; those of ``holdout`` are taken out of the corpus.

    Raises:
        DataFault: rows of ``eval_data`` cannot be used.
    """
    if config.eval_data:
        folder = Path(config.output) / "eval"
        held = Corpus(config.eval_data, config.media_root or None)
        with ranks.in_turn():
            folder.mkdir(exist_ok=True)
            held.prepare(folder, config.faults, config.traces)
        return held
    if not config.holdout:
        return None
    held = Corpus(config.data, config.media_root or None)
    held.datasets = corpus.split(config.holdout, config.block_size, config.seed)
    return held


class Held:
    """The evaluation of a run: the same batches at every step."""

    def __init__(self, corpus: Corpus, collate: Collator, config: SftConfig, objective: Objective) -> None:
        """Prepares batches as large as those of the training, or as the smallest source allows."""
        smallest = min(len(rows) for rows in corpus.datasets.values())
        unit = config.block_size * objective.ranks.size
        size = min(config.sub_batch or config.batch_size, smallest // unit * unit or smallest)
        mine = dataclasses.replace(
            config,
            batch_size=size,
            sub_batch=0,
            block_size=config.block_size if size % config.block_size == 0 else 1,
            source_weights={},
            phases=[{"from": 0.0, **config.weights(config.steps - 1)}],
            chunk_size=config.chunk_size or size,
        )
        self._feed = Feed(corpus, collate, mine, objective.ranks)
        self._objective, self._batches = objective, config.eval_batches
        self._metric, self._weights = config.eval_metric, config.weights(config.steps - 1)

    @torch.no_grad()
    def figures(self, encode: Encode) -> dict[str, float]:
        """Returns the means over the batches, and ``loss``, the losses by the last phase's weights."""
        sums: dict[str, float] = {}
        for batch in self._feed.steps(0, self._batches):
            for name, value in self._objective.measure(batch, encode).items():
                sums[name] = sums.get(name, 0.0) + value / self._batches
        weighed = [weight * sums[name] for name, weight in self._weights.items() if weight and name in sums]
        return sums | {"loss": sum(weighed)}

    def better(self, figures: Mapping[str, float], before: Mapping[str, float]) -> bool:
        """Returns whether figures are better than earlier ones."""
        name = self._metric
        return figures[name] < before[name] if name == "loss" else figures[name] > before[name]
