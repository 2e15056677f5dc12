"""Retriever: a query in, ranked documents out, by disc, by gen, or by both fused."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.inputs import split_batch, to_input
from ume_r1_rag.retriever.fusion import Fusion, check_weights, convex, reciprocal_rank
from ume_r1_rag.template import INSTRUCTIONS
from ume_r1_rag.types import Embedding, Encoder, Hit, Inputs, Mode, Space, Think

if TYPE_CHECKING:
    from ume_r1_rag.index import Filter, QdrantIndex

logger = logging.getLogger(__name__)

SearchMode = Literal["disc", "gen", "fused"]
"""By which space a search ranks."""

_SPACES: dict[SearchMode, tuple[Space, ...]] = {
    "disc": ("disc",),
    "gen": ("gen",),
    "fused": ("disc", "gen"),
}


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer to one query.

    Attributes:
        hits: best first.
        query_embedding: the query's embedding; its reasoning and summary are untrusted text.
        mode: by which space the hits are ranked.
        fusion: how the spaces were combined; None unless ``mode`` is ``"fused"``.
        encode_s: seconds that encoding the query took.
        search_s: seconds that the index took.
    """

    hits: tuple[Hit, ...]
    query_embedding: Embedding
    mode: SearchMode
    fusion: Fusion | None
    encode_s: float
    search_s: float


class Retriever:
    """Searches an index with queries encoded by the encoder that wrote it.

    Attributes:
        encoder: what encodes the queries.
        index: what is searched.
    """

    def __init__(self, encoder: Encoder, index: QdrantIndex) -> None:
        """Joins the two.

        Raises:
            IndexMismatch: the index was written by another encoder. The think budgets may differ.
        """
        index.check(encoder.fingerprint)
        self.encoder = encoder
        self.index = index

    def search(
        self,
        query: Inputs | Embedding,
        k: int = 10,
        mode: SearchMode = "disc",
        *,
        fusion: Fusion = "convex",
        weights: Mapping[str, float] | None = None,
        candidates: int = 100,
        kind: str | None = None,
        filter: Filter = None,
        think: Think | None = None,
    ) -> SearchResult:
        """Returns the best documents for one query.

        ``fused`` takes the first ``candidates`` of each space and scores their union in both spaces
        exactly, so that a document found by one alone is judged like the others. A document without a gen
        vector keeps its place by disc alone (see :func:`ume_r1_rag.retriever.convex`); ranking by ``gen``
        alone cannot show it.

        Args:
            query: one text, image, video or mix, or an embedding made before, which must have the vectors
                that ``mode`` needs. A picture or video without words, instruction or ``kind`` is encoded as
                documents are: its like is found best so.
            k: at most so many hits.
            mode: ``"disc"``, ``"gen"`` (the query is reasoned about first) or ``"fused"``.
            fusion: ``"convex"`` (weighted mean of the cosines) or ``"rrf"`` (weighted reciprocal ranks).
            weights: ``{"disc": …, "gen": …}`` for ``fused``; equal by default.
            candidates: how many of each space ``fused`` looks at; at least ``k`` are.
            kind: instruction preset for the query, e.g. ``"page"``; none by default.
            filter: see :func:`ume_r1_rag.index.to_filter`.
            think: think budget of the query; the encoder's by default.

        Returns:
            The hits: ``score`` ranks them, ``scores`` holds the cosine in every space of ``mode``.

        Raises:
            ConfigError: an option has an unknown or impossible value; several queries at once.
            InputError: the query cannot be encoded.
        """
        spaces = _check(mode, fusion, weights, k)
        started = time.perf_counter()
        embedding = self._encode(query, mode, kind, think)
        encoded = time.perf_counter()
        if mode == "fused":
            ranking, cosines = self._fused(embedding, fusion, weights, max(candidates, k), filter)
        else:
            (space,) = spaces
            ranking = self.index.nearest(embedding.vector(space), space, k, filter)
            cosines = {space: ranking}
        hits = self.index.read(dict(list(ranking.items())[:k]), cosines)
        if not hits and filter is None:
            self._explain_nothing(spaces)
        return SearchResult(
            hits=tuple(hits),
            query_embedding=embedding,
            mode=mode,
            fusion=fusion if mode == "fused" else None,
            encode_s=encoded - started,
            search_s=time.perf_counter() - encoded,
        )

    def _encode(
        self, query: Inputs | Embedding, mode: SearchMode, kind: str | None, think: Think | None
    ) -> Embedding:
        if isinstance(query, Embedding):
            if kind is not None or think is not None:
                raise ConfigError("kind= and think= say how to encode, but the query is encoded already")
            return query
        wanted: Mode = "both" if mode == "fused" else mode
        # Only what was asked for is passed on: an encoder that knows no reasoning need not know `think`.
        options: dict[str, Any] = {"kind": kind, "think": think}
        found = self.encoder.encode_query(
            query if kind is not None else _like_a_document(query),
            mode=wanted,
            **{name: value for name, value in options.items() if value is not None},
        )
        if not isinstance(found, Embedding):
            raise ConfigError("search takes one query: call it once for each of several")
        return found

    def _fused(
        self,
        embedding: Embedding,
        fusion: Fusion,
        weights: Mapping[str, float] | None,
        candidates: int,
        filter: Filter,
    ) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """Returns the fused ranking of the union, and its exact cosines per space."""
        nearest: dict[Space, dict[str, float]] = {
            space: self.index.nearest(embedding.vector(space), space, candidates, filter)
            for space in _SPACES["fused"]
        }
        union = {id for found in nearest.values() for id in found}
        cosines: dict[str, dict[str, float]] = {
            space: found | self.index.scores(embedding.vector(space), space, sorted(union - found.keys()))
            for space, found in nearest.items()
        }
        if fusion == "convex":
            return convex(cosines, weights), cosines
        return reciprocal_rank({space: list(found) for space, found in nearest.items()}, weights), cosines

    def _explain_nothing(self, spaces: tuple[Space, ...]) -> None:
        """Logs why a search that nothing limited found nothing."""
        coverage, points = self.index.coverage(), self.index.count()
        if points and not any(coverage[space] for space in spaces):
            logger.warning(
                "none of the %d documents has a %s vector: index them with mode=both, or search another mode",
                points,
                " or ".join(spaces),
            )


def _like_a_document(query: Inputs) -> Inputs:
    """Returns a wordless picture or video with its documents' instruction, anything else as it is."""
    # A batch is refused later on, by what the encoder makes of it; its iterator must not be used up here.
    items, single = split_batch(query)
    item = to_input(items[0]) if single else None
    if item is None or (item.text and item.text.strip()) or item.instruction is not None:
        return query
    return replace(item, instruction=INSTRUCTIONS["image" if item.video is None else "clip"].document)


def _check(
    mode: SearchMode, fusion: Fusion, weights: Mapping[str, float] | None, k: int
) -> tuple[Space, ...]:
    """Returns the spaces of a mode; refuses options that cannot work before anything is encoded."""
    if mode not in _SPACES:
        raise ConfigError(f"mode={mode!r} is unknown: use one of {', '.join(_SPACES)}")
    if fusion not in get_args(Fusion):
        raise ConfigError(f"fusion={fusion!r} is unknown: use one of {', '.join(get_args(Fusion))}")
    if k < 1:
        raise ConfigError(f"k={k}: ask for at least one hit")
    if mode == "fused":
        check_weights(_SPACES[mode], weights)
    elif weights is not None:
        raise ConfigError(f'weights= has no meaning with mode={mode!r}: use mode="fused"')
    return _SPACES[mode]
