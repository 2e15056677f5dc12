"""The options that several commands share, so that they are worded once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ume_r1_rag.backends.choice import BackendName
from ume_r1_rag.errors import ConfigError
from ume_r1_rag.types import Think, check_think

DEFAULT_PATH = ".ume-r1"
"""The index folder where nothing else is said: below the current one, like ``.git``."""

DEFAULT_COLLECTION = "ume_r1"

Kind = Literal["page", "image", "clip", "product", "edit", "answer"]
"""The instruction presets by name; a test holds them to ``template.INSTRUCTIONS``, whose import is slow."""

PresetName = Literal["serving", "paper", "mteb"]
"""The protocols by name; likewise ``template.PRESETS``."""

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help='"nano", a folder, a Hugging Face id or id@commit; st:… for sentence-transformers. '
        "Default: UME_R1_MODEL, else zhibinlan/UME-R1-2B.",
        show_default=False,
    ),
]
IndexedModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help='"nano", a folder, a Hugging Face id or id@commit; st:… for sentence-transformers. '
        "Default: the collection's, else UME_R1_MODEL, else zhibinlan/UME-R1-2B.",
        show_default=False,
    ),
]
IndexModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help='"nano", a folder, a Hugging Face id or id@commit. Default: the one the collection names.',
        show_default=False,
    ),
]
PathOption = Annotated[
    Path | None,
    typer.Option(
        "--path",
        "-p",
        metavar="DIR",
        help=f"Index folder. Default: UME_R1_PATH, else the server in QDRANT_URL, else {DEFAULT_PATH}.",
        show_default=False,
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL", help="Qdrant server in place of a folder. One with a key: set QDRANT_URL."
    ),
]
GrpcOption = Annotated[
    bool,
    typer.Option(
        "--grpc",
        help="Talk gRPC to the server, at its port 6334, in place of HTTP.",
        show_default=False,
    ),
]
CollectionOption = Annotated[
    str,
    typer.Option(
        "--collection",
        "-c",
        metavar="NAME",
        envvar="UME_R1_COLLECTION",
        help="Collection; a place can hold several.",
    ),
]
TenantOption = Annotated[
    str | None,
    typer.Option(
        "--tenant",
        metavar="NAME",
        envvar="UME_R1_TENANT",
        help="Only this tenant's documents: each tenant of a collection has its own. Without it, only those "
        "that belong to no tenant.",
        show_default=False,
    ),
]
ThinkOption = Annotated[
    str | None,
    typer.Option(
        "--think",
        metavar="full|none|N",
        help='How long to reason for a gen vector: "full", "none", or at most so many tokens.',
        show_default=False,
    ),
]
PresetOption = Annotated[
    PresetName,
    typer.Option("--preset", envvar="UME_R1_PRESET", help="Limits and protocol of encoding; see the README."),
]
IndexedPresetOption = Annotated[
    PresetName | None,
    typer.Option(
        "--preset",
        help="Limits and protocol of encoding; see the README. Default: the collection's, else "
        "UME_R1_PRESET, else serving.",
        show_default=False,
    ),
]
StorageOption = Annotated[
    list[str] | None,
    typer.Option(
        "--storage",
        metavar="NAME=VALUE",
        help="How a new collection keeps vectors on a server, e.g. datatype=float16, quantization=int8, "
        "on_disk=true, hnsw_m=32, shard_number=6; docs/server.md has all. May be repeated.",
        show_default=False,
    ),
]
BatchOption = Annotated[int, typer.Option("--batch-size", min=1, help="Documents that are encoded together.")]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        file_okay=False,
        envvar="UME_R1_CACHE",
        help="Keep what is encoded in this folder, and take from there what was encoded before.",
        show_default=False,
    ),
]
BaseUrlOption = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        envvar="UME_R1_BASE_URL",
        help="Encode on a server, started by `ume-r1 serve`; its key in UME_R1_API_KEY.",
        show_default=False,
    ),
]
BackendOption = Annotated[
    BackendName,
    typer.Option("--backend", envvar="UME_R1_BACKEND", help="What runs the model; auto is transformers."),
]
EngineOption = Annotated[
    list[str] | None,
    typer.Option(
        "--engine",
        metavar="NAME=VALUE",
        help="How vLLM runs, e.g. way=two-pass, gpu_memory_utilization=0.5, tensor_parallel_size=2, or any "
        "of its engine arguments. May be repeated.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def budget(text: str | None) -> Think | None:
    """Returns the think budget that an option says.

    Raises:
        typer.BadParameter: it says none.
    """
    if text is None:
        return None
    think: Think = int(text) if text.isascii() and text.isdigit() else text  # type: ignore[assignment]
    try:
        return check_think(think)
    except ConfigError:
        message = f'{text!r} is no budget: use "full", "none" or a positive number of tokens'
        raise typer.BadParameter(message, param_hint="'--think'") from None


def check_target(target: Path | None, option: str) -> None:
    """Refuses a file that could not be written, before the work that it is meant to hold.

    Raises:
        typer.BadParameter: it cannot be.
    """
    if target is None:
        return
    parent = target.absolute().parent
    if not parent.is_dir():
        raise typer.BadParameter(f"the folder {str(parent)!r} does not exist", param_hint=f"'{option}'")
    if not os.access(target if target.exists() else parent, os.W_OK):
        raise typer.BadParameter(f"{str(target)!r} cannot be written", param_hint=f"'{option}'")


def ready_target(target: Path, option: str = "--output") -> None:
    """Makes the folder of a file that is to be written.

    Raises:
        typer.BadParameter: it cannot be made, or the file not be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(
            f"the folder {str(target.parent)!r} cannot be made: {error.strerror}", param_hint=f"'{option}'"
        ) from error
    check_target(target, option)


def names(texts: list[str] | None) -> list[Any]:
    """Returns the parts of comma-separated options."""
    return [part.strip() for text in texts or () for part in text.split(",")]


def numbers(texts: list[str], option: str) -> list[int]:
    """Returns the numbers of comma-separated options, each at least 1."""
    parts = names(texts)
    wrong = [part for part in parts if not (part.isascii() and part.isdigit() and int(part))]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]!r} is no number of at least 1", param_hint=f"'{option}'")
    return [int(part) for part in parts]
