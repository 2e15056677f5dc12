"""Writing: documents with their vectors, generations for what is stored, deletion."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ume_r1_rag.errors import ConfigError, IndexMismatch, InputError
from ume_r1_rag.index import alias, kept, schema, sparse
from ume_r1_rag.index import payload as payloads
from ume_r1_rag.index.scope import READ_BATCH, batches
from ume_r1_rag.index.searching import Searching
from ume_r1_rag.types import Document, Embedding

if TYPE_CHECKING:
    from qdrant_client import models

    from ume_r1_rag.index.filters import Filter
    from ume_r1_rag.index.postings import Postings
    from ume_r1_rag.index.stored import Stored

UPSERT_BATCH = 64
"""The most points of a request."""

REQUEST_BYTES = 24 * 2**20
"""The most bytes of a request; a server refuses 32 MiB."""

_NUMBER_BYTES = 24
"""A float or a term's id as JSON, at its longest, with the comma."""

_DEFAULT_THRESHOLD = 10_000
"""Qdrant's own indexing threshold in kilobytes, for a server that does not name it."""

DEFERRED = "ume_deferred_indexing"
"""The metadata field that holds a collection's own indexing threshold while :meth:`Writing.bulk` is on."""


class Writing(Searching):
    """What changes an index; part of ``QdrantIndex``.

    Attributes:
        store_reasoning: whether reasonings are kept, and searched by their words; summaries are in any case.
    """

    store_reasoning: bool

    def upsert(self, documents: Iterable[Document], embeddings: Iterable[Embedding]) -> int:
        """Writes documents with whichever vectors their embeddings have, and their words; returns how many.

        A point is replaced as a whole: vectors and fields of an earlier version are gone. The one exception
        is a vector that the embedding lacks: a stored one of the same content hash and encoder is kept, gen
        with its reasoning. Streams; a crash leaves each point either as it was or as it is now.

        Args:
            documents: the documents; of two with one key the later one stays.
            embeddings: one for each.

        Raises:
            InputError: an embedding has no vector, or one that is zero or not finite; a document is larger
                than a request may be.
            IndexMismatch: a vector has another dimension than the index.
            IndexRetired: another version took this one's place; what was written before that was taken over.
            ValueError: the two are not of one length.
        """
        pairs = zip(documents, embeddings, strict=True)
        count = 0
        while batch := list(itertools.islice(pairs, UPSERT_BATCH)):
            with self._current():
                completed = kept.complete(batch, self._kept(batch))
                # All are checked before the first is written.
                points = [self._point(d, e) for d, e in completed]
                self._write(points)
            count += len(batch)
        return count

    def write_gen(self, pairs: Iterable[tuple[Stored, Embedding]]) -> int:
        """Adds gen vectors with what was reasoned to stored points; returns how many now have them.

        A point whose content has changed since it was read, or that is gone, is left alone. Writing the same
        again changes nothing. Streams; a crash leaves each point either as it was or as it is now.

        Args:
            pairs: points, see :meth:`stored`, each with an embedding of the same content.

        Raises:
            InputError: an embedding has no gen vector, or one that is zero or not finite.
            IndexMismatch: an embedding is of another encoder than the point's other vector, or of another
                dimension than the index.
            IndexRetired: see :meth:`upsert`.
        """
        given = iter(pairs)
        count = 0
        while batch := list(itertools.islice(given, UPSERT_BATCH)):
            with self._current():
                records = self.records((one.id for one, _ in batch), vectors=True)
                points = [
                    self._generated(records[one.id], embedding)
                    for one, embedding in batch
                    if _unchanged(one, records.get(one.id))
                ]
                self._write(points, only_if_unchanged=True)
                count += len(points) if self._connection.embedded else self._taken(points)
        return count

    def delete(self, keys: Iterable[str] | None = None, filter: Filter = None) -> None:
        """Deletes documents by key, or all that match a filter; unknown keys are no error.

        Raises:
            ConfigError: both or none are given, or an empty filter, which would match everything.
            IndexRetired: see :meth:`upsert`.
        """
        from qdrant_client import models

        from ume_r1_rag.index.filters import to_filter

        if (keys is None) == (not filter):
            raise ConfigError("delete takes either keys= or a non-empty filter=")
        if keys is None:
            selected = to_filter(filter)
            if selected is None or not any(selected.model_dump(exclude_none=True).values()):
                raise ConfigError("an empty filter matches every document: delete the collection instead")
            with self._current():
                mine = self.where(selected) or selected
                self._forget_words()
                self._client.delete(self.physical, models.FilterSelector(filter=mine), wait=True)
            return
        for batch in batches((self._id(key) for key in keys), READ_BATCH):
            with self._current():
                # An id holds the tenant's name; the check is for points that others wrote under it.
                points: list[Any] = list(self.records(batch, fields=()))
                if points:
                    with self._words_kept() as words:
                        self._client.delete(self.physical, models.PointIdsList(points=points), wait=True)
                        if words is not None:
                            words.drop(points)

    @contextmanager
    def bulk(self) -> Iterator[None]:
        """Defers building the search graph on a server until the block ends; does nothing embedded.

        Searches in between compare what is new one by one, and are slow. A process that is killed within
        leaves the building deferred until the next ``bulk`` ends; :meth:`QdrantIndex.info` says so.
        """
        from qdrant_client import models

        if self._connection.embedded:
            yield
            return
        with self._connection.use():
            config = self._client.get_collection(self.physical).config
            # What a killed process left is noted here; the server's own value is 0 then.
            threshold = (config.metadata or {}).get(DEFERRED)
            if not isinstance(threshold, int):
                own = config.optimizer_config.indexing_threshold
                threshold = _DEFAULT_THRESHOLD if own is None else own
            self._client.update_collection(self.physical, metadata={DEFERRED: threshold})
            self._client.update_collection(
                self.physical, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0)
            )
        try:
            yield
        finally:
            with self._connection.use():
                self._client.update_collection(
                    self.physical,
                    optimizers_config=models.OptimizersConfigDiff(indexing_threshold=threshold),
                )
                self._client.update_collection(self.physical, metadata={DEFERRED: None})

    @contextmanager
    def _current(self) -> Iterator[None]:
        """Holds the client for a batch of changes to a version that is not retired."""
        with self._connection.use():
            alias.check_current(self._client, self.physical)
            try:
                yield
            finally:
                self._known.clear()
            if not self._connection.embedded:
                # A server serves others meanwhile: what came too late to be taken over must not be confirmed.
                alias.check_current(self._client, self.physical)

    def _kept(self, batch: Sequence[tuple[Document, Embedding]]) -> list[models.Record | None]:
        """Returns the stored points of the documents that one could complete."""
        ids = [self._id(d.key) if kept.lacks_one(d, e) else None for d, e in batch]
        wanted = [id for id in ids if id is not None]
        records = self.records(wanted, kept.FIELDS, schema.SPACES) if wanted else {}
        return [None if id is None else records.get(id) for id in ids]

    def _point(self, document: Document, embedding: Embedding) -> models.PointStruct:
        dense = {"disc": embedding.disc, "gen": embedding.gen}
        vectors: dict[str, Any] = {space: self._vector(v) for space, v in dense.items() if v is not None}
        if not vectors:
            raise InputError(f"{document.key!r} has neither a disc nor a gen vector: no search could find it")
        id = self._id(document.key)
        payload = payloads.build(
            document, embedding, id, tenant=self.tenant, store_reasoning=self.store_reasoning
        )
        return self._struct(id, vectors, payload)

    def _generated(self, record: models.Record, embedding: Embedding) -> models.PointStruct:
        payload = record.payload or {}
        key = payload.get("ume_key", record.id)
        if embedding.gen is None:
            raise InputError(f'{key!r} has no gen vector to write: encode with mode="gen" or "both"')
        if payload.get("ume_fingerprint", "") != embedding.fingerprint:
            raise IndexMismatch(
                f"the gen vector of {key!r} is of encoder {embedding.fingerprint!r}, its document was "
                f"indexed with {payload.get('ume_fingerprint', '')!r}: use that one, with its think budget"
            )
        stored = record.vector if isinstance(record.vector, dict) else {}
        vectors: dict[str, Any] = {space: stored[space] for space in schema.SPACES if space in stored}
        vectors["gen"] = self._vector(embedding.gen)
        generated = payloads.with_generation(payload, embedding, self.store_reasoning)
        return self._struct(str(record.id), vectors, generated)

    def _struct(self, id: str, vectors: dict[str, Any], payload: dict[str, Any]) -> models.PointStruct:
        """Returns a point with its words' vector, and the names of its vectors in its payload."""
        from qdrant_client import models

        words = sparse.document_vector(sparse.text_of(payload))
        if words is not None:
            vectors["text"] = words
        payload["ume_spaces"] = [space for space in schema.SEARCH_SPACES if space in vectors]
        return models.PointStruct(id=id, vector=vectors, payload=payload)

    def _write(self, points: Sequence[models.PointStruct], only_if_unchanged: bool = False) -> None:
        """Writes points in as many requests as their size needs."""
        requests = list(_requests(points))
        if requests:
            self._expect_tenants()
        for request in requests:
            with self._words_kept() as words:
                if not only_if_unchanged or self._connection.embedded:
                    self._client.upsert(self.physical, points=request, wait=True)
                else:
                    for point in request:
                        self._replace(point)
                if words is not None:
                    words.write(request)

    @contextmanager
    def _words_kept(self) -> Iterator[Postings | None]:
        """Hands out the words of an embedded collection to be changed with it; an error forgets them."""
        words = self._forget_words()
        yield words
        shelf = self._connection.postings
        if words is not None and shelf is not None:
            shelf[self.physical] = words

    def _forget_words(self) -> Postings | None:
        shelf = self._connection.postings
        return None if shelf is None else shelf.pop(self.physical, None)

    def _replace(self, point: models.PointStruct) -> None:
        """Writes a point to a server if its content is still the one that it was read with."""
        from qdrant_client import models

        content = (point.payload or {}).get("ume_content_hash")
        self._client.upsert(
            self.physical,
            points=[point],
            wait=True,
            update_filter=self.where({"content_hash": content}),
            update_mode=models.UpdateMode.UPDATE_ONLY,
        )

    def _taken(self, points: Sequence[models.PointStruct]) -> int:
        """Returns how many points a server has as they were written: it does not say which it refused."""
        fields = ("ume_content_hash", "ume_gen_fingerprint")
        found = self.records((str(point.id) for point in points), fields=fields)
        read = {id: record.payload or {} for id, record in found.items()}
        return sum(
            str(point.id) in read
            and all(read[str(point.id)].get(field) == (point.payload or {}).get(field) for field in fields)
            for point in points
        )


