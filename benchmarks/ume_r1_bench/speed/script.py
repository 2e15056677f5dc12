"""Script: a checkpoint that writes a fixed number of tokens, the marker next to last, whatever it is shown.

A comparison needs completions of one length in every way, and a completion of UME-R1 ends with ``<gen_emb>``
and the end token. Forcing that from outside would take another option in every way, and mteb's wrapper has
none; so it is done in the weights. Token embeddings are made so large that the last state is nearly that of
the token just fed, and each token of a chain has, as its row of the output matrix, the embedding of the one
before it. Shapes, layers and so the work are the checkpoint's own; its words and vectors are not.
"""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any, Final

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.template import PromptTokenizer

SHORTEST: Final = 3
"""A token, the marker, the end."""

_SCALE: Final = 100.0
"""Size of an embedding's components; what a layer adds to one is some tens at most."""


def write_script(source: Path, tokens: int, target: Path, seed: int = 0) -> None:
    """Writes a checkpoint that generates ``tokens`` tokens, the end token among them.

    Args:
        source: the checkpoint whose shape it has.
        tokens: how many.
        target: a folder that does not exist.
        seed: of the chain and the embeddings.

    Raises:
        ConfigError: it cannot write so many different tokens, or so few.
        CheckpointError: ``source`` cannot be loaded.
    """
    import torch

    from ume_r1_rag.backends.loading import load_model, load_processor

    processor = load_processor(source)
    prompt = PromptTokenizer(processor.tokenizer, str(source))
    order = torch.Generator().manual_seed(seed)
    chain = _chain(processor.tokenizer, prompt, tokens, order)
    model = load_model(source, "cpu", "bfloat16")
    vectors = model.get_input_embeddings().weight
    rows, width = vectors.shape
    words = _SCALE * torch.randn(rows, width, generator=order)
    head = torch.nn.Linear(width, rows, bias=False)
    with torch.no_grad():
        vectors.copy_(words)
        head.weight.zero_()
        for before, after in itertools.pairwise(chain):
            head.weight[after] = words[before] / words[before].norm()
        model.model.language_model.norm.weight.fill_(1.0)
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = False
    model.lm_head = head.to(vectors.dtype)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors*", "config.json"))
    model.save_pretrained(target)


def _chain(tokenizer: Any, prompt: PromptTokenizer, tokens: int, order: Any) -> list[int]:
    """Returns the prompt's last token and, after it, the script."""
    import torch

    start = prompt.prompt_ids("x", 1, 0)[-1]
    added = {*tokenizer.added_tokens_decoder, start}
    plain = [one for one in sorted(tokenizer.get_vocab().values()) if one not in added]
    if not SHORTEST <= tokens <= len(plain) + 2:
        raise ConfigError(
            f"{tokens} tokens: a script has {SHORTEST} to {len(plain) + 2} of them with this tokenizer"
        )
    chosen = torch.randperm(len(plain), generator=order)[: tokens - 2].tolist()
    end: int = tokenizer.convert_tokens_to_ids("<|im_end|>")
    return [start, *(plain[at] for at in chosen), prompt.markers.gen, end]
