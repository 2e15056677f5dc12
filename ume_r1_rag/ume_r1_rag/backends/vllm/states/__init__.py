"""Everything of ours that runs inside vLLM, or leans on what vLLM does not promise to keep.

``model``: Qwen2-VL that hands out hidden states; ``connector``: keeps the marker rows of finished requests;
``receiver``: where they arrive; ``arguments``: how an engine is told to use the three; ``child``: what its
processes owe their client; ``cpu``: what vLLM gets wrong there. vLLM calls its KV connectors experimental, so
this is what a new version of it may break, and what the self-check is for.
"""

from __future__ import annotations

ARCHITECTURE = "UmeR1ForConditionalGeneration"
"""Our model's name in vLLM's registry. It is asked for by name, so no other model changes."""

PARAMS = "ume_r1"
"""The key of our settings in a request's ``kv_transfer_params``."""


def register() -> None:
    """Adds our model to vLLM's registry; vLLM calls it in each process (``vllm.general_plugins``)."""
    from vllm import ModelRegistry

    from ume_r1_rag.backends.vllm.states import child

    child.obey()

    # By name, so that nothing of the model is imported where it is not used.
    ModelRegistry.register_model(ARCHITECTURE, f"{__name__}.model:UmeR1ForConditionalGeneration")
