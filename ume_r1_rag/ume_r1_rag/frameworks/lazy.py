"""LazyEncoder: an encoder that is made when something is first to be encoded."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ume_r1_rag.checkpoints import REVISIONS, ST_PREFIX
from ume_r1_rag.errors import ConfigError
from ume_r1_rag.template import PRESETS, Preset, load_preset
from ume_r1_rag.types import Encoder, Think

if TYPE_CHECKING:
    from ume_r1_rag.cache import CachedEncoder
    from ume_r1_rag.encoder.shared import Lease
    from ume_r1_rag.media.fetch import Fetcher
    from ume_r1_rag.media.limits import MediaLimits


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """How an encoder is to be made; what is None is left to it. See ``UmeR1Encoder``.

    Attributes:
        model: the model; default ``UME_R1_MODEL``, else UME-R1-2B; with ``base_url`` the server's.
        backend: what runs it.
        device: where.
        dtype: in which precision.
        preset: the protocol.
        think: think budget of gen.
        max_new_tokens: cap on one generation.
        revision: hub revision.
        fetcher: how URLs are had.
        media_limits: which pictures and videos are refused.
        vllm: how vLLM is to run.
        base_url: address of a server that encodes.
        api_key: its key; never shown.
        cache: file of a ``CachedEncoder``, or None for no cache.
        tenant: whose entries of the cache these are.
    """

    model: str | None = None
    backend: str | None = None
    device: str | None = None
    dtype: str | None = None
    preset: str | Preset | None = None
    think: Think | None = None
    max_new_tokens: int | None = None
    revision: str | None = None
    fetcher: Fetcher | None = None
    media_limits: MediaLimits | None = None
    vllm: Mapping[str, Any] | None = None
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    cache: str | Path | None = None
    tenant: str | None = None

    def lease(self) -> Lease:
        """Returns a hold on the encoder, loaded now or before by somebody else in this process.

        The cache is not part of it. See :func:`share_encoder` for what it raises.
        """
        from ume_r1_rag.encoder.shared import share_encoder

        given = {name: getattr(self, name) for name in _RUNNING if getattr(self, name) is not None}
        return share_encoder(self.model, base_url=self.base_url, api_key=self.api_key, **given)


_RUNNING = (
    *("backend", "device", "dtype", "preset", "think", "max_new_tokens", "revision"),
    *("fetcher", "media_limits", "vllm"),
)


def options_for(fingerprint: Mapping[str, Any], options: EncoderOptions) -> EncoderOptions:
    """Returns the options of an encoder by which a collection can be asked.

    Model, preset and think budget are those given, else the collection's.

    Args:
        fingerprint: the collection's.
        options: what a caller says.

    Raises:
        ConfigError: the collection does not say where its model is to be had.
    """
    think = fingerprint.get("think") if options.think is None else options.think
    if options.base_url is not None:
        return replace(options, think=think)
    stored = fingerprint.get("model")
    named = str(stored) if stored and stored != "local" else None
    model = options.model or named or os.environ.get("UME_R1_MODEL")
    if not model:
        raise ConfigError(
            "the collection was written with a model from a folder, and a collection does not keep the "
            "folder's name: say which model, or set UME_R1_MODEL"
        )
    if model.startswith(ST_PREFIX):
        return replace(options, model=model)
    preset: str | Preset | None = options.preset
    if preset is None and "preset" in fingerprint:
        preset = load_preset(fingerprint["preset"])
        if preset == PRESETS.get(preset.name):
            preset = preset.name
    revision = options.revision
    if revision is None and model == named and fingerprint.get("revision") != REVISIONS.get(model):
        revision = fingerprint.get("revision")
    # What is the default anyway is left out: encoders are shared by what is asked for.
    return replace(
        options,
        model=model,
        preset=None if preset == "serving" else preset,
        think=None if think == "full" else think,
        revision=revision,
    )


class LazyEncoder:
    """An encoder, made once, by whichever thread or loop first needs it.

    Attributes:
        given: whether the encoder was made by somebody else, whose it is to close.
    """

    def __init__(self, options: EncoderOptions, encoder: Encoder | None = None) -> None:
        """Keeps what is known; nothing is loaded."""
        self._options, self._encoder = options, encoder
        self._lease: Lease | None = None
        self._cached: CachedEncoder | None = None
        self._lock = threading.Lock()
        self.given = encoder is not None

    @property
    def made(self) -> Encoder | None:
        """The encoder if it is there."""
        return self._encoder

    def get(self) -> Encoder:
        """Returns the encoder, behind its cache if there is one; see :meth:`EncoderOptions.lease`."""
        with self._lock:
            if self._encoder is None:
                lease = self._options.lease()
                encoder: Encoder = lease.encoder
                if self._options.cache is not None:
                    from ume_r1_rag.cache import CachedEncoder

                    try:
                        self._cached = CachedEncoder(encoder, self._options.cache, self._options.tenant)
                    except BaseException:
                        lease.close()
                        raise
                    encoder = self._cached
                self._lease, self._encoder = lease, encoder
            return self._encoder

    def close(self) -> None:
        """Gives back an encoder that was had here, and closes its cache; asked again, it is had anew."""
        with self._lock:
            if self.given or self._lease is None:
                return
            lease, cached = self._lease, self._cached
            self._encoder = self._lease = self._cached = None
        if cached is not None:
            cached.close()
        lease.close()

    async def aget(self) -> Encoder:
        """:meth:`get` without blocking the event loop while the model is loaded."""
        made = self._encoder
        return made if made is not None else await asyncio.to_thread(self.get)
