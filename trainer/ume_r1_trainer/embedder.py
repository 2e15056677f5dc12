"""The model as a trainer calls it: sides in, both vectors and the next-token loss of each out.

One module with one ``forward``, because DDP-like wrappers and DeepSpeed act on a root module's ``forward``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from ume_r1_trainer.collate import SideBatch
from ume_r1_trainer.losses import IGNORE, token_sums


class Encoded(NamedTuple):
    """What the model says of B sides. A tuple, because DeepSpeed's hooks look into no dataclass.

    Attributes:
        vectors: ``(B, 2, D)`` float32, L2-normalised: disc, gen.
        ce: ``(B,)`` sum of the next-token losses of each side, or None if it was not asked for.
    """

    vectors: torch.Tensor
    ce: torch.Tensor | None


class Embedder(nn.Module):
    """A Qwen-VL with markers.

    Attributes:
        net: the Hugging Face model; its last hidden state is after the final norm.
    """

    def __init__(self, net: nn.Module) -> None:
        """Wraps a model."""
        super().__init__()
        self.net = net

    def forward(self, batch: SideBatch, with_ce: bool = True) -> Encoded:
        """Returns both vectors of each side, and the sums of equation 3's terms if asked for."""
        states = self.states(batch)
        rows = torch.arange(len(states), device=states.device)
        marked = torch.stack([states[rows, batch.disc], states[rows, batch.gen]], 1)
        vectors = F.normalize(marked.float(), dim=-1)
        if not with_ce:
            return Encoded(vectors, None)
        # The head is applied to the completion alone; it is most of a small model's cost otherwise.
        first = first_label(batch.labels) - 1
        logits = self.net.lm_head(states[:, first:])  # type: ignore[operator]
        return Encoded(vectors, token_sums(logits, batch.labels[:, first:]))

    def states(self, batch: SideBatch) -> torch.Tensor:
        """Returns the last hidden states, ``(B, L, D)``."""
        states: torch.Tensor = self.net.model(**batch.model_inputs, use_cache=False).last_hidden_state  # type: ignore[operator]
        return states


def first_label(labels: torch.Tensor) -> int:
    """Returns the first column of ``(B, L)`` labels in which something is predicted; there must be one."""
    return int((labels != IGNORE).int().argmax(-1).min())
