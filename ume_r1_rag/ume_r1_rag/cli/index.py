"""``ume-r1 index``: files and folders into a collection."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ume_r1_rag.cli.options import (
    DEFAULT_COLLECTION,
    BatchOption,
    CollectionOption,
    ModelOption,
    PathOption,
    PresetOption,
    StorageOption,
    TenantOption,
    ThinkOption,
    UrlOption,
    budget,
)
from ume_r1_rag.types import Mode, Think

if TYPE_CHECKING:
    from ume_r1_rag.index import Storage

EXAMPLES = """\b
Examples:
  ume-r1 index ~/papers photos/ talk.mp4
  ume-r1 index demo/files --model nano --path demo/index
  ume-r1 index ~/papers --estimate                     # hours and bytes, from a sample of 20
  ume-r1 index ~/papers --dry-run --prune              # what would be done, without a model
  ume-r1 index ~/papers --prune                        # also forget what was deleted
  ume-r1 index --retry-failed                          # only what failed; see ume-r1 info --failures
  ume-r1 index scans --mode disc --collection scans    # no reasoning: many times quicker
  ume-r1 index --files-from new.txt                    # or -, as in: find . -mtime -1 | ume-r1 …
"""


def index(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATH]...", exists=True, help="Files and folders.", show_default=False),
    ] = None,
    files_from: Annotated[
        Path | None,
        typer.Option("--files-from", metavar="FILE", help="Read paths from a file, one a line; - for stdin."),
    ] = None,
    model: ModelOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    collection: CollectionOption = DEFAULT_COLLECTION,
    tenant: TenantOption = None,
    mode: Annotated[
        Mode | None,
        typer.Option(
            "--mode",
            help="Which vectors: gen writes a reasoning for every document. Default: all the model has.",
            show_default=False,
        ),
    ] = None,
    think: ThinkOption = None,
    preset: PresetOption = "serving",
    batch_size: BatchOption = 16,
    segment_s: Annotated[
        float, typer.Option("--segment", min=0.1, metavar="SECONDS", help="Length of a video's segments.")
    ] = 30.0,
    store_reasoning: Annotated[
        bool, typer.Option("--reasoning/--no-reasoning", help="Store reasonings, and find by their words.")
    ] = True,
    prune: Annotated[
        bool, typer.Option("--prune", help="Also delete what the index has of files that are gone.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write unchanged documents again, too.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try only what failed before: all of it, or below PATH.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done; loads no model.")
    ] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only say what it would cost, from a measured sample of 20.")
    ] = False,
    bulk: Annotated[
        bool, typer.Option("--bulk", help="On a server: build the search graph once, at the end.")
    ] = False,
    storage: StorageOption = None,
) -> None:
    """Index PDFs (page by page), pictures, videos (in segments) and texts.

    What is in the collection as it would be written now is left alone, so the same command goes on where it
    was broken off, and brings a collection up to date. What cannot be read or encoded is named at the end
    and kept in a list; the rest is indexed all the same, and the exit status is 1.
    """
    from ume_r1_rag.cli.store import storage_of

    given = [*(paths or []), *_listed(files_from)]
    _check_calls(given, dry_run=dry_run, estimate=estimate, prune=prune, retry_failed=retry_failed)
    common = {"segment_s": segment_s, "force": force}
    thinking, kept = budget(think) or "full", storage_of(storage)
    place: tuple[Any, ...] = (path, url, collection, tenant)
    if dry_run:
        ok = _dry_run(place, given, mode, prune=prune, retry_failed=retry_failed, **common)
    elif estimate:
        ok = _estimate(place, given, mode, (model, preset, thinking), kept, batch_size, **common)
    else:
        ok = _ingest(
            place,
            given,
            mode,
            (model, preset, thinking),
            kept,
            batch_size=batch_size,
            prune=prune,
            retry_failed=retry_failed,
            store_reasoning=store_reasoning,
            bulk=bulk,
            **common,
        )
    if not ok:
        raise typer.Exit(1)


def _ingest(
    place: tuple[Any, ...],
    given: list[Path],
    mode: Mode | None,
    encoding: tuple[str | None, str, Think],
    kept: Storage | None,
    batch_size: int,
    **options: Any,
) -> bool:
    from ume_r1_rag.cli.index_report import ingest_report
    from ume_r1_rag.cli.model import load_encoder, mode_for
    from ume_r1_rag.cli.store import create_index
    from ume_r1_rag.ingest import ingest

    encoder = load_encoder(*encoding, batch_size=batch_size)
    path, url, collection, tenant = place
    with create_index(path, url, collection, encoder.fingerprint, tenant, kept) as target:
        try:
            report = ingest(
                encoder,
                target,
                given,
                mode_for(mode, encoder),
                batch_size=batch_size,
                show_progress=sys.stderr.isatty(),
                **options,
            )
        except KeyboardInterrupt:
            typer.echo("interrupted: what was written stays; the same command goes on from there", err=True)
            raise typer.Exit(130) from None
        typer.echo(ingest_report(report, target.info()))
    return report.ok


def _dry_run(place: tuple[Any, ...], given: list[Path], mode: Mode | None, **options: Any) -> bool:
    from ume_r1_rag.cli.index_report import file_line, plan_report
    from ume_r1_rag.cli.store import find_index
    from ume_r1_rag.encoder.sentence_transformers import FAMILY
    from ume_r1_rag.ingest import FilePlan, plan

    def show(one: FilePlan) -> None:
        if line := file_line(one):
            typer.echo(line)

    target = find_index(*place)
    with target or nullcontext():
        foreign = target is not None and target.fingerprint.get("encoder") == FAMILY
        found = plan(target, given, mode or ("disc" if foreign else "both"), on_file=show, **options)
    typer.echo(plan_report(found, place[2], new_collection=target is None))
    return found.ok


def _estimate(
    place: tuple[Any, ...],
    given: list[Path],
    mode: Mode | None,
    encoding: tuple[str | None, str, Think],
    kept: Storage | None,
    batch_size: int,
    **options: Any,
) -> bool:
    from ume_r1_rag.cli.index_report import estimate_report
    from ume_r1_rag.cli.model import load_encoder, mode_for
    from ume_r1_rag.cli.store import find_index
    from ume_r1_rag.cli.store import place as place_of
    from ume_r1_rag.index import Storage
    from ume_r1_rag.ingest import estimate

    on_server = not place_of(place[0], place[1]).get("path")
    target = find_index(*place)
    with target or nullcontext():
        known = kept or (target.storage if target is not None else Storage())
        encoder = load_encoder(*encoding, batch_size=batch_size)
        found = estimate(
            encoder,
            target,
            given,
            mode_for(mode, encoder),
            batch_size=batch_size,
            server=known if on_server else None,
            **options,
        )
    typer.echo(estimate_report(found, mode_for(mode, encoder)))
    return not (found.failed or found.sample_failures)


def _check_calls(
    given: list[Path], *, dry_run: bool, estimate: bool, prune: bool, retry_failed: bool
) -> None:
    """Refuses options that make no sense together.

    Raises:
        typer.BadParameter: they do not.
    """
    if dry_run and estimate:
        raise typer.BadParameter("--dry-run and --estimate are each a question of its own: give one of them")
    if not given and not retry_failed:
        raise typer.BadParameter("give a PATH, --files-from or --retry-failed", param_hint="'PATH'")
    if estimate and (prune or retry_failed):
        raise typer.BadParameter(
            "--estimate tells of new and changed files: leave --prune and --retry-failed"
        )
    if prune and not given:
        raise typer.BadParameter("--prune needs a PATH: nothing outside of it is deleted")


def _listed(source: Path | None) -> list[Path]:
    """Returns the paths in a list, one a line."""
    if source is None:
        return []
    try:
        data = sys.stdin.buffer.read() if str(source) == "-" else source.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"cannot be read: {error.strerror}", param_hint="'--files-from'") from error
    return [Path(os.fsdecode(line)) for line in data.splitlines() if line.strip()]
