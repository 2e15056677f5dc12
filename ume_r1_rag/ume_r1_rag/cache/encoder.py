"""``CachedEncoder``: an encoder around an encoder, which never computes the same vector twice."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from ume_r1_rag.cache.call import Call
from ume_r1_rag.cache.content import content_digest
from ume_r1_rag.cache.store import CacheInfo, Row, Store
from ume_r1_rag.errors import ConfigError
from ume_r1_rag.inputs import to_inputs
from ume_r1_rag.types import Encoder, Inputs, Mode, MultimodalInput, Space

Role = Literal["query", "document"]

_NEUTRAL = frozenset({"show_progress", "on_error"})
"""Options that do not change a vector; every other one is part of the key, whatever it means."""


class CachedEncoder:
    """An ``Encoder`` that keeps what another one computes, on disk, for all callers and processes.

    A vector is found again by the content of its input (a file by its bytes), by role, think budget and all
    further options, by everything in the encoder's fingerprint, and by tenant. The vectors of one input lie
    side by side: what was encoded as ``both`` answers ``disc`` and ``gen``. Failures are not kept.

    Example:
        >>> encoder = CachedEncoder(UmeR1Encoder("nano"), "embeddings.sqlite")
        >>> encoder.encode_query("a red circle")  # encoded
        >>> encoder.encode_query("a red circle")  # read

    Attributes:
        encoder: what encodes; closing the cache leaves it open.
        tenant: whose entries these are.
    """

    def __init__(
        self, encoder: Encoder, path: str | Path, tenant: str | None = None, max_bytes: int | None = None
    ) -> None:
        """Opens the cache, or makes it.

        Args:
            encoder: what encodes what is not there.
            path: the file, one for all tenants and encoders. Reasoning and summaries lie in it as text.
            tenant: entries of one tenant are never given to another, nor to None.
            max_bytes: bound on the file, at least 1 MiB; what was not used for longest goes first.

        Raises:
            ConfigError: ``max_bytes`` is too small.
            CacheUnavailable: the file is damaged, no cache, or cannot be written.
        """
        self.encoder, self.tenant = encoder, tenant
        self._store = Store(path, max_bytes)
        self._lock = threading.Lock()
        self._hits = self._misses = self._uncached = 0

    @property
    def dimension(self) -> int:
        """The length D of every vector."""
        return self.encoder.dimension

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """The encoder's."""
        return self.encoder.fingerprint

    @property
    def max_image_pixels(self) -> int:
        """The encoder's."""
        return self.encoder.max_image_pixels

    @property
    def max_video_frames(self) -> int:
        """The encoder's."""
        return self.encoder.max_video_frames

    @property
    def spaces(self) -> tuple[Space, ...]:
        """The encoder's."""
        return self.encoder.spaces

    @property
    def kinds(self) -> frozenset[str]:
        """The encoder's."""
        return self.encoder.kinds

    def encode_query(self, inputs: Inputs, mode: Mode = "disc", **options: Any) -> Any:
        """Returns one ``Embedding``, or a list in the inputs' order; see ``Encoder``.

        Raises:
            CacheUnavailable: the file is damaged.
        """
        return self._encode("query", inputs, mode, options)

    def encode_document(self, inputs: Inputs, mode: Mode = "disc", **options: Any) -> Any:
        """Returns one ``Embedding``, or a list in the inputs' order; see ``Encoder``.

        Raises:
            CacheUnavailable: the file is damaged.
        """
        return self._encode("document", inputs, mode, options)

    async def aencode_query(self, inputs: Inputs, mode: Mode = "disc", **options: Any) -> Any:
        """``encode_query`` without blocking the event loop."""
        return await self._aencode("query", inputs, mode, options)

    async def aencode_document(self, inputs: Inputs, mode: Mode = "disc", **options: Any) -> Any:
        """``encode_document`` without blocking the event loop."""
        return await self._aencode("document", inputs, mode, options)

    def info(self) -> CacheInfo:
        """Returns what the file holds, and what this encoder had of it."""
        entries, size = self._store.size()
        return CacheInfo(entries, size, self._hits, self._misses, self._uncached)

    def clear(self) -> int:
        """Deletes all entries of this tenant, and of no other; returns how many vectors that were."""
        return self._store.clear(self.tenant)

    def close(self) -> None:
        """Closes the file; the encoder stays as it is."""
        self._store.close()

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Closes the file."""
        self.close()

    def _encode(self, role: Role, inputs: Inputs, mode: Mode, options: dict[str, Any]) -> Any:
        call = self._look_up(role, inputs, mode, options)
        encode = self.encoder.encode_query if role == "query" else self.encoder.encode_document
        for lacking, group in call.groups():
            call.take(group, encode([entry.item for entry in group], lacking, **call.passed_on))
        return self._finish(call)

    async def _aencode(self, role: Role, inputs: Inputs, mode: Mode, options: dict[str, Any]) -> Any:
        call = await asyncio.to_thread(self._look_up, role, inputs, mode, options)
        encode = self.encoder.aencode_query if role == "query" else self.encoder.aencode_document
        for lacking, group in call.groups():
            call.take(group, await encode([entry.item for entry in group], lacking, **call.passed_on))
        return await asyncio.to_thread(self._finish, call)

    def _look_up(self, role: Role, inputs: Inputs, mode: Mode, options: dict[str, Any]) -> Call:
        items, single = to_inputs(inputs, on_error="return")
        call = Call(mode, single, options)
        scope = self._scope(role, options)
        for item in items:
            content = content_digest(item) if isinstance(item, MultimodalInput) else None
            key = None if content is None else hashlib.sha256(f"{scope}\n{content}".encode()).hexdigest()
            call.add(item, key, content)
        rows = self._store.read(call.entries, self.dimension) if call.entries else {}
        for entry in call.entries.values():
            for space in ("disc", "gen"):
                row = rows.get((entry.key, space)) if entry.key else None
                if row is not None:
                    entry.found[space] = row
        return call

    def _scope(self, role: Role, options: Mapping[str, Any]) -> str:
        """Returns what separates one use of the cache from every other.

        Raises:
            ConfigError: an option has a value that cannot be told from others.
        """
        fingerprint = dict(self.encoder.fingerprint)
        deciding = {name: value for name, value in options.items() if name not in _NEUTRAL}
        # No think budget means the encoder's own, which is in its fingerprint.
        think = deciding.pop("think", None)
        if think is not None:
            fingerprint["think"] = think
        deciding = {name: value for name, value in deciding.items() if value is not None}
        try:
            return json.dumps([self.tenant, role, fingerprint, deciding], sort_keys=True)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"options {sorted(deciding)} cannot be part of a cache key ({error}): use plain values, or "
                "the encoder without its cache"
            ) from error

    def _finish(self, call: Call) -> Any:
        """Keeps what was encoded, counts, and returns what the caller gets."""
        new: list[tuple[str, Space, Row]] = []
        hits = misses = uncached = 0
        for entry in call.all_entries():
            if entry.error is not None:
                uncached += entry.times
                continue
            # A second one of its kind within the call cost nothing.
            hits += entry.times - bool(entry.encoded)
            if entry.key is not None and entry.encoded and entry.is_unchanged():
                new += [(entry.key, space, entry.found[space]) for space in entry.encoded]
                misses += 1
            elif entry.encoded:
                uncached += 1
        if new:
            self._store.write(new, self.tenant)
        with self._lock:
            self._hits += hits
            self._misses += misses
            self._uncached += uncached
        return call.answer()
