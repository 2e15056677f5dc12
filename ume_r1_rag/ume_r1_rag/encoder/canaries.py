"""Canaries: two fixed inputs, whose vectors show whether what runs a model still computes the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ume_r1_rag.types import Embedding, Space


def canaries(
    encode: Callable[[list[Any]], Sequence[Embedding]], spaces: Sequence[Space]
) -> dict[str, npt.NDArray[np.float32]]:
    """Returns the vectors of a text and a picture, ``(D,)`` each, by name, such as ``"text disc"``.

    Args:
        encode: gives their embeddings, in all spaces and with ``think="none"``: gen is of a forced
            completion, so that no word can fall another way.
        spaces: those.
    """
    from PIL import Image

    picture = Image.linear_gradient("L").resize((84, 84)).convert("RGB")
    found = encode(["a red circle", picture])
    return {
        f"{kind} {space}": one.vector(space)
        for kind, one in zip(("text", "picture"), found, strict=True)
        for space in spaces
    }
