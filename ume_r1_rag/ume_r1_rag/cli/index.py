"""``ume-r1 index``: files and folders into a collection."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ume_r1_rag.cli.options import (
    DEFAULT_COLLECTION,
    BackendOption,
    BaseUrlOption,
    BatchOption,
    CacheOption,
    CollectionOption,
    EngineOption,
    GrpcOption,
    IndexedModelOption,
    IndexedPresetOption,
    PathOption,
    PresetName,
    StorageOption,
    TenantOption,
    ThinkOption,
    UrlOption,
    budget,
)
from ume_r1_rag.cli.screen import clean
from ume_r1_rag.types import Mode, Think

if TYPE_CHECKING:
    from ume_r1_rag.cli.model import LoadedEncoder, Running
    from ume_r1_rag.cli.store import Address
    from ume_r1_rag.index import QdrantIndex, Storage

_BATCH_SIZE = 16
_SEGMENT_S = 30.0

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
    model: IndexedModelOption = None,
    base_url: BaseUrlOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    grpc: GrpcOption = False,
    collection: CollectionOption = DEFAULT_COLLECTION,
    tenant: TenantOption = None,
    mode: Annotated[
        Mode | None,
        typer.Option(
            "--mode",
            help="Which vectors: gen writes a reasoning for every document. Default: all the model has, but "
            "disc where the collection has documents and none with gen.",
            show_default=False,
        ),
    ] = None,
    think: ThinkOption = None,
    preset: IndexedPresetOption = None,
    batch_size: BatchOption = _BATCH_SIZE,
    segment_s: Annotated[
        float, typer.Option("--segment", min=0.1, metavar="SECONDS", help="Length of a video's segments.")
    ] = _SEGMENT_S,
    store_reasoning: Annotated[
        bool | None,
        typer.Option(
            "--reasoning/--no-reasoning",
            help="Whether a new collection stores reasonings, and finds by their words. Default: it does.",
            show_default=False,
        ),
    ] = None,
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
    cache: CacheOption = None,
    bulk: Annotated[
        bool, typer.Option("--bulk", help="On a server: build the search graph once, at the end.")
    ] = False,
    storage: StorageOption = None,
    backend: BackendOption = "auto",
    engine: EngineOption = None,
) -> None:
    """Index PDFs (page by page), pictures, videos (in segments) and texts.

    Documents that are up to date are left alone, so the same command goes on where it was broken off, and
    brings a collection up to date. Model, preset and think budget are the collection's where they are not
    given. What cannot be read or encoded is named at the end and kept in a list; the rest
    is indexed all the same, and the exit status is 1; likewise where there is nothing to index at all.
    """
    from ume_r1_rag.cli.model import running
    from ume_r1_rag.cli.store import Address, storage_of

    given = [*(paths or []), *_listed(files_from)]
    _check_calls(given, dry_run=dry_run, estimate=estimate, prune=prune, retry_failed=retry_failed)
    common = {"segment_s": segment_s, "force": force}
    how = running(backend, engine, base_url)
    encoding, kept = _Encoding(model, preset, budget(think), mode, batch_size, how), storage_of(storage)
    address = Address(path, url, collection, tenant, grpc)
    if dry_run:
        ok = _dry_run(address, given, encoding, prune=prune, retry_failed=retry_failed, **common)
    elif estimate:
        ok = _estimate(address, given, encoding, kept, **common)
    else:
        ok = _ingest(
            address,
            given,
            encoding,
            kept,
            cache=cache,
            prune=prune,
            retry_failed=retry_failed,
            store_reasoning=store_reasoning,
            bulk=bulk,
            **common,
        )
    if not ok:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Encoding:
    """How to encode, as far as it was said; None leaves it to the collection."""

    model: str | None
    preset: PresetName | None
    think: Think | None
    mode: Mode | None
    batch_size: int
    run: Running

    def encoder(self, known: QdrantIndex | None) -> LoadedEncoder:
        """Returns the encoder: what is not said is the collection's if there is one, else the default."""
        from ume_r1_rag.cli.model import encoder_for, load_encoder, remote_encoder

        if known is not None:
            return encoder_for(
                known.fingerprint, self.model, self.think, self.preset, self.batch_size, self.run
            )
        if self.run.base_url is not None:
            return remote_encoder(self.run.base_url, self.model, self.think, self.preset)
        preset = self.preset or os.environ.get("UME_R1_PRESET") or "serving"
        return load_encoder(
            self.model, preset, self.think or "full", batch_size=self.batch_size, run=self.run
        )

    def wanted(self, known: QdrantIndex | None, *, reasons: bool) -> Mode:
        """Returns the mode: both, but where all documents are without gen that is left so, and said.

        Args:
            known: the collection, if there is one.
            reasons: whether the encoder has gen vectors.
        """
        if self.mode is not None:
            return self.mode
        if not reasons:
            return "disc"
        if known is None or known.has("gen") or not known.has("disc"):
            return "both"
        name = clean(known.collection)
        typer.echo(
            f"mode disc, as no document in {name} has a gen vector: `ume-r1 enrich` adds them, --mode both "
            "reasons about every document now",
            err=True,
        )
        return "disc"


