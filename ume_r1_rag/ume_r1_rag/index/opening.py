"""Opening: which version of a collection is meant, and making the first one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ume_r1_rag.errors import ConfigError, IndexAbsent
from ume_r1_rag.index import alias, schema
from ume_r1_rag.index.storage import Storage

if TYPE_CHECKING:
    from ume_r1_rag.index.connection import Connection


def find(connection: Connection, collection: str, version: int | None) -> str | None:
    """Returns the physical collection to be opened, or None if there is none of that name yet."""
    if version is None:
        return alias.resolve(connection.client, collection)
    known = alias.numbers(connection.client, collection)
    if version not in known:
        raise ConfigError(
            f"collection {collection!r} has no version {version!r}: there are {known or 'none'}; leave "
            "version= out for the live one"
        )
    return alias.version_name(collection, version)


def make_first(
    connection: Connection,
    collection: str,
    dimension: int | None,
    fingerprint: Mapping[str, Any] | None,
    storage: Storage | None,
    store_reasoning: bool | None,
) -> str:
    """Returns the first version of a collection, made and named now."""
    if fingerprint is None or dimension is None:
        raise IndexAbsent(
            f"there is no collection {collection!r} in {connection.location!r}: index something first, e.g. "
            "with `ume-r1 index`, or give dimension= and fingerprint="
        )
    # A crash between making a collection and naming it leaves one; it is as good as new.
    left = alias.numbers(connection.client, collection)
    physical = alias.version_name(collection, left[0] if left else 1)
    if not left:
        layout = schema.Layout(dimension, fingerprint, storage or Storage(), store_reasoning is not False)
        schema.create(connection, physical, layout)
    schema.index_payload(connection, physical)
    alias.point_to(connection.client, collection, physical)
    return physical
