"""Index: documents with a disc and a gen vector side by side in one Qdrant collection."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ume_r1_rag.errors import ConfigError, IndexMismatch, InputError
from ume_r1_rag.index import payload as payloads
from ume_r1_rag.index import schema
from ume_r1_rag.index.connection import connect
from ume_r1_rag.index.filters import to_filter
from ume_r1_rag.index.kept import complete
from ume_r1_rag.types import Document, Embedding, Hit, Space

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

    from ume_r1_rag.index.filters import Filter
    from ume_r1_rag.types import Vector

UPSERT_BATCH = 64
"""Points a request: with two 3,584-d vectors as JSON and a payload, well below a server's 32 MiB."""

READ_BATCH = 256


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What an index holds.

    Attributes:
        location: folder, ``":memory:"`` or URL.
        collection: the collection's name.
        dimension: the length D of every vector.
        points: how many documents.
        coverage: how many of them have a vector, per space.
        fingerprint: the encoder's that wrote it.
        schema: version of the layout.
    """

    location: str
    collection: str
    dimension: int
    points: int
    coverage: Mapping[str, int]
    fingerprint: Mapping[str, Any]
    schema: int


class QdrantIndex:
    """A Qdrant collection with the named vectors ``disc`` and ``gen``, embedded or on a server.

    Scores are cosines in [-1, 1]. Safe to call from several threads. Close it, or use it as a context
    manager: a folder has one user at a time.

    Attributes:
        collection: the collection's name.
        dimension: the length D of every vector.
        fingerprint: the encoder's that wrote the collection.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        url: str | None = None,
        api_key: str | None = None,
        collection: str = "ume_r1",
        dimension: int | None = None,
        fingerprint: Mapping[str, Any] | None = None,
        client: QdrantClient | None = None,
    ) -> None:
        """Opens a collection, and makes it if it is absent and a fingerprint is given.

        A writer gives its encoder's ``fingerprint``, every field of which must equal the stored one's. A
        reader gives none and calls :meth:`check`, as ``Retriever`` does.

        Args:
            path: a folder, or ``":memory:"``.
            url: a server. With neither path, url nor client: the one in ``QDRANT_URL``.
            api_key: the server's key.
            collection: the collection's name.
            dimension: the encoder's D; by default the fingerprint's field ``dimension``.
            fingerprint: what the encoder's vectors depend on; values as in JSON.
            client: an open client to share, which is then not closed with the index.

        Raises:
            ConfigError: no place or two; an absent collection and no fingerprint to make it from.
            IndexMismatch: the collection was written by another encoder, or has another shape.
            IndexLocked: another process holds the folder.
            IndexUnavailable: the folder is broken, or the server does not answer; any later call may raise
                it too.
        """
        self.collection = collection
        self._connection = connect(path, url, api_key, client, create=fingerprint is not None)
        # At exit too: the client's own destructor runs too late to import what it needs.
        self._finalizer = weakref.finalize(self, self._connection.close)
        try:
            with self._connection.use():
                self.dimension, self.fingerprint = self._open(dimension, fingerprint)
        except BaseException:
            self.close()
            raise

    @property
    def client(self) -> QdrantClient:
        """The client, e.g. to share with a framework's store; closed with the index unless it was given."""
        return self._connection.client

    def check(self, fingerprint: Mapping[str, Any], ignore: Collection[str] = ("think",)) -> None:
        """Raises ``IndexMismatch``, naming each field that differs, unless an encoder may query this index.

        Args:
            fingerprint: the encoder's.
            ignore: fields that may differ. By default the think budget: a query may think less than the
                documents did.
        """
        schema.check_fingerprint(self.fingerprint, fingerprint, self.collection, ignore)

    def upsert(self, documents: Iterable[Document], embeddings: Iterable[Embedding]) -> int:
        """Writes documents with whichever vectors their embeddings have; returns how many.

        A point is replaced as a whole: vectors and fields of an earlier version are gone. The one exception
        is a vector that the embedding lacks: a stored one of the same content hash and encoder is kept, gen
        with its reasoning. Streams; a crash leaves each point either as it was or as it is now.

        Args:
            documents: the documents; of two with one key the later one stays.
            embeddings: one for each.

        Raises:
            InputError: an embedding has no vector, or one that is zero or not finite.
            IndexMismatch: a vector has another dimension than the index.
            ValueError: the two are not of one length.
        """
        pairs = zip(documents, embeddings, strict=True)
        count = 0
        while batch := list(itertools.islice(pairs, UPSERT_BATCH)):
            with self._connection.use():
                points = [self._point(d, e) for d, e in complete(self.client, self.collection, batch)]
                self.client.upsert(self.collection, points=points, wait=True)
            count += len(batch)
        return count

    def search(
        self, vector: Vector | Sequence[float], space: Space, limit: int = 10, filter: Filter = None
    ) -> list[Hit]:
        """Returns the nearest documents of one space, best first; documents without that vector never.

        Args:
            vector: ``(D,)``, a query's vector of the same space.
            space: ``"disc"`` or ``"gen"``.
            limit: at most so many.
            filter: see :func:`ume_r1_rag.index.to_filter`.

        Raises:
            ConfigError: an unknown space, a limit below 1, an impossible filter.
            InputError: a vector that is zero or not finite.
            IndexMismatch: a vector of another dimension.
        """
        found = self.nearest(vector, space, limit, filter)
        return self.read(found, {space: found})

    def nearest(
        self, vector: Vector | Sequence[float], space: Space, limit: int = 10, filter: Filter = None
    ) -> dict[str, float]:
        """Returns what :meth:`search` does as ``{point id: cosine}``, best first, without payloads."""
        if limit < 1:
            raise ConfigError(f"limit={limit}: ask for at least one")
        found = self._query(vector, space, limit, self._filter(filter))
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def scores(self, vector: Vector | Sequence[float], space: Space, ids: Iterable[str]) -> dict[str, float]:
        """Returns the exact cosines of given points; one that is absent or lacks the vector is left out.

        Args:
            vector: ``(D,)``.
            space: ``"disc"`` or ``"gen"``.
            ids: point ids.

        Raises:
            ConfigError: an unknown space.
            InputError: a vector that is zero or not finite.
            IndexMismatch: a vector of another dimension.
        """
        from qdrant_client import models

        found: dict[str, float] = {}
        for batch in _batches(ids, READ_BATCH):
            only = models.Filter(must=[models.HasIdCondition(has_id=list(batch))])
            found |= self._query(vector, space, len(batch), self._filter(only), exact=True)
        return found

    def read(
        self, scores: Mapping[str, float], spaces: Mapping[str, Mapping[str, float]] | None = None
    ) -> list[Hit]:
        """Returns the hits of a ranking ``{point id: score}``, in its order, with their payloads.

        Args:
            scores: what becomes ``Hit.score``.
            spaces: per space ``{point id: cosine}``; what becomes ``Hit.scores``.
        """
        stored: dict[str, dict[str, Any]] = {}
        for batch in _batches(scores, READ_BATCH):
            with self._connection.use():
                records = self.client.retrieve(self.collection, ids=batch, with_payload=True)
            stored |= {str(record.id): record.payload or {} for record in records}
        by_id = {id: {s: of[id] for s, of in (spaces or {}).items() if id in of} for id in scores}
        # A point deleted in between is no hit.
        return [payloads.hit(stored[id], id, scores[id], by_id[id]) for id in scores if id in stored]

    def retrieve(self, keys: Iterable[str]) -> list[Hit]:
        """Returns the documents of given keys in their order, with a score of 0; absent ones are left out."""
        return self.read(dict.fromkeys((payloads.point_id(key) for key in keys), 0.0))

    def delete(self, keys: Iterable[str] | None = None, filter: Filter = None) -> None:
        """Deletes documents by key, or all that match a filter; unknown keys are no error.

        Raises:
            ConfigError: both or none are given, or an empty filter, which would match everything.
        """
        from qdrant_client import models

        if (keys is None) == (not filter):
            raise ConfigError("delete takes either keys= or a non-empty filter=")
        if keys is None:
            selected = self._filter(filter)
            if selected is None or not any(selected.model_dump(exclude_none=True).values()):
                raise ConfigError("an empty filter matches every document: delete the collection instead")
            with self._connection.use():
                self.client.delete(self.collection, models.FilterSelector(filter=selected), wait=True)
            return
        for batch in _batches((payloads.point_id(key) for key in keys), READ_BATCH):
            with self._connection.use():
                self.client.delete(self.collection, models.PointIdsList(points=list(batch)), wait=True)

    def scroll(self, filter: Filter = None, fields: Sequence[str] | None = None) -> Iterator[Hit]:
        """Yields every document, or every one that matches a filter, in order of id, with a score of 0.

        Args:
            filter: see :func:`ume_r1_rag.index.to_filter`.
            fields: payload fields to read, e.g. ``["ume_key"]``; all by default.
        """
        selected, offset = self._filter(filter), None
        while True:
            with self._connection.use():
                records, offset = self.client.scroll(
                    self.collection,
                    scroll_filter=selected,
                    limit=READ_BATCH,
                    offset=offset,
                    with_payload=list(fields) if fields is not None else True,
                )
            yield from (payloads.hit(record.payload or {}, str(record.id)) for record in records)
            if offset is None:
                return

    def count(self, filter: Filter = None) -> int:
        """Returns the exact number of documents, or of those that match a filter."""
        with self._connection.use():
            return self.client.count(self.collection, count_filter=self._filter(filter), exact=True).count

    def coverage(self) -> dict[str, int]:
        """Returns how many documents have a vector, per space."""
        from qdrant_client import models

        return {
            space: self.count(models.Filter(must=[models.HasVectorCondition(has_vector=space)]))
            for space in schema.SPACES
        }

    def info(self) -> IndexInfo:
        """Returns what the index holds."""
        return IndexInfo(
            location=self._connection.location,
            collection=self.collection,
            dimension=self.dimension,
            points=self.count(),
            coverage=self.coverage(),
            fingerprint=self.fingerprint,
            schema=schema.VERSION,
        )

    def close(self) -> None:
        """Closes the client and frees a folder; a second call does nothing."""
        self._finalizer()

    def __enter__(self) -> Self:
        """Returns the index itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it."""
        self.close()

    def _open(
        self, dimension: int | None, fingerprint: Mapping[str, Any] | None
    ) -> tuple[int, dict[str, Any]]:
        """Returns D and the fingerprint of the collection, made now if need be."""
        if dimension is None and fingerprint is not None:
            dimension = fingerprint.get("dimension")
        if not self.client.collection_exists(self.collection):
            if fingerprint is None or dimension is None:
                raise ConfigError(
                    f"there is no collection {self.collection!r} in {self._connection.location!r}: index "
                    "something first, e.g. with `ume-r1 index`, or give dimension= and fingerprint="
                )
            self._create(dimension, fingerprint)
        stored = schema.read(self.client.get_collection(self.collection), self.collection, dimension)
        if fingerprint is not None:
            schema.check_fingerprint(stored[1], fingerprint, self.collection)
        return stored

    def _create(self, dimension: int, fingerprint: Mapping[str, Any]) -> None:
        from qdrant_client import models

        self.client.create_collection(
            self.collection,
            vectors_config={
                space: models.VectorParams(size=dimension, distance=models.Distance.COSINE)
                for space in schema.SPACES
            },
            metadata=schema.metadata(fingerprint),
        )

    def _filter(self, filter: Filter) -> models.Filter | None:
        """Returns Qdrant's filter; every read that selects goes through here."""
        return to_filter(filter)

    def _point(self, document: Document, embedding: Embedding) -> models.PointStruct:
        from qdrant_client import models

        given = {"disc": embedding.disc, "gen": embedding.gen}
        vectors: dict[str, Any] = {space: self._vector(v) for space, v in given.items() if v is not None}
        if not vectors:
            raise InputError(f"{document.key!r} has neither a disc nor a gen vector: no search could find it")
        id = payloads.point_id(document.key)
        return models.PointStruct(id=id, vector=vectors, payload=payloads.build(document, embedding, id))

    def _query(
        self,
        vector: Vector | Sequence[float],
        space: Space,
        limit: int,
        filter: models.Filter | None,
        exact: bool = False,
    ) -> dict[str, float]:
        from qdrant_client import models

        if space not in schema.SPACES:
            raise ConfigError(f'space={space!r} is unknown: use "disc" or "gen"')
        # Embedded search is exact anyway, and warns when told so.
        params = models.SearchParams(exact=True) if exact and not self._connection.embedded else None
        query = self._vector(vector)
        with self._connection.use():
            found = self.client.query_points(
                self.collection,
                query=query,
                using=space,
                query_filter=filter,
                limit=limit,
                search_params=params,
                with_payload=False,
            ).points
        return {str(point.id): point.score for point in found}

    def _vector(self, vector: Vector | Sequence[float]) -> list[float]:
        """Returns a checked vector as the client takes it."""
        import numpy as np

        array = np.asarray(vector, dtype=np.float32)
        if array.shape != (self.dimension,):
            raise IndexMismatch(
                f"a vector of shape {array.shape} does not fit {self.collection!r}, which holds "
                f"{self.dimension} dimensions: use the encoder that the collection was written with"
            )
        if not np.isfinite(array).all() or not array.any():
            raise InputError("a vector holds NaN or infinity, or is zero: the encoder failed on this input")
        values: list[float] = array.tolist()
        return values


def _batches(items: Iterable[str], size: int) -> Iterator[list[str]]:
    left = iter(items)
    while batch := list(itertools.islice(left, size)):
        yield batch
