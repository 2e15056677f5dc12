"""Scope: one collection as one tenant sees it. Every way to a point leads through a method here.

What is selected goes through :meth:`Scope.where`, what is named by id through :meth:`Scope.records` or, for
its vectors alone, :meth:`Scope.vectors`. Three things look at the points of all tenants beside them:
``Postings`` keeps the words of a whole embedded collection, and answers for one tenant by
:func:`ume_r1_rag.index.tenant.owns`; ``alias.tenants`` counts who has points, for an index without a tenant
alone; ``Reading.covers`` tells whether all of them have a vector.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from ume_r1_rag.index import embedded
from ume_r1_rag.index import tenant as tenants
from ume_r1_rag.index.filters import to_filter

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from qdrant_client import QdrantClient, models

    from ume_r1_rag.index.connection import Connection
    from ume_r1_rag.index.filters import Filter
    from ume_r1_rag.types import Space

READ_BATCH = 256
"""Points of one request for payloads."""


class Scope:
    """A collection, bound to a tenant.

    Attributes:
        physical: the collection's own name in the store.
        tenant: whose points these are; None for points of no tenant.
    """

    def __init__(self, connection: Connection, physical: str, tenant: str | None) -> None:
        """Binds a collection to a tenant."""
        self._connection = connection
        self.physical = physical
        self.tenant = tenant
        self._tenants_noted = False

    @property
    def _client(self) -> QdrantClient:
        """The client, for this package's own calls."""
        return self._connection.client

    def hold(self) -> AbstractContextManager[None]:
        """Keeps an embedded collection as it is for some calls; a server serves others meanwhile.

        Raises:
            IndexUnavailable: within it the store failed.
        """
        return self._connection.use()

    def where(self, filter: Filter = None) -> models.Filter | None:
        """Returns what selects this tenant's points among those that match a filter.

        Call it while the connection is held for the request that it is for: in an embedded collection its
        answer holds until the first point of a tenant is written.

        Raises:
            ConfigError: the filter has an impossible value.
        """
        from qdrant_client import models

        selected = to_filter(filter)
        if self.tenant is None and self._connection.embedded and not self._has_tenants():
            # Embedded Qdrant looks at every payload for a filter: fifty times the search itself.
            return selected
        mine = tenants.condition(self.tenant)
        # The caller's filter is one condition among two, whatever it says within.
        return models.Filter(must=[mine] if selected is None else [mine, selected])

    def records(
        self,
        ids: Iterable[str],
        fields: Sequence[str] | None = None,
        vectors: bool | Sequence[str] = False,
    ) -> dict[str, models.Record]:
        """Returns the points of given ids that exist and are this tenant's, by id.

        Args:
            ids: point ids, any number.
            fields: payload fields to read; all by default.
            vectors: which named vectors to read.
        """
        found: dict[str, models.Record] = {}
        wanted = True if fields is None else [*fields, tenants.FIELD]
        for batch in batches(ids, READ_BATCH):
            with self._connection.use():
                records = self._client.retrieve(
                    self.physical, ids=batch, with_payload=wanted, with_vectors=_names(vectors)
                )
            found |= {str(r.id): r for r in records if tenants.owns(self.tenant, r.payload)}
        return found

    def vectors(self, space: Space, ids: Sequence[str]) -> tuple[list[str], npt.NDArray[np.float32]]:
        """Returns the vectors of given points, ``(N, D)`` float32 of unit length, after their ids.

        A point that is absent, another's, or without that vector is left out.

        Args:
            space: ``"disc"`` or ``"gen"``.
            ids: point ids, any number, none twice.
        """
        import numpy as np

        if self._connection.embedded:
            with self._connection.use():
                found = embedded.take(
                    self._client, self.physical, space, ids, lambda p: tenants.owns(self.tenant, p)
                )
            if found is not None:
                return found
        records = self.records(ids, fields=(), vectors=[space])
        have = {
            id: r.vector[space]
            for id, r in records.items()
            if isinstance(r.vector, dict) and space in r.vector
        }
        return list(have), np.asarray(list(have.values()), dtype=np.float32)

    def pages(
        self, filter: Filter = None, fields: Sequence[str] | None = None, size: int = READ_BATCH
    ) -> Iterator[list[models.Record]]:
        """Yields this tenant's points in order of id, a page at a time."""
        offset = None
        while True:
            with self._connection.use():
                records, offset = self._client.scroll(
                    self.physical,
                    scroll_filter=self.where(filter),
                    limit=size,
                    offset=offset,
                    with_payload=True if fields is None else list(fields),
                )
            yield records
            if offset is None:
                return

    def count(self, filter: Filter = None) -> int:
        """Returns the exact number of points, or of those that match a filter."""
        with self._connection.use():
            return self._client.count(self.physical, count_filter=self.where(filter), exact=True).count

    def canaries(self) -> dict[str, npt.NDArray[np.float32]]:
        """Returns the vectors of fixed inputs that a writer's encoder left here, ``(D,)`` each, by name."""
        import numpy as np

        with self._connection.use():
            metadata = self._client.get_collection(self.physical).config.metadata or {}
        return {
            name: np.frombuffer(base64.b64decode(text), np.float16).astype(np.float32)
            for name, text in (metadata.get(CANARIES) or {}).items()
        }

    def keep_canaries(self, vectors: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """Keeps such vectors with the collection, in 16 bits."""
        import numpy as np

        kept = {
            name: base64.b64encode(one.astype(np.float16).tobytes()).decode() for name, one in vectors.items()
        }
        with self._connection.use():
            self._client.update_collection(self.physical, metadata={CANARIES: kept})

    def _has_tenants(self) -> bool:
        """Returns whether anything in the collection was ever written for a tenant."""
        with self._connection.use():
            metadata = self._client.get_collection(self.physical).config.metadata
        return bool((metadata or {}).get(HAS_TENANTS))

    def _expect_tenants(self) -> None:
        """Notes that the collection holds points of tenants, before the first of them is written."""
        if self.tenant is None or self._tenants_noted:
            return
        if not self._has_tenants():
            with self._connection.use():
                self._client.update_collection(self.physical, metadata={HAS_TENANTS: True})
        self._tenants_noted = True


HAS_TENANTS = "ume_tenants"
CANARIES = "ume_canaries"


def batches(items: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yields the items in lists of at most ``size``."""
    left = iter(items)
    while batch := list(itertools.islice(left, size)):
        yield batch


def _names(vectors: bool | Sequence[str]) -> bool | list[str]:
    return vectors if isinstance(vectors, bool) else list(vectors)
