"""Rollback: what going back to a collection's earlier version would lose and bring back."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ume_r1_rag.index import QdrantIndex

_LOOKUP = 256


@dataclass(frozen=True, slots=True)
class RollbackLoss:
    """How the live version differs from the one that it replaced, in documents of all tenants.

    Attributes:
        newer: documents of the live version that the earlier one lacks, or has with another content.
        deleted: documents of the earlier version that the live one lacks, and that would be back.
    """

    newer: int
    deleted: int


def rollback_loss(index: QdrantIndex) -> RollbackLoss:
    """Returns what ``QdrantIndex.rollback`` would lose and bring back, as of now.

    Args:
        index: the live version, opened without a tenant.

    Raises:
        ConfigError: there is no earlier version; the index is a tenant's.
    """
    earlier = index.earlier()
    newer = deleted = 0
    for tenant in (None, *sorted({*index.tenants(), *earlier.tenants()})):
        now, before = index.for_tenant(tenant), earlier.for_tenant(tenant)
        absent, changed = _differing(now, before)
        newer += absent + changed
        deleted += _differing(before, now)[0]
    return RollbackLoss(newer, deleted)


def _differing(one: QdrantIndex, other: QdrantIndex) -> tuple[int, int]:
    """Returns how many documents of one version the other one lacks, and has with another content."""
    hits = one.scroll(fields=["ume_key", "ume_content_hash"])
    absent = changed = 0
    while chunk := list(itertools.islice(hits, _LOOKUP)):
        stored = other.stored(hit.key for hit in chunk)
        for hit in chunk:
            if hit.key not in stored:
                absent += 1
            else:
                changed += stored[hit.key].content_hash != str(hit.payload.get("ume_content_hash", ""))
    return absent, changed
