"""The model's final norm, which vLLM applies after the layer whose states it hands out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ume_r1_rag.errors import CheckpointError

if TYPE_CHECKING:
    import numpy.typing as npt

_NAMES = ("model.norm.weight", "model.language_model.norm.weight", "language_model.model.norm.weight")


class FinalNorm:
    """RMSNorm over the last axis, in float32."""

    def __init__(self, path: Path | str, epsilon: float) -> None:
        """Reads the norm's weight from a checkpoint directory.

        Raises:
            CheckpointError: it is not there.
        """
        self._weight = _read(Path(path))
        self._epsilon = epsilon

    def __call__(self, states: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Returns states ``(..., D)`` as the model's last hidden states."""
        mean = np.mean(np.square(states), axis=-1, keepdims=True)
        normed: npt.NDArray[np.float32] = states / np.sqrt(mean + self._epsilon) * self._weight
        return normed.astype(np.float32)


def _read(path: Path) -> npt.NDArray[np.float32]:
    from safetensors import safe_open

    index = path / "model.safetensors.index.json"
    files: dict[str, str] = json.loads(index.read_text())["weight_map"] if index.exists() else {}
    for name in _NAMES:
        file = files.get(name) if files else "model.safetensors"
        if file is None:
            continue
        # Through torch: numpy has no bfloat16.
        opened: Any = safe_open(path / file, framework="pt")
        with opened as tensors:
            if name in tensors.keys():  # noqa: SIM118 -- it is no mapping
                weight: npt.NDArray[np.float32] = tensors.get_tensor(name).float().numpy()
                return weight
    raise CheckpointError(f"{path} has no final norm ({_NAMES[0]}): is it a Qwen2-VL checkpoint?")
