"""``ume-r1 world``: the procedural world as files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

EXAMPLES = """\b
Examples:
  ume-r1 world make runs/test                           # a corpus with queries, to measure on
  ume-r1 world make runs/train --split train --sft      # training records
  ume-r1 world make runs/demo --split demo              # a small folder to try a search on
"""

VISDOC_EXAMPLES = """\b
Examples:
  ume-r1 world visdoc runs/papers
  ume-r1 bench visdoc --own runs/papers --model nano --endpoint world
"""

Split = Literal["train", "dev", "test", "demo"]
"""The splits by name; a test holds them to ``world.SPLITS``."""


def make(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", file_okay=False, help="Where to.", show_default=False)
    ],
    split: Annotated[
        Split, typer.Option("--split", help="Whose contents; no two splits share one.")
    ] = "test",
    seed: Annotated[int, typer.Option("--seed", help="Which contents of the split.")] = 0,
    sft: Annotated[
        bool, typer.Option("--sft", help="Training records in the UME-sft-train layout, not a corpus.")
    ] = False,
    pairs: Annotated[
        int | None,
        typer.Option(
            "--pairs", min=1, help="About how many records, with --sft.  [default: 60000]", show_default=False
        ),
    ] = None,
) -> None:
    """Write pictures, pages and clips with captions, questions and reasoning; the same for the same seed."""
    if pairs is not None and not sft:
        raise typer.BadParameter(
            "it is the number of training records: give --sft too", param_hint="'--pairs'"
        )
    from ume_r1_rag.cli.model import needs

    with needs("bench"):
        from ume_r1_bench.world import make_world

        made = make_world(directory, split, seed, sft=sft, pairs=pairs, progress=sys.stderr.isatty())
    counts = {"records": made.records, "documents": made.documents, "queries": sum(made.queries.values())}
    if sft:
        del counts["queries"]
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    typer.echo(f"wrote {told}, {made.files} media files to {made.directory}")
    typer.echo("\n".join(f"  {family:<18} {count:>6}" for family, count in made.queries.items()))


def visdoc(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", file_okay=False, help="Where to.", show_default=False)
    ],
    split: Annotated[Split, typer.Option("--split", help="Whose values the pages show.")] = "test",
    seed: Annotated[int, typer.Option("--seed", help="Which contents of the split.")] = 0,
    documents: Annotated[int, typer.Option("--documents", min=1, help="PDFs; half have a text layer.")] = 24,
    pages: Annotated[int, typer.Option("--pages", min=1, help="Pages of each.")] = 5,
    questions: Annotated[
        int, typer.Option("--questions", min=1, help="At most so many, about two thirds of the PDFs.")
    ] = 400,
) -> None:
    """Write PDFs with a CSV of questions, for `ume-r1 bench visdoc --own`; the same for the same seed."""
    from ume_r1_rag.cli.model import needs

    with needs("bench"):
        from ume_r1_bench.world.visdoc import make_visdoc

        made = make_visdoc(directory, seed, split, documents, pages, questions)
    typer.echo(
        f"wrote {made.documents} PDFs with {made.pages} pages, {made.layered} of them with a text layer, and "
        f"{made.questions} questions to {directory}"
    )
