"""OneVector: the one vector of an input that a framework's interfaces know.

Which space it is of is decided once and never by what happens to go well: gen that cannot be had is an error,
and gen of a mended generation is said to be one.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.frameworks.lazy import LazyEncoder
from ume_r1_rag.packed import WEIGHTS, check_weights, exceeded, pack_document, pack_query
from ume_r1_rag.types import Embedding, Encoder, Mode, MultimodalInput

if TYPE_CHECKING:
    from ume_r1_rag.packed import Vector

logger = logging.getLogger(__name__)

VectorMode = Literal["disc", "gen", "packed"]
"""Which vector: that of one space, or both packed into one, see :mod:`ume_r1_rag.packed`."""

Role = Literal["query", "document"]

_MODES: dict[VectorMode, Mode] = {"disc": "disc", "gen": "gen", "packed": "both"}


class CostWarning(UserWarning):
    """Gen is in use: what the first of it cost here."""


class SizeWarning(UserWarning):
    """A packed vector is larger than some stores take."""


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
        query_kind: str | None = None,
    ) -> None:
        """Keeps how to encode.

        Args:
            lazy: what encodes.
            mode: which vector.
            weights: of disc and gen in a packed query.
            query_kind: instruction preset of queries, e.g. ``"page"``.

        Raises:
            ConfigError: an option has an impossible value.
        """
        if mode not in _MODES:
            raise ConfigError(f'mode={mode!r} is unknown: use "disc", "gen" or "packed"')
        self.mode, self.weights = mode, check_weights(weights)
        self._lazy, self._query_kind = lazy, query_kind

    @property
    def dimension(self) -> int:
        """The length of every vector; asks the encoder, which is made for that."""
        return self._lazy.get().dimension * (2 if self.mode == "packed" else 1)

    def encode(
        self, role: Role, items: Sequence[MultimodalInput], mode: Mode | None = None
    ) -> list[Embedding]:
        """Returns an embedding for each input, in order.

        Args:
            role: what they are.
            items: the inputs.
            mode: which vectors; by default those of which the one vector is made.

        Raises:
            EncodeErrors: some inputs failed.
            ConfigError: the encoder has no such vectors.
        """
        if not items:
            return []
        encoder = self._lazy.get()
        started = time.perf_counter()
        encode = encoder.encode_query if role == "query" else encoder.encode_document
        found: list[Embedding] = encode(list(items), mode or _MODES[self.mode], **self._options(role))
        self._tell(encoder, found, time.perf_counter() - started)
        return found

    async def aencode(
        self, role: Role, items: Sequence[MultimodalInput], mode: Mode | None = None
    ) -> list[Embedding]:
        """:meth:`encode` without blocking the event loop; so many calls at a time as were allowed."""
        if not items:
            return []
        encoder = await self._lazy.aget()
        encode = encoder.aencode_query if role == "query" else encoder.aencode_document
        wanted = mode or _MODES[self.mode]
        async with self._lazy.turn():
            started = time.perf_counter()
            found: list[Embedding] = await encode(list(items), wanted, **self._options(role))
        self._tell(encoder, found, time.perf_counter() - started)
        return found

    def vector(self, role: Role, embedding: Embedding) -> list[float]:
        """Returns the vector that stands for an input, ``D`` or packed ``2D`` plain numbers."""
        found: list[float] = self._picked(role, embedding).tolist()
        return found

    def _picked(self, role: Role, embedding: Embedding) -> Vector:
        if self.mode != "packed":
            return embedding.vector(self.mode)
        disc, gen = embedding.vector("disc"), embedding.vector("gen")
        # Only a query is weighted.
        return pack_document(disc, gen) if role == "document" else pack_query(disc, gen, self.weights)

    def _options(self, role: Role) -> dict[str, Any]:
        # Only what was asked for, as another model may not know it.
        return {} if self._query_kind is None or role != "query" else {"kind": self._query_kind}

    def _tell(self, encoder: Encoder, found: Sequence[Embedding], seconds: float) -> None:
        """Says once what gen costs and how large a packed vector is, and each time what was mended."""
        if all(one.gen is None for one in found):
            return
        count = len(found)
        if self._lazy.first("cost"):
            tokens = sum(one.tokens.completion for one in found)
            warnings.warn(
                f"gen embeddings are reasoned, each document and each query: the first {count} took "
                f"{seconds:.2f} s here ({seconds / count:.2f} s and {tokens / count:.0f} tokens each, one "
                'by one). mode="disc" costs one prefill; think="none" or a number of tokens bounds gen',
                CostWarning,
                stacklevel=4,
            )
        if self.mode == "packed" and self._lazy.first("size"):
            _warn_of_size(2 * encoder.dimension)
        mended = [one.gen_issue for one in found if one.gen_valid is False]
        if mended:
            logger.warning(
                "%d of %d gen vectors are of a generation that was mended (%s)",
                len(mended),
                count,
                ", ".join(sorted({issue or "unknown" for issue in mended})),
            )


def _warn_of_size(size: int) -> None:
    passed = exceeded(size)
    if passed:
        names = "; ".join(f"{limit.store} takes {limit.dimensions}" for limit in passed)
        warnings.warn(
            f"a packed vector of this model has {size} dimensions: {names}. A collection of ours keeps two "
            "vectors instead",
            SizeWarning,
            stacklevel=5,
        )
