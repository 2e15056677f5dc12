"""From a checkpoint directory to a model on a device; whatever goes wrong, in our own errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText, AutoProcessor

from ume_r1_rag.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_DTYPES = ("float32", "bfloat16", "float16")


def best_device() -> str:
    """Returns the name of the fastest kind of device that is here."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def choose_dtype(dtype: str, device: str) -> str:
    """Returns the name of a torch dtype; ``"auto"`` is bfloat16 on CUDA and float32 elsewhere.

    Raises:
        ConfigError: a model cannot be run in it.
    """
    if dtype == "auto":
        return "bfloat16" if device.startswith("cuda") else "float32"
    if dtype not in _DTYPES:
        raise ConfigError(f'dtype={dtype!r} is unknown: use "auto" or one of {", ".join(_DTYPES)}')
    return dtype


def load_processor(path: Path | str) -> Any:
    """Returns a checkpoint's multimodal processor.

    Raises:
        CheckpointError: it has none.
    """
    try:
        processor = AutoProcessor.from_pretrained(path)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"cannot load the processor of {path}: {error}") from error
    # Where there is no processor, transformers returns the tokenizer alone.
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise CheckpointError(f"{path} has no image processor: pass a checkpoint of a vision-language model")
    return processor


def load_model(path: Path | str, device: str, dtype: str) -> Any:
    """Returns a checkpoint's model on a device, ready for inference.

    Raises:
        CheckpointError: it cannot be loaded, or weights are missing.
        ConfigError: there is no such device.
    """
    try:
        model, loading = AutoModelForImageTextToText.from_pretrained(
            path, dtype=getattr(torch, dtype), use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"cannot load {path} with transformers: {error}") from error
    # transformers fills what is missing with random numbers and goes on.
    if missing := loading["missing_keys"]:
        raise CheckpointError(
            f"{path} lacks {len(missing)} weights of its model, {min(missing)} among them: "
            "download or save it again"
        )
    try:
        return model.to(device).eval()
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device={device!r} cannot take the model: {error}") from error


def end_ids(config: Any, tokenizer: Any) -> list[int]:
    """Returns the tokens that end a completion: those of a generation config, and the chat's own."""
    own = config.eos_token_id
    ids = set(own if isinstance(own, list) else [] if own is None else [own])
    ids.add(tokenizer.convert_tokens_to_ids("<|im_end|>"))
    return sorted(ids)
