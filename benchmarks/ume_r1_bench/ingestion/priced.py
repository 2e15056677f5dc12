"""Priced: an encoder like UME-R1-2B's in all but the model, which waits as long as a 2B model would compute.

Everything else is real and of the 2B's size: prompts, pages of up to 1,280 visual tokens cut into patches,
batches, vectors of 1,536 numbers. Waiting leaves the processor to the other threads, as a GPU does.

What a page costs is an assumption. The paper's Table 4 has UME-R1-2B give 20 disc embeddings of CIRR's
queries, a photograph and a sentence each, a second on an L40S: 50 ms. A page of 1,280 visual tokens is larger
than those, so that it is rather too little, and what is left for the time outside rather too much.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any, Final

import torch
from transformers.modeling_outputs import BaseModelOutput

from ume_r1_rag.checkpoints import nano_path
from ume_r1_rag.encoder import UmeR1Encoder

DIMENSION: Final = 1536
"""D of UME-R1-2B."""

_MAX_PIXELS: Final = 12_845_056
"""What the processor of Qwen2-VL allows an image; presets are stricter."""


class ModelClock:
    """Measures the time within an encoder's model.

    Attributes:
        seconds: so far.
    """

    def __init__(self, encoder: UmeR1Encoder) -> None:
        """Listens to the model of an encoder that runs on transformers."""
        self.seconds = 0.0
        self._began = 0.0
        backend: Any = encoder.backend
        backend.model.model.register_forward_pre_hook(self._enter)
        backend.model.model.register_forward_hook(self._leave)

    def _enter(self, *given: Any) -> None:
        self._began = time.perf_counter()

    def _leave(self, *given: Any) -> None:
        self.seconds += time.perf_counter() - self._began


class WaitingModel(torch.nn.Module):
    """Takes what a model takes, waits, and returns random states."""

    def __init__(self, cost_s: float) -> None:
        """Sets the seconds for each row of a batch."""
        super().__init__()
        self._cost_s = cost_s
        self._random = torch.Generator().manual_seed(0)

    def forward(self, input_ids: torch.Tensor, **_: Any) -> BaseModelOutput:
        """Returns states ``(B, T, 1536)``, alike along a row."""
        rows, columns = input_ids.shape
        time.sleep(self._cost_s * rows)
        states = torch.randn(rows, 1, DIMENSION, generator=self._random)
        return BaseModelOutput(last_hidden_state=states.expand(rows, columns, DIMENSION))


def priced_encoder(cost_ms: float, folder: Path) -> UmeR1Encoder:
    """Returns the encoder.

    Args:
        cost_ms: milliseconds that a page costs.
        folder: an absent one, for a copy of nano with the processor's limits of Qwen2-VL.
    """
    shutil.copytree(nano_path(), folder)
    settings = folder / "processor_config.json"
    processor = json.loads(settings.read_text(encoding="utf-8"))
    for name in ("image_processor", "video_processor"):
        processor[name]["size"]["longest_edge"] = _MAX_PIXELS
    settings.write_text(json.dumps(processor), encoding="utf-8")
    encoder = UmeR1Encoder(folder, device="cpu")
    backend: Any = encoder.backend
    backend.model.model = WaitingModel(cost_ms / 1000)
    backend.dimension = DIMENSION
    return encoder
