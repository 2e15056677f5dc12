"""``ume-r1 reindex``: another model for a collection, built beside it, compared, swapped in."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer

from ume_r1_rag.cli import reindex_report
from ume_r1_rag.cli.options import (
    DEFAULT_COLLECTION,
    BackendOption,
    BatchOption,
    CollectionOption,
    EngineOption,
    GrpcOption,
    PathOption,
    PresetOption,
    StorageOption,
    ThinkOption,
    UrlOption,
    budget,
)
from ume_r1_rag.cli.screen import clean
from ume_r1_rag.errors import ConfigError
from ume_r1_rag.types import Encoder, Mode, spaces_of

if TYPE_CHECKING:
    from ume_r1_rag.cli.model import Running
    from ume_r1_rag.index import QdrantIndex, Storage
    from ume_r1_rag.ingest import Answers, ReindexReport
    from ume_r1_rag.retriever import Question

EXAMPLES = """\b
Examples:
  ume-r1 reindex --to zhibinlan/UME-R1-7B --queries questions.txt
  ume-r1 reindex --to st:models/static-retrieval --yes
  ume-r1 reindex --to new-nano --mode both         # have the new model reason about everything, too
  ume-r1 reindex --rollback
  ume-r1 reindex --drop-old
  ume-r1 reindex --drop-build                      # give up a version that was begun
