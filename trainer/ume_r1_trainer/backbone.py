"""Where a run's model comes from: a checkpoint with or without markers, or nothing at all.

Qwen2-VL, Qwen2.5-VL and Qwen3-VL. Markers are added as ordinary tokens, as officially, so that they survive
decoding without special tokens; their ids are looked up by name and never known beforehand (the release has
Qwen2-VL's 151657 and 151658 in its code, which are other tokens in Qwen2.5-VL). Each starts as the row that
the release copies, or as the mean of all rows where the vocabulary lacks it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ume_r1_rag.errors import CheckpointError, ConfigError
from ume_r1_rag.template import DISC_MARKER, GEN_MARKER

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")

DONORS = {
    GEN_MARKER: ("<|object_ref_end|>", "</tool_call>"),
    DISC_MARKER: ("<|object_ref_start|>", "<tool_call>"),
}
"""Marker → tokens whose rows it may start as, the first that there is; so does the release."""


def check_family(path: Path) -> None:
    """Refuses a checkpoint that is none of ``FAMILIES``.

    Raises:
        CheckpointError: so it is, or there is none.
    """
    import json

    try:
        kind = json.loads((path / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"no checkpoint at {path}: {error}") from error
    if kind not in FAMILIES:
        raise CheckpointError(f"{path} is a {kind}: the trainer knows {', '.join(FAMILIES)}")


def needs_markers(path: Path) -> bool:
    """Returns whether a checkpoint's tokenizer lacks a marker."""
    from transformers import AutoTokenizer

    vocabulary = AutoTokenizer.from_pretrained(path, local_files_only=True).get_vocab()
    return DISC_MARKER not in vocabulary or GEN_MARKER not in vocabulary


def write_with_markers(path: Path, target: Path) -> None:
    """Writes a copy of a checkpoint in which both markers are ordinary tokens with a row of their own.

    It is written to disk rather than changed in memory, because ZeRO-3 loads a model in parts, of which no
    rank could add a row. All or nothing: a copy that was cut off is not taken for one.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(path, local_files_only=True)
    model = AutoModelForImageTextToText.from_pretrained(
        path, dtype="auto", use_safetensors=True, local_files_only=True
    )
    add_markers(model, processor.tokenizer)
    partial = target.with_name(target.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    processor.save_pretrained(partial)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


@torch.no_grad()
def add_markers(model: nn.Module, tokenizer: Any) -> list[str]:
    """Adds the markers that a tokenizer lacks, with rows for them, and returns their names."""
    from tokenizers import AddedToken

    known = tokenizer.get_vocab()
    new = [name for name in (GEN_MARKER, DISC_MARKER) if name not in known]
    tokenizer.add_tokens([AddedToken(name, special=False, normalized=False) for name in new])
    # Qwen's tables have spare rows; a table grows only where they do not suffice.
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:  # type: ignore[operator]
        model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=64, mean_resizing=False)  # type: ignore[operator]
    tables = {id(t.weight): t.weight for t in (model.get_input_embeddings(), model.get_output_embeddings())}  # type: ignore[operator]
    for name in new:
        donor = next((known[token] for token in DONORS[name] if token in known), None)
        for table in tables.values():
            row = table[: len(known)].mean(0) if donor is None else table[donor]
            table[tokenizer.convert_tokens_to_ids(name)] = row
    return new


def load(path: Path) -> tuple[nn.Module, Any]:
    """Returns a checkpoint's model in float32 and its processor.

    Under DeepSpeed's ZeRO-3 (``HfDeepSpeedConfig`` in force) the model is in parts.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    # A directory of safetensors: never a pickle, never whatever a hub's head is today.
    processor = AutoProcessor.from_pretrained(path, local_files_only=True)
    model = AutoModelForImageTextToText.from_pretrained(
        path, dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    return model, processor


def freeze_vision(model: nn.Module) -> None:
    """Leaves the vision tower as it is but for its mergers, as officially."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad = "visual" not in name or "merger" in name


def add_lora(model: nn.Module, options: Mapping[str, Any], tokenizer: Any, vision: bool) -> Any:
    """Puts adapters into a model and returns peft's wrapper of it; everything else no longer learns.

    Args:
        model: gets the adapters in place.
        options: of ``peft.LoraConfig``, such as ``r``, ``lora_alpha``, ``lora_dropout``, ``use_dora``.
        tokenizer: the two rows of its markers learn as well, for a new marker is nobody's donor for long.
        vision: also adapt the vision tower.

    Raises:
        ConfigError: peft refuses the options.
    """
    from peft import LoraConfig, get_peft_model

    ids = [tokenizer.convert_tokens_to_ids(name) for name in (GEN_MARKER, DISC_MARKER)]
    linear = sorted(
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "lm_head" not in name and (vision or "visual" not in name)
    )
    try:
        settings = LoraConfig(**{"target_modules": linear, "trainable_token_indices": ids, **options})
        return get_peft_model(model, settings)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"lora={dict(options)}: {error}") from error
