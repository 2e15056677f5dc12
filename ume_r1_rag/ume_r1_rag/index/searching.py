"""Searching: the nearest points of one space, by cosine or by words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ume_r1_rag.errors import ConfigError, IndexMismatch, InputError
from ume_r1_rag.index import schema, sparse
from ume_r1_rag.index.embedded_groups import best_groups, value_at
from ume_r1_rag.index.filters import field_path, to_filter
from ume_r1_rag.index.postings import Postings
from ume_r1_rag.index.reading import EMBEDDED_PAGE, Reading
from ume_r1_rag.index.scope import READ_BATCH, batches
from ume_r1_rag.types import Hit, SearchSpace, Space

if TYPE_CHECKING:
    from qdrant_client import models

    from ume_r1_rag.index.filters import Filter
    from ume_r1_rag.index.storage import Storage
    from ume_r1_rag.types import Vector

    Query: TypeAlias = "Vector | Sequence[float] | str"


class Searching(Reading):
    """What a search needs; part of ``QdrantIndex``.

    Attributes:
        dimension: the length D of every dense vector.
        storage: how vectors are kept, and searched.
    """

    dimension: int
    storage: Storage

    def search(self, query: Query, space: SearchSpace, limit: int = 10, filter: Filter = None) -> list[Hit]:
        """Returns the nearest documents of one space, best first; documents without that vector never.

        Args:
            query: ``(D,)``, a query's vector of the same space; for ``"text"`` the query's words.
            space: ``"disc"``, ``"gen"`` or ``"text"``.
            limit: at most so many.
            filter: see :func:`ume_r1_rag.index.to_filter`.

        Raises:
            ConfigError: an unknown space, a limit below 1, an impossible filter, words for a vector.
            InputError: a vector that is zero or not finite.
            IndexMismatch: a vector of another dimension.
        """
        found = self.nearest(query, space, limit, filter)
        return self.read(found, {space: found})

    def nearest(
        self,
        query: Query,
        space: SearchSpace,
        limit: int = 10,
        filter: Filter = None,
        *,
        missing: Space | None = None,
    ) -> dict[str, float]:
        """Returns what :meth:`search` does as ``{point id: score}``, best first, without payloads.

        A score is a cosine in [-1, 1]; for ``"text"`` it is BM25, above 0, and only documents with one of
        the query's words have one.

        Args:
            query: see :meth:`search`.
            space: see :meth:`search`.
            limit: at most so many.
            filter: see :func:`ume_r1_rag.index.to_filter`.
            missing: look only among documents that lack the vector of this space.
        """
        asked = self._asked(query, space, limit)
        if asked is None:
            return {}
        with self._connection.use():
            if space == "text" and (words := self._words()) is not None:
                return _best(self._told(words, asked, _lacking(missing, filter), limit), limit)
            found = self._client.query_points(
                self.physical,
                query=asked,
                using=space,
                query_filter=self.where(_lacking(missing, filter)),
                limit=limit,
                search_params=self._params(space),
                with_payload=False,
            ).points
        return _ranking(found)

    def nearest_batch(
        self, queries: Sequence[tuple[Query, SearchSpace]], limit: int = 10, filter: Filter = None
    ) -> list[dict[str, float]]:
        """Returns what :meth:`nearest` does for each of several queries, in one request.

        Args:
            queries: queries, each with its space.
            limit: at most so many for each.
            filter: see :func:`ume_r1_rag.index.to_filter`.
        """
        from qdrant_client import models

        asked = [self._asked(query, space, limit) for query, space in queries]
        found: dict[int, dict[str, float]] = {}
        with self._connection.use():
            where = self.where(filter)
            requests: dict[int, models.QueryRequest] = {}
            for at, (query, (_, space)) in enumerate(zip(asked, queries, strict=True)):
                if query is None:
                    found[at] = {}
                elif space == "text" and (words := self._words()) is not None:
                    found[at] = _best(self._told(words, query, filter, limit), limit)
                else:
                    params = self._params(space)
                    requests[at] = models.QueryRequest(
                        query=query, using=space, filter=where, limit=limit, params=params
                    )
            if requests:
                answers = self._client.query_batch_points(self.physical, list(requests.values()))
                found |= {at: _ranking(one.points) for at, one in zip(requests, answers, strict=True)}
        return [found[at] for at in range(len(asked))]

    def nearest_groups(
        self,
        query: Query,
        space: SearchSpace,
        limit: int = 10,
        group_by: str = "document",
        group_size: int = 1,
        filter: Filter = None,
    ) -> dict[str, float]:
        """Returns the best points of the best groups as ``{point id: score}``, best first.

        Args:
            query: see :meth:`search`.
            space: see :meth:`search`.
            limit: at most so many groups.
            group_by: the payload field whose values make the groups, named as in a filter.
            group_size: at most so many points of each.
            filter: see :func:`ume_r1_rag.index.to_filter`.
        """
        if group_size < 1:
            raise ConfigError(f"group_size={group_size}: ask for at least one")
        asked = self._asked(query, space, limit)
        if asked is None:
            return {}
        path = field_path(group_by)
        if self._connection.embedded and "[" not in path:
            with self._connection.use():
                return best_groups(
                    lambda depth: self.nearest(query, space, depth, filter),
                    lambda ids: {
                        id: value_at(record.payload, path)
                        for id, record in self.records(ids, fields=[path]).items()
                    },
                    limit,
                    group_size,
                )
        with self._connection.use():
            groups = self._client.query_points_groups(
                self.physical,
                group_by=path,
                query=asked,
                using=space,
                query_filter=self.where(filter),
                limit=limit,
                group_size=group_size,
                search_params=self._params(space),
                with_payload=False,
            ).groups
        return _ranking([point for group in groups for point in group.hits])

    def scores(self, query: Query, space: SearchSpace, ids: Iterable[str]) -> dict[str, float]:
        """Returns the exact scores of given points; one that is absent or lacks the vector is left out.

        For ``"text"`` every point has one: 0 if it has none of the query's words.

        Args:
            query: see :meth:`search`.
            space: see :meth:`search`.
            ids: point ids.

        Raises:
            ConfigError: an unknown space, words for a vector.
            InputError: a vector that is zero or not finite.
            IndexMismatch: a vector of another dimension.
        """
        asked = self._asked(query, space)
        wanted = list(dict.fromkeys(ids))
        if space == "text":
            with self._connection.use():
                found = dict.fromkeys(self.records(wanted, fields=()), 0.0)
                if asked is None or not found:
                    return found
                words = self._words()
                if words is not None and not isinstance(asked, list):
                    return found | words.scores(asked, self.tenant, found)
                return found | self._scored(asked, space, list(found))
        # Embedded Qdrant compares a query with every vector there is, and each filter with every payload.
        return (
            self._dots(asked, space, wanted)
            if self._connection.embedded
            else self._scored(asked, space, wanted)
        )

    def _scored(self, asked: Any, space: SearchSpace, ids: Sequence[str]) -> dict[str, float]:
        """Returns scores as the store computes them, exactly."""
        from qdrant_client import models

        found: dict[str, float] = {}
        for batch in batches(ids, READ_BATCH):
            only = models.Filter(must=[models.HasIdCondition(has_id=list(batch))])
            with self._connection.use():
                points = self._client.query_points(
                    self.physical,
                    query=asked,
                    using=space,
                    query_filter=self.where(only),
                    limit=len(batch),
                    search_params=self._params(space, exact=True),
                    with_payload=False,
                ).points
            found |= {str(point.id): point.score for point in points}
        return found

    def _dots(self, asked: Any, space: Space, ids: Sequence[str]) -> dict[str, float]:
        """Returns cosines computed here from the stored vectors, which are of unit length."""
        import numpy as np

        query = np.asarray(asked, dtype=np.float32)
        query /= np.linalg.norm(query)
        have, vectors = self.vectors(space, ids)
        return dict(zip(have, (vectors @ query).tolist(), strict=True)) if have else {}

    def _words(self) -> Postings | None:
        """Returns the words of an embedded collection, read now if need be, or None if the store must say."""
        shelf = self._connection.postings
        if shelf is None:
            return None
        words = shelf.get(self.physical)
        if words is None or words.worn:
            words = shelf[self.physical] = Postings.read(self._client, self.physical)
        return words

    def _told(self, words: Postings, asked: Any, filter: Filter, limit: int) -> dict[str, float]:
        """Returns the best scores of this tenant's points that match a filter and have one of the words."""
        if filter is None:
            return words.scores(asked, self.tenant, limit=limit)
        pages = self.pages(filter, (), EMBEDDED_PAGE)
        return words.scores(asked, self.tenant, (str(one.id) for page in pages for one in page), limit)

    def _asked(
        self, query: Query, space: SearchSpace, limit: int = 1
    ) -> list[float] | models.SparseVector | None:
        """Returns the query as the store takes it, or None if there is no word in it."""
        if space not in schema.SEARCH_SPACES:
            raise ConfigError(f'space={space!r} is unknown: use "disc", "gen" or "text"')
        if limit < 1:
            raise ConfigError(f"limit={limit}: ask for at least one")
        if (space == "text") != isinstance(query, str):
            # The store would take a string for the id of a point whose vector is to be the query.
            raise ConfigError(
                f"space={space!r} takes {'words' if space == 'text' else 'a vector'}, not {query!r:.80}"
            )
        return sparse.query_vector(query) if isinstance(query, str) else self._vector(query)

    def _params(self, space: SearchSpace, exact: bool = False) -> models.SearchParams | None:
        from qdrant_client import models

        if space != "text":
            # Embedded search is exact anyway, and warns when told so.
            return None if self._connection.embedded else self.storage.search_params(exact)
        mine = self.where(None)
        if mine is None:
            return None
        # How rare a word is among a tenant's own documents: others' must not show through the scores.
        return models.SearchParams(idf=models.IdfCorpusParams(corpus=mine))

    def _vector(self, vector: Vector | Sequence[float]) -> list[float]:
        """Returns a checked vector as the client takes it."""
        import numpy as np

        try:
            array = np.asarray(vector, dtype=np.float32)
        except (TypeError, ValueError):
            raise ConfigError(f"{vector!r:.80} is no vector: give {self.dimension} numbers") from None
        if array.shape != (self.dimension,):
            raise IndexMismatch(
                f"a vector of shape {array.shape} does not fit {self.physical!r}, which holds "
                f"{self.dimension} dimensions: use the encoder that the collection was written with"
            )
        if not np.isfinite(array).all() or not array.any():
            raise InputError("a vector holds NaN or infinity, or is zero: the encoder failed on this input")
        values: list[float] = array.tolist()
        return values


def _lacking(space: Space | None, filter: Filter) -> Filter:
    """Returns a filter for what also lacks the vector of a space."""
    from qdrant_client import models

    if space is None:
        return filter
    if space not in schema.SPACES:
        raise ConfigError(f'missing={space!r} is unknown: use "disc" or "gen"')
    selected = to_filter(filter)
    without = models.HasVectorCondition(has_vector=space)
    return models.Filter(must_not=[without], must=None if selected is None else [selected])


def _ranking(points: Iterable[models.ScoredPoint]) -> dict[str, float]:
    return _best({str(point.id): float(point.score) for point in points})


def _best(scores: Mapping[str, float], limit: int | None = None) -> dict[str, float]:
    """Returns ``{point id: score}``, best first, equal ones by id."""
    return dict(sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:limit])
