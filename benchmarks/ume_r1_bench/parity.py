"""Whether ``UmeR1Encoder`` computes what others compute of the same checkpoint: four comparisons, one table.

1. Forced: on identical token ids, against one plain transformers forward per input, its own processor called
   directly. Nothing of ours touches prompt, positions or padding there.
2. Free: each encoder decodes for itself, against mteb's ``UMER1Wrapper`` through its own messages, processor,
   ``generate`` and extraction. Where a generation has no ``<gen_emb>`` the two differ by design: the wrapper
   takes the row's last state, we force the marker and flag it. Those are counted apart, their texts compared.
   The wrapper enlarges frames to 128 tokens; a model that has seen small ones only may not end on such
   videos, so videos are compared a second time with the wrapper set to the checkpoint's own limits.
3. Batches: a batch of one against left-padded batches.

Run it with ``python -m ume_r1_bench.parity [--model nano]``; it needs the ``bench`` extra.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from ume_r1_bench.parity_inputs import ParityInput, parity_inputs
from ume_r1_bench.parity_report import Batched, Forced, Free, ParityReport
from ume_r1_rag import Embedding, UmeR1Encoder
from ume_r1_rag.template import NO_THINK_COMPLETION, PRESETS, PixelLimits
from ume_r1_rag.types import MultimodalInput

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import torch
    from PIL.Image import Image

    Vector = npt.NDArray[np.float32]

_OWN_FRAMES = replace(
    PRESETS["mteb"], name="mteb-own-frames", frame_limits=PixelLimits(1, 10**9), frames_replace_limits=False
)

MAX_NEW_TOKENS = 128
"""Cap of the free generations unless another is given; a nano's traces are shorter."""


class PlainForward:
    """A checkpoint with transformers alone: its processor, its chat template, one forward per input."""

    def __init__(self, path: Path, blank_size: int = 28) -> None:
        """Loads the checkpoint in float32; text-only inputs get a white image of that side."""
        import torch
        from mteb.models.model_implementations.ume_r1 import UME_R1_EMBED_PROMPT
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self._prompt = UME_R1_EMBED_PROMPT
        self._blank_size = blank_size
        self._processor: Any = AutoProcessor.from_pretrained(path)
        self._model: Any = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32).eval()

    def __call__(self, item: MultimodalInput, completion: Sequence[int]) -> tuple[list[int], Vector, Vector]:
        """Returns the prompt's ids and the normalised disc and gen of a prompt with that completion."""
        import torch

        inputs = self._inputs(item)
        ids = inputs["input_ids"][0].tolist()
        forced = torch.tensor([list(completion)])
        with torch.inference_mode():
            output = self._model(
                **{
                    **inputs,
                    "input_ids": torch.cat([inputs["input_ids"], forced], dim=1),
                    "attention_mask": torch.ones(1, len(ids) + len(completion), dtype=torch.long),
                    "mm_token_type_ids": torch.nn.functional.pad(
                        inputs["mm_token_type_ids"], (0, len(completion))
                    ),
                },
                output_hidden_states=True,
            )
        states = output.hidden_states[-1][0]
        markers = self._processor.tokenizer.convert_tokens_to_ids(["<disc_emb>", "<gen_emb>"])
        disc = max(at for at, token in enumerate(ids) if token == markers[0])
        gen = len(ids) + max(at for at, token in enumerate(completion) if token == markers[1])
        return ids, _unit(states[disc]), _unit(states[gen])

    def collapsed(self, ids: Sequence[int]) -> list[int]:
        """Returns ids with one pad token per visual, as a prompt is before its visuals are measured."""
        names = ["<|image_pad|>", "<|video_pad|>"]
        pads = self._processor.tokenizer.convert_tokens_to_ids(names)
        runs = ((token, list(run)) for token, run in groupby(ids))
        return [token for key, run in runs for token in ([key] if key in pads else run)]

    def _inputs(self, item: MultimodalInput) -> dict[str, Any]:
        images: list[Any] = list(item.images)
        if not images and item.video is None:
            images = [_blank(self._blank_size)]
        content: list[dict[str, str]] = [{"type": "image"}] * len(images)
        if item.video is not None:
            content.append({"type": "video"})
        content.append({"type": "text", "text": f"{_text(item)}\n<disc_emb>\n{self._prompt}"})
        chat = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        videos = None if item.video is None else [_frames(item.video)]
        return dict(self._processor(text=[chat], images=images or None, videos=videos, return_tensors="pt"))


