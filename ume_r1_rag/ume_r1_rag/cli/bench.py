"""``ume-r1 bench``: hit@1 on the world; the index beside plain qdrant-client; every way to the vectors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ume_r1_rag.cli.options import EngineOption, ModelOption, budget, check_target

EXAMPLES = """\b
Examples:
  ume-r1 bench world --model nano                                  # makes the test split by itself
  ume-r1 bench world --data runs/test --model nano --limit 50
  ume-r1 bench world --data runs/test --model nano --families page_read,clip_event --control blank
"""

INDEX_EXAMPLES = """\b
Examples:
  ume-r1 bench index                                       # minutes: writes and searches 61,000 points
  ume-r1 bench index --sizes 1000 --pages 0                # stores alone, no model
  ume-r1 bench index --sizes 10000 --dimension 3584 --out figures.json
"""

SPEED_EXAMPLES = """\b
Examples:
  ume-r1 bench speed --out speed.json                      # hours; stopped and started again, it goes on
  ume-r1 bench speed --model nano --kinds text,image --tokens 32,128 --out speed.json --plot speed.png
  ume-r1 bench speed --model nano --ways one-engine,two-pass,plain --concurrency 64
  ume-r1 bench speed --ways transformers,card,mteb         # without vLLM
  ume-r1 bench speed --model zhibinlan/UME-R1-2B --concurrency 1,64,256 --engine max_num_seqs=256

\b
Ways:
  one-engine    vLLM: disc and gen of one request from one engine
  unwatched     the same without the watch for loops, to be held against plain
  two-pass      vLLM generates, a second vLLM engine pools
  official      vLLM generates, transformers encodes all of it again
  transformers  our transformers backend
  card          the model card's loop, at its best batch size; at 1 one by one
  mteb          mteb's UMER1Wrapper
  plain         vLLM generates, without states

\b
Models: nano; 100m, a random Qwen2-VL that is made on the spot; a folder or a hub id.
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
        int, typer.Option("--pages", min=0, help="PDF pages to ingest; 0 leaves that out, and the model.")
    ] = 200,
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
            _numbers(sizes) if sizes else SIZES, dimension, queries, pages, model_cost_ms, path, seed
        )
        report = run_index_bench(given, out, progress=sys.stderr.isatty())
    typer.echo(report.table())


def speed(
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", metavar="NAME,...", help="Which models.", show_default="nano,100m"),
    ] = None,
    ways: Annotated[
        list[str] | None,
        typer.Option("--ways", metavar="NAME,...", help="Which ways; see below.", show_default="all"),
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--kinds",
            metavar="NAME,...",
            help="Of inputs; a video has 8 frames.",
            show_default="text,image,video",
        ),
    ] = None,
    tokens: Annotated[
        list[str] | None,
        typer.Option("--tokens", metavar="N,...", help="Generated per request.", show_default="32,128,400"),
    ] = None,
    concurrency: Annotated[
        list[str] | None,
        typer.Option(
            "--concurrency", metavar="N,...", help="Requests handed over at once.", show_default="1,8,64"
        ),
    ] = None,
    requests: Annotated[
        int, typer.Option("--requests", min=1, help="Of a round; at least as many as at once.")
    ] = 8,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="In which every way has its turn.")] = 3,
    engine: EngineOption = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of weights and scripts.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE.json",
            dir_okay=False,
            help="Write the figures, after every comparison; those that are there already are kept.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE.png", dir_okay=False, help="Draw them; needs matplotlib."),
    ] = None,
) -> None:
    """Measure every way to both embeddings on the same work, side by side in one run.

    First all are held against transformers alone. Then they take turns, round by round: throughput, p95
    latency, the ratio to our one engine and of gen to disc. Goals are printed as met or MISSED.
    """
    check_target(out, "--out")
    check_target(plot, "--plot")
    from ume_r1_rag.cli.model import needs, quiet, running

    with needs("bench"):
        quiet()
        from ume_r1_bench.speed.bench import CONCURRENCY, TOKENS, Options, run_speed_bench
        from ume_r1_bench.speed.cell import KINDS
        from ume_r1_bench.speed.model import MODELS
        from ume_r1_bench.speed.way import WAYS

        given = Options(
            _names(model) or MODELS,
            _names(ways) or WAYS,
            _names(kinds) or KINDS,
            _numbers(tokens, "--tokens", "tokens") if tokens else TOKENS,
            _numbers(concurrency, "--concurrency", "requests") if concurrency else CONCURRENCY,
            requests,
            rounds,
            running("vllm", engine).engine,
            seed,
        )
        report = run_speed_bench(given, out, progress=sys.stderr.isatty())
    if plot is not None:
        with needs("train"):
            from ume_r1_bench.speed.plot import draw

            draw(report, plot)
    typer.echo(report.table())


def _names(texts: list[str] | None) -> list[Any]:
    return [part.strip() for text in texts or () for part in text.split(",")]


def _numbers(texts: list[str], option: str = "--sizes", what: str = "points") -> list[int]:
    parts = _names(texts)
    wrong = [part for part in parts if not (part.isascii() and part.isdigit() and int(part))]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]!r} is no number of {what}", param_hint=f"'{option}'")
    return [int(part) for part in parts]
