"""Options of a search, and their check before anything is encoded."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypedDict, get_args

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.retriever.fusion import Fusion
from ume_r1_rag.types import SearchSpace, Think

if TYPE_CHECKING:
    from ume_r1_rag.index import Filter

SearchMode = Literal["disc", "gen", "text", "fused"]
"""By which space a search ranks, or by several."""

SPACES: Final[tuple[SearchSpace, ...]] = get_args(SearchSpace)

GroupBy = Literal["document"]
"""By what hits may be grouped: the file that they are parts of."""


class SearchOptions(TypedDict, total=False):
    """Options of every search.

    Attributes:
        spaces: what ``mode="fused"`` fuses, any of ``"disc"``, ``"gen"``, ``"text"``. By default those in
            which there is something to compare: the encoder's, gen only if the index has any (or an enricher
            may make some), text if the query has words.
        fusion: ``"convex"`` (weighted mean of normalised scores), ``"rrf"`` (weighted reciprocal ranks) or
            ``"dbsf"`` (distribution-based); see :mod:`ume_r1_rag.retriever.fusion`.
        weights: of the fused spaces; one that is not named has its default (see
            :func:`ume_r1_rag.retriever.default_weights`), one that takes no part is ignored.
        candidates: how many of each space are looked at where several are; at least ``k`` are.
        group_by: ``"document"``: ``k`` files instead of ``k`` documents.
        group_size: at most so many hits of each file.
        filter: see :func:`ume_r1_rag.index.to_filter`.
        kind: instruction preset for the query, e.g. ``"page"``; none by default.
        think: think budget of the query; the encoder's by default.
        text: the words that the text space is asked for; by default the query's own text. An embedding made
            before has none.
        lazy_gen: how many of the first hits are given their gen vectors, if they lack them, before they are
            ranked again; needs an enricher, and is ``k`` by default if there is one. 0 for none.
    """

    spaces: Collection[SearchSpace] | None
    fusion: Fusion
    weights: Mapping[str, float] | None
    candidates: int
    group_by: GroupBy | None
    group_size: int
    filter: Filter
    kind: str | None
    think: Think | None
    text: str | None
    lazy_gen: int | None


@dataclass(frozen=True, slots=True)
class Request:
    """A checked search, but for its query. The fields are those of :class:`SearchOptions`."""

    k: int = 10
    mode: SearchMode = "fused"
    spaces: Collection[SearchSpace] | None = None
    fusion: Fusion = "convex"
    weights: Mapping[str, float] | None = None
    candidates: int = 100
    group_by: GroupBy | None = None
    group_size: int = 1
    filter: Filter = None
    kind: str | None = None
    think: Think | None = None
    text: str | None = None
    lazy_gen: int | None = None

    def __post_init__(self) -> None:
        """Refuses what cannot work.

        Raises:
            ConfigError: an option has an unknown or impossible value.
        """
        for name, allowed in (("mode", SearchMode), ("fusion", Fusion)):
            if getattr(self, name) not in get_args(allowed):
                known = ", ".join(get_args(allowed))
                raise ConfigError(f"{name}={getattr(self, name)!r} is unknown: use one of {known}")
        for name in ("k", "candidates", "group_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: it must be at least 1")
        if self.lazy_gen is not None and self.lazy_gen < 0:
            raise ConfigError(f"lazy_gen={self.lazy_gen}: it must be at least 0")
        if self.group_by not in (None, *get_args(GroupBy)):
            raise ConfigError(f'group_by={self.group_by!r} is unknown: use "document", or None')
        if self.group_size > 1 and self.group_by is None:
            raise ConfigError(f'group_size={self.group_size} has no meaning without group_by="document"')
        self._check_fused()

    def _check_fused(self) -> None:
        if self.mode != "fused":
            given = [name for name in ("spaces", "weights") if getattr(self, name) is not None]
            if given:
                raise ConfigError(f'{given[0]}= has no meaning with mode={self.mode!r}: use mode="fused"')
            return
        if self.spaces is not None:
            unknown = [space for space in self.spaces if space not in SPACES]
            if unknown or not self.spaces or isinstance(self.spaces, str):
                raise ConfigError(f"spaces={self.spaces!r}: give one or more of {', '.join(SPACES)}")
        weights = self.weights or {}
        strange = [space for space in weights if space not in (self.spaces or SPACES)]
        if strange:
            known = ", ".join(self.spaces or SPACES)
            raise ConfigError(f"weights={dict(weights)!r}: {strange[0]!r} is not one of the spaces {known}")
        if not all(math.isfinite(weight) and weight >= 0 for weight in weights.values()):
            raise ConfigError(f"weights={dict(weights)!r}: a weight is a finite number of at least 0")
        if not any(weights.get(space, 1.0) for space in self.spaces or SPACES):
            raise ConfigError(f"weights={dict(weights)!r}: at least one must be positive")

    @property
    def depth(self) -> int:
        """How many candidates of each space are looked at, where several spaces are."""
        return max(self.candidates, self.k)
