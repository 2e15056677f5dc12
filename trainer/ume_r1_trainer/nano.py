"""A Qwen2-VL of a few MB from scratch: the same architecture, prompt and protocol as UME-R1's backbone.

The tokenizer is a byte-level BPE (it covers any byte) trained on the records' own texts and the official
instruction; chat and vision tokens are special, the two markers are ordinary added tokens, as officially.
Head size 32 and the vision sizes are ones that vLLM's CPU backend takes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ume_r1_rag.template import DISC_MARKER, GEN_MARKER, user_text
from ume_r1_trainer.corpus import Corpus

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
MIN_PIXELS = 56 * 56
MAX_PIXELS = 224 * 224

# Qwen2-VL gives height and width the lower frequencies of a head. Of a head of 32 they keep so few that with
# the usual base of 10,000 neighbouring columns of a page differ by 0.003 radian, and its text cannot be read.
ROPE_THETA = 5.0

# Qwen2-VL's chat template, reduced to what the prompt needs: one system line, visuals as single pads.
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content %}"
    "<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def texts(records: Corpus, limit: int = 8000) -> Iterator[str]:
    """Yields the texts a tokenizer should know, about ``limit`` records spread over the file."""
    for row in range(0, len(records), max(1, len(records) // limit)):
        pair = records[row]
        for side in (pair.query, pair.positive):
            yield side.text
            yield side.completion.replace(GEN_MARKER, "")


def train_tokenizer(corpus: Iterable[str], vocab_size: int, markers: bool = True) -> Any:
    """Returns a Qwen2-style tokenizer of ``vocab_size`` entries, added tokens not counted.

    Args:
        corpus: what it should know.
        vocab_size: entries.
        markers: add ``<gen_emb>`` and ``<disc_emb>``; without them it is like a backbone's own.
    """
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        trainers,
    )
    from transformers import Qwen2Tokenizer
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    bpe = Tokenizer(models.BPE(byte_fallback=False))
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    # The instruction stands in every prompt: give its words a weight that merges them into single tokens.
    official = [user_text("system You are a helpful assistant.\nuser\nassistant\n")] * 2000
    cleaned = (text.replace(DISC_MARKER, "\n").replace(GEN_MARKER, "\n") for text in (*official, *corpus))
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    bpe.train_from_iterator(cleaned, trainer)
    spec = json.loads(bpe.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=spec["vocab"],
        merges=[tuple(merge) for merge in spec["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
    )
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    names = (GEN_MARKER, DISC_MARKER) if markers else ()
    tokenizer.add_tokens([AddedToken(name, special=False, normalized=False) for name in names])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_config(tokenizer: Any, size: dict[str, int]) -> Any:
    """Returns the model's configuration.

    Args:
        tokenizer: what ``train_tokenizer`` returned.
        size: ``hidden``, ``layers``, ``heads``, ``kv_heads``, ``intermediate``, ``vision``, ``vision_depth``,
            ``vision_heads``.
    """
    from transformers import Qwen2VLConfig

    ids = tokenizer.convert_tokens_to_ids
    return Qwen2VLConfig(
        text_config={
            "vocab_size": (len(tokenizer) + 63) // 64 * 64,
            "hidden_size": size["hidden"],
            "intermediate_size": size["intermediate"],
            "num_hidden_layers": size["layers"],
            "num_attention_heads": size["heads"],
            "num_key_value_heads": size["kv_heads"],
            "max_position_embeddings": 32768,
            "rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": ROPE_THETA},
            "bos_token_id": ids("<|endoftext|>"),
            "eos_token_id": ids("<|im_end|>"),
            "pad_token_id": ids("<|endoftext|>"),
            "initializer_range": 0.05,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": size["vision_depth"],
            "embed_dim": size["vision"],
            "hidden_size": size["hidden"],
            "num_heads": size["vision_heads"],
            "mlp_ratio": 4,
            "initializer_range": 0.05,
        },
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )


def build(directory: Path, records: Corpus, vocab_size: int, size: dict[str, int], seed: int) -> None:
    """Writes an untrained nano: weights, tokenizer, processors, generation config."""
    import torch
    from transformers import (
        GenerationConfig,
        Qwen2VLForConditionalGeneration,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
    )

    tokenizer = train_tokenizer(texts(records), vocab_size)
    limits = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}
    processor = Qwen2VLProcessor(
        Qwen2VLImageProcessor(size=dict(limits)),
        tokenizer,
        Qwen2VLVideoProcessor(size=dict(limits)),
        chat_template=CHAT_TEMPLATE,
    )
    torch.manual_seed(seed)
    model = Qwen2VLForConditionalGeneration(make_config(tokenizer, size))
    end, pad = tokenizer.convert_tokens_to_ids("<|im_end|>"), tokenizer.convert_tokens_to_ids("<|endoftext|>")
    model.generation_config = GenerationConfig(eos_token_id=[end, pad], pad_token_id=pad, do_sample=False)
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
