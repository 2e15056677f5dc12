"""``ume-r1 download``: a model for a machine that goes offline."""

from __future__ import annotations

from typing import Annotated

import typer

EXAMPLES = """\b
Examples:
  ume-r1 download
  ume-r1 download zhibinlan/UME-R1-7B
  ume-r1 download you/your-ume-r1 --revision 0123456789abcdef0123456789abcdef01234567
"""


def download(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Hugging Face id. Default: UME_R1_MODEL, else zhibinlan/UME-R1-2B.",
            show_default=False,
        ),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(
            "--revision", metavar="COMMIT", help="Full commit; the known models have theirs pinned."
        ),
    ] = None,
) -> None:
    """Bring a model to this machine.

    It goes to the Hugging Face cache, and its folder is printed. Only safetensors and JSON are fetched, never
    code, and nothing that is here already.
    """
    from ume_r1_rag.checkpoints import download as fetch_model

    checkpoint = fetch_model(model, revision)
    at = f" at {checkpoint.revision}" if checkpoint.revision else ""
    typer.echo(f"{checkpoint.name}{at} is in {checkpoint.path}")
