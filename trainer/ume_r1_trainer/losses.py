"""The losses of the cold start (paper, equations 1 to 4).

Departures: the contrastive losses may be symmetric (as the released code is; the paper's are query → target),
their weights and their start are options (equation 4 has 1, 1, 1 from the start), and pairs that share a
target are not negatives of each other.
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
        targets: ``(N, D)`` L2-normalised; row i is the positive of query i.
        temperature: tau.
        same: ``(N, N)`` bool, True where pair j's target equals pair i's, so that it is no negative.
        symmetric: average with the target → query direction.
    """
    logits = queries.float() @ targets.float().T / temperature
    if same is not None:
        off_diagonal = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
        logits = logits.masked_fill(off_diagonal, float("-inf"))
    gold = torch.arange(len(logits), device=logits.device)
    loss = F.cross_entropy(logits, gold)
    return (loss + F.cross_entropy(logits.T, gold)) / 2 if symmetric else loss


def next_token(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Returns equation 3 as a mean over predicted tokens.

    Args:
        logits: ``(B, L, V)``.
        labels: ``(B, L)``; ``IGNORE`` where nothing is predicted.
    """
    return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORE)
