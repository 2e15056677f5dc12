"""Alias: a collection's name leads to one of several physical collections, its versions.

``papers`` is an alias of ``papers--1``; a new model's vectors are built in ``papers--2`` beside it, and the
alias is moved when they are good. Stock readers follow the alias; a ``QdrantIndex`` keeps to the version
that it opened, whose fingerprint it has checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ume_r1_rag.errors import ConfigError, IndexMismatch, IndexRetired
from ume_r1_rag.index.tenant import FIELD as TENANT

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]|--')
_LONGEST = 200

MOST_TENANTS = 100_000
"""The most tenants of a collection that can be moved to another version."""

REPLACES = "ume_replaces"
"""The metadata field that names the version which was live before this one."""

LAST = "ume_last_version"
"""The metadata field that holds the highest number there was when versions were dropped."""

RETIRED = "ume_retired"
"""The metadata field that says that a version was live once and is no more."""


@dataclass(frozen=True, slots=True)
class Version:
    """One generation of a collection.

    Attributes:
        physical: its own name.
        number: counted from 1.
        live: whether the collection's name leads to it.
        retired: whether it was live once and is no more.
        points: how many the caller's tenant has in it.
        fingerprint: the encoder's that writes it.
    """

    physical: str
    number: int
    live: bool
    retired: bool
    points: int
    fingerprint: Mapping[str, Any]


def check_name(collection: str) -> str:
    """Returns a collection's name if it can be one.

    Raises:
        ConfigError: it is empty, too long, or holds what no store or our own names allow.
    """
    if (
        not collection
        or len(collection) > _LONGEST
        or _FORBIDDEN.search(collection)
        or collection in (".", "..")
    ):
        raise ConfigError(
            f"collection={collection!r} cannot be a name: use 1 to {_LONGEST} characters without "
            '"--", control characters and any of < > : " / \\ | ? *'
        )
    return collection


def version_name(collection: str, number: int) -> str:
    """Returns the physical name of a version."""
    return f"{collection}--{number}"


def side_name(collection: str, suffix: str) -> str:
    """Returns the name of a side collection; a suffix holds no digits."""
    return f"{collection}--{suffix}"


def numbers(client: QdrantClient, collection: str) -> list[int]:
    """Returns the versions that exist, in order."""
    pattern = re.compile(re.escape(collection) + r"--([1-9][0-9]*)")
    found = (pattern.fullmatch(one.name) for one in client.get_collections().collections)
    return sorted(int(match[1]) for match in found if match)


def next_number(client: QdrantClient, collection: str) -> int:
    """Returns the number of the next version to be made."""
    live = resolve(client, collection)
    last = 0 if live is None else _metadata(client, live).get(LAST)
    return max([*numbers(client, collection), last if isinstance(last, int) else 0]) + 1


def resolve(client: QdrantClient, collection: str) -> str | None:
    """Returns the physical collection that a name leads to, or None if there is no such name.

    Raises:
        IndexMismatch: the name is a collection itself, or versions are left without a name.
    """
    for alias in client.get_aliases().aliases:
        if alias.alias_name == collection:
            return alias.collection_name
    if any(one.name == collection for one in client.get_collections().collections):
        raise IndexMismatch(
            f"collection {collection!r} was not made by this package, or by its first version: choose "
            "another collection=, or delete it and index again"
        )
    left = numbers(client, collection)
    if len(left) > 1:
        names = ", ".join(version_name(collection, number) for number in left)
        raise IndexMismatch(
            f"no alias says which of {names} is collection {collection!r}: create the alias, e.g. with "
            "QdrantClient.update_collection_aliases"
        )
    return None


def point_to(client: QdrantClient, collection: str, physical: str) -> None:
    """Makes a name lead to a physical collection, in one step."""
    from qdrant_client import models

    create = models.CreateAlias(alias_name=collection, collection_name=physical)
    client.update_collection_aliases(
        [
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=collection)),
            models.CreateAliasOperation(create_alias=create),
        ]
    )


def versions(client: QdrantClient, collection: str, count: Callable[[str], int]) -> list[Version]:
    """Returns all versions of a collection, in order.

    Args:
        client: where they are.
        collection: their common name.
        count: says how many points of a physical collection the caller may see.
    """
    live = resolve(client, collection)
    found = []
    for number in numbers(client, collection):
        physical = version_name(collection, number)
        metadata = _metadata(client, physical)
        found.append(
            Version(
                physical=physical,
                number=number,
                live=physical == live,
                retired=bool(metadata.get(RETIRED)),
                points=count(physical),
                fingerprint=dict(metadata.get("ume_fingerprint") or {}),
            )
        )
    return found


def tenants(client: QdrantClient, physical: str) -> set[str]:
    """Returns which tenants have points in a version.

    Raises:
        ConfigError: there are more than a store lists.
    """
    hits = client.facet(physical, key=TENANT, limit=MOST_TENANTS + 1, exact=True).hits
    if len(hits) > MOST_TENANTS:
        raise ConfigError(
            f"{physical!r} has documents of more than {MOST_TENANTS} tenants, too many to be listed and "
            "taken to another version: delete those of tenants that are gone, or keep several collections"
        )
    return {str(hit.value) for hit in hits}


def make_live(client: QdrantClient, collection: str, physical: str, allow_missing: bool = False) -> None:
    """Makes another version live and notes which one it replaces.

    Args:
        client: where they are.
        collection: their common name.
        physical: the version.
        allow_missing: whether a tenant may be left without points.

    Raises:
        ConfigError: a tenant has points in the present version and none in the other one, or has left the
            present one and would be back with the other.
    """
    live = resolve(client, collection)
    if live == physical:
        retire_replaced(client, live)
        return
    if live is not None:
        _check_tenants(client, live, physical, allow_missing)
    client.update_collection(physical, metadata={REPLACES: live, RETIRED: False})
    point_to(client, collection, physical)
    if live is not None:
        client.update_collection(live, metadata={RETIRED: True})


def retire_replaced(client: QdrantClient, live: str) -> None:
    """Marks what the live version replaced as retired, where a crash has left that out.

    Until then that version takes writes that nobody will find.
    """
    earlier = _metadata(client, live).get(REPLACES)
    if (
        isinstance(earlier, str)
        and client.collection_exists(earlier)
        and not _metadata(client, earlier).get(RETIRED)
    ):
        client.update_collection(earlier, metadata={RETIRED: True})


def _check_tenants(client: QdrantClient, live: str, physical: str, allow_missing: bool) -> None:
    before, after = tenants(client, live), tenants(client, physical)
    lost = set[str]() if allow_missing else before - after
    for has, lacks, tells in ((live, physical, lost), (physical, live, after - before)):
        if tells:
            some = ", ".join(repr(name) for name in sorted(tells)[:5])
            raise ConfigError(
                f"{lacks!r} has no documents of {len(tells)} tenants that {has!r} has some of ({some}): "
                f"build {physical!r} again before it is swapped in"
            )


def earlier_of(client: QdrantClient, collection: str) -> tuple[str, str]:
    """Returns the live version and the one that it replaced.

    Raises:
        ConfigError: there is none, or it was dropped.
    """
    live = resolve(client, collection)
    earlier = None if live is None else _metadata(client, live).get(REPLACES)
    if live is None or not isinstance(earlier, str) or not client.collection_exists(earlier):
        raise ConfigError(
            f"collection {collection!r} has no earlier version to go back to: it was never swapped, or the "
            "earlier one was dropped"
        )
    return live, earlier


def rollback(client: QdrantClient, collection: str) -> str:
    """Makes the version live that the present one replaced; returns its name.

    Raises:
        ConfigError: there is none, or it was dropped.
    """
    live, earlier = earlier_of(client, collection)
    client.update_collection(earlier, metadata={RETIRED: False})
    point_to(client, collection, earlier)
    client.update_collection(live, metadata={RETIRED: True, REPLACES: None})
    return earlier


def drop_old(client: QdrantClient, collection: str) -> list[str]:
    """Deletes the versions that were live once and are no more; returns their names."""
    live = resolve(client, collection)
    if live is None:
        return []
    replaced = _metadata(client, live).get(REPLACES)
    names = [version_name(collection, number) for number in numbers(client, collection)]
    # A crash within `make_live` may have left the version that was replaced without its mark.
    old = [n for n in names if n != live and (n == replaced or _metadata(client, n).get(RETIRED))]
    _drop(client, collection, live, old)
    return old


def drop_unfinished(client: QdrantClient, collection: str) -> list[str]:
    """Deletes the versions that were begun and never made live; returns their names."""
    live = resolve(client, collection)
    if live is None:
        return []
    replaced = _metadata(client, live).get(REPLACES)
    names = [version_name(collection, number) for number in numbers(client, collection)]
    begun = [n for n in names if n not in (live, replaced) and not _metadata(client, n).get(RETIRED)]
    _drop(client, collection, live, begun)
    return begun


def _drop(client: QdrantClient, collection: str, live: str, dropped: list[str]) -> None:
    if dropped:
        # A number is used once: whoever still has a dropped version open must not find another in its place.
        client.update_collection(live, metadata={LAST: next_number(client, collection) - 1})
    for physical in dropped:
        client.delete_collection(physical)


def check_current(client: QdrantClient, physical: str) -> None:
    """Raises unless a version may be written: what is written to one that was replaced is lost.

    Raises:
        IndexRetired: it was live once and is no more.
    """
    if _metadata(client, physical).get(RETIRED):
        raise IndexRetired(
            f"{physical!r} was retired by a reindex, or by going back from it: open the collection again, "
            "with the encoder of its present version, and write there"
        )


def number_of(physical: str) -> int:
    """Returns the number of a version."""
    return int(physical.rpartition("--")[2])


def _metadata(client: QdrantClient, physical: str) -> dict[str, Any]:
    return dict(client.get_collection(physical).config.metadata or {})