class MtebWrapper:
    """mteb's encoder on a checkpoint, one input at a time."""

    def __init__(self, path: Path, dtype: str, max_new_tokens: int = MAX_NEW_TOKENS) -> None:
        """Loads the checkpoint as mteb does, then converts it to ``dtype``."""
        import torch
        from mteb.models.model_implementations.ume_r1 import UMER1Wrapper
        from transformers import AutoProcessor

        # It hands over options in a way that transformers warns of at every single call.
        logging.getLogger("transformers.processing_utils").setLevel(logging.ERROR)
        self._wrapper: Any = UMER1Wrapper(str(path), device="cpu")
        self._wrapper.model.to(getattr(torch, dtype))
        self._max_new_tokens = max_new_tokens
        self._own_frame_size = AutoProcessor.from_pretrained(path).video_processor.size

    def use_own_frame_limits(self) -> None:
        """Takes the checkpoint's pixel limits for frames instead of the wrapper's."""
        self._wrapper.processor.video_processor.size = self._own_frame_size

    def __call__(self, item: MultimodalInput) -> tuple[tuple[int, ...], Vector | None]:
        """Returns the generated ids without the end, and the normalised gen vector.

        The vector is None where there is no marker, or no state at it because it was the last token.
        """
        import torch

        wrapper = self._wrapper
        row: dict[str, Any] = {"text": [_text(item)]}
        if item.images:
            row["image"] = [list(item.images)]
        if item.video is not None:
            frames = np.stack([np.asarray(frame) for frame in _frames(item.video)])
            row["video"] = [torch.from_numpy(frames).permute(0, 3, 1, 2)]
        # From here on as in the wrapper's `encode`, but for the cap.
        inputs = wrapper.processor.apply_chat_template(
            wrapper._build_messages(row),  # noqa: SLF001 -- its own message building is what is compared
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            padding=True,
            return_tensors="pt",
        )
        with torch.no_grad():
            output = wrapper.model.generate(
                **inputs,
                max_new_tokens=self._max_new_tokens,
                do_sample=False,
                output_hidden_states=True,
                return_dict_in_generate=True,
                use_cache=True,
            )
        ids = output.sequences[0, inputs["input_ids"].shape[1] :].tolist()
        ends = wrapper.model.generation_config.eos_token_id
        written = ids[:-1] if ids[-1] in ends else ids
        if wrapper.gen_emb_id not in ids or ids[-1] == wrapper.gen_emb_id:
            return tuple(written), None
        vectors = wrapper._extract_generative_reasoning_embeddings(output, inputs)  # noqa: SLF001 -- the same
        return tuple(written), vectors[0].numpy()


def forced_parity(encoder: UmeR1Encoder, plain: PlainForward, inputs: Sequence[ParityInput]) -> Forced:
    """Compares an encoder (preset ``serving`` or ``paper``, float32) with plain forwards on the same ids."""
    items = [entry.item for entry in inputs]
    both = encoder.encode(items, "both")
    only = encoder.encode(items, "disc")
    none = encoder.encode(items, "gen", think="none")
    forced = encoder.backend.prompt_tokenizer.completion_ids(NO_THINK_COMPLETION)
    same_prompts = 0
    worst = {"disc": 0.0, "gen": 0.0, "none": 0.0, "both": 0.0}
    for item, ours, disc_only, no_think in zip(items, both, only, none, strict=True):
        ids, disc, gen = plain(item, ours.completion_ids)
        found = {
            "disc": _gap(ours.disc, disc),
            "gen": _gap(ours.gen, gen),
            "none": _gap(no_think.gen, plain(item, forced)[2]),
            "both": _gap(ours.disc, disc_only.disc),
        }
        worst = {name: max(worst[name], found[name]) for name in worst}
        same_prompts += (
            plain.collapsed(ids) == list(encoder.prompt_ids(item)) and len(ids) == ours.tokens.prompt
        )
    return Forced(len(items), same_prompts, worst["disc"], worst["gen"], worst["none"], worst["both"])


