"""``ume-r1 bench mmeb``: a model on MMEB-V2, MMEB-V1 or the mini suite; ``mmeb-speed``: how fast."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ume_r1_rag.cli.bench_doctor import ProtocolName, Suite
from ume_r1_rag.cli.options import (
    BackendOption,
    EngineOption,
    ModelOption,
    PresetName,
    budget,
    check_target,
    names,
)
from ume_r1_rag.cli.screen import clean

if TYPE_CHECKING:
    from ume_r1_bench.mmeb.reasoner import EndpointReasoner
    from ume_r1_bench.mmeb.run import Run

EXAMPLES = """\b
Modes, by which queries and candidates meet; two with a colon for each of both:
  disc       one pass through the model
  gen        after thinking, by --think; gen@none and gen@32 say it themselves
  gen:disc   queries by gen, candidates by disc
  ext        disc of the input with a reasoning by --reasoner (the paper's DUME+Gen)

\b
Examples:
  ume-r1 world mmeb runs/mini --mini
  ume-r1 bench mmeb --data runs/mini --suite mini --model nano --samples 4 --report mini.html
  ume-r1 bench mmeb --data mmeb --limit 100 --out runs/estimate          # estimates, with intervals
  ume-r1 bench mmeb --data mmeb --protocol ume-r1-paper --tasks HatefulMemes,VOC2007,MSVD
  ume-r1 bench mmeb --data mmeb --modes disc,gen,gen:disc --think full --think none
  ume-r1 bench mmeb --data mmeb --shard 0/2 & ume-r1 bench mmeb --data mmeb --shard 1/2 & wait
  ume-r1 bench mmeb --data mmeb                                          # then measures, from --out
  ume-r1 bench mmeb --data mmeb --modes disc,ext --reasoner http://localhost:8000/v1 --reasoner-model glm
"""

SPEED_EXAMPLES = """\b
Examples:
  ume-r1 bench mmeb-speed --data runs/mini --suite mini --model nano
  ume-r1 bench mmeb-speed --data runs/mini --suite mini --model nano --tasks VOC2007,MSR-VTT --limit 8
"""

_SHARD = re.compile(r"(\d{1,6})/(\d{1,6})")

DataOption = Annotated[
    Path,
    typer.Option(
        "--data", metavar="DIR", exists=True, file_okay=False, help="The data directory; see `bench doctor`."
    ),
]
TasksOption = Annotated[
    list[str] | None,
    typer.Option("--tasks", metavar="NAME,...", help="These tasks alone.", show_default="the suite's"),
]


def mmeb(
    data: DataOption,
    model: ModelOption = None,
    suite: Annotated[Suite, typer.Option("--suite", help="Which tasks, and which averages.")] = "mmeb-v2",
    tasks: TasksOption = None,
    protocol: Annotated[
        ProtocolName, typer.Option("--protocol", help="How rows are rendered; see docs/mmeb_data.md.")
    ] = "v2.1",
    modes: Annotated[
        list[str] | None,
        typer.Option("--modes", metavar="MODE,...", help="See below.", show_default="disc,gen"),
    ] = None,
    think: Annotated[
        list[str] | None,
        typer.Option(
            "--think", metavar="full|none|N", help="Budget of gen; may be repeated.", show_default="full"
        ),
    ] = None,
    samples: Annotated[
        int,
        typer.Option("--samples", min=0, help="Sampled generations of each query, for pass@k and the null."),
    ] = 0,
    temperature: Annotated[float, typer.Option("--temperature", min=0.01, help="Of these samples.")] = 1.0,
    ablate: Annotated[
        bool, typer.Option("--ablate", help="Take the queries' thinking away, shuffle it, exchange it.")
    ] = False,
    null_batch: Annotated[
        int | None,
        typer.Option(
            "--null-batch", metavar="N", min=1, help="Gen once more, N at a time, as a second null."
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", min=1, help="At most so many queries a task, drawn by --seed.", show_default="all"
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of draws, samples, intervals.")] = 0,
    official: Annotated[
        bool, typer.Option("--official", help="Measure as MMEB's evaluator does, its defects included.")
    ] = False,
    shard: Annotated[
        str, typer.Option("--shard", metavar="I/N", help="Encode this share and measure nothing; I from 0.")
    ] = "0/1",
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", file_okay=False, help="Results and vectors go here.")
    ] = Path("mmeb-results"),
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="F.html", dir_okay=False, help="Write a page to look at."),
    ] = None,
    shown: Annotated[int, typer.Option("--shown", min=0, help="Queries of a task on that page.")] = 4,
    reasoner: Annotated[
        str | None,
        typer.Option("--reasoner", metavar="URL", help="OpenAI-compatible endpoint that reasons for ext."),
    ] = None,
    reasoner_model: Annotated[
        str | None, typer.Option("--reasoner-model", metavar="NAME", help="The model there.")
    ] = None,
    preset: Annotated[
        PresetName | None,
        typer.Option("--preset", help="Limits of encoding.", show_default="the protocol's, else serving"),
    ] = None,
    hub: Annotated[bool, typer.Option("--hub", help="Ask the hub for rows that are not on disk.")] = False,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Inputs in one batch.")] = 32,
    backend: BackendOption = "auto",
    engine: EngineOption = None,
) -> None:
    """Measure a model on MMEB-V2, with disc and gen in one pass, every candidate encoded once.

    Prints each task with its interval, the averages that are complete, and what disc and gen have in common.
    Writes results.json, MMEB's own files for each mode, and the vectors: a run that was stopped goes on when
    it is started again. The exit status is 1 if a task or an item could not be read.
    """
    check_target(report, "--report")
    from ume_r1_rag.cli.model import load_encoder, needs, running

    with needs("bench"):
        from ume_r1_bench.mmeb.modes import parse_modes
        from ume_r1_bench.mmeb.options import Options
        from ume_r1_bench.mmeb.protocol import find_protocol
        from ume_r1_bench.mmeb.run import run_mmeb
        from ume_r1_bench.mmeb.suite import choose_tasks, find_suite

        chosen, thinker = find_protocol(protocol), _reasoner(reasoner, reasoner_model, out)
        given = Options(
            data=data,
            out=out,
            suite=find_suite(suite),
            tasks=tuple(choose_tasks(suite, names(tasks) if tasks else None)),
            protocol=chosen,
            modes=tuple(
                parse_modes(
                    names(modes) if modes else ["disc", "gen"],
                    [budget(text) or "full" for text in think or ()],
                )
            ),
            limit=limit,
            seed=seed,
            samples=samples,
            temperature=temperature,
            ablate=ablate,
            batch=null_batch,
            official=official,
            shard=_shard(shard),
            shown=shown,
            reasoner=thinker,
            online=hub,
        )
        if thinker is not None and given.external:
            thinker.check()
        encoder = load_encoder(
            model, preset or chosen.preset or "serving", batch_size=batch_size, run=running(backend, engine)
        )
        shown = sys.stderr.isatty()
        # A log gets a line a task instead of bars.
        run = run_mmeb(
            given, encoder, shown, None if shown else lambda line: typer.echo(clean(line), err=True)
        )
    _tell(run, report)


def speed(
    data: DataOption,
    model: ModelOption = None,
    suite: Annotated[Suite, typer.Option("--suite", help="Which tasks.")] = "mini",
    tasks: TasksOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Queries of a task.")] = 8,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="In which every way has its turn.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which queries.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.json", dir_okay=False, help="Write the figures.")
    ] = None,
) -> None:
    """Time disc and gen of some tasks against the official evaluator's way of doing it.

    Its way: every row's candidates, in batches of 4, one mode after the other. Ours: each content once,
    both modes in one pass. Beside it stands its way without duplicates. Goals are printed as met or MISSED.
    """
    check_target(out, "--out")
    from ume_r1_rag.checkpoints import resolve_model
    from ume_r1_rag.cli.model import needs, quiet

    with needs("bench"):
        checkpoint = resolve_model(model)
        quiet()
        from ume_r1_bench.mmeb.speed import run_speed
        from ume_r1_bench.mmeb.suite import choose_tasks

        chosen = choose_tasks(suite, names(tasks) if tasks else None)
        found = run_speed(
            data, chosen, checkpoint.reference, limit, seed, rounds, progress=sys.stderr.isatty()
        )
    if out is not None:
        out.write_text(found.to_json() + "\n", encoding="utf-8")
    typer.echo(found.table())


def _tell(run: Run, report: Path | None) -> None:
    from ume_r1_bench.mmeb.table import table

    if run.options.shard != (0, 1):
        made = ", ".join(f"{count} to {name}" for name, count in run.encoded.items()) or "nothing was missing"
        typer.echo(f"share {run.options.shard[0]}/{run.options.shard[1]} is encoded: {made}")
    if report is not None and run.results:
        from ume_r1_bench.mmeb.report import render_report

        report.write_text(render_report(run), encoding="utf-8")
    typer.echo(clean(table(run), lines=True))
    if not run.ok:
        raise typer.Exit(1)


def _shard(text: str) -> tuple[int, int]:
    found = _SHARD.fullmatch(text)
    if found is None or int(found[1]) >= int(found[2]):
        raise typer.BadParameter(
            f"{text!r} is no share: count from 0, as in 0/4 to 3/4", param_hint="'--shard'"
        )
    return int(found[1]), int(found[2])


def _reasoner(url: str | None, model: str | None, out: Path) -> EndpointReasoner | None:
    if url is None and model is None:
        return None
    if url is None or model is None:
        raise typer.BadParameter(
            "give --reasoner URL and --reasoner-model NAME together", param_hint="'--reasoner'"
        )
    from ume_r1_bench.mmeb.reasoner import EndpointReasoner
    from ume_r1_trainer.endpoint import ChatEndpoint

    endpoint: Any = ChatEndpoint(url, model, cache=out / "reasonings")
    return EndpointReasoner(endpoint, model, "reasoning" if sys.stderr.isatty() else None)
