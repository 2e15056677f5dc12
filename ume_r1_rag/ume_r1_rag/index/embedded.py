"""Embedded: an embedded collection's vectors, taken from where they lie in memory, and whether all are there.

The client hands out vectors as lists of checked numbers: 30 ms for 200 of 1,536. What is read here is the
client's own state and no interface of it: wherever it is not as expected, the client is asked after all, and
a test holds both to the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from qdrant_client import QdrantClient

_STATE = ("ids", "payload", "vectors", "deleted", "deleted_per_vector")


def take(
    client: QdrantClient,
    physical: str,
    space: str,
    ids: Sequence[str],
    mine: Callable[[Mapping[str, Any]], bool],
) -> tuple[list[str], npt.NDArray[np.float32]] | None:
    """Returns vectors of given points, or None if the client must be asked. Hold the client meanwhile.

    Args:
        client: an embedded one.
        physical: the collection.
        space: the vectors' name.
        ids: the points.
        mine: whether a point with this payload may be looked at.

    Returns:
        The ids of those that have the vector, and a copy of these, ``(N, D)`` float32 of unit length.
    """
    held = _held(client, physical, space)
    if held is None:
        return None
    # One that is spelled otherwise, or absent, is the client's to tell.
    if not all(id in held.ids for id in ids):
        return None
    gone, lacks = held.deleted, held.deleted_per_vector[space]
    rows = {
        id: row
        for id, row in ((id, held.ids[id]) for id in ids)
        if not gone[row] and not lacks[row] and mine(held.payload[row])
    }
    return list(rows), held.vectors[space][list(rows.values())]


def covered(client: QdrantClient, physical: str, space: str) -> bool:
    """Returns whether every point has a vector; False also if that cannot be told. Hold the client meanwhile.

    Args:
        client: an embedded one.
        physical: the collection.
        space: the vectors' name.
    """
    held = _held(client, physical, space)
    if held is None or held.deleted.shape != held.deleted_per_vector[space].shape:
        return False
    return not (held.deleted_per_vector[space].astype(bool) & ~held.deleted.astype(bool)).any()


def _held(client: QdrantClient, physical: str, space: str) -> Any:
    """Returns the client's own state of a collection, or None if it is not as expected."""
    store = getattr(client, "_client", None)
    held: Any = None if getattr(store, "closed", True) else getattr(store, "collections", {}).get(physical)
    return held if all(hasattr(held, name) for name in _STATE) and space in held.vectors else None