def _unchanged(one: Stored, record: models.Record | None) -> bool:
    return record is not None and (record.payload or {}).get("ume_content_hash", "") == one.content_hash


def _requests(points: Iterable[models.PointStruct]) -> Iterator[list[models.PointStruct]]:
    """Yields points in lists that a server takes.

    Raises:
        InputError: one point alone is too large.
    """
    batch: list[models.PointStruct] = []
    total = 0
    for point in points:
        size = point_bytes(point)
        if size > REQUEST_BYTES:
            key = (point.payload or {}).get("ume_key", point.id)
            raise InputError(
                f"{key!r} makes a point of about {size} bytes, more than a server takes ({REQUEST_BYTES}): "
                "split its text into parts, or store less metadata"
            )
        if batch and total + size > REQUEST_BYTES:
            yield batch
            batch, total = [], 0
        batch.append(point)
        total += size
    if batch:
        yield batch


def point_bytes(point: models.PointStruct) -> int:
    """Returns at most how many bytes a point takes in a request."""
    vectors: dict[str, Any] = point.vector if isinstance(point.vector, dict) else {}
    numbers = sum(2 * len(v.indices) if hasattr(v, "indices") else len(v) for v in vectors.values())
    # Escaped to ASCII, JSON is never shorter than the UTF-8 that is sent.
    return numbers * _NUMBER_BYTES + len(json.dumps(point.payload)) + 256