"""


def reindex(
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="MODEL", help="The new model, named as in `ume-r1 index`.", show_default=False
        ),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            "--queries",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Questions to compare by, one a line as in `ume-r1 search`; JSON may name gold and page.",
        ),
    ] = None,
    mode: Annotated[
        Mode, typer.Option("--mode", help="Which vectors. With disc, stored reasonings are kept as they are.")
    ] = "disc",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: swap, go back, or drop.")] = False,
    allow_missing: Annotated[
        bool,
        typer.Option("--allow-missing", help="Swap even if files that are gone or unreadable are left out."),
    ] = False,
    rollback: Annotated[bool, typer.Option("--rollback", help="Go back to the version before.")] = False,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Delete the versions that are live no more.")
    ] = False,
    drop_build: Annotated[
        bool,
        typer.Option("--drop-build", help="Delete versions that were begun and never made live."),
    ] = False,
    think: ThinkOption = None,
    preset: PresetOption = "serving",
    batch_size: BatchOption = 16,
    backend: BackendOption = "auto",
    engine: EngineOption = None,
    storage: StorageOption = None,
    store_reasoning: Annotated[
        bool | None,
        typer.Option(
            "--reasoning/--no-reasoning",
            help="Whether the new version stores reasonings, and finds by their words. Default: as before.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="The present model, for --queries. Default: the one the collection names.",
            show_default=False,
        ),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(
            "--tenant",
            metavar="NAME",
            envvar="UME_R1_TENANT",
            help="Whose documents --queries is asked of; all tenants' are taken over.",
            show_default=False,
        ),
    ] = None,
    path: PathOption = None,
    url: UrlOption = None,
    grpc: GrpcOption = False,
    collection: CollectionOption = DEFAULT_COLLECTION,
) -> None:
    """Build a collection anew with another model, compare the two, and swap.

    The documents are read again from their files; the live version answers meanwhile and is kept until
    --drop-old. The same command goes on where it was broken off; --drop-build gives up what it wrote. Files
    that are gone or have changed are named, the exit status is then 1, and nothing is swapped without
    --allow-missing.
    """
    if sum((to is not None, rollback, drop_old, drop_build)) != 1:
        raise typer.BadParameter("give one of --to, --rollback, --drop-old and --drop-build")
    from ume_r1_rag.cli.model import load_encoder, running
    from ume_r1_rag.cli.search_input import questions as read
    from ume_r1_rag.cli.store import Address, open_index, storage_of

    address = Address(path, url, collection, grpc=grpc)
    if to is None:
        with open_index(address) as index:
            _roll_back(index, yes) if rollback else _drop(index, yes, begun=drop_build)
        return
    run = running(backend, engine)
    thinking = budget(think) or "full"
    how: _How = {
        "mode": mode,
        "storage": storage_of(storage),
        "store_reasoning": store_reasoning,
        "batch_size": batch_size,
    }
    questions = read(queries) if queries is not None else []
    with open_index(address) as index:
        # Before the build, so that what is amiss is known at once, and no two models are held at a time.
        before = (
            _present_answers(index, questions, mode, model, tenant, run, batch_size) if questions else None
        )
        encoder = load_encoder(to, preset, thinking, batch_size=batch_size, run=run)
        anew = how["storage"] is not None or store_reasoning is not None
        _refuse_the_same(index, encoder.fingerprint, anew=anew)
        report = _build(index, encoder, how)
        target = index.build_next(encoder.fingerprint, how["storage"], store_reasoning)
        if lost := reindex_report.lost_gen(index, target):
            typer.echo(lost)
        if before is not None:
            _compare(encoder, target.for_tenant(tenant), questions, before)
        if _wanted(index, target, report, yes=yes, allow_missing=allow_missing):
            report = _swap(index, encoder, how, allow_missing)
    if report.missing:
        raise typer.Exit(1)


class _How(TypedDict):
    """How a version is built, and what is indexed meanwhile taken over: by the same options."""

    mode: Mode
    storage: Storage | None
    store_reasoning: bool | None
    batch_size: int


def _build(index: QdrantIndex, encoder: Encoder, how: _How) -> ReindexReport:
    """Builds the next version, and says what that did; ends the command if it was broken off."""
    from ume_r1_rag.cli.interrupt import Interrupt
    from ume_r1_rag.ingest import reindex as build

    try:
        with Interrupt("stopping after this batch; Ctrl-C again stops at once") as interrupt:
            report = build(index, encoder, **how, stop=interrupt.asked, show_progress=sys.stderr.isatty())
    except KeyboardInterrupt:
        typer.echo("interrupted: what was written stays; the same command goes on from there", err=True)
        raise typer.Exit(130) from None
    typer.echo(reindex_report.built(report, index))
    if not report.complete:
        raise typer.Exit(130)
    return report


def _compare(encoder: Encoder, target: QdrantIndex, questions: Sequence[Question], before: Answers) -> None:
    """Says how much the new version's answers are those of the live one."""
    from ume_r1_rag.ingest import agreement, ask
    from ume_r1_rag.retriever import Retriever

    after = ask(Retriever(encoder, target), questions, before.space, before.k)
    typer.echo(reindex_report.compared(agreement(before, after, questions)))


def _swap(index: QdrantIndex, encoder: Encoder, how: _How, allow_missing: bool) -> ReindexReport:
    """Makes the new version live, with what was indexed since the build, or while the user hesitated."""
    from ume_r1_rag.ingest import swap

    replaced = index.physical
    report = swap(index, encoder, **how, allow_missing=allow_missing)
    typer.echo(reindex_report.swapped(index, str(encoder.fingerprint.get("model", "-")), replaced, report))
    return report


def _present_answers(
    index: QdrantIndex,
    questions: Sequence[Question],
    mode: Mode,
    model: str | None,
    tenant: str | None,
    run: Running,
    batch_size: int,
) -> Answers:
    """Returns what the live version answers by the present model, which is closed again.

    Raises:
        ConfigError: it cannot be asked.
    """
    from ume_r1_rag.cli.model import encoder_for
    from ume_r1_rag.ingest import ask
    from ume_r1_rag.retriever import Retriever

    own = index.for_tenant(tenant)
    covered = own.coverage()
    space = next((space for space in spaces_of(mode) if covered[space]), None)
    if space is None:
        raise ConfigError(
            f"--queries: the live version has no {' or '.join(spaces_of(mode))} vectors to compare with "
            f"(it has {covered}); choose another --mode, or leave --queries out"
        )
    # How the new model is run says nothing to a present one that is no UME-R1.
    shared = run if "preset" in index.fingerprint else None
    present = encoder_for(index.fingerprint, model, None, batch_size=batch_size, run=shared)
    try:
        return ask(Retriever(present, own), questions, space)
    finally:
        present.close()