def free_parity(
    name: str, ours: Sequence[Embedding], reference: MtebWrapper, inputs: Sequence[ParityInput]
) -> Free:
    """Compares embeddings of preset ``mteb``, each encoded alone, with what mteb makes of the inputs."""
    cosines, kinds = [], set()
    same_texts = unmarked = answered = 0
    for entry, embedding in zip(inputs, ours, strict=True):
        ids, vector = reference(entry.item)
        if vector is not None:
            cosines.append(float(vector @ embedding.vector("gen")))
            kinds.add(entry.kind)
            same_texts += embedding.completion_ids == ids
            continue
        unmarked += 1
        complete = embedding.completion_ids == ids
        same_texts += complete or embedding.completion_ids[:-1] == ids
        answered += complete or embedding.gen_issue is not None
    return Free(name, frozenset(kinds), np.asarray(cosines, np.float32), unmarked, answered, same_texts)


def batch_parity(dtype: str, single: Sequence[Embedding], batched: Sequence[Embedding]) -> Batched:
    """Compares embeddings of inputs that were encoded one by one with those of the same inputs in batches."""
    pairs = list(zip(single, batched, strict=True))
    return Batched(
        dtype,
        np.asarray([float(one.vector("disc") @ many.vector("disc")) for one, many in pairs], np.float32),
        np.asarray([float(one.vector("gen") @ many.vector("gen")) for one, many in pairs], np.float32),
        sum(one.completion_ids == many.completion_ids for one, many in pairs),
    )


def run_parity(
    model: str | Path = "nano",
    inputs: Sequence[ParityInput] | None = None,
    *,
    bf16_inputs: Sequence[ParityInput] | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> ParityReport:
    """Returns every comparison of a checkpoint, on the CPU.

    Args:
        model: what ``UmeR1Encoder`` takes.
        inputs: what to encode; default ``parity_inputs()``.
        bf16_inputs: what to encode in bfloat16; default the same.
        max_new_tokens: cap of one generation.
    """
    chosen = parity_inputs() if inputs is None else inputs
    options: dict[str, Any] = {"device": "cpu", "max_new_tokens": max_new_tokens}
    encoder = UmeR1Encoder(model, dtype="float32", preset="serving", **options)
    forced = forced_parity(encoder, PlainForward(encoder.model_path), chosen)
    free, batched = [], []
    for dtype, entries in (("float32", chosen), ("bfloat16", bf16_inputs or chosen)):
        items = [entry.item for entry in entries]
        encoder = UmeR1Encoder(model, dtype=dtype, preset="mteb", **options)
        single = [encoder.encode(item, "both") for item in items]
        reference = MtebWrapper(encoder.model_path, dtype, max_new_tokens)
        free.append(free_parity(f"mteb's wrapper, {dtype}", single, reference, entries))
        batched.append(batch_parity(dtype, single, encoder.encode(items, "both", show_progress=False)))
        videos = [entry for entry in entries if entry.item.video is not None]
        encoder = UmeR1Encoder(model, dtype=dtype, preset=_OWN_FRAMES, **options)
        reference.use_own_frame_limits()
        shown = [encoder.encode(entry.item, "gen") for entry in videos]
        free.append(free_parity(f"the same, own frame limits, {dtype}", shown, reference, videos))
    return ParityReport(str(model), forced, tuple(free), tuple(batched))


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        prog="python -m ume_r1_bench.parity", description="Prints the parity table."
    )
    parser.add_argument("--model", default="nano", help="nano, a folder or a hub id")
    parser.add_argument("--max-new-tokens", type=int, default=MAX_NEW_TOKENS)
    chosen = parser.parse_args(arguments)
    print(run_parity(chosen.model, max_new_tokens=chosen.max_new_tokens).table())


def _gap(ours: Vector | None, reference: Vector) -> float:
    if ours is None:
        return float("inf")
    return float(np.abs(ours - reference).max())


def _unit(state: torch.Tensor) -> Vector:
    import torch

    vector: Vector = torch.nn.functional.normalize(state.float(), dim=-1).numpy()
    return vector


def _text(item: MultimodalInput) -> str:
    return " ".join(part for part in (item.instruction, item.text) if part)


def _frames(video: Any) -> list[Image]:
    return list(video)


def _blank(side: int) -> Image:
    from PIL import Image

    return Image.new("RGB", (side, side), "white")


if __name__ == "__main__":
    main()
