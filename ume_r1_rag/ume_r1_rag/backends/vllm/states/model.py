"""vLLM's Qwen2-VL with the interface by which hidden states are asked for, and transformers' positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm.model_executor.models.interfaces import SupportsEagle3
from vllm.model_executor.models.qwen2_vl import Qwen2VLForConditionalGeneration
from vllm.platforms import current_platform

from ume_r1_rag.backends.vllm.states import cpu

if current_platform.is_cpu():
    cpu.mend()

if TYPE_CHECKING:
    import torch


class UmeR1ForConditionalGeneration(Qwen2VLForConditionalGeneration, SupportsEagle3):  # type: ignore[misc]
    """The same model; vLLM 0.32 has the interface in Qwen2.5-VL and not yet in Qwen2-VL."""

    def get_mrope_input_positions(
        self, input_tokens: list[int], mm_features: list[Any]
    ) -> tuple[torch.Tensor, int]:
        """Returns ``(3, tokens)`` positions and what a decoded token's is ahead of its index.

        What follows a visual begins, in vLLM as in transformers 4, after the largest of its three sides; in
        transformers 5 after the larger of height and width. That is another place for a video of more frame
        pairs than tokens a side; we follow the transformers that the other backend runs.
        """
        positions, _ = super().get_mrope_input_positions(input_tokens, mm_features)
        for offset, time, height, width, _ in self.iter_mm_grid_thw(mm_features):
            beyond = time - max(height, width)
            if beyond > 0:
                positions[:, offset + time * height * width :] -= beyond
        return positions, int(positions.max()) + 1 - len(input_tokens)
