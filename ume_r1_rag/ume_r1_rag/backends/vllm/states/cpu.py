"""Two mistakes of vLLM 0.32 on a CPU, where it samples beside hidden states; mended where our model runs.

Its CPU stand-in for the kernel that spreads a batch's temperatures over rows writes into a copy, so logits
are divided by whatever was in memory. And when a step ends within a prompt, its seeded generators are asked
for an offset, which those of a CPU lack: the engine dies.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch


class RewindingGenerator(torch.Generator):
    """A CPU generator that goes back to its beginning where vLLM would take back a draw.

    vLLM does so only for what it sampled after an unfinished prompt, so nothing was drawn before that counts.
    """

    def get_offset(self) -> int:
        """Returns 0: a CPU's generator counts nothing."""
        return 0

    def set_offset(self, offset: int) -> torch.Generator:
        """Starts anew from the seed; returns itself."""
        return self.manual_seed(self.initial_seed())


def expand_batch_to_tokens(
    x: torch.Tensor,
    cu_num_tokens: torch.Tensor,
    num_tokens: int,  # noqa: ARG001 -- the signature is vLLM's
    replace_from: int = 0,
    replace_to: int = 0,
) -> torch.Tensor:
    """Returns ``(num_tokens,)``: each request's value for each of its tokens, one value put for another."""
    counts = torch.diff(cu_num_tokens, prepend=cu_num_tokens.new_zeros(1)).long()
    spread = torch.repeat_interleave(x, counts)
    return torch.where(spread == replace_from, torch.as_tensor(replace_to, dtype=x.dtype), spread)


def mend() -> None:
    """Puts both right in this process; on versions that have no such functions it does nothing."""
    from vllm.v1.sample import rejection_sampler
    from vllm.v1.worker import gpu_input_batch

    if hasattr(rejection_sampler, "expand_batch_to_tokens"):
        rejection_sampler.expand_batch_to_tokens = expand_batch_to_tokens
    state = getattr(gpu_input_batch, "CachedRequestState", None)
    made = getattr(state, "__post_init__", None)
    if made is None or getattr(made, "__wrapped__", None) is not None:
        return

    @wraps(made)
    def post_init(self: Any) -> None:
        made(self)
        generator = self.generator
        if generator is not None and generator.device.type == "cpu":
            self.generator = RewindingGenerator()
            self.generator.manual_seed(generator.initial_seed())

    state.__post_init__ = post_init  # type: ignore[union-attr]
