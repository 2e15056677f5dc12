"""Ours: the points through ``QdrantIndex`` and ``Retriever``, as their users call them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ume_r1_bench.stores.kinds import K, Kind
from ume_r1_bench.stores.points import Block, Points, Query
from ume_r1_bench.stores.store_bench import Ranking
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.retriever import Fusion, Retriever

_FUSIONS: Final[Mapping[Kind, Fusion]] = {"convex": "convex", "rrf": "rrf", "dbsf": "dbsf"}


class Ours:
    """An index with random points."""

    def __init__(self, points: Points, place: str) -> None:
        """Makes the index in a folder, or in ``":memory:"``."""
        self._index = QdrantIndex(place, fingerprint=points.fingerprint)
        self._retriever = Retriever(None, self._index)

    def prepare(self, block: Block) -> Any:
        """Returns what :meth:`write` takes; nothing is done ahead of it."""
        return block

    def write(self, block: Block) -> None:
        """Writes points."""
        self._index.upsert(block.documents, block.embeddings)

    def prepare_query(self, query: Query) -> Any:
        """Returns what :meth:`search` takes; nothing is done ahead of it."""
        return query

    def search(self, kind: Kind, queries: Sequence[Query], depth: int) -> list[Ranking]:
        """Returns what is found for each query; only a batch has several.

        Args:
            kind: how to search.
            queries: as prepared.
            depth: candidates of each space, where several are fused.
        """
        first = queries[0]
        search = self._retriever.search
        if kind == "batch":
            results = self._retriever.search_batch([one.embedding for one in queries], K, "disc")
        elif kind == "text":
            results = [search(first.words, K, "text")]
        elif kind in _FUSIONS:
            results = [
                search(
                    first.embedding,
                    K,
                    "fused",
                    spaces=("disc", "gen", "text"),
                    fusion=_FUSIONS[kind],
                    text=first.words,
                    candidates=depth,
                )
            ]
        elif kind == "grouped":
            results = [search(first.embedding, K, "disc", group_by="document")]
        elif kind == "filtered":
            results = [search(first.embedding, K, "disc", filter={"shelf": first.shelf})]
        else:
            results = [search(first.embedding, K, "gen" if kind == "gen" else "disc")]
        return [[(hit.id, hit.score) for hit in result.hits] for result in results]

    def close(self) -> None:
        """Closes the index."""
        self._index.close()
