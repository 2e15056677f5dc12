"""Sides of records → tensors: prompt and completion ids, labels, marker positions, patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError

from ume_r1_rag.pooling import disc_index, gen_index
from ume_r1_rag.template import Patches, PixelLimits, Preset, PromptTokenizer, VisualProcessor
from ume_r1_trainer.frames import FrameStamps
from ume_r1_trainer.losses import IGNORE
from ume_r1_trainer.records import BLANK, RecordError, Side


@dataclass(frozen=True, slots=True)
class SideBatch:
    """B sides, padded on the right.

    Attributes:
        model_inputs: what the model's forward takes.
        labels: ``(B, L)``; completion and end token, ``IGNORE`` elsewhere.
        disc: ``(B,)`` position of the prompt's ``<disc_emb>``.
        gen: ``(B,)`` position of the completion's last ``<gen_emb>``; of ``<disc_emb>`` where there is none.
    """

    model_inputs: dict[str, torch.Tensor]
    labels: torch.Tensor
    disc: torch.Tensor
    gen: torch.Tensor

    def to(self, device: str | torch.device) -> SideBatch:
        """Returns the batch on a device."""
        inputs = {k: v.to(device) for k, v in self.model_inputs.items()}
        return SideBatch(inputs, *(x.to(device) for x in (self.labels, self.disc, self.gen)))


class Collator:
    """Turns sides into batches with the template that the encoder uses.

    Official records hold their blank images themselves; ``BLANK`` stands for one where no file does.

    Attributes:
        tokens: the prompt's tokenizer.
    """

    def __init__(
        self, processor: Any, preset: Preset, root: Path, traces: bool = True, max_length: int | None = None
    ) -> None:
        """Prepares a collator.

        Args:
            processor: a Hugging Face processor of a backbone.
            preset: whose pixel limits apply.
            root: where media paths start.
            traces: read the completions; without them a side is its prompt up to ``<disc_emb>``, which is all
                that the disc vector sees.
            max_length: tokens of a side; a longer trace loses its middle, see ``_shortened``.
        """
        self.tokens = PromptTokenizer(processor.tokenizer)
        self._visual = VisualProcessor(processor, preset)
        self._stamps = FrameStamps.of(processor, self.tokens, preset)
        self._end: int = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
        self._pad: int = processor.tokenizer.pad_token_id
        self._root, self._traces, self._max_length = root, traces, max_length
        self._blank = Image.new("RGB", (preset.blank_size or 28,) * 2, "white")

    def __call__(self, sides: Sequence[Side]) -> SideBatch:
        """Returns the batch of some sides.

        Raises:
            RecordError: a picture cannot be read, or a trace is needed and absent.
        """
        images = [self._open(path) for side in sides for path in side.images]
        image_patches = self._visual.images(images) if images else None
        videos = [self._video(side) for side in sides if side.frames]
        image_tokens = iter(image_patches.tokens if image_patches else ())
        video_patches = iter(videos)
        rows, labels, disc, gen = [], [], [], []
        for side in sides:
            prompt = self._prompt(side, [next(image_tokens) for _ in side.images], video_patches)
            place = disc_index(prompt, self.tokens.markers.disc)
            completion = self._completion(side, len(prompt)) if self._traces else []
            prompt = prompt if self._traces else prompt[: place + 1]
            rows.append([*prompt, *completion])
            labels.append([IGNORE] * len(prompt) + completion)
            marker = gen_index(completion, self.tokens.markers.gen)
            disc.append(place)
            gen.append(place if marker is None else len(prompt) + marker)
        inputs = self._pad_rows(rows)
        if image_patches:
            inputs |= {"pixel_values": image_patches.pixels, "image_grid_thw": image_patches.grid}
        if videos:
            inputs["pixel_values_videos"] = torch.cat([patches.pixels for patches in videos])
            inputs["video_grid_thw"] = torch.cat([patches.grid for patches in videos])
        width = inputs["input_ids"].shape[1]
        padded = torch.tensor([row + [IGNORE] * (width - len(row)) for row in labels])
        return SideBatch(inputs, padded, torch.tensor(disc), torch.tensor(gen))

    def length(self, side: Side) -> int:
        """Returns about how many tokens a side has, from its texts' and pictures' sizes alone."""
        characters = len(side.text) + (len(side.completion) if self._traces else 0)
        visual = sum(self._visual_tokens(path, self._visual.image_limits) for path in side.images)
        if side.frames:
            frame = self._visual_tokens(side.frames[0], self._visual.frame_limits)
            visual += frame * (len(side.frames) + 1) // 2
        return characters // 4 + visual

    def _visual_tokens(self, path: str, limits: PixelLimits) -> int:
        if path == BLANK:
            return 4
        with Image.open(self._root / path) as image:
            pixels = image.width * image.height
        return min(max(pixels, limits.min_pixels), limits.max_pixels) // 784

    def _prompt(self, side: Side, image_tokens: list[int], videos: Any) -> tuple[int, ...]:
        prompt = self.tokens.prompt_ids(side.text, len(side.images), 1 if side.frames else 0)
        if not side.frames:
            return self.tokens.expand(prompt, image_tokens, [])
        patches = next(videos)
        if self._stamps is not None:
            return self._stamps.expand(self.tokens.expand(prompt, image_tokens, [1]), patches)
        return self.tokens.expand(prompt, image_tokens, [patches.tokens[0]])

    def _video(self, side: Side) -> Patches:
        frames = [self._open(path) for path in side.frames]
        return self._stamps.video(frames) if self._stamps is not None else self._visual.video(frames)

    def _completion(self, side: Side, taken: int) -> list[int]:
        if not side.completion:
            raise RecordError(
                f"a record has no trace, so it can train disc alone: {side.text[:80]!r}. "
                "Use the recipe dume, or write traces first (ume-r1 data annotate)"
            )
        completion = [*self.tokens.completion_ids(side.completion), self._end]
        if gen_index(completion, self.tokens.markers.gen) is None:
            raise RecordError(f"a record's completion has no <gen_emb>: {side.completion[:80]!r}")
        return self._shortened(completion, taken)

    def _shortened(self, completion: list[int], taken: int) -> list[int]:
        # Cutting off the end, as officially, would lose the summary and <gen_emb>: the middle of a
        # trace that is too long goes, and its last 256 tokens stay.
        room = (self._max_length or taken + len(completion)) - taken
        if len(completion) <= room:
            return completion
        tail = min(256, room // 2)
        if tail < 8:
            raise RecordError(
                f"max_length={self._max_length} leaves {max(room, 0)} tokens for a trace after a prompt of "
                f"{taken}: raise it, or choose a preset with smaller pictures"
            )
        return completion[: room - tail] + completion[-tail:]

    def _pad_rows(self, rows: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[self._pad] * (width - len(row))] for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        kinds = (ids == self.tokens.image_id).int() + 2 * (ids == self.tokens.video_id).int()
        return {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": kinds}

    def _open(self, path: str) -> Image.Image:
        if path == BLANK:
            return self._blank
        try:
            with Image.open(self._root / path) as image:
                return image.convert("RGB")
        except (UnidentifiedImageError, OSError) as error:
            raise RecordError(f"{self._root / path}: cannot be read as a picture ({error})") from error
