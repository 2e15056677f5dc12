"""``ume-r1 bench``: hit@1 on the world; the index beside plain qdrant-client; a server under load."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from ume_r1_rag.cli.options import BackendOption, EngineOption, ModelOption, budget, check_target, numbers

EXAMPLES = """\b
Examples:
  ume-r1 bench world --model nano                                  # makes the test split by itself
  ume-r1 bench world --data runs/test --model nano --limit 50
  ume-r1 bench world --data runs/test --model nano --families page_read,clip_event --control blank
"""

INDEX_EXAMPLES = """\b
Examples:
  ume-r1 bench index                                       # an hour: writes and searches 61,000 points
  ume-r1 bench index --sizes 1000 --pages 0                # stores alone, no model
  ume-r1 bench index --sizes 1000 --pages 1000,10000       # long ingestions with nano
  ume-r1 bench index --sizes 10000 --dimension 3584 --out figures.json
"""

SERVE_EXAMPLES = """\b
Examples:
  ume-r1 bench serve                                       # nano, some minutes
  ume-r1 bench serve --modes disc --clients 64 --seconds 5
  ume-r1 bench serve --backend vllm --engine in_process=false --out load.json
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


def index(
    sizes: Annotated[
        list[str] | None,
        typer.Option(
            "--sizes", metavar="N,...", help="Points of the stores.", show_default="1000,10000,50000"
        ),
    ] = None,
    dimension: Annotated[
        int, typer.Option("--dimension", min=2, help="Length of a vector; UME-R1-2B has 1536.")
    ] = 1536,
    queries: Annotated[int, typer.Option("--queries", min=1, help="Searches of each kind.")] = 50,
    pages: Annotated[
        list[str] | None,
        typer.Option(
            "--pages",
            metavar="N,...",
            help="PDF pages to ingest with nano, the first number also at a 2B model's cost; 0: none.",
            show_default="200",
        ),
    ] = None,
    model_cost_ms: Annotated[
        float,
        typer.Option(
            "--model-cost-ms",
            min=0.001,
            help="What a page is taken to cost UME-R1-2B. The default is from the paper: 20 inputs a second.",
        ),
    ] = 50.0,
    path: Annotated[
        Path | None,
        typer.Option(
            "--path",
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Where folders are made, and removed again.",
            show_default="the system's temporary folder",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of points, queries and pages.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.json", dir_okay=False, help="Write the figures.")
    ] = None,
) -> None:
    """Measure the index beside plain qdrant-client doing the same, in one run, by turns.

    Writes and searches of random vectors, with memory and ratios; then ingestion with nano and at the cost of
    a 2B model, with the share of time that passes outside of the model. Embedded stores only. Ratios are of
    times: 2 means that we take twice as long.
    """
    check_target(out, "--out")
    from ume_r1_rag.cli.model import needs, quiet

    with needs("bench"):
        quiet()
        from ume_r1_bench.index_bench import SIZES, Options, run_index_bench

        given = Options(
            numbers(sizes, "--sizes") if sizes else SIZES,
            dimension,
            queries,
            (200,) if pages is None else () if pages == ["0"] else numbers(pages, "--pages"),
            model_cost_ms,
            path,
            seed,
        )
        report = run_index_bench(given, out, progress=sys.stderr.isatty())
    typer.echo(report.table())


def serve(
    model: ModelOption = None,
    backend: BackendOption = "auto",
    engine: EngineOption = None,
    clients: Annotated[
        list[str] | None,
        typer.Option("--clients", metavar="N,...", help="Clients at a time.", show_default="1,8,64"),
    ] = None,
    modes: Annotated[
        Literal["disc", "gen", "both"], typer.Option("--modes", help="What is asked for, one after another.")
    ] = "both",
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, help="For each line of the table, and what was sent.")
    ] = 10.0,
    max_new_tokens: Annotated[
        int | None,
        typer.Option("--max-new-tokens", min=1, help="Of a generation.", show_default="the preset's"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.json", dir_okay=False, help="Write the figures.")
    ] = None,
) -> None:
    """Measure `ume-r1 serve` over loopback: answers a second, and the time to an answer.

    The server runs in a process of its own, the clients share one; each sends its next text when it has the
    answer to the last. Beside it stands the encoder alone, in batches of 32, without HTTP; the time is then
    a batch's. All of it shares this machine's cores.
    """
    check_target(out, "--out")
    from ume_r1_rag.checkpoints import resolve_model
    from ume_r1_rag.cli.model import needs, quiet, running

    how, counts = running(backend, engine), numbers(clients, "--clients") if clients else None
    with needs("serve"):
        checkpoint = resolve_model(model)
        quiet()
        from ume_r1_bench.serve_load import CLIENTS, Served, run_load

        served = Served(
            checkpoint.reference, how.backend, how.engine if backend == "vllm" else None, max_new_tokens
        )
        report = run_load(
            served,
            seconds,
            counts or CLIENTS,
            ("disc", "gen") if modes == "both" else (modes,),
            out,
        )
    typer.echo(report.table())
