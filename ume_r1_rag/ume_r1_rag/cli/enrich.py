"""``ume-r1 enrich``: gen vectors for what was indexed without."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ume_r1_rag.cli.filter import FilterOption, check_filter, filters
from ume_r1_rag.cli.options import (
    DEFAULT_COLLECTION,
    BackendOption,
    BaseUrlOption,
    BatchOption,
    CacheOption,
    CollectionOption,
    EngineOption,
    GrpcOption,
    IndexModelOption,
    PathOption,
    TenantOption,
    UrlOption,
)

if TYPE_CHECKING:
    from ume_r1_rag.ingest import EnrichReport

EXAMPLES = """\b
Examples:
  ume-r1 index ~/papers --mode disc                # quick: everything can be found by disc and by words
  ume-r1 enrich --mode gen --budget 30m            # then reason for half an hour; again tonight
  ume-r1 enrich --filter kind=page --filter title=q3.pdf
  ume-r1 enrich --limit 20
"""

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

_ENDS = {
    "done": "nothing is left to do",
    "limit": "the limit is reached",
    "budget": "the budget is spent",
    "asked": "interrupted",
}


def enrich(
    mode: Annotated[
        Literal["gen"], typer.Option("--mode", help="Which vectors are filled in; gen is the costly one.")
    ] = "gen",
    filter: FilterOption = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="TIME",
            help="Begin nothing after this long: 90s, 30m, 8h.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Try at most so many documents.", show_default=False)
    ] = None,
    batch_size: BatchOption = 16,
    cache: CacheOption = None,
    backend: BackendOption = "auto",
    engine: EngineOption = None,
    model: IndexModelOption = None,
    base_url: BaseUrlOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    grpc: GrpcOption = False,
    collection: CollectionOption = DEFAULT_COLLECTION,
    tenant: TenantOption = None,
) -> None:
    """Give documents that lack a gen vector one, with its reasoning and summary.

    Each is read again from its file. The same command goes on where it stopped, at its budget or by Ctrl-C:
    the first one finishes what is being encoded, a second one stops at once. Documents that cannot be read
    or encoded are named, the others are done all the same; the exit status is then 1.
    """
    del mode  # there is one; it is said for the reader's sake
    seconds = _seconds(budget)
    from ume_r1_rag.cli.interrupt import Interrupt
    from ume_r1_rag.cli.model import cached, encoder_for, running
    from ume_r1_rag.cli.store import Address, open_index, why_empty
    from ume_r1_rag.ingest import enrich as run

    chosen, how = filters(filter), running(backend, engine, base_url)
    with ExitStack() as stack:
        index = stack.enter_context(open_index(Address(path, url, collection, tenant, grpc)))
        if not index.count():
            typer.echo(why_empty(index), err=True)
            raise typer.Exit(1)
        check_filter(index, chosen)
        loaded = encoder_for(index.fingerprint, model, None, run=how)
        encoder = stack.enter_context(cached(loaded, cache, tenant))
        try:
            with Interrupt("stopping after this batch; Ctrl-C again stops at once") as interrupt:
                report = run(
                    encoder,
                    index,
                    filter=chosen,
                    budget_s=seconds,
                    limit=limit,
                    batch_size=batch_size,
                    stop=interrupt.asked,
                    show_progress=sys.stderr.isatty(),
                )
        except KeyboardInterrupt:
            typer.echo("interrupted: what was written stays; the same command goes on from there", err=True)
            raise typer.Exit(130) from None
    typer.echo(_report(report))
    if report.stopped == "asked":
        raise typer.Exit(130)
    if report.failed:
        raise typer.Exit(1)


def _seconds(text: str | None) -> float | None:
    """Returns the seconds of ``90``, ``90s``, ``1.5h``.

    Raises:
        typer.BadParameter: it is no time.
    """
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([smhd]?)", text.strip().lower())
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if seconds <= 0:
        raise typer.BadParameter(f"{text!r} is no time: give e.g. 90s, 30m or 8h", param_hint="'--budget'")
    return seconds


def _report(report: EnrichReport) -> str:
    from ume_r1_rag.cli.index_report import failed_lines
    from ume_r1_rag.ingest.summary import counted

    rate = report.written / report.seconds if report.seconds else 0.0
    lines = [
        f"enriched   {counted(report.written, 'document')} in {report.seconds:.1f} s, {rate:.2f} a second",
        f"gen        {report.covered} of {report.points} documents now have it",
        f"stopped    {_ENDS[report.stopped]}",
    ]
    if report.outdated:
        lines.append(f"outdated   {report.outdated} changed in the index meanwhile, and were left alone")
    if report.flagged:
        issues = ", ".join(f"{issue} {count}" for issue, count in sorted(report.flagged.items()))
        lines.append(f"flagged    {counted(sum(report.flagged.values()), 'generation')}: {issues}")
    return "\n".join(lines + failed_lines(report.failed, report.failures))
