"""Which model a command runs, and loading it without noise."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import typer

from ume_r1_rag.backends.choice import BackendName
from ume_r1_rag.cli.notice import hear
from ume_r1_rag.errors import ConfigError, MissingExtra
from ume_r1_rag.types import Encoder, Mode, Think, mode_of

if TYPE_CHECKING:
    from ume_r1_rag.encoder import SentenceTransformerEncoder, UmeR1Encoder
    from ume_r1_rag.encoder.remote import RemoteEncoder
    from ume_r1_rag.template import Preset

    LoadedEncoder: TypeAlias = UmeR1Encoder | SentenceTransformerEncoder | RemoteEncoder

_CACHE_FILE = "embeddings.sqlite"

_EXTRAS = {
    "train": (
        "datasets",
        "deepspeed",
        "matplotlib",
        "openai",
        "peft",
        "pyarrow",
        "torch",
        "transformers",
        "yaml",
    ),
    "bench": ("datasets", "openai", "pyarrow", "torch", "transformers"),
    "serve": ("fastapi", "prometheus_client", "starlette", "uvicorn"),
}
"""What an extra installs that the commands of a room import."""


@dataclass(frozen=True, slots=True)
class Running:
    """What runs a model, as ``--backend``, ``--engine`` and ``--base-url`` say it.

    Attributes:
        backend: which backend.
        engine: options of vLLM.
        base_url: the server that runs it instead.
    """

    backend: BackendName = "auto"
    engine: Mapping[str, Any] = field(default_factory=dict)
    base_url: str | None = None

    def flags(self) -> list[str]:
        """Returns the command line's words that say the same."""
        words = [] if self.backend == "auto" else ["--backend", self.backend]
        for name, value in self.engine.items():
            words += ["--engine", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
        return words if self.base_url is None else [*words, "--base-url", self.base_url]


def running(backend: BackendName, engine: Sequence[str] | None, base_url: str | None = None) -> Running:
    """Returns what the options say; a VALUE is read as JSON where it is such, else as text.

    Raises:
        typer.BadParameter: an option is no ``NAME=VALUE``, or the backend takes none.
    """
    values: dict[str, Any] = {}
    for text in engine or ():
        name, equals, value = text.partition("=")
        if not (equals and name.isidentifier()):
            raise typer.BadParameter(f"{text!r} is no NAME=VALUE", param_hint="'--engine'")
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = {"True": True, "False": False, "None": None}.get(value, value)
    if values and backend != "vllm":
        raise typer.BadParameter("these options are for --backend vllm", param_hint="'--engine'")
    if base_url is not None and backend != "auto":
        raise typer.BadParameter(
            f"{backend}: the server at --base-url decides that", param_hint="'--backend'"
        )
    return Running(backend, values, base_url)


def load_encoder(
    model: str | None,
    preset: str | Preset = "serving",
    think: Think = "full",
    revision: str | None = None,
    batch_size: int = 32,
    run: Running | None = None,
    **options: Any,
) -> UmeR1Encoder | SentenceTransformerEncoder:
    """Returns the encoder of a model; of one called ``st:…`` a ``SentenceTransformerEncoder``.

    ``options`` are further ones of ``UmeR1Encoder``; another one heeds ``media_limits`` alone.

    Raises:
        ConfigError: ``preset`` or ``think`` is given for a model that has none.
    """
    from ume_r1_rag.checkpoints import DEFAULT_MODEL, ST_PREFIX, resolve_model
    from ume_r1_rag.encoder import SentenceTransformerEncoder, UmeR1Encoder

    run = run or Running()
    if sys.stderr.isatty():
        typer.echo(f"loading {model or os.environ.get('UME_R1_MODEL') or DEFAULT_MODEL} …", err=True)
    # A wrong name should be known before torch is imported, which takes seconds.
    checkpoint = resolve_model(model, revision)
    quiet()
    if run.backend == "vllm":
        # Which way it takes and why, and why a first start takes minutes.
        hear("ume_r1_rag.backends.vllm")
    if checkpoint.name.startswith(ST_PREFIX):
        _refuse_settings(checkpoint.name, preset, think, run.backend)
        # Of what else UmeR1Encoder takes, this alone means something to another model.
        return SentenceTransformerEncoder(
            checkpoint.name,
            revision=checkpoint.revision,
            batch_size=batch_size,
            media_limits=options.get("media_limits"),
        )
    return UmeR1Encoder(
        checkpoint.name,
        backend=run.backend,
        preset=preset,
        think=think,
        revision=checkpoint.revision,
        batch_size=batch_size,
        vllm=run.engine if run.backend == "vllm" else None,
        **options,
    )


def remote_encoder(
    base_url: str, model: str | None = None, think: Think | None = None, preset: object = None
) -> RemoteEncoder:
    """Returns the encoder of a server.

    Raises:
        ConfigError: a preset is given, which is the server's to choose, or it serves another model.
        ServerUnavailable: it cannot be reached.
    """
    from ume_r1_rag.encoder.remote import RemoteEncoder

    if preset is not None:
        raise ConfigError(f"--preset {preset}: the server at --base-url decides that, leave it out")
    return RemoteEncoder(base_url, model=model, think=think)


def _refuse_settings(name: str, preset: str | Preset, think: Think, backend: str) -> None:
    given = (("--preset", preset, "serving"), ("--think", think, "full"), ("--backend", backend, "auto"))
    for option, value, default in given:
        if value != default:
            raise ConfigError(f"{option} {value} means nothing to {name}, which has no such setting")


def mode_for(mode: Mode | None, encoder: Encoder) -> Mode:
    """Returns the mode that an option says, or by default all that an encoder has."""
    return mode or mode_of(encoder.spaces)


def quiet() -> None:
    """Switches off transformers' bar for loading weights and what vLLM says of itself, all but errors."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    # Stdout is for what was asked for, e.g. with --json.
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    with suppress(ImportError):
        from transformers.utils import logging

        logging.disable_progress_bar()


def encoder_for(
    fingerprint: Mapping[str, Any],
    model: str | None,
    think: Think | None,
    preset: str | None = None,
    batch_size: int = 32,
    run: Running | None = None,
    **options: Any,
) -> LoadedEncoder:
    """Returns the encoder with which a collection can be asked, and added to; see ``options_for``.

    With a ``base_url`` it is that server's; ``options`` are those of ``load_encoder``.

    Raises:
        ConfigError: the collection does not say where its model is to be had.
    """
    from ume_r1_rag.checkpoints import ST_PREFIX
    from ume_r1_rag.frameworks import EncoderOptions, options_for

    base_url = None if run is None else run.base_url
    said = EncoderOptions(model=model, think=think, preset=preset, base_url=base_url)
    remedy = f"pass --model {'' if 'preset' in fingerprint else ST_PREFIX}DIR"
    asked = options_for(fingerprint, said, remedy)
    if base_url is not None:
        return remote_encoder(base_url, model, asked.think, preset)
    return load_encoder(
        asked.model,
        asked.preset or "serving",
        "full" if asked.think is None else asked.think,
        asked.revision,
        batch_size,
        run,
        **options,
    )


@contextmanager
def cached(encoder: Encoder, folder: Path | None, tenant: str | None = None) -> Iterator[Encoder]:
    """Puts the cache in a folder before an encoder, for a tenant alone; without a folder nothing.

    Raises:
        CacheUnavailable: the file in the folder is damaged, no cache, or cannot be written.
    """
    if folder is None:
        yield encoder
        return
    from ume_r1_rag.cache import CachedEncoder

    with CachedEncoder(encoder, folder / _CACHE_FILE, tenant) as kept:
        yield kept


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Turns the absence of an extra's packages into the advice to install it.

    Raises:
        MissingExtra: one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRAS[extra]:
            raise
        raise MissingExtra(
            f"this command needs {error.name}, which is not installed: pip install 'ume-r1-rag[{extra}]'"
        ) from error
