"""The losses of the cold start (paper, equations 1 to 4).

Departures: the contrastive losses may be symmetric (as the released code is; the paper's are query → target),
their weights and their start are options (equation 4 has 1, 1, 1 from the start), and pairs that share a
target are not negatives of each other. Equation 3's sums are divided by the tokens predicted, queries' and
targets' apart, as the release does and cross-entropy usually is; as printed, by N alone, its weight would
grow with the length of the traces to hundreds of times the contrastive losses'.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

IGNORE = -100
"""The label of a token that is not predicted."""


def info_nce(
    queries: torch.Tensor,
    targets: torch.Tensor,
    temperature: float,
    same: torch.Tensor | None = None,
    symmetric: bool = True,
) -> torch.Tensor:
    """Returns equation 1 (or 2, by what is passed): the mean InfoNCE over a batch.

    Args:
        queries: ``(N, D)`` L2-normalised.
        targets: ``(N + M, D)`` L2-normalised; row i is the positive of query i, the last M are hard
            negatives, which are negatives of every query.
        temperature: tau.
        same: ``(N, N + M)`` bool, True where target j equals the positive of query i: it is no negative.
        symmetric: average with the target → query direction, which has no part for hard negatives.
    """
    logits = queries.float() @ targets.float().T / temperature
    gold = torch.arange(len(logits), device=logits.device)
    if same is not None:
        own = torch.zeros_like(same)
        own[gold, gold] = True
        logits = logits.masked_fill(same & ~own, float("-inf"))
    loss = F.cross_entropy(logits, gold)
    if not symmetric:
        return loss
    return (loss + F.cross_entropy(logits[:, : len(logits)].T, gold)) / 2


def token_sums(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Returns the inner sums of equation 3: ``(B,)``, each side's summed next-token loss.

    Args:
        logits: ``(B, L, V)``.
        labels: ``(B, L)``; ``IGNORE`` where nothing is predicted.
    """
    losses = F.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORE, reduction="none"
    )
    return losses.view(len(labels), -1).sum(-1)
