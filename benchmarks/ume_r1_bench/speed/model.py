"""Model: the checkpoints that are measured, by name; one of them is made here, of random weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

from ume_r1_rag.checkpoints import nano_path, resolve_model

RANDOM: Final = "100m"
"""Name of the random Qwen2-VL of about 100 M parameters with nano's tokenizer."""

MODELS: Final = ("nano", RANDOM)

_TEXT: Final[dict[str, Any]] = {
    "hidden_size": 768,
    "intermediate_size": 2304,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
}
_VISION: Final[dict[str, Any]] = {"depth": 6, "embed_dim": 384, "num_heads": 6, "hidden_size": 768}
_SECTION: Final = [8, 12, 12]


def model_folder(name: str, into: Path, seed: int = 0) -> Path:
    """Returns a model's folder: ``"100m"`` is made below ``into``, others are what ``UmeR1Encoder`` takes.

    Raises:
        CheckpointError: there is no such model.
    """
    if name != RANDOM:
        return resolve_model(name).path
    folder = into / RANDOM
    if not folder.exists():
        write_random(folder, seed)
    return folder


def write_random(folder: Path, seed: int, text: dict[str, Any] | None = None) -> None:
    """Writes a Qwen2-VL with random weights and nano's tokenizer, processor and markers.

    Args:
        folder: where; it must not exist.
        seed: of the weights.
        text: settings of the language model in place of those of 100 M parameters.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    nano = nano_path()
    config = AutoConfig.from_pretrained(nano)
    for part, settings in ((config.text_config, {**_TEXT, **(text or {})}), (config.vision_config, _VISION)):
        for name, value in settings.items():
            setattr(part, name, value)
    config.vision_config.hidden_size = config.text_config.hidden_size
    config.text_config.rope_parameters["mrope_section"] = _SECTION
    config.text_config.layer_types = ["full_attention"] * config.text_config.num_hidden_layers
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    shutil.copytree(nano, folder, ignore=shutil.ignore_patterns("*.safetensors*", "config.json"))
    model.save_pretrained(folder)
