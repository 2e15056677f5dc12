"""``ume-r1 bench doctor``: which MMEB tasks can run on a data directory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from ume_r1_rag.cli.options import JsonOption, names
from ume_r1_rag.cli.screen import clean, to_json

EXAMPLES = """\b
A data directory is a copy of TIGER-Lab/MMEB-V2, unpacked, with the tasks' own data sets beside the media:
  image-tasks/{task}/test*.parquet          image-tasks/{task}/…        pictures
  video-tasks/{data set}/…/test*.parquet    video-tasks/frames/…        frames
  visdoc-tasks/{data set}/{queries,corpus,qrels}/…                      pages are in the corpus
The layout of 2025 is read too: image-tasks/MMEB, frames/video_ret/X/frames, visdoc-tasks/visdoc-tasks.

\b
Examples:
  ume-r1 bench doctor --data mmeb                          # all 78 tasks of MMEB-V2
  ume-r1 bench doctor --data mmeb --suite mmeb-v1 --list   # every missing file by its name
  ume-r1 bench doctor --data mmeb --tasks MSVD,K700 --hub  # rows may come from the hub
  ume-r1 bench doctor --data mmeb --json | jq -r '.tasks[].missing[].file'
"""

Suite = Literal["mmeb-v2", "mmeb-v1", "mini"]
"""The suites by name; a test holds them to ``mmeb.SUITES``."""

ProtocolName = Literal["v2.0.1", "v2.1", "ume-r1-paper"]
"""The protocols by name; a test holds them to ``mmeb.PROTOCOLS``."""


def doctor(
    data: Annotated[
        Path,
        typer.Option("--data", metavar="DIR", exists=True, file_okay=False, help="The data directory."),
    ],
    suite: Annotated[Suite, typer.Option("--suite", help="Which tasks.")] = "mmeb-v2",
    tasks: Annotated[
        list[str] | None,
        typer.Option("--tasks", metavar="NAME,...", help="These tasks alone.", show_default="the suite's"),
    ] = None,
    protocol: Annotated[
        ProtocolName, typer.Option("--protocol", help="It says which version of the page tasks is needed.")
    ] = "v2.1",
    hub: Annotated[
        bool,
        typer.Option("--hub", help="Rows that are not on disk will come from the hub; it is not asked now."),
    ] = False,
    every: Annotated[bool, typer.Option("--list", help="Name every missing file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say which tasks of MMEB can run on a data directory, and which files the others lack.

    Reads every row, looks for every picture and every folder of frames, and writes nothing. The exit status
    is 1 if anything is missing.
    """
    from ume_r1_rag.cli.model import needs

    with needs("bench"):
        from ume_r1_bench.mmeb.doctor import examine
        from ume_r1_bench.mmeb.protocol import find_protocol
        from ume_r1_bench.mmeb.suite import choose_tasks

        chosen = choose_tasks(suite, names(tasks) if tasks else None)
        found = examine(chosen, data, find_protocol(protocol), hub=hub, progress=sys.stderr.isatty())
    typer.echo(to_json(found.to_json()) if as_json else clean(found.report(every=every), lines=True))
    if not found.ok:
        raise typer.Exit(1)
