"""Canaries: vectors of fixed inputs that a collection keeps, so that an encoder that has drifted is noticed.

A fingerprint says what vectors should depend on; another backend, library or kernel that computes something
else has the same one. The encoder's own vectors of two small inputs do not lie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ume_r1_rag.errors import IndexMismatch

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ume_r1_rag.index import QdrantIndex
    from ume_r1_rag.types import Encoder

LEAST_COSINE = 0.99
"""Rounding in 16 bits stays above it, whatever computes; anything that is wrong falls far below."""


def recheck(encoder: Encoder, index: QdrantIndex, *, keep: bool = False) -> None:
    """Compares an encoder's canaries with those of a collection.

    Encoders that have none are passed over, and so are collections, unless they are to ``keep`` these.

    Raises:
        IndexMismatch: they differ.
    """
    # A cache would answer with what was computed once; what counts is what is computed now.
    inner: Any = getattr(encoder, "encoder", encoder)
    if not hasattr(inner, "canaries"):
        return
    stored = index.canaries()
    if not stored and not keep:
        return
    ours: dict[str, npt.NDArray[np.float32]] = inner.canaries()
    if not stored:
        if ours:  # a server's model may have none
            index.keep_canaries(ours)
        return
    worst = min(
        ((float(ours[name] @ one), name) for name, one in stored.items() if name in ours), default=None
    )
    if worst is not None and not worst[0] >= LEAST_COSINE:
        raise IndexMismatch(
            f"collection {index.collection!r} was written by this model, but on the same input this encoder "
            f"gives another vector than it did then ({worst[1]}: cosine {worst[0]:.4f}). What runs the "
            "model computes something else: see `ume-r1 verify`, use the earlier backend or versions, or "
            "index again"
        )
