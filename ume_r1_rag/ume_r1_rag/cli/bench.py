"""``ume-r1 bench world``: hit@1 per family of the world."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from ume_r1_rag.cli.options import ModelOption, budget, check_target

EXAMPLES = """\b
Examples:
  ume-r1 bench world --model nano                                  # makes the test split by itself
  ume-r1 bench world --data runs/test --model nano --limit 50
  ume-r1 bench world --data runs/test --model nano --families page_read,clip_event --control blank
"""


def world(
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="What `ume-r1 world make` wrote.",
            show_default="a fresh test split",
        ),
    ] = None,
    model: ModelOption = None,
    mode: Annotated[
        Literal["disc", "both"], typer.Option("--mode", help="disc alone, or gen beside it.")
    ] = "both",
    think: Annotated[
        list[str] | None,
        typer.Option(
            "--think", metavar="full|none|N", help="Think budgets of gen.", show_default="full and none"
        ),
    ] = None,
    families: Annotated[
        list[str] | None,
        typer.Option("--families", metavar="NAME,...", help="Which families.", show_default="all"),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="At most so many queries a family.", show_default="all"),
    ] = None,
    control: Annotated[
        Literal["none", "blank", "frame"],
        typer.Option("--control", help="Take away pages' text, or all of a clip but one frame."),
    ] = "none",
    seed: Annotated[int, typer.Option("--seed", help="Of the world, where no --data is given.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.json", dir_okay=False, help="Write the figures.")
    ] = None,
) -> None:
    """Measure hit@1 on held-out queries of the world.

    Prints chance and 95 % intervals; the exit status is 1 if one of the bars below the table is missed.
    """
    budgets = [budget(text) or "full" for text in think or ("full", "none")]
    check_target(out, "--out")
    from ume_r1_rag.checkpoints import resolve_model
    from ume_r1_rag.cli.model import needs, quiet

    with needs("bench"):
        checkpoint = resolve_model(model)
        quiet()
        from ume_r1_bench.world_bench import run_world_bench

        report = run_world_bench(
            data,
            checkpoint.reference,
            [name.strip() for text in families for name in text.split(",")] if families else None,
            limit,
            None if control == "none" else control,
            budgets if mode == "both" else (),
            out,
            seed,
            progress=sys.stderr.isatty(),
        )
    typer.echo(report.table())
    if not report.ok:
        raise typer.Exit(1)
