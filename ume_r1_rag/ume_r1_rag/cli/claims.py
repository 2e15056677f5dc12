"""``ume-r1 claims``: what should be true of the real weights, and running some of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ume_r1_rag.cli.options import (
    BackendOption,
    EngineOption,
    JsonOption,
    ModelOption,
    PresetOption,
    check_target,
    names,
    numbers,
)
from ume_r1_rag.cli.screen import clean, wrap
from ume_r1_rag.errors import ConfigError, UmeR1Error

if TYPE_CHECKING:
    from ume_r1_bench.claims.run import Outcome

LIST_EXAMPLES = """\b
Examples:
  ume-r1 claims list
  ume-r1 claims show thinking
  ume-r1 claims list --markdown > docs/CLAIMS.md
"""

SHOW_EXAMPLES = """\b
Examples:
  ume-r1 claims show disc-78        # its command, bars, price, and what follows if it fails
"""

RUN_EXAMPLES = """\b
Examples:
  ume-r1 claims run nano-parity --out claims.json                      # a trial: seconds, no GPU, no download
  ume-r1 claims run parity verify --model zhibinlan/UME-R1-2B --out claims.json
  ume-r1 claims run four-tasks --data MMEB-V2 --backend vllm --out claims.json
  ume-r1 claims run --data MMEB-V2 --backend vllm --out claims.json    # all of them: days
"""

COST_EXAMPLES = """\b
Examples:
  ume-r1 claims cost --data MMEB-V2 --tasks CIRR,MSVD --concurrency 8,256 --backend vllm --out cost.json
"""

PARITY_EXAMPLES = """\b
Examples:
  ume-r1 claims parity --model nano --out parity.json
  ume-r1 claims parity --model zhibinlan/UME-R1-2B --out parity.json   # 16 GB of memory
"""


_UsageError: Any = typer.BadParameter.__base__
"""Click's, wherever typer has it from: some versions bring their own copy."""


