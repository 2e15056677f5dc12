"""Schema: what a collection is made of and says about itself, and what must agree before it is used."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, get_args

from ume_r1_rag.errors import ConfigError, IndexMismatch
from ume_r1_rag.index.payload import jsonable
from ume_r1_rag.index.storage import Storage, warn_embedded
from ume_r1_rag.types import INFORMATIVE_FIELDS, SearchSpace, Space

if TYPE_CHECKING:
    from qdrant_client import models

    from ume_r1_rag.index.connection import Connection

VERSION: Final = 2
"""Raised when a stored collection could no longer be read as it is."""

SPACES: tuple[Space, ...] = get_args(Space)
"""The named dense vectors of a point."""

SEARCH_SPACES: tuple[SearchSpace, ...] = get_args(SearchSpace)
"""All its named vectors: the dense ones, and the sparse one of its words."""

INDEXED: Mapping[str, str] = {
    "ume_key": "keyword",
    "ume_document": "keyword",
    "ume_kind": "keyword",
    "ume_uri": "keyword",
    "ume_title": "keyword",
    "ume_content_hash": "keyword",
    "ume_spaces": "keyword",
    "ume_fingerprint": "keyword",
    "ume_gen_fingerprint": "keyword",
    "ume_gen_issue": "keyword",
    "ume_gen_valid": "bool",
    "ume_page": "integer",
    "ume_span_s": "float",
}
"""The payload fields that a server keeps an index of, beside the tenant; embedded Qdrant has none."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a collection says about itself.

    Attributes:
        dimension: D of both dense vectors.
        fingerprint: the encoder's that wrote it.
        storage: how its vectors are kept.
        store_reasoning: whether reasonings are kept in it.
    """

    dimension: int
    fingerprint: Mapping[str, Any]
    storage: Storage
    store_reasoning: bool = True


def create(connection: Connection, name: str, layout: Layout) -> None:
    """Makes a collection with its payload indexes; one that another process made meanwhile is as good."""
    from qdrant_client import models

    storage = layout.storage
    if connection.embedded:
        warn_embedded(storage)
        storage = Storage()
    words = models.SparseVectorParams(
        modifier=models.Modifier.IDF,
        index=models.SparseIndexParams(on_disk=True) if storage.on_disk else None,
    )
    client = connection.client
    try:
        client.create_collection(
            name,
            vectors_config={space: storage.vector_params(layout.dimension) for space in SPACES},
            sparse_vectors_config={"text": words},
            metadata={
                "ume_schema": VERSION,
                "ume_fingerprint": jsonable(layout.fingerprint),
                "ume_storage": layout.storage.to_metadata(),
                "ume_store_reasoning": layout.store_reasoning,
            },
            **storage.collection_options(),
        )
    except Exception:  # a conflict has another type in REST, in gRPC and embedded
        if not client.collection_exists(name):
            raise


def index_payload(connection: Connection, name: str) -> None:
    """Makes the payload indexes that are missing, on a server."""
    from qdrant_client import models

    if connection.embedded:
        return
    client = connection.client
    present = client.get_collection(name).payload_schema
    # Points of one tenant are stored together: a search for one reads little else.
    tenant = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
    if "ume_tenant" not in present:
        client.create_payload_index(name, "ume_tenant", tenant, wait=True)
    for field, kind in INDEXED.items():
        if field not in present:
            client.create_payload_index(name, field, models.PayloadSchemaType(kind), wait=True)


def read(info: models.CollectionInfo, name: str, dimension: int | None = None) -> Layout:
    """Returns what a stored collection says about itself.

    Args:
        info: what the store says of the collection.
        name: the collection's name, for messages.
        dimension: D as the caller needs it, or None if any will do.

    Raises:
        IndexMismatch: it is not one of ours, is of another version, lacks a space, or has another D.
    """
    from qdrant_client import models

    stored = info.config.metadata or {}
    if "ume_fingerprint" not in stored:
        raise IndexMismatch(
            f"collection {name!r} was not made by this package, or its server drops collection metadata "
            "(Qdrant before 1.16): choose another collection="
        )
    if stored.get("ume_schema") != VERSION:
        raise IndexMismatch(
            f"collection {name!r} has schema version {stored.get('ume_schema')!r}, this package "
            f"reads {VERSION}: update the package, or index again into another collection="
        )
    vectors = info.config.params.vectors
    sizes = {n: p.size for n, p in vectors.items()} if isinstance(vectors, dict) else {}
    found = {sizes.get(space) for space in SPACES}
    size = found.pop()
    words = (info.config.params.sparse_vectors or {}).get("text")
    if found or size is None or not isinstance(vectors, dict) or words is None:
        raise IndexMismatch(
            f"collection {name!r} has vectors {sizes!r}, not disc and gen of one size and a sparse text"
        )
    if any(vectors[space].distance != models.Distance.COSINE for space in SPACES):
        raise IndexMismatch(f"collection {name!r} does not compare by cosine: choose another collection=")
    if words.modifier != models.Modifier.IDF:
        raise IndexMismatch(f"collection {name!r} does not weigh words by IDF: choose another collection=")
    if dimension is not None and size != dimension:
        raise IndexMismatch(
            f"collection {name!r} holds vectors of {size} dimensions, the encoder gives {dimension}: "
            "use the model it was written with, or index again into another collection="
        )
    storage = Storage.from_metadata(stored.get("ume_storage") or {})
    return Layout(
        size, dict(stored["ume_fingerprint"]), storage, bool(stored.get("ume_store_reasoning", True))
    )


def with_storage(layout: Layout, given: Storage | None, name: str) -> Layout:
    """Returns the layout as a caller uses it: its own settings of search, the collection's of storing.

    Raises:
        ConfigError: what is given is stored otherwise.
    """
    if given is None:
        return layout
    stored, asked = layout.storage.fixed(), given.fixed()
    differing = [f"{field}: stored {stored[field]!r}, given {asked[field]!r}" for field in stored
                 if stored[field] != asked[field]]  # fmt: skip
    if differing:
        raise ConfigError(
            f"collection {name!r} is stored otherwise ({'; '.join(differing)}): leave storage= out, or build "
            "the collection anew with it, e.g. with `ume-r1 reindex`"
        )
    return replace(layout, storage=given)


def check_reasoning(layout: Layout, given: bool | None, name: str) -> None:
    """Raises ``ConfigError`` if a caller would have reasonings kept otherwise than a collection does."""
    if given is not None and given != layout.store_reasoning:
        does = "keeps" if layout.store_reasoning else "leaves out"
        raise ConfigError(
            f"collection {name!r} {does} reasonings, of all its documents alike: leave store_reasoning= out, "
            f"or build the collection anew with store_reasoning={given}, e.g. with ume_r1_rag.ingest.reindex"
        )


def check_fingerprint(
    stored: Mapping[str, Any], given: Mapping[str, Any], name: str, ignore: Collection[str] = ()
) -> None:
    """Raises ``IndexMismatch``, naming each field that differs, unless two fingerprints agree.

    A field that only one of them has differs too: a newer version of this package may know of a dependence
    that an older one did not record.

    Args:
        stored: the collection's.
        given: the encoder's.
        name: the collection's name, for the message.
        ignore: fields that may differ, besides those that are for people alone.
    """
    differing = differences(stored, given, ignore)
    if differing:
        raise IndexMismatch(
            f"collection {name!r} was written by another encoder ({'; '.join(differing)}): its vectors "
            "cannot be compared with this one's. Use the encoder it was written with, or index again into "
            "another collection=."
        )


def differences(
    stored: Mapping[str, Any], given: Mapping[str, Any], ignore: Collection[str] = ()
) -> list[str]:
    """Returns the fields in which two fingerprints differ, each with both values."""
    ours = jsonable(given)
    return [
        f"{field}: stored {stored.get(field, 'nothing')!r}, this encoder {ours.get(field, 'nothing')!r}"
        for field in sorted(stored.keys() | ours.keys())
        if field not in INFORMATIVE_FIELDS
        and field not in ignore
        and (field not in stored or field not in ours or stored[field] != ours[field])
    ]
