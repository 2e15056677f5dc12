"""Packed: both vectors of a document as one, for stores that hold one vector a document.

A document is ``[disc; gen]``, a query ``[w_disc * disc; w_gen * gen]``. Their dot product is the weighted sum
of the two cosines. All documents have the length sqrt(2), so a store that compares by cosine or by Euclidean
distance ranks alike: the two differ from the dot product by what is the same for every document.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ume_r1_rag.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vector = npt.NDArray[np.float32]

WEIGHTS = (0.5, 0.5)
"""Of disc and gen, if nobody says otherwise; no weight was tuned on a model."""


@dataclass(frozen=True, slots=True)
class StoreLimit:
    """The most dimensions that a store takes.

    Attributes:
        store: which one, and what of it.
        dimensions: the most of one vector.
        source: where it says so; read in November 2026.
    """

    store: str
    dimensions: int
    source: str


STORE_LIMITS = (
    StoreLimit(
        "pgvector's HNSW and IVFFlat over vector", 2_000, "https://github.com/pgvector/pgvector#vector-type"
    ),
    StoreLimit(
        "pgvector's HNSW and IVFFlat over halfvec", 4_000, "https://github.com/pgvector/pgvector#halfvec-type"
    ),
    StoreLimit(
        "Elasticsearch's dense_vector",
        4_096,
        "https://www.elastic.co/docs/reference/elasticsearch/mapping-reference/dense-vector",
    ),
    StoreLimit("Milvus", 32_768, "https://milvus.io/docs/limitations.md"),
)
"""Known limits, the lowest first. A store that is not here is not known to have one below 65,536."""


def pack_document(disc: Vector, gen: Vector) -> Vector:
    """Returns ``[disc; gen]``, ``(2D,)`` float32.

    Args:
        disc: ``(D,)`` of unit length.
        gen: ``(D,)`` of unit length.

    Raises:
        ConfigError: they are not of one length.
    """
    return _joined(disc, gen, (1.0, 1.0))


def pack_query(disc: Vector, gen: Vector, weights: tuple[float, float] = WEIGHTS) -> Vector:
    """Returns ``[w_disc * disc; w_gen * gen]``, ``(2D,)`` float32.

    Args:
        disc: ``(D,)`` of unit length.
        gen: ``(D,)`` of unit length.
        weights: of disc and gen; they may change from query to query, the documents stay as they are.

    Raises:
        ConfigError: the vectors are not of one length, or the weights are none.
    """
    return _joined(disc, gen, check_weights(weights))


def check_weights(weights: tuple[float, float]) -> tuple[float, float]:
    """Returns the weights of disc and gen.

    Raises:
        ConfigError: they are not two finite numbers of at least 0, one of them positive.
    """
    try:
        disc, gen = (float(weight) for weight in weights)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"weights={weights!r}: give two numbers, for disc and for gen") from error
    if not (math.isfinite(disc) and math.isfinite(gen)) or min(disc, gen) < 0 or max(disc, gen) == 0:
        raise ConfigError(f"weights={weights!r}: each is a finite number of at least 0, one of them positive")
    return disc, gen


def exceeded(dimensions: int) -> list[StoreLimit]:
    """Returns the limits that a vector of so many dimensions passes."""
    return [limit for limit in STORE_LIMITS if dimensions > limit.dimensions]


def _joined(disc: Vector, gen: Vector, weights: tuple[float, float]) -> Vector:
    import numpy as np

    first, second = np.asarray(disc, np.float32), np.asarray(gen, np.float32)
    if first.ndim != 1 or first.shape != second.shape:
        raise ConfigError(
            f"disc of shape {first.shape} and gen of shape {second.shape} cannot be packed: give two vectors "
            "of one length"
        )
    return np.concatenate([np.float32(weights[0]) * first, np.float32(weights[1]) * second])
