"""Sides of records → tensors: prompt and completion ids, labels, marker positions, patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ume_r1_rag.pooling import disc_index, gen_index
from ume_r1_rag.template import Preset, PromptTokenizer, VisualProcessor
from ume_r1_trainer.losses import IGNORE
from ume_r1_trainer.records import Side


@dataclass(frozen=True, slots=True)
class SideBatch:
    """B sides, padded on the right.

    Attributes:
        model_inputs: what the model's forward takes.
        labels: ``(B, L)``; completion and end token, ``IGNORE`` elsewhere.
        disc: ``(B,)`` position of the prompt's ``<disc_emb>``.
        gen: ``(B,)`` position of the completion's last ``<gen_emb>``.
    """

    model_inputs: dict[str, torch.Tensor]
    labels: torch.Tensor
    disc: torch.Tensor
    gen: torch.Tensor


class Collator:
    """Turns sides into batches with the template that the encoder uses.

    The records hold their blank images themselves, as the official data does, so none is added here.
    """

    def __init__(self, processor: Any, preset: Preset, root: Path) -> None:
        """Takes a Hugging Face processor, pixel limits (by preset) and the media root."""
        self.tokens = PromptTokenizer(processor.tokenizer)
        self._visual = VisualProcessor(processor, preset)
        self._end: int = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
        self._pad: int = processor.tokenizer.pad_token_id
        self._root = root

    def __call__(self, sides: Sequence[Side]) -> SideBatch:
        """Returns the batch of some sides."""
        images = [self._open(path) for side in sides for path in side.images]
        image_patches = self._visual.images(images) if images else None
        videos = [self._visual.video([self._open(f) for f in side.frames]) for side in sides if side.frames]
        image_tokens = iter(image_patches.tokens if image_patches else ())
        video_tokens = iter(patches.tokens[0] for patches in videos)
        rows, labels, disc, gen = [], [], [], []
        for side in sides:
            prompt = self.tokens.prompt_ids(side.text, len(side.images), 1 if side.frames else 0)
            prompt = self.tokens.expand(
                prompt, [next(image_tokens) for _ in side.images], [next(video_tokens)] if side.frames else []
            )
            completion = self.tokens.completion_ids(side.completion)
            marker = gen_index(completion, self.tokens.markers.gen)
            if marker is None:
                raise ValueError(f"a record's completion has no <gen_emb>: {side.completion[:80]!r}")
            rows.append([*prompt, *completion, self._end])
            labels.append([IGNORE] * len(prompt) + [*completion, self._end])
            disc.append(disc_index(prompt, self.tokens.markers.disc))
            gen.append(len(prompt) + marker)
        inputs = self._pad_rows(rows)
        if image_patches:
            inputs |= {"pixel_values": image_patches.pixels, "image_grid_thw": image_patches.grid}
        if videos:
            inputs["pixel_values_videos"] = torch.cat([patches.pixels for patches in videos])
            inputs["video_grid_thw"] = torch.cat([patches.grid for patches in videos])
        width = inputs["input_ids"].shape[1]
        padded = torch.tensor([row + [IGNORE] * (width - len(row)) for row in labels])
        return SideBatch(inputs, padded, torch.tensor(disc), torch.tensor(gen))

    def _pad_rows(self, rows: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[self._pad] * (width - len(row))] for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        kinds = (ids == self.tokens.image_id).int() + 2 * (ids == self.tokens.video_id).int()
        return {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": kinds}

    def _open(self, path: str) -> Image.Image:
        with Image.open(self._root / path) as image:
            return image.convert("RGB")
