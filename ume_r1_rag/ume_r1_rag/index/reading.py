"""Reading: points by id, by key, by filter, and how many there are."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.index import embedded, schema, stored
from ume_r1_rag.index import payload as payloads
from ume_r1_rag.index.filters import to_filter
from ume_r1_rag.index.scope import READ_BATCH, Scope
from ume_r1_rag.index.stored import Stored
from ume_r1_rag.types import Hit, SearchSpace, Space

if TYPE_CHECKING:
    from ume_r1_rag.index.connection import Connection
    from ume_r1_rag.index.filters import Filter

EMBEDDED_PAGE = 2048
"""Points of a page of an embedded collection, which sorts all its ids for each."""


HAS_S = 5.0
"""How long :meth:`Reading.has` believes what it has seen."""


class Reading(Scope):
    """What is read without a search; part of ``QdrantIndex``."""

    def __init__(self, connection: Connection, physical: str, tenant: str | None) -> None:
        """Binds a collection to a tenant."""
        super().__init__(connection, physical, tenant)
        self._known: dict[SearchSpace, tuple[float, bool]] = {}

    def read(
        self, scores: Mapping[str, float], spaces: Mapping[str, Mapping[str, float]] | None = None
    ) -> list[Hit]:
        """Returns the hits of a ranking ``{point id: score}``, in its order, with their payloads.

        Args:
            scores: what becomes ``Hit.score``.
            spaces: per space ``{point id: score}``; what becomes ``Hit.scores``.
        """
        found = self.records(scores)
        by_id = {id: {s: of[id] for s, of in (spaces or {}).items() if id in of} for id in scores}
        # A point deleted in between is no hit.
        return [
            payloads.hit(found[id].payload or {}, id, scores[id], by_id[id]) for id in scores if id in found
        ]

    def retrieve(self, keys: Iterable[str]) -> list[Hit]:
        """Returns the documents of given keys in their order, with a score of 0; absent ones are left out."""
        return self.read(dict.fromkeys((self._id(key) for key in keys), 0.0))

    def stored(self, keys: Iterable[str]) -> dict[str, Stored]:
        """Returns what is stored under given keys, by key; absent ones are left out.

        Costs as much as there are keys, however large the index is.
        """
        found = self.records((self._id(key) for key in keys), fields=stored.FIELDS)
        return {one.key: one for one in map(stored.from_record, found.values())}

    def stored_parts(self, document: str) -> list[Stored]:
        """Returns what is stored of a file: its pages or segments, or itself.

        Args:
            document: the file's key, which is ``Document.document`` of each part.
        """
        pages = self.pages({"document": document}, stored.FIELDS)
        return [stored.from_record(record) for page in pages for record in page]

    def scroll(self, filter: Filter = None, fields: Sequence[str] | None = None) -> Iterator[Hit]:
        """Yields every document, or every one that matches a filter, in order of id, with a score of 0.

        Args:
            filter: see :func:`ume_r1_rag.index.to_filter`.
            fields: payload fields to read, e.g. ``["ume_key"]``; all by default.
        """
        size = EMBEDDED_PAGE if self._connection.embedded else READ_BATCH
        for page in self.pages(filter, fields, size):
            yield from (payloads.hit(record.payload or {}, str(record.id)) for record in page)

    def lacking(self, space: Space, filter: Filter = None, limit: int | None = None) -> Iterator[Hit]:
        """Yields the documents without a vector of a space, in order of id, with a score of 0.

        One whose vector was written but whose payload was not counts as lacking it.

        Args:
            space: ``"disc"`` or ``"gen"``.
            filter: see :func:`ume_r1_rag.index.to_filter`.
            limit: at most so many; all by default.
        """
        from itertools import islice

        from qdrant_client import models

        if space not in schema.SPACES:
            raise ConfigError(f'space={space!r} is unknown: use "disc" or "gen"')
        selected = to_filter(filter)
        without = models.Filter(
            must=None if selected is None else [selected],
            should=[
                models.Filter(must_not=[models.HasVectorCondition(has_vector=space)]),
                models.Filter(
                    must_not=[models.FieldCondition(key="ume_spaces", match=models.MatchValue(value=space))]
                ),
            ],
        )
        yield from islice(self.scroll(without), limit)

    def coverage(self) -> dict[str, int]:
        """Returns how many documents have a vector, per space: disc, gen and text."""
        from qdrant_client import models

        return {
            space: self.count(models.Filter(must=[models.HasVectorCondition(has_vector=space)]))
            for space in schema.SEARCH_SPACES
        }

    def has(self, space: SearchSpace) -> bool:
        """Returns whether any document has a vector of a space.

        An answer is kept for ``HAS_S`` seconds, or until this index writes; others may have written since.
        """
        from qdrant_client import models

        if space not in schema.SEARCH_SPACES:
            raise ConfigError(f'space={space!r} is unknown: use "disc", "gen" or "text"')
        at, found = self._known.get(space, (-math.inf, False))
        if time.monotonic() - at > HAS_S:
            asked = time.monotonic()
            with_it = models.Filter(must=[models.HasVectorCondition(has_vector=space)])
            found = bool(next(self.pages(with_it, fields=["ume_key"], size=1)))
            self._known[space] = (asked, found)
        return found

    def covers(self, space: Space) -> bool:
        """Returns whether every document, whoever's it is, has a vector of a space at this moment.

        It costs nothing, so that it is asked with every search, and False where it would: on a server. As
        long as :meth:`hold` lasts it stays true.
        """
        with self._connection.use():
            return self._connection.embedded and embedded.covered(self._client, self.physical, space)

    def _id(self, key: str) -> str:
        """Returns the id of this tenant's point of a key."""
        return payloads.point_id(key, self.tenant)
