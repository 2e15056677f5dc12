"""``ume-r1 index``: files and folders into a collection."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from ume_r1_rag.cli.options import (
    DEFAULT_COLLECTION,
    CollectionOption,
    ModelOption,
    PathOption,
    PresetOption,
    ThinkOption,
    UrlOption,
    budget,
)
from ume_r1_rag.cli.screen import clean, pad, width
from ume_r1_rag.types import ItemKind, Mode

if TYPE_CHECKING:
    from ume_r1_rag.index import QdrantIndex
    from ume_r1_rag.ingest import IngestReport

EXAMPLES = """\b
Examples:
  ume-r1 index ~/papers photos/ talk.mp4
  ume-r1 index demo/files --model nano --path demo/index
  ume-r1 index scans --mode disc --collection scans    # no reasoning: many times quicker
"""

_MOST_SKIPPED = 10


def index(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", exists=True, help="Files and folders.", show_default=False),
    ],
    model: ModelOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    collection: CollectionOption = DEFAULT_COLLECTION,
    mode: Annotated[
        Mode, typer.Option("--mode", help="Which vectors: gen writes a reasoning for every document.")
    ] = "both",
    think: ThinkOption = None,
    preset: PresetOption = "serving",
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Documents that are encoded together.")
    ] = 16,
) -> None:
    """Index PDFs (page by page), pictures, videos and texts.

    What cannot be read or encoded is named in the report, the rest is indexed all the same; the exit status
    is then 1. A document that is in the collection already is replaced; of an unchanged one --mode disc
    keeps the gen vector.
    """
    thinking = budget(think) or "full"
    from ume_r1_rag.cli.model import load_encoder
    from ume_r1_rag.cli.store import create_index
    from ume_r1_rag.ingest import ingest

    encoder = load_encoder(model, preset, thinking, batch_size=batch_size)
    with create_index(path, url, collection, encoder.fingerprint) as target:
        report = ingest(
            encoder, target, paths, mode, batch_size=batch_size, show_progress=sys.stderr.isatty()
        )
        typer.echo(_summary(report, target))
    if report.failed:
        raise typer.Exit(1)


def _summary(report: IngestReport, target: QdrantIndex) -> str:
    info = target.info()
    kinds = ", ".join(f"{kind} {report.kinds[kind]}" for kind in get_args(ItemKind) if kind in report.kinds)
    held = f"{info.points}: {info.coverage['disc']} with disc, {info.coverage['gen']} with gen"
    lines = [
        f"indexed  {report.indexed} documents in {report.seconds:.1f} s{f': {kinds}' if kinds else ''}",
        f"into     {clean(info.collection)} in {clean(info.location)}, which now holds {held}",
    ]
    if report.flagged:
        issues = ", ".join(f"{issue} {count}" for issue, count in sorted(report.flagged.items()))
        lines.append(f"flagged  {sum(report.flagged.values())} generations: {issues}")
    if report.skipped:
        reasons = Counter(report.skipped)
        lines.append(f"skipped  {reasons.total()}")
        lines += [f"  {clean(reason)}: {count}" for reason, count in reasons.most_common(_MOST_SKIPPED)]
    if report.failed:
        lines.append(f"failed   {report.failed}")
        size = min(40, max(width(clean(item.name)) for item in report.failures))
        lines += [f"  {pad(clean(item.name), size)}  {clean(item.reason)}" for item in report.failures]
    return "\n".join(lines)
