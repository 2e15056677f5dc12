"""Words: an encoder of nothing, for an index that is searched by its words alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ume_r1_rag.encoder.fingerprint import digest
from ume_r1_rag.errors import UmeR1Error
from ume_r1_rag.inputs import to_inputs
from ume_r1_rag.types import Embedding, Inputs, Mode, Space, answer


class NoEncoder:
    """Gives everything one vector, so that what such an index costs is reading and writing words."""

    dimension = 2
    spaces: tuple[Space, ...] = ("disc",)
    kinds: frozenset[str] = frozenset()
    max_image_pixels = 28 * 28
    max_video_frames = 1

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """What there is to know."""
        return {"encoder": "none", "dimension": self.dimension}

    def encode_query(self, inputs: Inputs, mode: Mode = "disc", **options: Any) -> Any:
        """Returns one ``Embedding`` an input."""
        return self._encode(inputs, options.get("on_error", "raise"))

    def encode_document(self, inputs: Inputs, mode: Mode = "disc", **options: Any) -> Any:
        """Returns one ``Embedding`` an input."""
        return self._encode(inputs, options.get("on_error", "raise"))

    async def aencode_query(self, inputs: Inputs, mode: Mode = "disc", **options: Any) -> Any:
        """``encode_query`` without blocking the event loop."""
        return await asyncio.to_thread(self.encode_query, inputs, mode, **options)

    async def aencode_document(self, inputs: Inputs, mode: Mode = "disc", **options: Any) -> Any:
        """``encode_document`` without blocking the event loop."""
        return await asyncio.to_thread(self.encode_document, inputs, mode, **options)

    def _encode(self, inputs: Inputs, on_error: Any) -> Any:
        import numpy as np

        items, single = to_inputs(inputs, on_error="return")
        vector = np.asarray([1.0, 0.0], dtype=np.float32)
        made = Embedding(vector, None, fingerprint=digest(dict(self.fingerprint)))
        results = [one if isinstance(one, UmeR1Error) else made for one in items]
        return answer(results, single=single, on_error=on_error)
