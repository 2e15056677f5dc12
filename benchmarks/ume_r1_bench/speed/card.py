"""The model card's loop: transformers' ``generate`` with every step's hidden states, and nothing of ours.

Source: ``README.md`` of the release and of the model card; the blank image of a text and the state at the
*last generated* marker are ``eval_twomode.py``'s.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ume_r1_bench.speed.answer import Answer
from ume_r1_bench.speed.cell import Kind
from ume_r1_bench.speed.item import items
from ume_r1_bench.speed.runner import Runner
from ume_r1_bench.speed.way import Way
from ume_r1_rag.pooling import last_index, normalize
from ume_r1_rag.template import DISC_MARKER, GEN_MARKER, user_text

if TYPE_CHECKING:
    from ume_r1_rag.types import MultimodalInput

_BLANK: Final = 28
_TUNED_FROM: Final = 600_000
_TUNED_TOKENS: Final = 32
_HALVINGS: Final = 3


class CardRunner(Runner):
    """A checkpoint on transformers alone."""

    def __init__(self, path: Path) -> None:
        """Loads a checkpoint."""
        super().__init__()
        from ume_r1_rag.backends.loading import best_device, choose_dtype, load_model, load_processor

        self.device = best_device()
        self.processor: Any = load_processor(path)
        self.processor.tokenizer.padding_side = "left"
        self.model: Any = load_model(path, self.device, choose_dtype("auto", self.device))
        ids = self.processor.tokenizer.convert_tokens_to_ids
        self.disc_id, self.gen_id = ids(DISC_MARKER), ids(GEN_MARKER)
        self.end_id = ids("<|im_end|>")

    def prepare(self, way: Way, kind: Kind, tokens: int, concurrency: int) -> None:
        """Finds the quickest size of a batch for a cell; see ``Runner.prepare``."""
        self.batch = concurrency
        super().prepare(way, kind, tokens, concurrency)
        sizes = sorted({max(1, concurrency >> step) for step in range(_HALVINGS)})
        if len(sizes) == 1:
            return
        wave = items(kind, _TUNED_FROM, concurrency)
        took = {}
        for size in sizes:
            self.batch, began = size, time.perf_counter()
            list(self.answer(way, wave, min(tokens, _TUNED_TOKENS)))
            took[size] = time.perf_counter() - began
        self.batch = min(took, key=lambda size: took[size])

    def answer(
        self, way: Way, wave: Sequence[MultimodalInput], cap: int, watched: bool = True
    ) -> Iterator[Answer]:
        """Yields answers batch by batch; see ``Runner.answer``."""
        size = self.batch or len(wave)
        for start in range(0, len(wave), size):
            part = wave[start : start + size]
            found = self._generated(part, cap) if cap else self._prompts(part)
            for row, one in enumerate(found):
                yield Answer(start + row, *one)

    def replay(self, wave: Sequence[MultimodalInput], texts: Sequence[str]) -> Iterator[Answer]:
        """Yields the vectors of ``generate`` that is left no choice; see ``Runner.replay``."""
        encode = self.processor.tokenizer.encode
        forced = [encode(text, add_special_tokens=False) for text in texts]
        for at, one in enumerate(self._generated(wave, max(map(len, forced)) + 1, forced)):
            yield Answer(at, *one)

    def _generated(
        self, wave: Sequence[MultimodalInput], cap: int, forced: Sequence[list[int]] | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """Yields ids, their number with the end token, disc and gen of each input."""
        import torch

        from ume_r1_bench.speed.forced import Forced

        inputs = self._inputs(wave, [user_text(item.text or "") for item in wave])
        width = inputs["input_ids"].shape[1]
        with torch.no_grad():
            output = self.model.generate(
                **inputs,
                max_new_tokens=cap,
                do_sample=False,
                output_hidden_states=True,
                return_dict_in_generate=True,
                use_cache=True,
                logits_processor=[Forced(forced, width, self.end_id)] if forced else None,
            )
        for row, prompt in enumerate(inputs["input_ids"].tolist()):
            ids, decoded = until_end(output.sequences[row, width:].tolist(), self.model.generation_config)
            states = output.hidden_states
            disc, gen = last_index(prompt, self.disc_id), last_index(ids, self.gen_id)
            yield (
                ids,
                decoded,
                normalize(states[0][-1][row, disc].float().cpu()),
                # A step holds the state of the token before: the marker's is the next one's, if there is one.
                None
                if gen is None or gen + 1 == len(states)
                else normalize(states[gen + 1][-1][row, -1].float().cpu()),
            )

    def _prompts(self, wave: Sequence[MultimodalInput]) -> Iterator[tuple[Any, ...]]:
        """Yields the same with disc alone: one forward of prompts without the instruction."""
        import torch

        inputs = self._inputs(wave, [f"{item.text or ''}\n{DISC_MARKER}\n" for item in wave])
        with torch.no_grad():
            states = self.model(**inputs, output_hidden_states=True).hidden_states[-1]
        for row, prompt in enumerate(inputs["input_ids"].tolist()):
            yield (), 0, normalize(states[row, last_index(prompt, self.disc_id)].float().cpu()), None

    def _inputs(self, wave: Sequence[MultimodalInput], texts: Sequence[str]) -> dict[str, Any]:
        from PIL import Image

        chats, images, videos = [], list[Any](), list[Any]()
        for item, text in zip(wave, texts, strict=True):
            shown = list(item.images)
            if not shown and item.video is None:
                shown = [Image.new("RGB", (_BLANK, _BLANK), "white")]
            content: list[dict[str, str]] = [{"type": "image"}] * len(shown)
            images += shown
            frames: Any = item.video
            if frames is not None:
                content.append({"type": "video"})
                videos.append([*frames])
            content.append({"type": "text", "text": text})
            chats.append(
                self.processor.apply_chat_template(
                    [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
                )
            )
        return dict(
            self.processor(
                text=chats, images=images or None, videos=videos or None, padding=True, return_tensors="pt"
            ).to(self.device)
        )


def until_end(ids: list[int], config: Any) -> tuple[tuple[int, ...], int]:
    """Returns a row's ids without the end token and what follows, and their number with the end token."""
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    end = next((at for at, token in enumerate(ids) if token in ends), None)
    return (tuple(ids), len(ids)) if end is None else (tuple(ids[:end]), end + 1)