def list_claims(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print docs/CLAIMS.md.", show_default=False)
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the claims: of which model, on what machine, and how long they take."""
    from ume_r1_bench.claims import load_claims
    from ume_r1_bench.claims.page import hours, page

    claims = load_claims()
    if markdown:
        typer.echo(page(claims), nl=False)
    elif as_json:
        rows = [
            {
                "name": one.name,
                "title": one.title,
                "model": one.model,
                "hours": one.run.hours,
                "trial": one.trial,
            }
            for one in claims.all.values()
        ]
        typer.echo(json.dumps(rows, indent=2))
    else:
        for one in claims.all.values():
            about = "a trial on nano" if one.trial else one.model
            typer.echo(f"{one.name:<13} {hours(one.run):>9}  {one.run.machine:<24} {about}")
            typer.echo(f"{'':<13} {one.title}")


def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="See `ume-r1 claims list`.", show_default=False)
    ],
) -> None:
    """Show a claim: its command, its figures and what follows if it fails."""
    from ume_r1_bench.claims import load_claims
    from ume_r1_bench.claims.page import bar, command, hours

    (claim,) = load_claims().choose([name])
    typer.echo(f"{claim.title}." + (" NOT a claim about real weights." if claim.trial else ""))
    typer.echo(f"\n  {command(claim.run, claim.model)}\n")
    for check in claim.checks:
        typer.echo(f"  {check.what.removesuffix(' (no bar)'):<56} {bar(check)}")
    typer.echo(f"\nfrom      {claim.source}")
    typer.echo(f"price     {hours(claim.run)}, {claim.run.machine} ({claim.run.estimated})")
    typer.echo(f"if it fails:\n{wrap(claim.otherwise, '  ', 100)}")


def run(
    chosen: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", help="Which claims.", show_default="all but trials"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="The claimed model, or a folder with its weights.",
            show_default="each claim's own",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR", exists=True, file_okay=False, help="MMEB-V2; see `ume-r1 bench doctor`."
        ),
    ] = None,
    backend: BackendOption = "auto",
    engine: EngineOption = None,
    work: Annotated[
        Path,
        typer.Option("--work", metavar="DIR", file_okay=False, help="Where commands write, and go on from."),
    ] = Path("claims"),
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE.json", dir_okay=False, help="The record, to be posted.")
    ] = Path("claims.json"),
) -> None:
    """Run claims, and write a record that can be posted.

    Their commands run one after another in this process; one that serves several claims runs once. The
    record has figures, verdicts, versions, the GPU and digests, and names no host, user or folder. It is
    written anew after every claim. The exit status is 1 unless all hold.
    """
    check_target(out, "--out")
    from ume_r1_rag.cli.model import needs, quiet, running

    running(backend, engine)  # refuses what cannot be
    with needs("bench"):
        quiet()
        from ume_r1_bench.claims import load_claims
        from ume_r1_bench.claims.run import ClaimRun

        extra = [] if backend == "auto" else ["--backend", backend]
        extra += [word for text in engine or () for word in ("--engine", text)]
        claims = load_claims().choose(chosen or [])
        # In full, so that they can be told from other words, and taken out of the record.
        places = (None if data is None else data.resolve(), work.resolve())
        going = ClaimRun(_in_process, model, *places, extra, lambda text: typer.echo(f"$ {text}", err=True))
        outcomes: list[Outcome] = []
        for claim in claims:
            typer.echo(f"{claim.name}: {claim.title}", err=True)
            outcomes.append(going.decide(claim))
            going.write(out, outcomes)
    _tell(outcomes)
    typer.echo(f"wrote {out}: post it, whatever it says")
    if any(one.verdict != "holds" for one in outcomes):
        raise typer.Exit(1)


def cost(
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", exists=True, file_okay=False, help="MMEB-V2.")
    ],
    model: ModelOption = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--tasks", metavar="NAME,...", help="Tasks.", show_default="CIRR,FashionIQ,K700,MSVD"),
    ] = None,
    concurrency: Annotated[
        list[str] | None,
        typer.Option("--concurrency", metavar="N,...", help="Inputs at once.", show_default="8,256"),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Inputs of a task.")] = 512,
    preset: PresetOption = "paper",
    max_new_tokens: Annotated[
        int | None,
        typer.Option("--max-new-tokens", min=1, help="Of a generation.", show_default="the preset's"),
    ] = None,
    backend: BackendOption = "auto",
    engine: EngineOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.json", dir_okay=False, help="Write the figures.")
    ] = None,
) -> None:
    """Measure inputs a second of disc and gen on tasks' own inputs: the paper's Table 4.

    A task that cannot be read has its reason in its row; the exit status is then 1.
    """
    check_target(out, "--out")
    from ume_r1_rag.cli.model import load_encoder, needs, running

    at_once = numbers(concurrency, "--concurrency") if concurrency else [8, 256]
    with needs("bench"):
        from ume_r1_bench.claims.cost import measure_cost, table, write_cost
        from ume_r1_bench.claims.machine import machine, versions
        from ume_r1_bench.mmeb.load import load_task
        from ume_r1_bench.mmeb.protocol import find_protocol
        from ume_r1_bench.mmeb.task import find_task

        chosen = [find_task(name).name for name in names(tasks) or ["CIRR", "FashionIQ", "K700", "MSVD"]]
        options: dict[str, Any] = {} if max_new_tokens is None else {"max_new_tokens": max_new_tokens}
        encoder = load_encoder(
            model, preset, batch_size=max(at_once), run=running(backend, engine), **options
        )
        protocol = find_protocol("ume-r1-paper")
        rows = list(
            measure_cost(
                encoder,
                lambda name: load_task(find_task(name), data, protocol, limit=limit),
                chosen,
                at_once,
                limit=limit,
                tell=lambda text: typer.echo(f"{text} …", err=True) if sys.stderr.isatty() else None,
            )
        )
        if out is not None:
            about = {"tool": "ume-r1 claims cost", "fingerprint": dict(encoder.fingerprint)}
            write_cost(out, rows, about | {"machine": machine(), "versions": versions()})
        encoder.close()
    typer.echo(table(rows))
    if any(row.why for row in rows):
        raise typer.Exit(1)


def parity(
    model: ModelOption = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Take so many of the inputs.", show_default="all 66")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.json", dir_okay=False, help="Write the figures.")
    ] = None,
) -> None:
    """Compare vectors with a plain transformers forward on the same ids, in float32 on the CPU."""
    check_target(out, "--out")
    from ume_r1_rag.cli.model import needs, quiet

    with needs("bench"):
        quiet()
        from ume_r1_bench.claims.parity import measure_parity

        found = measure_parity(model, limit)
    if out is not None:
        out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    for name, value in found["forced"].items():
        typer.echo(f"{name:<14} {value:.3g}" if isinstance(value, float) else f"{name:<14} {value}")


def _tell(outcomes: list[Outcome]) -> None:
    for one in outcomes:
        typer.echo(f"{one.verdict:<14} {one.claim.name}: {one.claim.title}")
        for judged in one.judged:
            figure = judged.figure
            found = "-" if figure is None else f"{figure.value:.4g}"
            if figure is not None and figure.low is not None and figure.high is not None:
                found += f" [{figure.low:.4g} {figure.high:.4g}]"
            typer.echo(f"{'':<14} {judged.check.what}: {found}, should be {judged.check.bar or 'anything'}")
        if one.why:
            typer.echo(f"{'':<14} {clean(one.why)}")
        if one.verdict == "fails":
            typer.echo(f"{'':<14} what follows: {one.claim.otherwise}")


def _in_process(words: list[str]) -> int:
    """Runs ``ume-r1`` with some words here, and returns its exit status.

    Raises:
        UmeR1Error: what it ended by.
        ConfigError: it does not take these words.
    """
    from ume_r1_rag.cli.app import app

    command: Any = typer.main.get_command(app)
    try:
        with command.make_context("ume-r1", list(words)) as context:
            command.invoke(context)
    except typer.Exit as ended:
        if isinstance(ended.__cause__, UmeR1Error):
            raise ended.__cause__ from None
        return int(ended.exit_code)
    except _UsageError as error:
        raise ConfigError(f"ume-r1 {' '.join(words[:2])}: {error}") from error
    return 0
