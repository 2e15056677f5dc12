"""mteb's ``UMER1Wrapper``: its own messages, processor, ``generate`` and extraction.

Two things are changed, both in its favour: weights are computed with in the dtype that the others have (it
loads bfloat16, which some CPUs emulate), and video frames keep the checkpoint's size (it enlarges them).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ume_r1_bench.speed.answer import Answer
from ume_r1_bench.speed.card import until_end
from ume_r1_bench.speed.runner import Runner
from ume_r1_bench.speed.way import Way

if TYPE_CHECKING:
    from ume_r1_rag.types import MultimodalInput


class WrapperRunner(Runner):
    """mteb's wrapper on a checkpoint."""

    def __init__(self, path: Path) -> None:
        """Loads the checkpoint as mteb does."""
        super().__init__()
        import torch
        from mteb.models.model_implementations.ume_r1 import UMER1Wrapper

        from ume_r1_rag.backends.loading import best_device, choose_dtype, load_processor

        # It hands over options in a way that transformers warns of at every single call.
        logging.getLogger("transformers.processing_utils").setLevel(logging.ERROR)
        self._device = best_device()
        self._wrapper: Any = UMER1Wrapper(str(path), device=self._device)
        self._wrapper.model.to(getattr(torch, choose_dtype("auto", self._device)))
        self._wrapper.processor.video_processor.size = load_processor(path).video_processor.size

    def answer(
        self, way: Way, wave: Sequence[MultimodalInput], cap: int, watched: bool = True
    ) -> Iterator[Answer]:
        """Yields answers, of texts and pictures in one batch; see ``Runner.answer``."""
        return self._generated(wave, cap)

    def replay(self, wave: Sequence[MultimodalInput], texts: Sequence[str]) -> Iterator[Answer]:
        """Yields gen alone, of ``generate`` that is left no choice; see ``Runner.replay``."""
        encode = self._wrapper.processor.tokenizer.encode
        return self._generated(wave, 0, [encode(text, add_special_tokens=False) for text in texts])

    def _generated(
        self, wave: Sequence[MultimodalInput], cap: int, forced: Sequence[list[int]] | None = None
    ) -> Iterator[Answer]:
        size = 1 if wave[0].video is not None else len(wave)
        for start in range(0, len(wave), size):
            rows = slice(start, start + size)
            for row, one in enumerate(self._batch(wave[rows], cap, forced[rows] if forced else None)):
                yield Answer(start + row, *one)

    def _batch(
        self, wave: Sequence[MultimodalInput], cap: int, forced: Sequence[list[int]] | None
    ) -> Iterator[tuple[Any, ...]]:
        import torch

        from ume_r1_bench.speed.forced import Forced

        wrapper = self._wrapper
        # From here on as in the wrapper's `encode`, but for the cap.
        inputs = wrapper.processor.apply_chat_template(
            wrapper._build_messages(_rows(wave)),  # noqa: SLF001 -- its own message building is what is compared
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            padding=True,
            return_tensors="pt",
        ).to(self._device)
        width = inputs["input_ids"].shape[1]
        end = wrapper.processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
        with torch.no_grad():
            output = wrapper.model.generate(
                **inputs,
                max_new_tokens=max(map(len, forced)) + 1 if forced else cap,
                do_sample=False,
                output_hidden_states=True,
                return_dict_in_generate=True,
                use_cache=True,
                logits_processor=[Forced(forced, width, end)] if forced else None,
            )
        vectors: list[Any] = [None] * len(wave)
        rows = [
            until_end(ids.tolist(), wrapper.model.generation_config) for ids in output.sequences[:, width:]
        ]
        # Without a state after the marker it has nothing to take, and fails.
        if all(len(ids) < decoded for ids, decoded in rows):
            vectors = list(wrapper._extract_generative_reasoning_embeddings(output, inputs).numpy())  # noqa: SLF001 -- the same
        for (ids, decoded), vector in zip(rows, vectors, strict=True):
            yield ids, decoded, None, vector


def _rows(wave: Sequence[MultimodalInput]) -> dict[str, Any]:
    import torch

    rows: dict[str, Any] = {"text": [item.text or "" for item in wave]}
    if wave[0].images:
        rows["image"] = [list(item.images) for item in wave]
    if wave[0].video is not None:
        rows["video"] = [
            torch.from_numpy(np.stack([np.asarray(frame) for frame in item.video])).permute(0, 3, 1, 2)  # type: ignore[union-attr]
            for item in wave
        ]
    return rows
