"""Which model a command runs, and loading it without noise."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import typer

from ume_r1_rag.errors import ConfigError, MissingExtra
from ume_r1_rag.types import Encoder, Mode, Think

if TYPE_CHECKING:
    from ume_r1_rag.encoder import SentenceTransformerEncoder, UmeR1Encoder
    from ume_r1_rag.encoder.remote import RemoteEncoder
    from ume_r1_rag.template import Preset

    LoadedEncoder: TypeAlias = UmeR1Encoder | SentenceTransformerEncoder | RemoteEncoder

_CACHE_FILE = "embeddings.sqlite"

_EXTRAS = {
    "train": ("matplotlib", "torch", "transformers", "yaml"),
    "bench": ("torch", "transformers"),
    "serve": ("fastapi", "prometheus_client", "starlette", "uvicorn"),
}
"""What an extra installs that the commands of a room import."""


def load_encoder(
    model: str | None,
    preset: str | Preset = "serving",
    think: Think = "full",
    revision: str | None = None,
    batch_size: int = 32,
    **options: Any,
) -> UmeR1Encoder | SentenceTransformerEncoder:
    """Returns the encoder of a model; of one called ``st:…`` a ``SentenceTransformerEncoder``.

    ``options`` are further ones of ``UmeR1Encoder``, without effect on another one.

    Raises:
        ConfigError: ``preset`` or ``think`` is given for a model that has none.
    """
    from ume_r1_rag.checkpoints import DEFAULT_MODEL, ST_PREFIX, resolve_model
    from ume_r1_rag.encoder import SentenceTransformerEncoder, UmeR1Encoder

    if sys.stderr.isatty():
        typer.echo(f"loading {model or os.environ.get('UME_R1_MODEL') or DEFAULT_MODEL} …", err=True)
    # A wrong name should be known before torch is imported, which takes seconds.
    checkpoint = resolve_model(model, revision)
    quiet()
    if checkpoint.name.startswith(ST_PREFIX):
        _refuse_settings(checkpoint.name, preset, think)
        return SentenceTransformerEncoder(
            checkpoint.name, revision=checkpoint.revision, batch_size=batch_size
        )
    return UmeR1Encoder(
        checkpoint.name,
        preset=preset,
        think=think,
        revision=checkpoint.revision,
        batch_size=batch_size,
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


def _refuse_settings(name: str, preset: str | Preset, think: Think) -> None:
    for option, value, default in (("--preset", preset, "serving"), ("--think", think, "full")):
        if value != default:
            raise ConfigError(f"{option} {value} means nothing to {name}, which has no such setting")


def mode_for(mode: Mode | None, encoder: Encoder) -> Mode:
    """Returns the mode that an option says, or by default all that an encoder has."""
    return mode or ("both" if "gen" in encoder.spaces else "disc")


def quiet() -> None:
    """Switches off transformers' bar for loading weights, which would stay on the terminal and in logs."""
    with suppress(ImportError):
        from transformers.utils import logging

        logging.disable_progress_bar()


def encoder_for(
    fingerprint: Mapping[str, Any],
    model: str | None,
    think: Think | None,
    preset: str | None = None,
    batch_size: int = 32,
    base_url: str | None = None,
    **options: Any,
) -> LoadedEncoder:
    """Returns the encoder with which a collection can be asked, and added to.

    It is what ``model`` names, else what the fingerprint does, else ``UME_R1_MODEL``: for a collection that
    names its model, any other would be refused anyway. Preset and think budget are those given, else the
    collection's, if its encoder has such. With a ``base_url`` it is that server's;
    ``options`` are those of ``load_encoder``.

    Raises:
        ConfigError: the collection does not say where its model is to be had.
    """
    from ume_r1_rag.encoder.sentence_transformers import FAMILY
    from ume_r1_rag.template import load_preset

    stored = fingerprint.get("model")
    named = str(stored) if stored and stored != "local" else None
    name = model or named or os.environ.get("UME_R1_MODEL")
    foreign = fingerprint.get("encoder") == FAMILY
    if base_url is not None:
        own = fingerprint.get("think") if think is None else think
        return remote_encoder(base_url, model, own, preset)
    if not name:
        raise ConfigError(
            "the collection was written with a model from a folder, and a collection does not keep the "
            f"folder's name: pass --model {'st:' if foreign else ''}DIR, or set UME_R1_MODEL"
        )
    revision = fingerprint.get("revision") if name == named else None
    budget: Think = fingerprint.get("think", "full") if think is None else think
    protocol: str | Preset = preset or "serving"
    # Only our own encoders have presets; without one there is nothing to take over.
    if preset is None and not foreign and "preset" in fingerprint:
        protocol = load_preset(fingerprint["preset"])
    return load_encoder(name, protocol, budget, revision, batch_size, **options)


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
