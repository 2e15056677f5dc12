"""``ume-r1 info``: what a collection holds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from ume_r1_rag.cli.options import (
    DEFAULT_COLLECTION,
    CollectionOption,
    GrpcOption,
    JsonOption,
    PathOption,
    TenantOption,
    UrlOption,
)
from ume_r1_rag.cli.screen import clean, to_json
from ume_r1_rag.types import ItemKind

if TYPE_CHECKING:
    from ume_r1_rag.index import QdrantIndex

EXAMPLES = """\b
Examples:
  ume-r1 info
  ume-r1 info --path demo/index --json
  ume-r1 info --tenant legal
  ume-r1 info --failures    # what could not be indexed
"""


def info(
    path: PathOption = None,
    url: UrlOption = None,
    grpc: GrpcOption = False,
    collection: CollectionOption = DEFAULT_COLLECTION,
    tenant: TenantOption = None,
    failures: Annotated[
        bool,
        typer.Option("--failures", help="Show what could not be indexed, and why, in place of the rest."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a collection holds, which encoder wrote it, and how much of it each search covers.

    Loads no model.
    """
    from ume_r1_rag.cli.store import Address, open_index

    with open_index(Address(path, url, collection, tenant, grpc)) as index:
        if failures:
            _show_failures(index, as_json)
            return
        found = asdict(index.info())
        versions = [asdict(version) for version in index.versions()]
        counts = {kind: index.count({"kind": kind}) for kind in get_args(ItemKind)}
        folder = Path(found["location"])
        found |= {
            "versions": [{name: version[name] for name in _VERSION} for version in versions],
            "kinds": {kind: count for kind, count in counts.items() if count},
            "flagged": index.count({"gen_valid": False}),
            "bytes": _size(folder) if folder.is_dir() else None,
        }
    typer.echo(to_json(found) if as_json else _report(found))


def _show_failures(index: QdrantIndex, as_json: bool) -> None:
    from ume_r1_rag.cli.index_report import failures_report
    from ume_r1_rag.ingest import DeadLetters

    found = sorted(DeadLetters(index), key=lambda failure: failure.key)
    if as_json:
        typer.echo(to_json([{**asdict(failure), "name": failure.name} for failure in found]))
    else:
        typer.echo(failures_report(found))


_VERSION = ("physical", "live", "retired", "points")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _report(found: dict[str, Any]) -> str:
    fingerprint = found["fingerprint"]
    points, coverage = found["points"], found["coverage"]
    kinds = ", ".join(f"{kind} {count}" for kind, count in found["kinds"].items())
    revision = fingerprint.get("revision")
    rows = {
        "collection": f"{clean(found['collection'])} in {clean(found['location'])}",
        "version": ", ".join(_version(version) for version in found["versions"]),
        "tenant": clean(found["tenant"]) if found["tenant"] is not None else "none",
        "documents": f"{points}{f': {kinds}' if kinds else ''}",
        "coverage": ", ".join(f"{space} {count} of {points}" for space, count in coverage.items()),
        "flagged": f"{found['flagged']} generations did not end by themselves in the right format",
        "model": clean(f"{fingerprint.get('model')}{f' at {revision}' if revision else ''}"),
        "weights": clean(fingerprint.get("weights", "-")),
        "protocol": clean(
            f"preset {fingerprint.get('preset')}, think {fingerprint.get('think')}, "
            f"digest {fingerprint.get('protocol')}"
        ),
        "dimension": str(found["dimension"]),
        "storage": _storage(found),
    }
    if not found["store_reasoning"]:
        rows["reasoning"] = "left out; summaries are kept"
    if found["bytes"] is not None:
        rows["size"] = f"{found['bytes'] / 1e6:.1f} MB"
    return "\n".join(f"{name:<11} {text}" for name, text in rows.items())


def _version(version: dict[str, Any]) -> str:
    state = "live" if version["live"] else "retired" if version["retired"] else "being built"
    return f"{clean(version['physical'])} ({state}, {version['points']})"


def _storage(found: dict[str, Any]) -> str:
    """Returns how the vectors are kept, the settings that differ from Qdrant's own."""
    from ume_r1_rag.index import Storage

    usual = asdict(Storage())
    set_ = ", ".join(f"{name} {clean(v)}" for name, v in found["storage"].items() if v != usual[name])
    if found["embedded"]:
        return f"embedded: float32 in memory, exact search{f'; for a server: {set_}' if set_ else ''}"
    deferred = "; the search graph is deferred until a bulk write ends" if found["deferred"] else ""
    return f"server: {set_ or 'defaults'}{deferred}"
