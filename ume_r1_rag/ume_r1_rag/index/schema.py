"""Schema: what a collection says about itself, and what must agree before it is used."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, get_args

from ume_r1_rag.errors import IndexMismatch
from ume_r1_rag.index.payload import jsonable
from ume_r1_rag.types import INFORMATIVE_FIELDS, Space

if TYPE_CHECKING:
    from qdrant_client import models

VERSION: Final = 1
"""Raised when a stored collection could no longer be read as it is."""

SPACES: tuple[Space, ...] = get_args(Space)
"""The named vectors of every point."""


def metadata(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what is written into a new collection's metadata."""
    return {"ume_schema": VERSION, "ume_fingerprint": jsonable(fingerprint)}


def read(info: models.CollectionInfo, name: str, dimension: int | None = None) -> tuple[int, dict[str, Any]]:
    """Returns the dimension D and the fingerprint of a stored collection.

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
    if found or size is None or not isinstance(vectors, dict):
        raise IndexMismatch(f"collection {name!r} has vectors {sizes!r}, not disc and gen of one size")
    if any(vectors[space].distance != models.Distance.COSINE for space in SPACES):
        raise IndexMismatch(f"collection {name!r} does not compare by cosine: choose another collection=")
    if dimension is not None and size != dimension:
        raise IndexMismatch(
            f"collection {name!r} holds vectors of {size} dimensions, the encoder gives {dimension}: "
            "use the model it was written with, or index again into another collection="
        )
    return size, dict(stored["ume_fingerprint"])


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
    ours = jsonable(given)
    differing = [
        f"{field}: stored {stored.get(field, 'nothing')!r}, this encoder {ours.get(field, 'nothing')!r}"
        for field in sorted(stored.keys() | ours.keys())
        if field not in INFORMATIVE_FIELDS
        and field not in ignore
        and (field not in stored or field not in ours or stored[field] != ours[field])
    ]
    if differing:
        raise IndexMismatch(
            f"collection {name!r} was written by another encoder ({'; '.join(differing)}): its vectors "
            "cannot be compared with this one's. Use the encoder it was written with, or index again into "
            "another collection=."
        )
