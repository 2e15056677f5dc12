"""``ume-r1 info``: what a collection holds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import typer

from ume_r1_rag.cli.options import DEFAULT_COLLECTION, CollectionOption, JsonOption, PathOption, UrlOption
from ume_r1_rag.cli.screen import clean, to_json
from ume_r1_rag.types import ItemKind

EXAMPLES = """\b
Examples:
  ume-r1 info
  ume-r1 info --path demo/index --json
"""


def info(
    path: PathOption = None,
    url: UrlOption = None,
    collection: CollectionOption = DEFAULT_COLLECTION,
    as_json: JsonOption = False,
) -> None:
    """Show what a collection holds, and which encoder wrote it.

    Loads no model.
    """
    from ume_r1_rag.cli.store import open_index

    with open_index(path, url, collection) as index:
        found = asdict(index.info())
        counts = {kind: index.count({"kind": kind}) for kind in get_args(ItemKind)}
        folder = Path(found["location"])
        found |= {
            "kinds": {kind: count for kind, count in counts.items() if count},
            "flagged": index.count({"gen_valid": False}),
            "bytes": _size(folder) if folder.is_dir() else None,
        }
    typer.echo(to_json(found) if as_json else _report(found))


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _report(found: dict[str, Any]) -> str:
    fingerprint = found["fingerprint"]
    points, coverage = found["points"], found["coverage"]
    kinds = ", ".join(f"{kind} {count}" for kind, count in found["kinds"].items())
    revision = fingerprint.get("revision")
    rows = {
        "collection": f"{clean(found['collection'])} in {clean(found['location'])}",
        "documents": f"{points}{f': {kinds}' if kinds else ''}",
        "coverage": f"disc {coverage['disc']} of {points}, gen {coverage['gen']} of {points}",
        "flagged": f"{found['flagged']} generations did not end by themselves in the right format",
        "model": clean(f"{fingerprint.get('model')}{f' at {revision}' if revision else ''}"),
        "weights": clean(fingerprint.get("weights", "-")),
        "protocol": clean(
            f"preset {fingerprint.get('preset')}, think {fingerprint.get('think')}, "
            f"digest {fingerprint.get('protocol')}"
        ),
        "dimension": str(found["dimension"]),
    }
    if found["bytes"] is not None:
        rows["size"] = f"{found['bytes'] / 1e6:.1f} MB"
    return "\n".join(f"{name:<11} {text}" for name, text in rows.items())
