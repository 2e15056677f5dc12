"""``ume-r1 info``: what a collection holds."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
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
from ume_r1_rag.errors import ConfigError
from ume_r1_rag.types import ItemKind

if TYPE_CHECKING:
    from ume_r1_rag.cli.store import Address
    from ume_r1_rag.index import QdrantIndex

EXAMPLES = """\b
Examples:
  ume-r1 info
  ume-r1 info --path demo/index --json
  ume-r1 info --tenant legal    # of one tenant; without it, tenants are listed
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

    Without --tenant, documents of no tenant are counted, and the tenants that have some are listed. Under
    "text" are documents with words of their own: a text layer, a summary, a reasoning; those that words find
    by their title alone are told apart. Loads no model.
    """
    from ume_r1_rag.cli.store import Address, open_index

    address = Address(path, url, collection, tenant, grpc)
    with open_index(address) as index:
        if failures:
            _show_failures(index, address, as_json)
            return
        found = asdict(index.info())
        versions = [asdict(version) for version in index.versions()]
        counts = {kind: index.count({"kind": kind}) for kind in get_args(ItemKind)}
        covered = _covered(index, found["points"], found["coverage"])
        folder = Path(found["location"])
        found |= {
            "versions": [{name: version[name] for name in _VERSION} for version in versions],
            **covered,
            "tenants": _tenants(index) if tenant is None else None,
            "kinds": {kind: count for kind, count in counts.items() if count},
            "flagged": index.count({"gen_valid": False}),
            "bytes": _size(folder) if folder.is_dir() else None,
        }
    typer.echo(to_json(found) if as_json else _report(found))


def _covered(index: QdrantIndex, points: int, coverage: Mapping[str, int]) -> dict[str, Any]:
    """Returns the coverage, with titles told apart: a scan without gen has no words but its file's name."""
    others = [kind for kind in get_args(ItemKind) if kind != "text"]
    wordless = index.count({"text": None, "summary": None, "reasoning": None, "kind": others})
    titled = max(0, wordless - (points - coverage["text"]))
    return {"coverage": {**coverage, "text": coverage["text"] - titled}, "title_only": titled}


def _tenants(index: QdrantIndex) -> list[str] | None:
    """Returns the tenants that have documents; None if there are more than can be listed."""
    try:
        return index.tenants()
    except ConfigError:
        return None


def _show_failures(index: QdrantIndex, address: Address, as_json: bool) -> None:
    from ume_r1_rag.cli.index_report import failures_report
    from ume_r1_rag.ingest import DeadLetters

    found = sorted(DeadLetters(index), key=lambda failure: failure.key)
    if as_json:
        typer.echo(to_json([{**asdict(failure), "name": failure.name} for failure in found]))
    else:
        options = address.options(index.info().location)
        typer.echo(failures_report(found, shlex.join(["ume-r1", "index", "--retry-failed", *options])))


_VERSION = ("physical", "live", "retired", "points")

_MOST_TENANTS = 50


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _report(found: dict[str, Any]) -> str:
    fingerprint = found["fingerprint"]
    points = found["points"]
    kinds = ", ".join(f"{kind} {count}" for kind, count in found["kinds"].items())
    revision = fingerprint.get("revision")
    rows = {
        "collection": f"{clean(found['collection'])} in {clean(found['location'])}",
        "version": ", ".join(_version(version) for version in found["versions"]),
        **_whose(found),
        "documents": f"{points}{f': {kinds}' if kinds else ''}",
        "coverage": _coverage(found),
        "flagged": f"{found['flagged']} generations did not end by themselves in the right format",
        "model": clean(f"{fingerprint.get('model')}{f' at {revision}' if revision else ''}"),
        "weights": clean(fingerprint.get("weights", "-")),
        **{name: clean(text) for name, text in _protocol(fingerprint).items()},
        "dimension": str(found["dimension"]),
        "storage": _storage(found),
    }
    if not found["store_reasoning"]:
        rows["reasoning"] = "left out; summaries are kept"
    if found["bytes"] is not None:
        rows["size"] = f"{found['bytes'] / 1e6:.1f} MB"
    return "\n".join(f"{name:<11} {text}" for name, text in rows.items())


def _whose(found: Mapping[str, Any]) -> dict[str, str]:
    """Returns the rows that say whose documents these are, and who else has some where all may be known."""
    tenant, tenants = found["tenant"], found["tenants"]
    if tenant is not None:
        nothing = "" if found["points"] else ", which has no documents in this collection"
        return {"tenant": f"{clean(tenant)}{nothing}"}
    if tenants == []:
        return {"tenant": "none"}
    if tenants is None:
        return {"tenant": "none: what follows belongs to nobody", "tenants": "too many to be listed"}
    named = ", ".join(clean(name) for name in tenants[:_MOST_TENANTS])
    more = f" and {len(tenants) - _MOST_TENANTS} more" if len(tenants) > _MOST_TENANTS else ""
    return {
        "tenant": "none: what follows belongs to nobody; --tenant NAME shows one of these",
        "tenants": f"{len(tenants)}: {named}{more}",
    }


def _coverage(found: Mapping[str, Any]) -> str:
    covered = ", ".join(f"{space} {count} of {found['points']}" for space, count in found["coverage"].items())
    titled = found["title_only"]
    return f"{covered}{f' ({titled} more by the title alone)' if titled else ''}"


def _protocol(fingerprint: Mapping[str, Any]) -> dict[str, str]:
    """Returns how documents are encoded, in rows; whatever a preset does not say is left out."""
    preset = fingerprint.get("preset")
    said: Mapping[str, Any] = preset if isinstance(preset, Mapping) else {}
    rows = {} if preset is None else {"preset": str(said.get("name", preset))}
    images, frames = (_pixels(said.get(name)) for name in ("image_limits", "frame_limits"))
    if images:
        rows["  images"] = images
    if frames:
        rows["  videos"] = f"{said.get('num_frames', '-')} frames of {frames}"
    tokens = said.get("max_new_tokens")
    if isinstance(tokens, int):
        loops = "; loops are stopped" if said.get("repetition") else ""
        rows["  reasoning"] = f"think {fingerprint.get('think')}, at most {tokens:,} new tokens{loops}"
    elif "think" in fingerprint:
        rows["think"] = str(fingerprint["think"])
    if "protocol" in fingerprint:
        rows["protocol"] = f"digest {fingerprint['protocol']}"
    return rows


def _pixels(limits: Any) -> str:
    most = limits.get("max_pixels") if isinstance(limits, Mapping) else None
    return f"at most {most:,} pixels" if isinstance(most, int) else ""


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
