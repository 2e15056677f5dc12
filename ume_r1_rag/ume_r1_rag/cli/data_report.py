"""Data report: what the commands of ``ume-r1 data`` say at their end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ume_r1_rag.cli.screen import clean

if TYPE_CHECKING:
    from ume_r1_trainer.data.annotate import AnnotateReport
    from ume_r1_trainer.data.filter import FilterReport
    from ume_r1_trainer.data.select_rl import SelectReport
    from ume_r1_trainer.endpoint import ChatEndpoint, Usage


def tell_failed(count: int, examples: Sequence[str], where: Path) -> None:
    """Says how many failed, the first of them, and where all are listed."""
    typer.echo(f"failed {count}, listed in {where}:", err=True)
    for example in examples:
        typer.echo(f"  {clean(example)[:300]}", err=True)


def tell_usage(usage: Usage) -> None:
    """Says what an endpoint was used for, and the cost if there are prices."""
    told = f"  requests {usage.requests}, {usage.from_cache} from the cache, {usage.retries} repeated; "
    told += f"tokens {usage.prompt_tokens} in, {usage.completion_tokens} out"
    typer.echo(f"{told}; cost {usage.cost:.4f}" if usage.cost else told)


def tell_annotated(report: AnnotateReport, endpoint: ChatEndpoint, output: Path, *, hint: bool) -> None:
    """Says what a run of annotate did and cost."""
    usage, done = endpoint.usage, report.annotated + report.before
    before = f", {report.before} of them before" if report.before else ""
    typer.echo(f"annotated {done} of {report.pairs} pairs{before}: {output}")
    tell_usage(usage)
    if report.unlike:
        advice = "" if hint else "; if they are many, try --format-hint with another --output"
        typer.echo(f"  {report.unlike} answers are of a form that the filter leaves out{advice}")
    if report.failed:
        tell_failed(report.failed, report.examples, report.failures)
    if report.stopped:
        typer.echo(f"stopped: {clean(report.stopped)}", err=True)
        typer.echo("the same command goes on from here", err=True)


def tell_filtered(report: FilterReport, output: Path) -> None:
    """Says what each criterion left out, with examples."""
    typer.echo(f"kept {report.kept} of {report.kept + report.dropped} pairs: {output}")
    for name, found in report.criteria.items():
        sides = ", ".join(f"{side} {count}" for side, count in found.sides.items())
        typer.echo(f"  {name:<12} {found.pairs:>7} pairs ({found.only} by it alone; answers: {sides})")
        for example in found.examples:
            told = f"{example['id']} {example['side']}: {example['found']}"
            typer.echo(f"    e.g. {clean(told)[:160]}")
    if report.unreadable:
        tell_failed(report.unreadable, report.faults, output.with_suffix(".dropped.jsonl"))
    if not report.kept:
        typer.echo("no pair is left", err=True)


def tell_selected(report: SelectReport, output: Path, asked: int) -> None:
    """Says what was chosen of what there was."""
    typer.echo(f"chose {report.chosen} of {report.rows} pairs: {output}")
    for modality, sets in report.selected.items():
        typer.echo(f"  {modality:<8} {sum(sets.values()):>7}")
        for name, count in sets.items():
            typer.echo(f"    {clean(name):<26} {count:>7} of {report.available[modality][name]}")
    if report.left_out:
        told = ", ".join(f"{reason} {count}" for reason, count in sorted(report.left_out.items()))
        typer.echo(f"  left out: {told}")
    if report.chosen < asked:
        typer.echo(f"there are no more: {asked} were asked for", err=True)
    if report.unreadable:
        typer.echo(f"{report.unreadable} rows cannot be read:", err=True)
        for fault in report.faults:
            typer.echo(f"  {clean(fault)[:300]}", err=True)
