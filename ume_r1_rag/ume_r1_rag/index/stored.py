"""Stored: what the index knows of a point without its vectors, for those who decide what to write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from ume_r1_rag.types import SearchSpace

if TYPE_CHECKING:
    from qdrant_client import models

FIELDS = [
    f"ume_{field}"
    for field in ("key", "document", "content_hash", "spaces", "fingerprint", "gen_fingerprint")
]
"""The payload fields that a ``Stored`` is read from."""

_SPACES = frozenset(get_args(SearchSpace))


@dataclass(frozen=True, slots=True)
class Stored:
    """A point as it is stored.

    Attributes:
        id: the point's id.
        key: its document's key.
        document: the key of the file that it is a part of.
        content_hash: digest of its content and how it was read; empty if it was written without.
        spaces: the spaces it was written with.
        fingerprint: digest of the encoder of its disc vector, or of its gen vector if it has no other.
        gen_fingerprint: digest of the encoder that wrote its reasoning and summary, and its gen vector, if
            it has one: an earlier model's texts are kept without; empty if there are none.
    """

    id: str
    key: str
    document: str = ""
    content_hash: str = ""
    spaces: frozenset[SearchSpace] = frozenset()
    fingerprint: str = ""
    gen_fingerprint: str = ""


def from_record(record: models.Record) -> Stored:
    """Returns what is known of a point, read with :data:`FIELDS`."""
    payload = record.payload or {}
    id = str(record.id)
    key = str(payload.get("ume_key", id))
    spaces = payload.get("ume_spaces")
    return Stored(
        id=id,
        key=key,
        document=str(payload.get("ume_document", key)),
        content_hash=str(payload.get("ume_content_hash", "")),
        spaces=_SPACES & frozenset(spaces if isinstance(spaces, list) else ()),
        fingerprint=str(payload.get("ume_fingerprint", "")),
        gen_fingerprint=str(payload.get("ume_gen_fingerprint", "")),
    )
