"""IndexInfo: what an index holds, in figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ume_r1_rag.index.storage import Storage


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What an index holds.

    Attributes:
        location: folder, ``":memory:"`` or URL.
        collection: the collection's name.
        physical: the version of it that is open.
        tenant: whose documents are counted.
        dimension: the length D of every dense vector.
        points: how many documents.
        coverage: how many of them have a vector, per space: disc, gen and text.
        fingerprint: the encoder's that wrote it.
        schema: version of the layout.
        storage: how the vectors are kept.
        store_reasoning: whether reasonings are kept.
        embedded: whether it runs in this process.
        deferred: whether the search graph is not being built, see :meth:`QdrantIndex.bulk`.
    """

    location: str
    collection: str
    physical: str
    tenant: str | None
    dimension: int
    points: int
    coverage: Mapping[str, int]
    fingerprint: Mapping[str, Any]
    schema: int
    storage: Storage
    store_reasoning: bool
    embedded: bool
    deferred: bool
