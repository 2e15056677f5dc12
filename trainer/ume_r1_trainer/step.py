"""One step's arithmetic: from a batch of sides to figures, and to gradients (equation 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from ume_r1_trainer.cached import Backward, Encode, Plan, accumulate
from ume_r1_trainer.collate import SideBatch
from ume_r1_trainer.contrast import Contrast, Sides
from ume_r1_trainer.feed import Batch
from ume_r1_trainer.ranks import Ranks

Reader = Callable[[Sequence[int]], SideBatch]


class Objective:
    """The three losses and how they are added up.

    Attributes:
        ranks: the processes.
        temperature: tau.
        symmetric: of the contrastive losses.
        traces: whether there are any; else disc is all there is.
    """

    def __init__(self, ranks: Ranks, temperature: float, symmetric: bool, traces: bool) -> None:
        """Keeps the options."""
        self.ranks, self.temperature, self.symmetric, self.traces = ranks, temperature, symmetric, traces

    def learn(
        self,
        batch: Batch,
        weights: Mapping[str, float],
        encode: Encode,
        backward: Backward,
        read: Reader | None = None,
    ) -> dict[str, float]:
        """Sends the gradient of a batch back and returns its losses and in-batch accuracies.

        Args:
            batch: this rank's part.
            weights: of ``ce``, ``disc`` and ``gen``.
            encode: the model.
            backward: takes a scalar, and whether it is the last.
            read: makes a chunk's batch; default ``batch.read``.
        """
        contrast = self._contrast(batch.sides, weights)
        n, totals = batch.sides.pairs, torch.ones(2, device=self.ranks.device)

        def ce_weights(tokens: torch.Tensor) -> torch.Tensor:
            # Hard negatives' traces are not learned: they are there to be told apart.
            totals.copy_(
                self.ranks.sum(torch.stack([tokens[:n].sum(), tokens[n : 2 * n].sum()])).clamp(min=1)
            )
            each = weights["ce"] / totals
            return torch.cat([each[0].expand(n), each[1].expand(n), each.new_zeros(len(tokens) - 2 * n)])

        chunks = max(self.ranks.gather_values(len(batch.chunks)))
        plan = Plan(batch.chunks, ce_weights, chunks - len(batch.chunks), batch.whole)
        ce = accumulate(
            plan, read or self.on_device(batch), encode, contrast, backward, self.ranks, self.traces
        )
        return self._figures(contrast, ce, n, totals)

    @torch.no_grad()
    def measure(self, batch: Batch, encode: Encode) -> dict[str, float]:
        """Returns the losses and in-batch accuracies of a batch, without a gradient."""
        read, n = self.on_device(batch), batch.sides.pairs
        vectors = torch.zeros(0)
        ce, tokens = (torch.zeros(len(batch.sides.all), device=self.ranks.device) for _ in range(2))
        for number, chunk in enumerate(batch.chunks):
            side_batch = read(chunk)
            encoded = encode(side_batch, self.traces)
            if not number:
                vectors = encoded.vectors.new_zeros(len(ce), *encoded.vectors.shape[1:])
            vectors[chunk], tokens[chunk] = encoded.vectors, (side_batch.labels >= 0).sum(-1).float()
            if encoded.ce is not None:
                ce[chunk] = encoded.ce.float()
        for _ in range(max(self.ranks.gather_values(len(batch.chunks))) - len(batch.chunks)):
            encode(read(batch.chunks[0]), self.traces)
        contrast = self._contrast(batch.sides, {})
        contrast(vectors)
        totals = self.ranks.sum(torch.stack([tokens[:n].sum(), tokens[n : 2 * n].sum()])).clamp(min=1)
        return self._figures(contrast, ce, n, totals)

    def on_device(self, batch: Batch) -> Reader:
        """Returns what reads chunks of a batch onto the device."""
        return lambda chunk: batch.read(chunk).to(self.ranks.device)

    def _contrast(self, sides: Sides, weights: Mapping[str, float]) -> Contrast:
        spaces = ("disc", "gen") if self.traces else ("disc",)
        chosen = {name: weights.get(name, 0.0) for name in spaces}
        return Contrast(sides, self.ranks, chosen, self.temperature, self.symmetric)

    def _figures(
        self, contrast: Contrast, ce: torch.Tensor, n: int, totals: torch.Tensor
    ) -> dict[str, float]:
        sums = self.ranks.sum(torch.stack([ce[:n].sum(), ce[n : 2 * n].sum()]))
        figures = {"ce": float((sums / totals).sum())} if self.traces else {}
        return figures | {name: float(value) for name, value in contrast.figures.items()}
