"""Plain: the same points through qdrant-client alone, the shortest way to the same answers.

Payloads and words' vectors are handed to it ready made: it pays for storing and searching, for nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from qdrant_client import QdrantClient, models

from ume_r1_bench.stores.kinds import K, Kind
from ume_r1_bench.stores.points import Block, Points, Query
from ume_r1_bench.stores.store_bench import Ranking
from ume_r1_rag.index import payload, sparse
from ume_r1_rag.types import Document, Embedding

NAME: Final = "plain"
UPSERT_BATCH: Final = 64

SPACES: Final = ("disc", "gen", "text")
RRF_K: Final = 61
"""Qdrant counts ranks from 0, our fusion with its constant of 60 from 1."""

_MINIMA: Final = {"disc": -1.0, "gen": -1.0, "text": 0.0}
_WEIGHTS: Final = {"disc": 1.0, "gen": 1.0, "text": 0.5}


@dataclass(frozen=True, slots=True, eq=False)
class PlainQuery:
    """A query as the client takes it.

    Attributes:
        vectors: per space.
        shelf: the one that a filtered search looks on.
    """

    vectors: Mapping[str, Any]
    shelf: int


def point(document: Document, embedding: Embedding) -> dict[str, Any]:
    """Returns id, payload and the words' vector of a point: what the client is given ready made."""
    id = payload.point_id(document.key)
    made = payload.build(document, embedding, id)
    return {"id": id, "payload": made, "text": sparse.document_vector(sparse.text_of(made))}


class Plain:
    """A collection with random points."""

    def __init__(self, points: Points, place: str) -> None:
        """Makes the collection in a folder, or in ``":memory:"``."""
        self.client = QdrantClient(place) if place == ":memory:" else QdrantClient(path=place)
        dense = models.VectorParams(size=points.dimension, distance=models.Distance.COSINE)
        self.client.create_collection(
            NAME,
            vectors_config={"disc": dense, "gen": dense},
            sparse_vectors_config={"text": models.SparseVectorParams(modifier=models.Modifier.IDF)},
        )

    def prepare(self, block: Block) -> Any:
        """Returns what :meth:`write` takes."""
        return self.prepare_pairs(block.documents, block.embeddings)

    def prepare_pairs(self, documents: Sequence[Document], embeddings: Sequence[Embedding]) -> Any:
        """Returns what :meth:`write` takes."""
        pairs = zip(documents, embeddings, strict=True)
        return [(point(document, embedding), embedding) for document, embedding in pairs]

    def write(self, prepared: Sequence[tuple[dict[str, Any], Embedding]]) -> None:
        """Writes points, those of a prepared block."""
        for start in range(0, len(prepared), UPSERT_BATCH):
            self.client.upsert(
                NAME,
                [
                    models.PointStruct(id=one["id"], vector=_vectors(one, embedding), payload=one["payload"])
                    for one, embedding in prepared[start : start + UPSERT_BATCH]
                ],
                wait=True,
            )

    def prepare_query(self, query: Query) -> PlainQuery:
        """Returns what :meth:`search` takes."""
        dense = {space: query.embedding.vector(space).tolist() for space in ("disc", "gen")}
        return PlainQuery({**dense, "text": sparse.query_vector(query.words)}, query.shelf)

    def search(self, kind: Kind, queries: Sequence[PlainQuery], depth: int) -> list[Ranking]:
        """Returns what is found for each query; only a batch has several.

        Args:
            kind: how to search.
            queries: as prepared.
            depth: candidates of each space, where several are fused.
        """
        first = queries[0]
        if kind == "batch":
            return self._batch(queries)
        if kind == "convex":
            return [self._convex(first, depth)]
        if kind == "rrf":
            fusion: Any = models.RrfQuery(rrf=models.Rrf(k=RRF_K))
            return [self._fused(first, fusion, depth)]
        if kind == "dbsf":
            return [self._fused(first, models.FusionQuery(fusion=models.Fusion.DBSF), depth)]
        if kind == "grouped":
            groups = self.client.query_points_groups(
                NAME, "ume_document", query=first.vectors["disc"], using="disc", limit=K, group_size=1
            ).groups
            return [_ranking(hit for group in groups for hit in group.hits)]
        space = "disc" if kind == "filtered" else kind
        only = None
        if kind == "filtered":
            match = models.MatchValue(value=first.shelf)
            only = models.Filter(must=[models.FieldCondition(key="ume_metadata.shelf", match=match)])
        found = self.client.query_points(
            NAME, query=first.vectors[space], using=space, limit=K, query_filter=only
        )
        return [_ranking(found.points)]

    def _batch(self, queries: Sequence[PlainQuery]) -> list[Ranking]:
        requests = [
            models.QueryRequest(query=one.vectors["disc"], using="disc", limit=K, with_payload=True)
            for one in queries
        ]
        found = self.client.query_batch_points(NAME, requests)
        return [_ranking(answer.points) for answer in found]

    def _fused(self, query: PlainQuery, fusion: Any, depth: int) -> Ranking:
        prefetch = [
            models.Prefetch(query=vector, using=space, limit=depth) for space, vector in query.vectors.items()
        ]
        found = self.client.query_points(NAME, prefetch=prefetch, query=fusion, limit=K)
        return _ranking(found.points)

    def _convex(self, query: PlainQuery, depth: int) -> Ranking:
        """Returns the best by a weighted mean of scaled scores, which the Query API has no fusion for.

        Its formulas would need the greatest score of each space, and so a request of their own before.
        """
        requests = [
            models.QueryRequest(query=vector, using=space, limit=depth)
            for space, vector in query.vectors.items()
        ]
        found = dict(zip(query.vectors, self.client.query_batch_points(NAME, requests), strict=True))
        fused: dict[str, float] = {}
        for space, answer in found.items():
            low = _MINIMA[space]
            best = max((hit.score for hit in answer.points), default=low)
            for hit in answer.points:
                share = _WEIGHTS[space] * (hit.score - low) / (best - low)
                fused[str(hit.id)] = fused.get(str(hit.id), 0.0) + share / sum(_WEIGHTS.values())
        best_ids = sorted(fused, key=fused.__getitem__, reverse=True)[:K]
        self.client.retrieve(NAME, best_ids)
        return [(id, fused[id]) for id in best_ids]

    def close(self) -> None:
        """Closes the client."""
        self.client.close()


def _vectors(one: Mapping[str, Any], embedding: Embedding) -> dict[str, Any]:
    dense = {"disc": embedding.disc, "gen": embedding.gen}
    vectors = {space: vector.tolist() for space, vector in dense.items() if vector is not None}
    return vectors if one["text"] is None else {**vectors, "text": one["text"]}


def _ranking(points: Iterable[models.ScoredPoint]) -> Ranking:
    return [(str(hit.id), hit.score) for hit in points]
