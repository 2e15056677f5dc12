"""Where the index is, by flags and environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import typer

from ume_r1_rag.cli.options import DEFAULT_COLLECTION, DEFAULT_PATH
from ume_r1_rag.cli.screen import clean
from ume_r1_rag.errors import ConfigError, IndexAbsent
from ume_r1_rag.index import QdrantIndex, Storage


@dataclass(frozen=True, slots=True)
class Address:
    """Which index a command means, as its flags say it."""

    path: Path | None
    url: str | None
    collection: str
    tenant: str | None = None
    grpc: bool = False

    @property
    def place(self) -> dict[str, Any]:
        """Where the index is, as the options of ``QdrantIndex``.

        Raises:
            typer.BadParameter: two places are given, or gRPC for a folder.
        """
        return place(self.path, self.url, self.grpc)

    def options(self, location: str) -> list[str]:
        """Returns the flags that name it again.

        Args:
            location: where the index is, as it says itself: a URL may hold a password, which is not shown.
        """
        said = {
            "--path": self.path,
            "--url": location if self.url is not None else None,
            "--collection": self.collection if self.collection != DEFAULT_COLLECTION else None,
            "--tenant": self.tenant,
        }
        words = [word for flag, value in said.items() if value is not None for word in (flag, str(value))]
        return [*words, *(["--grpc"] if self.grpc else [])]


def place(path: Path | None, url: str | None, grpc: bool = False) -> dict[str, Any]:
    """Returns where the index is, as the options of ``QdrantIndex``.

    Raises:
        typer.BadParameter: two places are given, or gRPC for a folder.
    """
    found = _place(path, url)
    if not grpc:
        return found
    if found.get("path") is not None:
        raise typer.BadParameter(
            f"{str(found['path'])!r} is a folder: gRPC is spoken to a server, see --url and QDRANT_URL",
            param_hint="'--grpc'",
        )
    return {**found, "prefer_grpc": True}


def _place(path: Path | None, url: str | None) -> dict[str, Any]:
    if path is not None and url is not None:
        raise typer.BadParameter("--path and --url are each a place: give one of them")
    if path is not None or url is not None:
        return {"path": path, "url": url}
    named = os.environ.get("UME_R1_PATH")
    if named:
        return {"path": named}
    # Without any place the index takes QDRANT_URL itself, with its key.
    return {} if os.environ.get("QDRANT_URL") else {"path": DEFAULT_PATH}


def open_index(address: Address) -> QdrantIndex:
    """Returns an index to be read.

    Raises:
        ConfigError: there is none, or the tenant's name cannot be one.
        IndexLocked: another process holds it.
    """
    return QdrantIndex(collection=address.collection, tenant=address.tenant, **address.place)


def find_index(address: Address) -> QdrantIndex | None:
    """Returns an index to be read, or None if there is none yet.

    Raises:
        ConfigError: the tenant's name cannot be one.
        IndexLocked: another process holds it.
    """
    try:
        return open_index(address)
    except IndexAbsent:
        return None


def create_index(
    address: Address,
    fingerprint: Mapping[str, Any],
    storage: Storage | None = None,
    store_reasoning: bool | None = None,
) -> QdrantIndex:
    """Returns an index to be written, made if it is absent.

    Raises:
        ConfigError: the tenant's name cannot be one, or the collection is stored otherwise.
        IndexMismatch: it was written by another encoder.
        IndexLocked: another process holds it.
    """
    return QdrantIndex(
        collection=address.collection,
        fingerprint=fingerprint,
        tenant=address.tenant,
        storage=storage,
        store_reasoning=store_reasoning,
        **address.place,
    )


def storage_of(settings: list[str] | None) -> Storage | None:
    """Returns what ``--storage`` says.

    Raises:
        typer.BadParameter: it names no setting, or has an impossible value.
    """
    if not settings:
        return None
    known = {field.name for field in fields(Storage)}
    found: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or name not in known:
            raise typer.BadParameter(
                f"{setting!r}: give NAME=VALUE with one of {', '.join(sorted(known))}",
                param_hint="'--storage'",
            )
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    try:
        return Storage(**found)
    except ConfigError as error:
        raise typer.BadParameter(str(error), param_hint="'--storage'") from error


def why_empty(index: QdrantIndex) -> str:
    """Returns why there is nothing to be found; of other tenants only whoever is none may hear."""
    name = clean(index.collection)
    if index.tenant is not None:
        return f"tenant {clean(index.tenant)!r} has no documents in {name}: is that its name?"
    if _has_tenants(index):
        return f"all documents in {name} belong to tenants: name one with --tenant, `ume-r1 info` lists them"
    return f"there are no documents in {name}: index some with `ume-r1 index`"


def _has_tenants(index: QdrantIndex) -> bool:
    try:
        return bool(index.tenants())
    except ConfigError:  # more than can be listed
        return True
