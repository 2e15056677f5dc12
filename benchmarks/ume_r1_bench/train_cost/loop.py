"""The loop that somebody writes with transformers alone: all of a batch at once, equation 4, AdamW.

It shares data and losses with our step and nothing else: the processor tokenises and patches, the model makes
its own next-token loss over whole sequences, and vectors are read off its hidden states.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.nn import functional as F

from ume_r1_rag.template import user_text
from ume_r1_trainer.records import Pair, Side


class PlainLoop:
    """One model, its processor and AdamW."""

    def __init__(self, checkpoint: Path, root: Path, temperature: float) -> None:
        """Loads the checkpoint.

        Args:
            checkpoint: with markers.
            root: where media paths start.
            temperature: tau.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self._processor = AutoProcessor.from_pretrained(checkpoint, local_files_only=True)
        self._model: Any = AutoModelForImageTextToText.from_pretrained(
            checkpoint, dtype=torch.float32
        ).train()
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=5e-5)
        self._root, self._temperature = root, temperature
        ids = self._processor.tokenizer.convert_tokens_to_ids
        self._disc, self._gen, self._assistant = ids("<disc_emb>"), ids("<gen_emb>"), ids("<|im_start|>")

    def step(self, pairs: Sequence[Pair]) -> float:
        """Makes an optimiser step and returns the loss."""
        query, query_loss = self._encode([pair.query for pair in pairs])
        target, target_loss = self._encode([pair.positive for pair in pairs])
        loss = query_loss + target_loss
        gold = torch.arange(len(pairs))
        for q, t in zip(query, target, strict=True):
            scores = q @ t.T / self._temperature
            loss = loss + (F.cross_entropy(scores, gold) + F.cross_entropy(scores.T, gold)) / 2
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(loss)

    def _encode(self, sides: Sequence[Side]) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
        texts, images = [], []
        for side in sides:
            images += [Image.open(self._root / path).convert("RGB") for path in side.images]
            content: list[dict[str, str]] = [{"type": "image"}] * len(side.images)
            content = [*content, {"type": "text", "text": user_text(side.text)}]
            prompt = self._processor.apply_chat_template(
                [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
            )
            texts.append(prompt + side.completion + "<|im_end|>")
        inputs = self._processor(
            text=texts, images=images, padding=True, padding_side="right", return_tensors="pt"
        )
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        labels = ids.masked_fill(mask == 0, -100)
        places = torch.arange(ids.shape[1])
        # Everything up to "<|im_start|>assistant\n" is given.
        given = torch.where(ids == self._assistant, places, -1).amax(1, keepdim=True) + 2
        labels = labels.masked_fill(places <= given, -100)
        out = self._model(**inputs, labels=labels, output_hidden_states=True)
        states, rows = out.hidden_states[-1], torch.arange(len(sides))
        at = [torch.where(ids == marker, places, -1).amax(1) for marker in (self._disc, self._gen)]
        disc, gen = (F.normalize(states[rows, place], dim=-1) for place in at)
        return (disc, gen), out.loss
