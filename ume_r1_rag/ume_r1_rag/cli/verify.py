"""``ume-r1 verify``: whether vLLM gives the right vectors where it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ume_r1_rag.cli.options import EngineOption, check_target

EXAMPLES = """\b
Examples:
  ume-r1 verify nano                                       # a minute or two on a CPU
  ume-r1 verify zhibinlan/UME-R1-2B --out verify.json      # minutes on a 24 GB GPU; post the file
  ume-r1 verify MODEL --engine gpu_memory_utilization=0.6 --limit 16
"""


def verify(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help='"nano", a folder, a Hugging Face id or id@commit.', show_default=False
        ),
    ],
    dtype: Annotated[
        str, typer.Option("--dtype", help="float32, bfloat16, float16, or auto: bfloat16 on a GPU.")
    ] = "auto",
    engine: EngineOption = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Take so many of the inputs.", show_default="all 64")
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", min=1, help="Cap of a free generation.")
    ] = 256,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.json", dir_okay=False, help="Write all of it, to be posted."),
    ] = None,
) -> None:
    """Check a model on vLLM on this machine.

    Compares vectors on the same token ids with transformers and with stock vLLM, decodes 64 inputs freely,
    measures what a batch changes, memory and speed. Nothing is downloaded but the model, and the JSON names
    no host, user or folder. The exit status is 1 if something is missed.
    """
    check_target(out, "--out")
    from ume_r1_rag.checkpoints import resolve_model
    from ume_r1_rag.cli.model import quiet, running

    options = running("vllm", engine).engine
    checkpoint = resolve_model(model)
    quiet()
    from ume_r1_rag.verify import verify as run

    def tell(text: str) -> None:
        if sys.stderr.isatty():
            typer.echo(f"{text} …", err=True)

    report = run(
        checkpoint.reference,
        options=options,
        dtype=dtype,
        max_new_tokens=max_new_tokens,
        limit=limit,
        tell=tell,
    )
    typer.echo(report.table())
    if out is not None:
        out.write_text(report.as_json() + "\n", encoding="utf-8")
        typer.echo(f"wrote {out}")
    if not report.ok:
        raise typer.Exit(1)
