"""``ume-r1 world mmeb``: rows of every MMEB-V2 task from the procedural world."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from ume_r1_rag.cli.options import names

EXAMPLES = """\b
Examples:
  ume-r1 world mmeb runs/mmeb                       # four queries of each of the 78 tasks and three extras
  ume-r1 world mmeb runs/mini --mini                # fourteen tasks with 60 queries each, to measure nano
  ume-r1 world mmeb runs/old --layout old --rows 2  # where files were in 2025
  ume-r1 bench doctor --data runs/mmeb
"""

Layout = Literal["new", "old"]
"""The layouts by name; a test holds them to ``world.mmeb.LAYOUTS``."""


def mmeb(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", file_okay=False, help="Where to: a new folder.", show_default=False),
    ],
    rows: Annotated[
        int | None,
        typer.Option("--rows", min=1, max=48, help="Queries a task.  [default: 4]", show_default=False),
    ] = None,
    mini: Annotated[
        bool, typer.Option("--mini", help="The suite mini, with 60 queries a task, in place of a few of all.")
    ] = False,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--tasks", metavar="NAME,...", help="These tasks alone.", show_default="all"),
    ] = None,
    layout: Annotated[
        Layout, typer.Option("--layout", help="Where files are today, or where they were in 2025.")
    ] = "new",
    seed: Annotated[int, typer.Option("--seed", help="Which contents.")] = 0,
) -> None:
    """Write a small MMEB-V2: rows of every task, in the layout of the task's own data.

    What they show and ask is the world's, so nothing can be learned of UME-R1 from their scores: they are to
    try the whole benchmark on, and `nano` answers a part of them.
    """
    if mini and rows is not None:
        raise typer.BadParameter("the suite mini has 60: leave out one of the two", param_hint="'--rows'")
    from ume_r1_rag.cli.model import needs

    with needs("bench"):
        from ume_r1_bench.world.mmeb import write_mmeb

        made = write_mmeb(
            directory,
            rows or 4,
            mini=mini,
            tasks=names(tasks) if tasks else None,
            layout=layout,
            seed=seed,
            progress=sys.stderr.isatty(),
        )
    typer.echo(
        f"wrote {len(made.tasks)} tasks with {made.rows} queries each, {made.files} pictures and frames, "
        f"to {made.directory}"
    )
