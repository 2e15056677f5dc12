"""``ume-r1 bench peers``: any models on the same tasks in one run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ume_r1_rag.cli.bench_doctor import ProtocolName, Suite
from ume_r1_rag.cli.options import BackendOption, EngineOption, ThinkOption, budget, check_target, names
from ume_r1_rag.errors import ConfigError

if TYPE_CHECKING:
    from ume_r1_bench.peers import Peer

EXAMPLES = """\b
Models:
  st:MODEL          sentence-transformers, multimodal or not
  clip:MODEL        two towers of transformers: CLIP, SigLIP, …
  late:MODEL        multi-vector models: ColPali, ColQwen2, ColBERT, …
  openai:NAME@URL   an OpenAI-compatible server; its key in OPENAI_API_KEY
  disc:MODEL        UME-R1 by disc; gen:MODEL by gen, at the budget of --think
MODEL is a folder, or a hub id at a full commit: owner/name@COMMIT.

\b
Examples:
  ume-r1 bench peers --data mmeb --tasks VOC2007,CIRR disc:nano gen:nano
  ume-r1 bench peers --data mmeb --limit 200 disc:zhibinlan/UME-R1-2B late:vidore/colqwen2-v1.0-hf@COMMIT
  ume-r1 bench peers --data mmeb --tasks ViDoRe_docvqa openai:a-model@http://localhost:8001/v1
"""


def peers(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Which models, see below.", show_default=False)
    ],
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", exists=True, file_okay=False, help="The data directory.")
    ],
    suite: Annotated[Suite, typer.Option("--suite", help="Which tasks.")] = "mini",
    tasks: Annotated[
        list[str] | None,
        typer.Option("--tasks", metavar="NAME,...", help="These tasks alone.", show_default="the suite's"),
    ] = None,
    protocol: Annotated[ProtocolName, typer.Option("--protocol", help="How rows are rendered.")] = "v2.1",
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most so many queries a task.", show_default="all")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of that choice.")] = 0,
    think: ThinkOption = None,
    backend: BackendOption = "auto",
    engine: EngineOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.json", dir_okay=False, help="Write the figures.")
    ] = None,
) -> None:
    """Measure any models on the same tasks, side by side in one run.

    All get the same texts, pictures and frames, and are ranked and measured alike; each encodes a content
    once. Everybody sees the tasks' instructions as text. What a model cannot read is counted and named: a
    query of that kind is missed, a candidate is not ranked. The exit status is 1 if anything failed.
    """
    check_target(out, "--out")
    from ume_r1_rag.cli.model import needs, quiet

    with needs("bench"):
        quiet()
        from ume_r1_bench.mmeb.load import load_task
        from ume_r1_bench.mmeb.protocol import find_protocol
        from ume_r1_bench.mmeb.suite import choose_tasks
        from ume_r1_bench.peers.compare import compare, table, write_compared

        chosen = {task.name: task for task in choose_tasks(suite, names(tasks) if tasks else None)}
        opened = [_open(spec, think, backend, engine) for spec in dict.fromkeys(models)]
        rendered = find_protocol(protocol)
        rows = []
        for row in compare(
            opened,
            lambda name: load_task(chosen[name], data, rendered, limit=limit, seed=seed, online=False),
            {name: task.metric for name, task in chosen.items()},
            seed=seed,
            tell=lambda text: typer.echo(f"{text} …", err=True) if sys.stderr.isatty() else None,
        ):
            rows.append(row)
            if out is not None:  # after every one: what was measured is not lost
                about = {
                    "tool": "ume-r1 bench peers",
                    "protocol": rendered.stamp(),
                    "seed": seed,
                    "limit": limit,
                }
                write_compared(out, rows, opened, about)
        for peer in opened:
            peer.close()
    typer.echo(table(rows))
    if any(row.why or row.failed for row in rows):
        raise typer.Exit(1)


def _open(spec: str, think: str | None, backend: Any, engine: list[str] | None) -> Peer:
    from ume_r1_bench.peers import open_peer
    from ume_r1_bench.peers.encoder import EncoderPeer
    from ume_r1_rag.cli.model import load_encoder, running

    kind, _, model = spec.partition(":")
    if kind not in ("disc", "gen"):
        return open_peer(spec)
    if not model:
        raise ConfigError(f"{spec!r} names no model: write {kind}:nano, {kind}:FOLDER or {kind}:owner/name")
    encoder = load_encoder(model, "paper", budget(think) or "full", run=running(backend, engine))
    label = Path(model).resolve().name if Path(model).is_dir() else model
    suffix = f"@{think}" if kind == "gen" and think else ""
    return EncoderPeer(encoder, f"{kind}:{label}{suffix}", "gen" if kind == "gen" else "disc")
