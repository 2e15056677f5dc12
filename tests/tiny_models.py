"""Tiny models with random weights, made on the spot in the layouts of the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = "[PAD] [UNK] <s> </s> a red blue green circle square".split()
SIDE = 32


def tokenizer() -> Any:
    """Returns a tokenizer of WORDS with begin and end."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=16, **special)


def clip(folder: Path) -> Path:
    """Writes a CLIP of two towers, 12 dimensions."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    torch.manual_seed(0)
    config = CLIPConfig(text_config=_text(), vision_config=_vision(), projection_dim=12)
    CLIPModel(config).save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    CLIPProcessor(
        CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=size), tokenizer()
    ).save_pretrained(folder)
    return folder


def siglip(folder: Path) -> Path:
    """Writes a SigLIP of two towers, 16 dimensions."""
    import torch
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipProcessor

    torch.manual_seed(0)
    config = SiglipConfig(text_config=_text() | {"projection_size": 16}, vision_config=_vision())
    SiglipModel(config).save_pretrained(folder)
    processor = SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
    SiglipProcessor(processor, tokenizer()).save_pretrained(folder)
    return folder


def colqwen2(folder: Path) -> Path:
    """Writes a ColQwen2 of nano's architecture, 24 dimensions a token."""
    import torch
    from transformers import (
        AutoConfig,
        AutoProcessor,
        ColQwen2Config,
        ColQwen2ForRetrieval,
        ColQwen2Processor,
    )

    from ume_r1_rag.checkpoints import nano_path

    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(nano_path())
    ColQwen2ForRetrieval(ColQwen2Config(vlm_config=config.to_dict(), embedding_dim=24)).save_pretrained(
        folder
    )
    processor = AutoProcessor.from_pretrained(nano_path())
    ColQwen2Processor(processor.image_processor, processor.tokenizer).save_pretrained(folder)
    return folder


def _text() -> dict[str, Any]:
    ids = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    return {"vocab_size": len(WORDS), "max_position_embeddings": 16} | _sizes() | ids


def _vision() -> dict[str, Any]:
    return {"image_size": SIDE, "patch_size": 16} | _sizes()


def _sizes() -> dict[str, Any]:
    return {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
