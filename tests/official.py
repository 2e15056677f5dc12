"""Writes a tiny random checkpoint in the layout of the released ones, as transformers 4.49 saved it.

It kept the language model's fields at the top of ``config.json``, called the weights ``model.*`` and
``visual.*``, and wrote the processor's limits into ``preprocessor_config.json``. The markers are ordinary
added tokens at the ids they have in the release, the generation config samples and penalises repetition, and
``use_cache`` is off, as training left it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VOCABULARY = 151_936
GEN_ID, DISC_ID = 151_657, 151_658

# id 151643 on, in the release's order; the last two are the markers.
ADDED = (
    "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|> "
    "<|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|> "
    "<gen_emb> <disc_emb>"
).split()
FIRST_ADDED = 151_643

CHAT_TEMPLATE = (
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}"
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' or 'image' in content or "
    "'image_url' in content %}{% set image_count.value = image_count.value + 1 %}{% if add_vision_id %}"
    "Picture {{ image_count.value }}: {% endif %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content %}"
    "{% set video_count.value = video_count.value + 1 %}{% if add_vision_id %}"
    "Video {{ video_count.value }}: {% endif %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

CONFIG: dict[str, Any] = {
    "_name_or_path": "Qwen/Qwen2-VL-2B-Instruct",
    "architectures": ["Qwen2VLForConditionalGeneration"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "hidden_act": "silu",
    "hidden_size": 32,
    "image_token_id": 151655,
    "initializer_range": 0.02,
    "intermediate_size": 64,
    "max_position_embeddings": 32768,
    "max_window_layers": 2,
    "model_type": "qwen2_vl",
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 1,
    "rms_norm_eps": 1e-06,
    "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.49.0",
    "use_cache": False,
    "use_sliding_window": False,
    "video_token_id": 151656,
    "vision_config": {
        "depth": 1,
        "embed_dim": 32,
        "hidden_size": 32,
        "in_chans": 3,
        "model_type": "qwen2_vl",
        "num_heads": 2,
        "spatial_patch_size": 14,
    },
    "vision_end_token_id": 151653,
    "vision_start_token_id": 151652,
    "vision_token_id": 151654,
    "vocab_size": VOCABULARY,
}

GENERATION_CONFIG = {
    "bos_token_id": 151643,
    "do_sample": True,
    "eos_token_id": [151645, 151643],
    "pad_token_id": 151643,
    "repetition_penalty": 1.05,
    "temperature": 0.7,
    "top_k": 50,
    "top_p": 0.9,
    "transformers_version": "4.49.0",
}

PREPROCESSOR_CONFIG = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "Qwen2VLImageProcessor",
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "max_pixels": 12845056,
    "merge_size": 2,
    "min_pixels": 3136,
    "patch_size": 14,
    "processor_class": "Qwen2VLProcessor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"longest_edge": 12845056, "shortest_edge": 3136},
    "temporal_patch_size": 2,
}


def build(directory: Path, *, added: tuple[str, ...] = tuple(ADDED), tied: bool = False) -> Path:
    """Writes a checkpoint and returns its directory.

    Args:
        directory: where to, made if it is not there.
        added: the added tokens; without the last two it is a Qwen2-VL rather than a UME-R1.
        tied: as in the 2B, whose file holds no ``lm_head.weight``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _dump(directory / "config.json", {**CONFIG, "tie_word_embeddings": tied})
    _dump(directory / "generation_config.json", GENERATION_CONFIG)
    _dump(directory / "preprocessor_config.json", PREPROCESSOR_CONFIG)
    _dump(directory / "chat_template.json", {"chat_template": CHAT_TEMPLATE})
    write_tokenizer(directory, added)
    _write_weights(directory, tied)
    return directory


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")


