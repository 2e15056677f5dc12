"""``ume-r1 train sft``: the paper's stage 1 on one machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ume_r1_rag.errors import ConfigError

if TYPE_CHECKING:
    from ume_r1_trainer.config import SftConfig

EXAMPLES = """\b
Examples:
  ume-r1 world make runs/train --split train --sft
  ume-r1 train sft --recipe nano --data runs/train --output runs/nano
  ume-r1 train sft --data runs/train --output runs/try --steps 200 --set lr=0.001 --set batch_size=16
"""


def sft(
    data: Annotated[
        Path,
        typer.Option(
            "--data", metavar="DIR", exists=True, help="Folder or .jsonl file of records.", show_default=False
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", metavar="DIR", file_okay=False, help="Checkpoints, log and plot.", show_default=False
        ),
    ],
    recipe: Annotated[str, typer.Option("--recipe", help="A shipped recipe, or a YAML file.")] = "nano",
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Optimiser steps.", show_default="the recipe's")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of the recipe; values as in JSON."),
    ] = None,
) -> None:
    """Train the cold start, stage 1 of the paper.

    InfoNCE on disc and gen, next-token loss on reasoning and summary. A run that was interrupted goes on
    where it last saved, when it is called again with the same options.
    """
    from ume_r1_rag.cli.model import needs

    with needs("train"):
        from ume_r1_trainer.config import load_recipe
        from ume_r1_trainer.sft import Sft

        options: dict[str, Any] = {"data": str(data), "output": str(output), "steps": steps}
        config = load_recipe(recipe, **{**_parsed(settings or ()), **options})
        _check_types(config)
        run = Sft(config)
        if run.step:
            typer.echo(f"resumed at step {run.step} of {config.steps}", err=True)
        final = run.train(progress=sys.stderr.isatty())
    typer.echo(f"wrote {final}, {output / 'log.jsonl'} and {output / 'loss.png'}")


def _parsed(settings: Sequence[str]) -> dict[str, Any]:
    """Returns the options in ``key=value`` pairs; what is no JSON is a string."""
    options = {}
    for setting in settings:
        key, sep, text = setting.partition("=")
        if not sep or not key.strip():
            raise typer.BadParameter(f"{setting!r} is no KEY=VALUE", param_hint="'--set'")
        if key.strip() in ("data", "output", "steps"):
            raise typer.BadParameter(f"{key.strip()} has a flag of its own", param_hint="'--set'")
        try:
            options[key.strip()] = json.loads(text)
        except ValueError:
            options[key.strip()] = text
    return options


def _check_types(config: SftConfig) -> None:
    """Refuses an option of the wrong type, which would come to light in the middle of a run."""
    from dataclasses import MISSING, fields

    for field in fields(config):
        value = getattr(config, field.name)
        if field.default is MISSING or field.default is None:
            continue
        wanted = (int, float) if isinstance(field.default, float) else type(field.default)
        if not isinstance(value, wanted) or (isinstance(value, bool) and not isinstance(field.default, bool)):
            raise ConfigError(f"{field.name}={value!r} must be of type {type(field.default).__name__}")
