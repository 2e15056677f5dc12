"""``ume-r1 bench speed``: every way to both embeddings, side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ume_r1_rag.cli.options import EngineOption, check_target, names, numbers

EXAMPLES = """\b
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

\b
Examples:
  ume-r1 bench speed --out speed.json                      # hours; stopped and started again, it goes on
  ume-r1 bench speed --model nano --kinds text,image --tokens 32,128 --out speed.json --plot speed.png
  ume-r1 bench speed --model nano --ways one-engine,two-pass,plain --concurrency 64
  ume-r1 bench speed --ways transformers,card,mteb         # without vLLM
  ume-r1 bench speed --model zhibinlan/UME-R1-2B --concurrency 1,64,256 --engine max_num_seqs=256
"""


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
            names(model) or MODELS,
            names(ways) or WAYS,
            names(kinds) or KINDS,
            numbers(tokens, "--tokens") if tokens else TOKENS,
            numbers(concurrency, "--concurrency") if concurrency else CONCURRENCY,
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