def write_tokenizer(directory: Path, added: tuple[str, ...]) -> None:
    """Writes a byte-level BPE of the official size: bytes, a few merges, and fillers that no text reaches."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    vocabulary = {byte: i for i, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = [("t", "h"), ("th", "e"), ("i", "n"), ("e", "r"), ("Ġ", "the"), ("r", "e"), ("o", "n")]
    for left, right in merges:
        vocabulary.setdefault(left + right, len(vocabulary))
    for filler in range(FIRST_ADDED - len(vocabulary)):
        vocabulary[f"\ue000{filler}"] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = None
    specs = {}
    for number, content in enumerate(added):
        special = not content.endswith("_emb>")
        token = AddedToken(content, special=special, normalized=False)
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([token])
        specs[str(FIRST_ADDED + number)] = {
            "content": content,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": special,
        }
    tokenizer.save(str(directory / "tokenizer.json"))
    _dump(directory / "vocab.json", vocabulary)
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges), ""]
    (directory / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    _dump(directory / "added_tokens.json", {content: FIRST_ADDED + i for i, content in enumerate(added)})
    _dump(
        directory / "tokenizer_config.json",
        {
            "add_prefix_space": False,
            "added_tokens_decoder": specs,
            "additional_special_tokens": [token for token in added[1:] if token.endswith("|>")],
            "bos_token": None,
            "chat_template": CHAT_TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "eos_token": "<|im_end|>",
            "errors": "replace",
            "extra_special_tokens": {},
            "model_max_length": 32768,
            "pad_token": "<|endoftext|>",
            "padding_side": "right",
            "processor_class": "Qwen2VLProcessor",
            "split_special_tokens": False,
            "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": None,
        },
    )


def _write_weights(directory: Path, tied: bool) -> None:
    """Writes random weights, large enough that an untrained model does not answer everything alike."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(7)
    hidden, inner, layers = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["num_hidden_layers"]
    narrow = hidden // CONFIG["num_attention_heads"] * CONFIG["num_key_value_heads"]

    def random(*shape: int, scale: float = 0.4) -> torch.Tensor:
        return (torch.randn(*shape, generator=generator) * scale).to(torch.bfloat16)

    def ones(size: int) -> torch.Tensor:
        return torch.ones(size, dtype=torch.bfloat16)

    weights = {
        "model.embed_tokens.weight": random(VOCABULARY, hidden, scale=1.0),
        "model.norm.weight": ones(hidden),
    }
    if not tied:
        weights["lm_head.weight"] = random(VOCABULARY, hidden, scale=1.0)
        # It writes bytes and short words, as prompts hold them, so that a repetition penalty would matter.
        weights["lm_head.weight"][300:] *= 0.02
    for layer in range(layers):
        at = f"model.layers.{layer}."
        weights[at + "input_layernorm.weight"] = ones(hidden)
        weights[at + "post_attention_layernorm.weight"] = ones(hidden)
        for name, width in (("q", hidden), ("k", narrow), ("v", narrow)):
            weights[f"{at}self_attn.{name}_proj.weight"] = random(width, hidden)
            weights[f"{at}self_attn.{name}_proj.bias"] = random(width)
        weights[at + "self_attn.o_proj.weight"] = random(hidden, hidden)
        weights[at + "mlp.gate_proj.weight"] = random(inner, hidden)
        weights[at + "mlp.up_proj.weight"] = random(inner, hidden)
        weights[at + "mlp.down_proj.weight"] = random(hidden, inner)
    vision = CONFIG["vision_config"]
    wide = vision["embed_dim"]
    weights["visual.patch_embed.proj.weight"] = random(wide, 3, 2, 14, 14)
    for block in range(vision["depth"]):
        at = f"visual.blocks.{block}."
        for norm in ("norm1", "norm2"):
            weights[f"{at}{norm}.weight"], weights[f"{at}{norm}.bias"] = ones(wide), random(wide)
        for name, out, into in (
            ("attn.qkv", 3 * wide, wide),
            ("attn.proj", wide, wide),
            ("mlp.fc1", 4 * wide, wide),
            ("mlp.fc2", wide, 4 * wide),
        ):
            weights[f"{at}{name}.weight"], weights[f"{at}{name}.bias"] = random(out, into), random(out)
    weights["visual.merger.ln_q.weight"], weights["visual.merger.ln_q.bias"] = ones(wide), random(wide)
    for name, out in (("mlp.0", 4 * wide), ("mlp.2", hidden)):
        at = f"visual.merger.{name}"
        weights[f"{at}.weight"], weights[f"{at}.bias"] = random(out, 4 * wide), random(out)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
