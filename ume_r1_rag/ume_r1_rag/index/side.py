"""Side collections: small records beside an index, without vectors, in the same store and tenant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.index import payload as payloads
from ume_r1_rag.index import tenant as tenants
from ume_r1_rag.index.alias import side_name
from ume_r1_rag.index.scope import READ_BATCH, Scope, batches
from ume_r1_rag.unicode import unicode_text

if TYPE_CHECKING:
    from ume_r1_rag.index.connection import Connection
    from ume_r1_rag.index.filters import Filter

_KEY = "ume_key"


class SideCollection(Scope):
    """Records by key: JSON mappings that live and move with an index. Made when the first one is written.

    It belongs to the collection's logical name: building a collection anew leaves it as it is.
    """

    def __init__(self, connection: Connection, collection: str, suffix: str, tenant: str | None) -> None:
        """Names a side collection.

        Raises:
            ConfigError: the suffix is not made of small letters.
        """
        if not re.fullmatch("[a-z]{1,40}", suffix):
            raise ConfigError(f"suffix={suffix!r}: name a side collection with small letters")
        super().__init__(connection, side_name(collection, suffix), tenant)

    def put(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        """Writes records by key, each in place of any earlier one; fields are stored as JSON."""
        from qdrant_client import models

        if not records:
            return
        self._create()
        self._expect_tenants()
        own = {} if self.tenant is None else {tenants.FIELD: self.tenant}
        points = [
            models.PointStruct(
                id=payloads.point_id(key, self.tenant),
                vector={},
                payload={**payloads.jsonable(record), _KEY: unicode_text(key), **own},
            )
            for key, record in records.items()
        ]
        for start in range(0, len(points), READ_BATCH):
            with self._connection.use():
                self._client.upsert(self.physical, points=points[start : start + READ_BATCH], wait=True)

    def get(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Returns the records of given keys, by key; absent ones are left out."""
        if not self._exists():
            return {}
        found = self.records(payloads.point_id(key, self.tenant) for key in keys)
        return dict(_record(record.payload) for record in found.values())

    def items(self, filter: Filter = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields every key with its record, or those that match a filter, in order of id."""
        if self._exists():
            for page in self.pages(filter):
                yield from (_record(record.payload) for record in page)

    def delete(self, keys: Iterable[str]) -> None:
        """Deletes records by key; unknown ones are no error."""
        from qdrant_client import models

        if not self._exists():
            return
        for batch in batches((payloads.point_id(key, self.tenant) for key in keys), READ_BATCH):
            with self._connection.use():
                points: list[Any] = list(self.records(batch, fields=()))
                if points:
                    self._client.delete(self.physical, models.PointIdsList(points=points), wait=True)

    def count(self, filter: Filter = None) -> int:
        """Returns how many records there are, or match a filter."""
        return super().count(filter) if self._exists() else 0

    def _exists(self) -> bool:
        with self._connection.use():
            return self._client.collection_exists(self.physical)

    def _create(self) -> None:
        if self._exists():
            return
        with self._connection.use():
            try:
                self._client.create_collection(self.physical, vectors_config={})
            except Exception:  # another process was quicker; the conflict has another type in each transport
                if not self._client.collection_exists(self.physical):
                    raise


def _record(payload: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    fields = dict(payload or {})
    fields.pop(tenants.FIELD, None)
    return str(fields.pop(_KEY, "")), fields
