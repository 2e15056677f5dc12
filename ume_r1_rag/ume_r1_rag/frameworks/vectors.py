"""OneVector: the one vector of an input that a framework's interfaces know.

Which space it is of is decided once and never by what happens to go well: gen that cannot be had is an error,
and gen of a mended generation is said to be one.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import warnings
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.frameworks.lazy import LazyEncoder
from ume_r1_rag.packed import WEIGHTS, check_weights, exceeded, pack_document, pack_query
from ume_r1_rag.types import Embedding, Encoder, Mode, MultimodalInput, Think

if TYPE_CHECKING:
    from ume_r1_rag.packed import Vector

logger = logging.getLogger(__name__)

VectorMode = Literal["disc", "gen", "packed"]
"""Which vector: that of one space, or both packed into one, see :mod:`ume_r1_rag.packed`."""

Role = Literal["query", "document"]

_MODES: dict[VectorMode, Mode] = {"disc": "disc", "gen": "gen", "packed": "both"}
CONCURRENCY = 4
"""Calls of the encoder at a time, if nobody says otherwise."""


class CostWarning(UserWarning):
    """Gen is in use: what the first of it cost here."""


class SizeWarning(UserWarning):
    """A packed vector is larger than some stores take."""


def mode_of_vector(mode: VectorMode) -> Mode:
    """Returns the mode in which an encoder gives what such a vector is made of."""
    return _MODES[mode]


def pick_vector(embedding: Embedding, mode: VectorMode, role: Role, weights: tuple[float, float]) -> Vector:
    """Returns the one vector that stands for an input, ``(D,)`` or packed ``(2D,)``, float32.

    Args:
        embedding: of the input, with the vectors of the mode.
        mode: which one.
        role: only a packed query is weighted.
        weights: of disc and gen in it.
    """
    if mode != "packed":
        return embedding.vector(mode)
    if role == "document":
        return pack_document(embedding.vector("disc"), embedding.vector("gen"))
    return pack_query(embedding.vector("disc"), embedding.vector("gen"), weights)


def warn_of_size(size: int, stacklevel: int) -> None:
    """Warns of the stores that do not take a packed vector of so many dimensions."""
    passed = exceeded(size)
    if passed:
        names = "; ".join(f"{limit.store} takes {limit.dimensions}" for limit in passed)
        warnings.warn(
            f"a packed vector of this model has {size} dimensions: {names}. A collection of ours keeps two "
            "vectors instead",
            SizeWarning,
            stacklevel=stacklevel,
        )


class OneVector:
    """Encodes inputs and says which vector of each stands for it.

    Attributes:
        mode: which one.
        weights: of disc and gen in a packed query.
    """

    def __init__(
        self,
        lazy: LazyEncoder,
        mode: VectorMode = "disc",
        *,
        weights: tuple[float, float] = WEIGHTS,
        think: Think | None = None,
        query_kind: str | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Keeps how to encode.

        Args:
            lazy: what encodes.
            mode: which vector.
            weights: of disc and gen in a packed query.
            think: think budget; the encoder's if None.
            query_kind: instruction preset of queries, e.g. ``"page"``.
            concurrency: asynchronous calls of the encoder at a time.

        Raises:
            ConfigError: an option has an impossible value.
        """
        if mode not in _MODES:
            raise ConfigError(f'mode={mode!r} is unknown: use "disc", "gen" or "packed"')
        if concurrency is not None and concurrency < 1:
            raise ConfigError(f"concurrency={concurrency}: it must be at least 1")
        self.mode, self.weights = mode, check_weights(weights)
        self._lazy, self._think, self._query_kind = lazy, think, query_kind
        self._concurrency = concurrency or CONCURRENCY
        # A semaphore belongs to the loop in which it was first waited for.
        self._turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            weakref.WeakKeyDictionary()
        )
        self._lock = threading.Lock()
        self._said: set[str] = set()

    @property
    def dimension(self) -> int:
        """The length of every vector; asks the encoder, which is made for that."""
        return self._lazy.get().dimension * (2 if self.mode == "packed" else 1)

    def encode(self, role: Role, items: Sequence[MultimodalInput]) -> list[Embedding]:
        """Returns an embedding with the vectors of the mode for each input, in order.

        Raises:
            EncodeErrors: some inputs failed.
            ConfigError: the encoder has no such vectors.
        """
        encoder = self._lazy.get()
        started = time.perf_counter()
        encode = encoder.encode_query if role == "query" else encoder.encode_document
        found: list[Embedding] = encode(list(items), _MODES[self.mode], **self._options(role))
        self._tell(encoder, found, time.perf_counter() - started)
        return found

    async def aencode(self, role: Role, items: Sequence[MultimodalInput]) -> list[Embedding]:
        """:meth:`encode` without blocking the event loop; so many calls at a time as were allowed."""
        encoder = await self._lazy.aget()
        turns = self._turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self._concurrency))
        async with turns:
            started = time.perf_counter()
            encode = encoder.aencode_query if role == "query" else encoder.aencode_document
            found: list[Embedding] = await encode(list(items), _MODES[self.mode], **self._options(role))
            self._tell(encoder, found, time.perf_counter() - started)
        return found

    def vector(self, role: Role, embedding: Embedding) -> list[float]:
        """Returns the vector that stands for an input, as plain numbers."""
        found: list[float] = pick_vector(embedding, self.mode, role, self.weights).tolist()
        return found

    def _options(self, role: Role) -> dict[str, Any]:
        options: dict[str, Any] = {
            "kind": self._query_kind if role == "query" else None,
            "think": self._think,
        }
        return {name: value for name, value in options.items() if value is not None}

    def _tell(self, encoder: Encoder, found: Sequence[Embedding], seconds: float) -> None:
        """Says once what gen costs and how large a packed vector is, and each time what was mended."""
        if self.mode == "disc" or not found:
            return
        if self._first("cost"):
            tokens = sum(one.tokens.completion for one in found)
            warnings.warn(
                f"mode={self.mode!r} writes a reasoning for every input and every query: the first "
                f"{len(found)} took {seconds:.2f} s here ({seconds / len(found):.2f} s and "
                f'{tokens / len(found):.0f} tokens each). mode="disc" costs one prefill; think= bounds gen',
                CostWarning,
                stacklevel=3,
            )
        if self.mode == "packed" and self._first("size"):
            warn_of_size(2 * encoder.dimension, stacklevel=4)
        mended = [one.gen_issue for one in found if one.gen_valid is False]
        if mended:
            logger.warning(
                "%d of %d gen vectors are of a generation that was mended (%s)",
                len(mended),
                len(found),
                ", ".join(sorted({issue or "unknown" for issue in mended})),
            )

    def _first(self, what: str) -> bool:
        with self._lock:
            fresh = what not in self._said
            self._said.add(what)
        return fresh
