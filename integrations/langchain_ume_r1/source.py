"""Source: the encoder behind some embeddings, loaded when it is first needed."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.types import Encoder

if TYPE_CHECKING:
    from ume_r1_rag.cache import CachedEncoder
    from ume_r1_rag.encoder.shared import Lease


class Source:
    """Where an encoder comes from; pickled and copied as its options, compared by them.

    Attributes:
        given: an encoder that is its owner's; None if the options say what to load.
        warned: whether the cost of gen was told.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        cache: Path | None,
        max_concurrency: int,
        encoder: Encoder | None = None,
    ) -> None:
        """Notes what to load.

        Args:
            options: of ``ume_r1_rag.encoder.shared.share_encoder``.
            cache: file of a ``CachedEncoder`` to put before it.
            max_concurrency: most calls at a time in one event loop.
            encoder: one that is loaded already and stays its owner's, in place of the options.
        """
        self._options, self._cache, self._most = dict(options), cache, max_concurrency
        self.given = encoder
        self._lock = threading.Lock()
        self._lease: Lease | None = None
        self._cached: CachedEncoder | None = None
        self._turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]
        self._turns = weakref.WeakKeyDictionary()
        self.warned = False

    @property
    def loaded(self) -> bool:
        """Whether the encoder is there."""
        return self.given is not None or self._lease is not None

    def get(self) -> Encoder:
        """Returns the encoder; the first call loads it, unless somebody in this process has it already."""
        with self._lock:
            if self.given is None and self._lease is None:
                from ume_r1_rag.encoder.shared import share_encoder

                plain = {
                    name: value.get_secret_value() if isinstance(value, SecretStr) else value
                    for name, value in self._options.items()
                }
                self._lease = share_encoder(**plain)
            encoder = self.given
            if encoder is None:
                assert self._lease is not None  # noqa: S101 -- for mypy
                encoder = self._lease.encoder
            if self._cache is not None and self._cached is None:
                from ume_r1_rag.cache import CachedEncoder

                self._cached = CachedEncoder(encoder, self._cache)
            return self._cached or encoder

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits until fewer than the most calls run in this event loop."""
        loop = asyncio.get_running_loop()
        async with self._turns.setdefault(loop, asyncio.Semaphore(self._most)):
            yield

    def close(self) -> None:
        """Gives the encoder back; the next call loads it anew."""
        with self._lock:
            cached, lease = self._cached, self._lease
            self._cached = self._lease = None
        if cached is not None:
            cached.close()
        if lease is not None:
            lease.close()

    def __eq__(self, other: object) -> bool:
        """Returns whether both lead to the same encoder."""
        if not isinstance(other, Source):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        """Returns a hash that agrees with ``==``."""
        return hash((self._cache, self._most, id(self.given)))

    def __reduce__(self) -> tuple[type[Source], tuple[Any, ...]]:
        """Is pickled as what it was made of.

        Raises:
            ConfigError: it was made around an encoder, which cannot travel.
        """
        if self.given is not None:
            raise ConfigError(
                "these embeddings were made around an encoder object, which cannot be pickled: make them "
                "from options (model=, base_url=), which are loaded where they arrive"
            )
        return Source, (self._options, self._cache, self._most)

    def __copy__(self) -> Source:
        """Returns itself: copies of embeddings share it."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Source:
        """Returns itself: copies of embeddings share it."""
        return self

    def _key(self) -> tuple[Any, ...]:
        return self._options, self._cache, self._most, id(self.given)
