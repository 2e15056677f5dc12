"""Scheduled sampling: traces as the model itself would write them (Bengio et al. 2015, one parallel pass).

Under teacher forcing the state at ``<gen_emb>`` sees a trace without mistakes and may trust it blindly; at
inference it meets the model's own mistakes. A departure from the paper, whose second stage (GRPO) does this.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from ume_r1_trainer.collate import SideBatch
from ume_r1_trainer.embedder import first_label
from ume_r1_trainer.losses import IGNORE


@torch.no_grad()
def in_own_words(
    model: nn.Module, batch: SideBatch, chosen: torch.Tensor, passes: int, fixed: torch.Tensor
) -> SideBatch:
    """Returns a batch in which some traces are made of the model's own best tokens.

    The first pass takes for every token the likeliest after the true ones before it, each further one the
    likeliest after those of the last pass: the more passes, the more of a mistake's consequences (Jacobi
    decoding; with as many passes as tokens it is greedy decoding). The labels stay the true tokens.

    Args:
        model: the model.
        batch: B sides.
        chosen: ``(B,)`` bool, the sides that are rewritten.
        passes: forward passes, at least 1.
        fixed: ``(V,)`` bool, True for tokens neither replaced nor put in: markers, media, end of text.
    """
    ids = batch.model_inputs["input_ids"]
    if not chosen.any():
        return batch
    first = first_label(batch.labels) - 1
    inputs = dict(batch.model_inputs)
    for _ in range(passes):
        states = model.model(**inputs).last_hidden_state  # type: ignore[operator]
        best = torch.zeros_like(ids)
        best[:, first + 1 :] = model.lm_head(states[:, first:-1]).argmax(-1)  # type: ignore[operator]
        replaced = chosen[:, None] & (batch.labels != IGNORE) & ~fixed[ids] & ~fixed[best]
        inputs["input_ids"] = torch.where(replaced, best, ids)
    return dataclasses.replace(batch, model_inputs=inputs)
