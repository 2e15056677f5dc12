"""Random checkpoints of a few hundred KB of each backbone, without markers, as the originals are."""

from __future__ import annotations

from pathlib import Path

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


def write_backbone(family: str, directory: Path, spare_rows: bool = True) -> Path:
    import torch
    from transformers import (
        AutoModelForImageTextToText,
        Qwen2_5_VLConfig,
        Qwen2_5_VLProcessor,
        Qwen2VLConfig,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
        Qwen3VLConfig,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    from ume_r1_trainer.nano import CHAT_TEMPLATE, train_tokenizer

    tokenizer = train_tokenizer(["a red disc", "<tool_call> two squares </tool_call>"], 300, markers=False)
    ids = tokenizer.convert_tokens_to_ids
    rows = len(tokenizer) + (64 if spare_rows else 0)
    text = {
        "vocab_size": rows,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 100.0},
        "bos_token_id": ids("<|endoftext|>"),
        "eos_token_id": ids("<|im_end|>"),
        "pad_token_id": ids("<|endoftext|>"),
    }
    media = {
        "image_token_id": ids("<|image_pad|>"),
        "video_token_id": ids("<|video_pad|>"),
        "vision_start_token_id": ids("<|vision_start|>"),
        "vision_end_token_id": ids("<|vision_end|>"),
        "tie_word_embeddings": True,
    }
    vision2 = {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2}
    vision25 = {
        "depth": 1,
        "hidden_size": 32,
        "num_heads": 2,
        "intermediate_size": 48,
        "out_hidden_size": 32,
        "fullatt_block_indexes": [0],
        "window_size": 112,
    }
    vision3 = {
        "depth": 2,
        "hidden_size": 32,
        "num_heads": 2,
        "intermediate_size": 48,
        "out_hidden_size": 32,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
    }
    limits = {"shortest_edge": 28 * 28, "longest_edge": 112 * 112}
    images = Qwen2VLImageProcessor(size=dict(limits))
    videos = Qwen2VLVideoProcessor(size=dict(limits))
    if family == "qwen2_vl":
        config = Qwen2VLConfig(text_config=text, vision_config=vision2, **media)
        processor = Qwen2VLProcessor(images, tokenizer, videos, chat_template=CHAT_TEMPLATE)
    elif family == "qwen2_5_vl":
        config = Qwen2_5_VLConfig(text_config=text, vision_config=vision25, **media)
        processor = Qwen2_5_VLProcessor(images, tokenizer, videos, chat_template=CHAT_TEMPLATE)
    else:
        config = Qwen3VLConfig(text_config=text, vision_config=vision3, **media)
        images = Qwen2VLImageProcessor(
            size=dict(limits), patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3
        )
        videos = Qwen3VLVideoProcessor(size={"shortest_edge": 4 * 32 * 32, "longest_edge": 64 * 32 * 32})
        processor = Qwen3VLProcessor(images, tokenizer, videos, chat_template=CHAT_TEMPLATE)
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config)
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory
