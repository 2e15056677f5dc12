"""LazyEncoder: an encoder that is made when something is first to be encoded."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ume_r1_rag.checkpoints import REVISIONS, ST_PREFIX
from ume_r1_rag.errors import ConfigError
from ume_r1_rag.template import PRESETS, Preset, load_preset
from ume_r1_rag.types import Encoder, Think

if TYPE_CHECKING:
    from ume_r1_rag.cache import CachedEncoder
    from ume_r1_rag.encoder.shared import Lease
    from ume_r1_rag.media.fetch import Fetcher
    from ume_r1_rag.media.limits import MediaLimits

CONCURRENCY: Final = 4
"""Asynchronous calls of the encoder at a time, if nobody says otherwise."""


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
        batch_size: most inputs in one batch of the model.
        fetcher: how URLs are had.
        media_limits: which pictures and videos are refused.
        vllm: how vLLM is to run.
        base_url: address of a server that encodes.
        api_key: its key; never shown.
        timeout_s: most seconds for one input on it.
        max_retries: how often a request to it is sent again.
        concurrency: requests to it at a time.
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
    batch_size: int | None = None
    fetcher: Fetcher | None = None
    media_limits: MediaLimits | None = None
    vllm: Mapping[str, Any] | None = None
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    timeout_s: float | None = None
    max_retries: int | None = None
    concurrency: int | None = None
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
    *("batch_size", "fetcher", "media_limits", "vllm", "timeout_s", "max_retries", "concurrency"),
)


def options_for(
    fingerprint: Mapping[str, Any], options: EncoderOptions, remedy: str = "say which model"
) -> EncoderOptions:
    """Returns the options of an encoder by which a collection can be asked.

    Model, preset and think budget are those given, else the collection's. A collection that names its model
    goes before ``UME_R1_MODEL``: any other would be refused anyway.

    Args:
        fingerprint: the collection's.
        options: what a caller says.
        remedy: how a caller says which model.

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
            f"folder's name: {remedy}, or set UME_R1_MODEL"
        )
    revision = options.revision
    if revision is None and model == named and fingerprint.get("revision") != REVISIONS.get(model):
        revision = fingerprint.get("revision")
    if model.startswith(ST_PREFIX):
        return replace(options, model=model, revision=revision)
    preset: str | Preset | None = options.preset
    if preset is None and "preset" in fingerprint:
        preset = load_preset(fingerprint["preset"])
        if preset == PRESETS.get(preset.name):
            preset = preset.name
    # What is the default anyway is left out: encoders are shared by what is asked for.
    return replace(
        options,
        model=model,
        preset=None if preset == "serving" else preset,
        think=None if think == "full" else think,
        revision=revision,
    )


class LazyEncoder:
    """An encoder, made once, by whichever thread or loop first needs it; and what its users share.

    It is compared and pickled as the options that it was made of; copies of its users share it.

    Attributes:
        given: an encoder that was made by somebody else, whose it is to close; None if options say which.
    """

    def __init__(
        self, options: EncoderOptions, encoder: Encoder | None = None, concurrency: int | None = None
    ) -> None:
        """Keeps what is known; nothing is loaded.

        Args:
            options: how it is made; around a given encoder only the cache counts.
            encoder: one that is open already.
            concurrency: asynchronous calls at a time in one event loop; ``CONCURRENCY`` if None.

        Raises:
            ConfigError: ``concurrency`` is not positive.
        """
        if concurrency is not None and concurrency < 1:
            raise ConfigError(f"concurrency={concurrency}: it must be at least 1")
        self.given = encoder
        self._options, self._most = options, concurrency or CONCURRENCY
        self._encoder: Encoder | None = None
        self._lease: Lease | None = None
        self._cached: CachedEncoder | None = None
        self._lock = threading.Lock()
        self._said: set[str] = set()
        # A semaphore belongs to the loop in which it was first waited for.
        self._turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            weakref.WeakKeyDictionary()
        )

    @property
    def made(self) -> Encoder | None:
        """The encoder if it is there."""
        return self._encoder if self._encoder is not None else self.given

    def get(self) -> Encoder:
        """Returns the encoder, behind its cache if there is one; see :meth:`EncoderOptions.lease`."""
        with self._lock:
            if self._encoder is None:
                lease = None if self.given is not None else self._options.lease()
                encoder: Encoder | None = self.given if lease is None else lease.encoder
                assert encoder is not None  # noqa: S101 -- for mypy
                if self._options.cache is not None:
                    from ume_r1_rag.cache import CachedEncoder

                    try:
                        encoder = CachedEncoder(encoder, self._options.cache, self._options.tenant)
                    except BaseException:
                        if lease is not None:
                            lease.close()
                        raise
                    self._cached = encoder
                self._lease, self._encoder = lease, encoder
            return self._encoder

    async def aget(self) -> Encoder:
        """:meth:`get` without blocking the event loop while the model is loaded."""
        made = self._encoder
        return made if made is not None else await asyncio.to_thread(self.get)

    def close(self) -> None:
        """Gives back an encoder that was had here, and closes its cache; asked again, it is had anew."""
        with self._lock:
            lease, cached = self._lease, self._cached
            self._encoder = self._lease = self._cached = None
        if cached is not None:
            cached.close()
        if lease is not None:
            lease.close()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits until fewer calls than are allowed run in this event loop."""
        loop = asyncio.get_running_loop()
        async with self._turns.setdefault(loop, asyncio.Semaphore(self._most)):
            yield

    def first(self, what: str) -> bool:
        """Returns whether something is to be said for the first time."""
        with self._lock:
            fresh = what not in self._said
            self._said.add(what)
        return fresh

    def __eq__(self, other: object) -> bool:
        """Returns whether both lead to the same encoder."""
        if not isinstance(other, LazyEncoder):
            return NotImplemented
        own, theirs = (self._options, self._most), (other._options, other._most)
        return self.given is other.given and own == theirs

    def __hash__(self) -> int:
        """Returns a hash that agrees with ``==``."""
        return hash((self._options.model, self._options.base_url, self._most, id(self.given)))

    def __reduce__(self) -> tuple[type[LazyEncoder], tuple[Any, ...]]:
        """Is pickled as what it was made of.

        Raises:
            ConfigError: it was made around an encoder, which cannot travel.
        """
        if self.given is not None:
            raise ConfigError(
                "it was made around an encoder, which cannot be pickled: make it from options (a model's "
                "name, base_url=), by which the encoder is loaded where it arrives"
            )
        return LazyEncoder, (self._options, None, self._most)

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyEncoder:
        """Returns itself: copies of embeddings share it."""
        return self
