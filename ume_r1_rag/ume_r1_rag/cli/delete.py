"""``ume-r1 delete``: documents out of a collection."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ume_r1_rag.cli.filter import FilterOption, check_filter, filters
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

if TYPE_CHECKING:
    from ume_r1_rag.index import QdrantIndex
    from ume_r1_rag.ingest import Removal

EXAMPLES = """\b
Examples:
  ume-r1 delete --document report.pdf             # what would go; nothing is deleted without --yes
  ume-r1 delete --document ~/papers/report.pdf --yes
  ume-r1 delete --document a.pdf --document b.pdf --yes
  ume-r1 delete --filter kind=clip --yes
  ume-r1 delete --all --tenant acme --yes         # a tenant that leaves
"""

_MOST_FILES = 100


def delete(
    document: Annotated[
        list[str] | None,
        typer.Option(
            "--document",
            metavar="FILE",
            help="A file, by its path or by the title that searches show, with all its pages or segments; or "
            "one of these by its key, as in --json. May be repeated.",
        ),
    ] = None,
    filter: FilterOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All documents of the tenant; without --tenant, all that have none.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Delete; without it, only say what would go.")
    ] = False,
    as_json: JsonOption = False,
    path: PathOption = None,
    url: UrlOption = None,
    grpc: GrpcOption = False,
    collection: CollectionOption = DEFAULT_COLLECTION,
    tenant: TenantOption = None,
) -> None:
    """Delete documents from a collection; without --yes, only list them.

    Files are not touched: one that is still there comes back with the next `ume-r1 index` of its folder. What
    was deleted from a folder is forgotten by `ume-r1 index --prune`. Beside --document, --filter leaves only
    what matches both. The exit status is 1 if nothing is called by a name that was given.
    """
    chosen = filters(filter)
    if everything == bool(document or chosen):
        raise typer.BadParameter("give --document or --filter, or both; or --all and neither")
    from ume_r1_rag.cli.store import Address, open_index
    from ume_r1_rag.ingest import remove

    with open_index(Address(path, url, collection, tenant, grpc)) as index:
        check_filter(index, chosen)
        found = remove(index, document or (), chosen, everything=everything, dry_run=not yes)
        typer.echo(to_json({**asdict(found), "deleted": yes}) if as_json else _report(found, index, yes))
    for name in found.unknown:
        typer.echo(f"nothing {_whose(tenant)}is called {clean(name)!r}", err=True)
    if found.unknown:
        raise typer.Exit(1)


def _whose(tenant: str | None) -> str:
    return f"of tenant {clean(tenant)} " if tenant is not None else ""


def _report(found: Removal, index: QdrantIndex, deleted: bool) -> str:
    from ume_r1_rag.ingest.summary import counted, kinds_text

    done = "deleted" if deleted else "to delete"
    lines = [f"{done:<10} {counted(found.points, 'document')}{kinds_text(found.kinds)}"]
    named = list(found.files.items())
    lines += [f"  {clean(name)}: {count}" for name, count in named[:_MOST_FILES]]
    if len(named) > _MOST_FILES:
        lines.append(f"  and {counted(len(named) - _MOST_FILES, 'more file')}")
    if found.failures:
        lines.append(f"failures   {found.failures} {'struck out' if deleted else 'to strike out'}")
    place = f"{clean(index.collection)} in {clean(index.info().location)}"
    if index.tenant is not None:
        place += f", tenant {clean(index.tenant)}"
    lines.append(f"from       {place}, which holds {index.count()}{' now' if deleted else ''}")
    there = sum(os.path.lexists(name) for name, _ in named)
    if there:
        are = "is" if there == 1 else "are"
        lines.append(
            f"{counted(there, 'file')} of these {are} still there: the next `ume-r1 index` of the folder "
            "brings back what it holds"
        )
    others = [
        clean(one.physical) for one in index.versions() if one.points and one.physical != index.physical
    ]
    if others and found.points:
        named_too = ", ".join(others)
        lines.append(f"other versions may hold them, too: {named_too}; see `ume-r1 reindex --drop-old`")
    if not deleted and (found.points or found.failures):
        lines.append("nothing was deleted: the same command with --yes does it")
    return "\n".join(lines)
