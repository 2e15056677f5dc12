"""The contrastive losses over the vectors of all ranks (equations 1 and 2 with every rank's pairs in N).

The official run gathers four sides of 64 GPUs and calls the sum of four such forwards a batch of 1,024: each
query there has 255 negatives. Here N is the batch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ume_r1_trainer.losses import info_nce
from ume_r1_trainer.ranks import Ranks
from ume_r1_trainer.records import Pair, Side


@dataclass(frozen=True, slots=True)
class Sides:
    """A rank's sides of a batch: n queries, their n positives, m hard negatives.

    Attributes:
        source: the data sets they come from.
        all: the sides, in this order.
        pairs: n.
    """

    source: str
    all: Sequence[Side]
    pairs: int

    @staticmethod
    def of(source: str, pairs: Sequence[Pair], hard_negatives: int, turn: int = 0) -> Sides:
        """Returns the sides of pairs, with at most so many negatives of each, others at another turn."""
        negatives = [
            pair.negatives[(turn + n) % len(pair.negatives)]
            for pair in pairs
            for n in range(min(hard_negatives, len(pair.negatives)))
        ]
        sides = [*(pair.query for pair in pairs), *(pair.positive for pair in pairs), *negatives]
        return Sides(source, sides, len(pairs))

    def keys(self) -> torch.Tensor:
        """Returns ``(S,)`` int64, equal for equal inputs."""
        digests = (
            hashlib.blake2b(json.dumps(side.key).encode(), digest_size=8).digest() for side in self.all
        )
        return torch.tensor([int.from_bytes(digest, "big", signed=True) for digest in digests])


def same_targets(query: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Returns ``(N, N + M)`` bool: whether target j is a right one for query i, so that it is no negative.

    It is if it equals the positive of i, or of another pair with the query of i.

    Args:
        query: ``(N,)`` keys of the queries.
        target: ``(N + M,)`` keys of the positives, then of the hard negatives.
    """
    positive = target[: len(query)]
    alike = (query[:, None] == query) | (positive[:, None] == positive)
    return (alike[:, :, None] & (positive[:, None] == target)).any(1)


class Contrast:
    """The losses of one batch, as a function of this rank's vectors.

    Attributes:
        figures: the losses and in-batch accuracies of the last call.
    """

    def __init__(
        self,
        sides: Sides,
        ranks: Ranks,
        weights: Mapping[str, float],
        temperature: float,
        symmetric: bool,
    ) -> None:
        """Tells the ranks of each other's sides.

        Args:
            sides: this rank's.
            ranks: the processes.
            weights: of ``disc`` and ``gen``; one of weight 0 is measured and has no gradient.
            temperature: tau.
            symmetric: average both directions.
        """
        self._n, self._ranks, self._weights = sides.pairs, ranks, weights
        self._tau, self._symmetric = temperature, symmetric
        keys = sides.keys().to(ranks.device)
        n = self._n
        self._counts = [ranks.gather_values(count) for count in (n, len(keys) - 2 * n)]
        queries, positives, negatives = (
            ranks.gather(part) for part in (keys[:n], keys[n : 2 * n], keys[2 * n :])
        )
        self._same = same_targets(queries, torch.cat([positives, negatives]))
        self.figures: dict[str, torch.Tensor] = {}

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor | None:
        """Returns the weighted sum of the losses of all ranks' vectors.

        Args:
            vectors: ``(S, 2, D)`` this rank's, which alone get a gradient.
        """
        n = self._n
        query = self._with_own(vectors[:n], self._counts[0])
        positive = self._with_own(vectors[n : 2 * n], self._counts[0])
        negative = self._with_own(vectors[2 * n :], self._counts[1])
        target = torch.cat([positive, negative])
        gold = torch.arange(len(query), device=query.device)
        total = None
        for space, name in enumerate(("disc", "gen")):
            if name not in self._weights:
                continue
            q, t = query[:, space], target[:, space]
            loss = info_nce(q, t, self._tau, self._same, self._symmetric)
            self.figures[name] = loss.detach()
            self.figures[f"{name}_hit"] = self._hit(q.detach(), t.detach(), gold)
            # A weight of 0 leaves the loss out, so that a loss that is not yet finite cannot spoil the sum.
            if self._weights[name]:
                part = self._weights[name] * loss
                total = part if total is None else total + part
        return total

    @staticmethod
    def _hit(query: torch.Tensor, target: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
        return ((query @ target.T).argmax(-1) == gold).float().mean()

    def _with_own(self, own: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
        everyones = self._ranks.gather(own.detach())
        start = sum(counts[: self._ranks.rank])
        return torch.cat([everyones[:start], own, everyones[start + len(own) :]])
