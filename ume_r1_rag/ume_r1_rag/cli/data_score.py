"""``ume-r1 data score``: how hard each pair is for a checkpoint, for ``ume-r1 data select-rl``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ume_r1_rag.cli.data import DataOption, MediaOption, OutputOption
from ume_r1_rag.cli.options import (
    BackendOption,
    BaseUrlOption,
    BatchOption,
    EngineOption,
    ModelOption,
    ready_target,
)
from ume_r1_rag.cli.screen import clean
from ume_r1_rag.types import Embedding, MultimodalInput

if TYPE_CHECKING:
    from ume_r1_rag.cli.model import LoadedEncoder
    from ume_r1_rag.types import Encoder
    from ume_r1_trainer.data.record import Content

EXAMPLES = """\b
Examples:
  ume-r1 data score --data runs/pairs.jsonl --model runs/sft/final --output runs/scores.jsonl
  ume-r1 data select-rl --data runs/pairs.jsonl --scores runs/scores.jsonl --easy "rank<=1" --output rl.jsonl
"""


def score(
    data: DataOption,
    output: OutputOption,
    media: MediaOption = None,
    mode: Annotated[
        Literal["disc", "gen"], typer.Option("--mode", help="Which vectors; gen is dear.")
    ] = "disc",
    pool: Annotated[
        int, typer.Option("--pool", min=2, help="Pairs of a data set that are ranked among each other.")
    ] = 256,
    batch_size: BatchOption = 16,
    model: ModelOption = None,
    base_url: BaseUrlOption = None,
    backend: BackendOption = "auto",
    engine: EngineOption = None,
) -> None:
    """Measure rank and margin of each pair in pools of its data set: what is easy teaches GRPO little.

    rank is 1 if no other target of the pool is as near to the query; margin is the positive's cosine less the
    nearest other's. Pairs that cannot be read or encoded are named, the others are done all the same; the
    exit status is then 1.
    """
    ready_target(output)
    from ume_r1_rag.cli.model import load_encoder, needs, remote_encoder, running

    with needs("train"):
        from ume_r1_trainer.data.pools import pools

        run = running(backend, engine)
        if base_url is None:
            encoder: LoadedEncoder = load_encoder(model, batch_size=batch_size, run=run)
        else:
            encoder = remote_encoder(base_url, model)
        failed = written = 0
        partial = output.with_name(f"{output.name}.part")
        with partial.open("w", encoding="utf-8") as file:
            for records, faults in pools(data, pool, progress=sys.stderr.isatty()):
                for line in _scored(records, encoder, media or data.parent, mode, faults):
                    file.write(json.dumps(line) + "\n")
                    written += 1
                failed += len(faults)
                for fault in faults:
                    typer.echo(f"error: {clean(fault)[:300]}", err=True)
        partial.replace(output)
    typer.echo(f"scored {written} pairs: {output}")
    if failed:
        typer.echo(f"failed {failed}", err=True)
        raise typer.Exit(1)


def _scored(
    records: Sequence[dict[str, Any]],
    encoder: Encoder,
    media: Path,
    mode: Literal["disc", "gen"],
    faults: list[str],
) -> list[dict[str, Any]]:
    """Returns id, rank and margin of each pair of a pool; adds those that cannot be had to ``faults``."""
    import numpy as np

    from ume_r1_trainer.data.record import SIDES, content_of
    from ume_r1_trainer.data.scores import hardness

    contents = [[content_of(record[side], side) for side in SIDES] for record in records]
    encoded = [
        encode([_to_input(pair[at], media) for pair in contents], mode, on_error="return")
        for at, encode in enumerate((encoder.encode_query, encoder.encode_document))
    ]
    rows: list[int] = []
    for row, (record, query, target) in enumerate(zip(records, *encoded, strict=True)):
        wrong = [one for one in (query, target) if not isinstance(one, Embedding)]
        if wrong:
            faults.append(f"{record['id']}: {wrong[0]}")
        else:
            rows.append(row)
    if not rows:
        return []
    vectors = [np.stack([getattr(side[row], mode) for row in rows]) for side in encoded]
    found = hardness(vectors[0], vectors[1], [contents[row][1] for row in rows])
    return [
        {"id": records[row]["id"], **measured, "pool": len(rows)}
        for row, measured in zip(rows, found, strict=True)
    ]


def _to_input(content: Content, media: Path) -> MultimodalInput:
    frames = tuple(str(media / path) for path in content.frames)
    images = tuple(str(media / path) for path in content.images)
    return MultimodalInput(content.text or None, images, frames or None)
