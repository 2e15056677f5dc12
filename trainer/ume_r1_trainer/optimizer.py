"""Which optimiser moves which weights, and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import nn

from ume_r1_trainer.muon import Muon


def make_optimizers(
    model: nn.Module, name: str, lr: float, muon_lr: float, weight_decay: float, beta2: float = 0.95
) -> list[torch.optim.Optimizer]:
    """Returns the optimisers of a model.

    ``"adamw"`` is one AdamW. ``"muon"`` moves matrices inside blocks by Muon (update scaled to AdamW's RMS)
    and everything else (embeddings, convolutions, norms, biases) by AdamW: on a small model from scratch
    it needs clearly fewer steps.
    """
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    if name == "adamw":
        return [_adamw((p for _, p in named), lr, weight_decay, beta2)]
    matrices = [p for n, p in named if p.ndim == 2 and "embed_tokens" not in n and "lm_head" not in n]
    chosen = {id(p) for p in matrices}
    muon = Muon(matrices, lr=muon_lr, weight_decay=weight_decay)
    return [muon, _adamw((p for _, p in named if id(p) not in chosen), lr, weight_decay, beta2)]


def _adamw(
    parameters: Iterable[nn.Parameter], lr: float, weight_decay: float, beta2: float
) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, betas=(0.9, beta2))


def lr_factor(
    step: int, steps: int, warmup: int, knots: Sequence[Sequence[float]], cosine: bool = False
) -> float:
    """Returns the learning rate's factor at a step.

    Args:
        step: from 0.
        steps: of the whole run.
        warmup: steps of a linear rise from 0 that come first.
        knots: ``(share of the steps, factor)`` in order; straight lines between them, flat outside.
        cosine: half a cosine from 1 to 0 in their place, over the steps after the warm-up.
    """
    if cosine:
        done = max(0, step - warmup) / max(1, steps - warmup)
        return min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * done))
    shares, factors = zip(*knots, strict=True)
    return min(1.0, (step + 1) / warmup) * float(np.interp(step / steps, shares, factors))