def _ingest(
    address: Address,
    given: list[Path],
    encoding: _Encoding,
    kept: Storage | None,
    store_reasoning: bool | None,
    cache: Path | None,
    **options: Any,
) -> bool:
    from ume_r1_rag.cache import CachedEncoder
    from ume_r1_rag.cli.index_report import ingest_report
    from ume_r1_rag.cli.model import cached
    from ume_r1_rag.cli.store import create_index, find_index
    from ume_r1_rag.ingest import ingest
    from ume_r1_rag.ingest.files import Folder, Walk

    with ExitStack() as stack:
        known = find_index(address)
        stack.enter_context(known or nullcontext())
        # A mistyped folder should not cost the loading of a model, and leave an empty collection.
        if known is None and given and all(isinstance(one, Folder) for one in Walk(given)):
            return _anything(False, given)
        encoder = stack.enter_context(cached(encoding.encoder(known), cache, address.tenant))
        mode = encoding.wanted(known, reasons="gen" in encoder.spaces)
        target = stack.enter_context(create_index(address, encoder.fingerprint, kept, store_reasoning))
        try:
            report = ingest(
                encoder,
                target,
                given,
                mode,
                batch_size=encoding.batch_size,
                show_progress=sys.stderr.isatty(),
                **options,
            )
        except KeyboardInterrupt:
            typer.echo("interrupted: what was written stays; the same command goes on from there", err=True)
            raise typer.Exit(130) from None
        info, had = target.info(), encoder.info() if isinstance(encoder, CachedEncoder) else None
        where = address.options(info.location)
        again = _command("index", "--retry-failed", *where, *_options(encoding, options["segment_s"], cache))
        typer.echo(ingest_report(report, info, _command("info", "--failures", *where), again, had))
    return report.ok and _anything(report.found or bool(options["retry_failed"]), given)


def _options(encoding: _Encoding, segment_s: float, cache: Path | None) -> list[str]:
    """Returns the flags without which failed documents would be read or encoded otherwise."""
    said = {
        "--model": encoding.model,
        "--preset": encoding.preset,
        "--think": encoding.think,
        "--mode": encoding.mode,
        "--batch-size": encoding.batch_size if encoding.batch_size != _BATCH_SIZE else None,
        "--cache": cache,
        "--segment": f"{segment_s:g}" if segment_s != _SEGMENT_S else None,
    }
    words = [word for flag, value in said.items() if value is not None for word in (flag, str(value))]
    return [*words, *encoding.run.flags()]


def _command(*words: str) -> str:
    return shlex.join(["ume-r1", *words])


def _dry_run(address: Address, given: list[Path], encoding: _Encoding, **options: Any) -> bool:
    from ume_r1_rag.cli.index_report import file_line, plan_report
    from ume_r1_rag.cli.store import find_index
    from ume_r1_rag.encoder.fingerprint import spaces_in
    from ume_r1_rag.ingest import FileDryRun, dry_run

    def show(one: FileDryRun) -> None:
        if line := file_line(one):
            typer.echo(line)

    target = find_index(address)
    with target or nullcontext():
        mode = encoding.wanted(target, reasons="gen" in spaces_in(target.fingerprint if target else {}))
        found = dry_run(target, given, mode, on_file=show, **options)
    typer.echo(plan_report(found, address.collection, new_collection=target is None))
    return found.ok and _anything(found.found or bool(options["retry_failed"]), given)


def _estimate(
    address: Address, given: list[Path], encoding: _Encoding, kept: Storage | None, **options: Any
) -> bool:
    from ume_r1_rag.cli.index_report import estimate_report
    from ume_r1_rag.cli.store import find_index
    from ume_r1_rag.index import Storage
    from ume_r1_rag.ingest import estimate

    on_server = not address.place.get("path")
    target = find_index(address)
    with target or nullcontext():
        known = kept or (target.storage if target is not None else Storage())
        encoder = encoding.encoder(target)
        mode = encoding.wanted(target, reasons="gen" in encoder.spaces)
        found = estimate(
            encoder,
            target,
            given,
            mode,
            batch_size=encoding.batch_size,
            server=known if on_server else None,
            **options,
        )
    typer.echo(estimate_report(found, mode))
    return not (found.failed or found.sample_failures) and _anything(found.found, given)


def _anything(found: bool, given: list[Path]) -> bool:
    """Returns whether there was anything below the paths, and says so if not; a mistyped or unmounted one."""
    from ume_r1_rag.cli.index_report import nothing_found

    if found:
        return True
    typer.echo(nothing_found(given), err=True)
    return False


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