def _refuse_the_same(index: QdrantIndex, fingerprint: Mapping[str, Any], *, anew: bool) -> None:
    """Refuses to replace vectors by the same ones, and to lose gen by it.

    Args:
        index: the live version.
        fingerprint: the new encoder's.
        anew: whether something else than the encoder is to change.

    Raises:
        ConfigError: nothing would change.
    """
    from ume_r1_rag.encoder.fingerprint import digest

    if not anew and digest(fingerprint) == digest(index.fingerprint):
        index.make_live(index)  # a swap that was killed may be half done
        raise ConfigError(
            f"collection {index.collection!r} was written with this very encoder: nothing is to be done. "
            "For gen vectors that it lacks use `ume-r1 enrich`, for another storage add --storage"
        )


def _wanted(
    index: QdrantIndex, target: QdrantIndex, report: ReindexReport, *, yes: bool, allow_missing: bool
) -> bool:
    """Returns whether the user wants the new version to be live; says so if not."""
    from ume_r1_rag.ingest.summary import counted

    if report.blameless:
        typer.echo(
            f"not swapped: the new model failed at {counted(report.blameless, 'document')} by no fault of "
            f"{'its' if report.blameless == 1 else 'their'} own; the same command tries again"
        )
        return False
    if report.missing and not allow_missing:
        typer.echo(
            f"not swapped: {counted(report.missing, 'document')} would be missing; index again what is there "
            "first, delete or prune what is gone, or give --allow-missing"
        )
        return False
    if not yes and not sys.stdin.isatty():
        typer.echo(f"not swapped: the same command with --yes makes {clean(target.physical)} live")
        return False
    if not yes and not typer.confirm(
        f"make {clean(target.physical)} live in place of {clean(index.physical)}?"
    ):
        typer.echo("not swapped")
        return False
    return True


def _roll_back(index: QdrantIndex, yes: bool) -> None:
    from ume_r1_rag.ingest import rollback_loss
    from ume_r1_rag.ingest.summary import counted

    loss = rollback_loss(index)
    if loss.newer or loss.deleted:
        typer.echo(
            f"loses      {counted(loss.newer, 'newer document')} {_be(loss.newer)} left behind, "
            f"{loss.deleted} deleted {'one comes' if loss.deleted == 1 else 'ones come'} back"
        )
        if not yes and not sys.stdin.isatty():
            typer.echo("not changed: the same command with --yes goes back")
            raise typer.Exit(1)
        if not yes:
            typer.confirm("go back?", abort=True)
    physical = index.rollback()
    model = clean(index.fingerprint.get("model", "-"))
    typer.echo(f"live       {clean(index.collection)} is {clean(physical)} again, with model {model}")


def _be(count: int) -> str:
    return "is" if count == 1 else "are"


def _drop(index: QdrantIndex, yes: bool, *, begun: bool) -> None:
    """Deletes versions, if that is wanted: those that were begun only, or those that are live no more."""
    index.make_live(index)  # a swap that was killed may be half done: then one has no mark yet
    dropped = [one for one in index.versions() if not one.live and one.retired != begun]
    if not dropped:
        why = "has no version that was begun only" if begun else "is the only version that was ever live"
        typer.echo(f"nothing to drop: {clean(index.collection if begun else index.physical)} {why}")
        return
    names = ", ".join(clean(one.physical) for one in dropped)
    if not yes:
        typer.confirm(f"delete {names}, for all tenants and for good?", abort=True)
    names = ", ".join(map(clean, index.drop_unfinished() if begun else index.drop_old()))
    typer.echo(f"dropped    {names}")
