"""A cheap encoder for tests: what is alike in words or colours is alike in vectors, without any model."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ume_r1_rag.encoder.fingerprint import digest
from ume_r1_rag.errors import ConfigError, UmeR1Error
from ume_r1_rag.inputs import to_inputs
from ume_r1_rag.media import load_image, load_video
from ume_r1_rag.template import INSTRUCTIONS
from ume_r1_rag.types import Embedding, Mode, MultimodalInput, Space, TokenCounts, answer, spaces_of


class HashEncoder:
    """Bags of words and of colours, each thrown in a direction that its hash, space and model decide.

    Attributes:
        calls: ``(role, mode, number of inputs)`` of every call, in order.
        seen: every input that was encoded, in order.
    """

    kinds = frozenset(INSTRUCTIONS)
    max_image_pixels = 128 * 128
    max_video_frames = 2

    def __init__(
        self,
        dimension: int = 32,
        model: str = "m1",
        spaces: Sequence[Space] = ("disc", "gen"),
        fail: Callable[[MultimodalInput], UmeR1Error | None] = lambda one: None,
        **fields: Any,
    ) -> None:
        """Makes an encoder.

        Args:
            dimension: D.
            model: another one gives other vectors and another fingerprint.
            spaces: what it can encode in.
            fail: gives the error of an input that is to fail.
            **fields: of the fingerprint besides.
        """
        self.dimension = dimension
        self.model = model
        self.spaces = tuple(spaces)
        self.fingerprint = {
            "weights": hashlib.sha256(model.encode()).hexdigest()[:16],
            "dimension": dimension,
            "think": "full",
            "model": model,
            **fields,
        }
        self.calls: list[tuple[str, Mode, int]] = []
        self.seen: list[MultimodalInput] = []
        self._fail = fail

    def encode_query(self, inputs: Any, mode: Mode = "disc", **options: Any) -> Any:
        return self._encode("query", inputs, mode, **options)

    def encode_document(self, inputs: Any, mode: Mode = "disc", **options: Any) -> Any:
        return self._encode("document", inputs, mode, **options)

    async def aencode_query(self, inputs: Any, mode: Mode = "disc", **options: Any) -> Any:
        return await asyncio.to_thread(self.encode_query, inputs, mode, **options)

    async def aencode_document(self, inputs: Any, mode: Mode = "disc", **options: Any) -> Any:
        return await asyncio.to_thread(self.encode_document, inputs, mode, **options)

    def close(self) -> None:
        """Does nothing."""

    def _encode(
        self,
        role: str,
        inputs: Any,
        mode: Mode,
        *,
        on_error: str = "raise",
        think: Any = "full",
        kind: Any = None,
    ) -> Any:
        wanted = spaces_of(mode)
        for space in wanted:
            if space not in self.spaces:
                raise ConfigError(f"mode={mode!r}: the encoder {self.model!r} has no {space} vectors")
        items, single = to_inputs(inputs, on_error="return")
        self.calls.append((role, mode, len(items)))
        found = [one if isinstance(one, UmeR1Error) else self._one(one, wanted, think) for one in items]
        return answer(found, single=single, on_error=on_error)

    def _one(self, one: MultimodalInput, wanted: Sequence[Space], think: Any) -> Embedding | UmeR1Error:
        self.seen.append(one)
        error = self._fail(one)
        if error is not None:
            return error
        try:
            bag = _bag(one)
        except UmeR1Error as unreadable:
            return unreadable
        words = " ".join(sorted(bag))
        gen = "gen" in wanted
        return Embedding(
            disc=self._vector("disc", bag) if "disc" in wanted else None,
            gen=self._vector("gen", bag) if gen else None,
            reasoning=f"It shows {words}." if gen else None,
            summary=f"Summary of {words}" if gen else None,
            gen_valid=True if gen else None,
            think=think,
            tokens=TokenCounts(prompt=len(bag), visual=len(one.images), completion=len(bag) if gen else 0),
            fingerprint=digest({**self.fingerprint, "think": think}),
        )

    def _vector(self, space: Space, bag: Counter[str]) -> np.ndarray:
        total = np.zeros(self.dimension)
        for word, count in bag.items():
            seed = hashlib.sha256(f"{self.model}/{space}/{word}".encode()).digest()
            total += count * np.random.default_rng(list(seed)).standard_normal(self.dimension)
        return (total / np.linalg.norm(total)).astype(np.float32)


def _bag(one: MultimodalInput) -> Counter[str]:
    """Returns the words of an input, and its colours (4 steps a channel) as words in shares of ten."""
    bag = Counter(re.findall(r"\w+", (one.text or "").casefold()))
    pictures = [load_image(source) for source in one.images]
    pictures += load_video(one.video, 2) if one.video is not None else []
    for picture in pictures:
        steps = np.asarray(picture.resize((32, 32)), dtype=np.uint8).reshape(-1, 3) // 64
        colours, counts = np.unique(steps, axis=0, return_counts=True)
        for (red, green, blue), count in zip(colours.tolist(), counts.tolist(), strict=True):
            bag[f"colour{red}{green}{blue}"] += 1 + 10 * count // len(steps)
    return bag or Counter(["nothing"])
