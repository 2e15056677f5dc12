"""Retriever: a query in, ranked documents out: by disc, gen or words, or several of them fused."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from ume_r1_rag.errors import ConfigError, InputError
from ume_r1_rag.inputs import split_batch, to_query
from ume_r1_rag.retriever.canary import recheck
from ume_r1_rag.retriever.candidates import Ask, Candidates, gather
from ume_r1_rag.retriever.fusion import default_weights
from ume_r1_rag.retriever.grouping import grouped
from ume_r1_rag.retriever.options import SPACES, Request, SearchMode, SearchOptions
from ume_r1_rag.retriever.result import SearchResult
from ume_r1_rag.template import INSTRUCTIONS
from ume_r1_rag.types import Embedding, Encoder, Hit, Inputs, MultimodalInput, SearchSpace, mode_of

if TYPE_CHECKING:
    from ume_r1_rag.index import QdrantIndex

logger = logging.getLogger(__name__)


class Enricher(Protocol):
    """Writes gen vectors for documents that were found without."""

    def enrich(self, hits: Sequence[Hit]) -> int:
        """Returns how many of these documents have been given a gen vector in the index.

        One that cannot be enriched is passed over: a search does not fail for it.
        """
        ...


class Retriever:
    """Searches an index with queries encoded by the encoder that wrote it.

    Attributes:
        encoder: what encodes the queries.
        index: what is searched.
        enricher: what gives gen vectors to what was found without; None to leave the index as it is.
    """

    def __init__(self, encoder: Encoder | None, index: QdrantIndex, enricher: Enricher | None = None) -> None:
        """Joins them.

        Args:
            encoder: None if only words are searched, or embeddings made before.
            index: the index.
            enricher: for an index that has gen vectors only for what is asked for.

        Raises:
            IndexMismatch: the index was written by another encoder. The think budgets may differ.
        """
        if encoder is not None:
            index.check(encoder.fingerprint)
            recheck(encoder, index)
        self.encoder = encoder
        self.index = index
        self.enricher = enricher

    def search(
        self,
        query: Inputs | Embedding,
        k: int = 10,
        mode: SearchMode = "fused",
        **options: Unpack[SearchOptions],
    ) -> SearchResult:
        """Returns the best documents for one query.

        ``fused`` takes the first ``candidates`` of each space and scores their union exactly in all of them,
        so that a document found by one alone is judged like the others.

        A document without a gen vector is judged by what it has. Where disc ranks too, it has its place by
        that (see :mod:`ume_r1_rag.retriever.fusion`). Where gen ranks without disc, its gen score is
        estimated from its disc score: of the documents that have both vectors, the first ``candidates`` by
        either, mean and deviation of the disc scores are carried over to those of the gen scores (see
        :func:`ume_r1_rag.retriever.equate`). If every document has gen, ``mode="gen"`` is the plain ranking
        by gen. A hit so placed has no ``scores["gen"]``. The query is encoded for both: its disc vector comes
        with gen for free.

        ``text`` alone encodes nothing, and finds what shares a word with the query.

        Args:
            query: one text, image, video or mix, or an embedding made before, which must have the vectors
                that are asked for. A ``str`` is always text, whatever it looks like; a file or URL comes as
                a ``Path``, ``{"image": ...}``, ``{"video": ...}`` or ``MultimodalInput``. A picture or
                video without words, instruction or ``kind`` is encoded as documents are: its like is found
                best so.
            k: at most so many hits; grouped, so many files.
            mode: ``"fused"`` ranks by all that query and index have, and reasons about the query where there
                is gen to compare with; ``"disc"``, ``"gen"`` or ``"text"`` (BM25) by that alone.
            **options: see :class:`SearchOptions`.

        Raises:
            ConfigError: an option has an unknown or impossible value; several queries at once; words are
                searched and there are none; an embedding without disc, where documents lack gen.
            InputError: the query cannot be encoded.
        """
        return self._run([_one(query)], Request(k, mode, **options))[0]

    def search_batch(
        self,
        queries: Iterable[Inputs | Embedding],
        k: int = 10,
        mode: SearchMode = "fused",
        **options: Unpack[SearchOptions],
    ) -> list[SearchResult]:
        """Returns the best documents for each query, in their order; encoded together and asked in one go.

        Args:
            queries: as in :meth:`search`; within a batch a list is the frames of one video.
            k: as in :meth:`search`.
            mode: as in :meth:`search`.
            **options: see :class:`SearchOptions`.

        Raises:
            ConfigError: as in :meth:`search`, or this is a single query.
            EncodeErrors: some of several queries cannot be encoded; none has been searched for.
            InputError: one of them cannot be read; its position is named.
        """
        return self._run(_several(queries), Request(k, mode, **options))

    async def asearch(
        self,
        query: Inputs | Embedding,
        k: int = 10,
        mode: SearchMode = "fused",
        **options: Unpack[SearchOptions],
    ) -> SearchResult:
        """:meth:`search` without blocking the event loop."""
        return (await self._arun([_one(query)], Request(k, mode, **options)))[0]

    async def asearch_batch(
        self,
        queries: Iterable[Inputs | Embedding],
        k: int = 10,
        mode: SearchMode = "fused",
        **options: Unpack[SearchOptions],
    ) -> list[SearchResult]:
        """:meth:`search_batch` without blocking the event loop."""
        return await self._arun(_several(queries), Request(k, mode, **options))

    def _run(self, queries: Sequence[Any], request: Request) -> list[SearchResult]:
        asks = self._plan(queries, request)
        started = time.perf_counter()
        call = self._encoding(asks, request)
        if call is not None:
            encoder, inputs, options = call
            asks = _encoded(asks, encoder.encode_query(inputs, **options))
        return self._answer(asks, request, time.perf_counter() - started)

    async def _arun(self, queries: Sequence[Any], request: Request) -> list[SearchResult]:
        # Planning may ask the index whether it has gen.
        asks = await asyncio.to_thread(self._plan, queries, request)
        started = time.perf_counter()
        call = self._encoding(asks, request)
        if call is not None:
            encoder, inputs, options = call
            asks = _encoded(asks, await encoder.aencode_query(inputs, **options))
        return await asyncio.to_thread(self._answer, asks, request, time.perf_counter() - started)

    def _plan(self, queries: Sequence[Any], request: Request) -> list[Ask]:
        """Returns what to ask for each query; refuses what cannot work before anything is encoded."""
        if request.lazy_gen and self.enricher is None:
            raise ConfigError(f"lazy_gen={request.lazy_gen} needs an enricher: Retriever(..., enricher=...)")
        if request.text is not None and len(queries) > 1:
            raise ConfigError("text= goes with a single query: of several each has its own words")
        asks = []
        for position, query in enumerate(queries):
            if isinstance(query, Embedding):
                if request.kind is not None or request.think is not None:
                    raise ConfigError("kind= and think= say how to encode, but the query is encoded already")
                asks.append(self._ask(None, query, request))
                continue
            try:
                item = to_query(query)
            except InputError as error:
                if len(queries) == 1:
                    raise
                raise InputError(f"query {position}: {error}") from error
            asks.append(self._ask(item, None, request))
        return asks

    def _ask(self, item: MultimodalInput | None, embedding: Embedding | None, request: Request) -> Ask:
        own = item.text if item is not None else None
        words = (request.text if request.text is not None else own or "").strip()
        given = request.weights or {}
        spaces = [s for s in self._spaces(request, embedding, bool(words)) if given.get(s, 1.0) > 0]
        if not spaces:
            raise ConfigError(
                "nothing to search by: the query has no vector and no words that weigh anything"
            )
        if "text" in spaces and not words:
            raise ConfigError('words are searched, but the query has none: give text=, or leave "text" out')
        weights = default_weights(spaces, request.fusion)
        weights.update({space: given[space] for space in spaces if space in given})
        return Ask(tuple(spaces), weights, words, embedding, item)

    def _spaces(self, request: Request, embedding: Embedding | None, words: bool) -> Sequence[SearchSpace]:
        """Returns the spaces of a search, in their usual order."""
        if request.mode != "fused":
            return [request.mode]
        if request.spaces is not None:
            return [space for space in SPACES if space in request.spaces]
        if embedding is not None:
            vectors: Mapping[SearchSpace, object] = {"disc": embedding.disc, "gen": embedding.gen}
            found = [space for space in SPACES if vectors.get(space) is not None]
        else:
            own = self.encoder.spaces if self.encoder is not None else ()
            # To reason about a query costs seconds; to ask whether there is anything to compare, little.
            found = [s for s in SPACES if s in own and (s != "gen" or self._gen_is_there())]
        return [*found, "text"] if words else found

    def _gen_is_there(self) -> bool:
        """Returns whether gen can rank anything, now or once what is found has been enriched."""
        return self.enricher is not None or self.index.has("gen")

    def _encoding(
        self, asks: Sequence[Ask], request: Request
    ) -> tuple[Encoder, Inputs, dict[str, Any]] | None:
        """Returns what to call the encoder with, if at all."""
        wanted = {space for ask in asks if ask.item is not None for space in ask.spaces} - {"text"}
        if not wanted:
            return None
        encoder = self.encoder
        if encoder is None:
            raise ConfigError('this retriever has no encoder: it can search with mode="text" alone')
        lacking = sorted(wanted - set(encoder.spaces))
        if lacking:
            known = ", ".join(encoder.spaces)
            raise ConfigError(f"the encoder has no {lacking[0]} vectors: search by what it has ({known})")
        # Disc comes with gen for free, and judges documents that lack it.
        mode = mode_of(encoder.spaces if "gen" in wanted else ("disc",))
        items = [
            ask.item if request.kind is not None else _like_a_document(ask.item)
            for ask in asks
            if ask.item is not None
        ]
        # Only what was asked for is passed on: an encoder that knows no reasoning need not know `think`.
        options: dict[str, Any] = {"kind": request.kind, "think": request.think}
        options = {name: value for name, value in options.items() if value is not None}
        return encoder, items[0] if len(items) == 1 else items, {"mode": mode, **options}

    def _answer(self, asks: Sequence[Ask], request: Request, encode_s: float) -> list[SearchResult]:
        if not asks:
            return []
        started = time.perf_counter()
        found = gather(self.index, asks, request)
        chosen = [self._chosen(one, ask, request) for one, ask in zip(found, asks, strict=True)]
        enriching = time.perf_counter()
        enriched = self._enrich(found, chosen, request)
        enrich_s = time.perf_counter() - enriching
        if enriched:
            found = gather(self.index, asks, request)
            chosen = [self._chosen(one, ask, request) for one, ask in zip(found, asks, strict=True)]
        hits = [self.index.read(ids, one.scores) for ids, one in zip(chosen, found, strict=True)]
        search_s = time.perf_counter() - started - enrich_s
        if not any(hits) and request.filter is None:
            self._explain_nothing(asks)
        return [
            SearchResult(
                hits=tuple(those),
                query_embedding=ask.embedding or Embedding(None, None),
                mode=request.mode,
                spaces=ask.spaces,
                fusion=request.fusion if len(ask.spaces) > 1 else None,
                encode_s=encode_s / len(asks),
                search_s=search_s / len(asks),
                enriched=enriched,
                enrich_s=enrich_s / len(asks),
            )
            for those, ask in zip(hits, asks, strict=True)
        ]

    def _chosen(self, found: Candidates, ask: Ask, request: Request) -> dict[str, float]:
        """Returns the hits' scores by id, in their order."""
        ranking = found.ranking(ask, request)
        if request.group_by is None:
            return dict(list(ranking.items())[: request.k])
        return grouped(ranking, self._documents(ranking), request.k, request.group_size)

    def _documents(self, ids: Iterable[str]) -> dict[str, str]:
        """Returns the file of each point; a foreign one is none's part."""
        records = self.index.records(ids, fields=["ume_document"])
        return {id: str((record.payload or {}).get("ume_document", id)) for id, record in records.items()}

    def _enrich(
        self, found: Sequence[Candidates], chosen: Sequence[Mapping[str, float]], request: Request
    ) -> int:
        """Gives the first hits of each query their gen vectors, where gen ranks; returns to how many."""
        most = request.k if request.lazy_gen is None else request.lazy_gen
        if self.enricher is None or most == 0:
            return 0
        lacking: dict[str, float] = {}
        for one, ranking in zip(found, chosen, strict=True):
            gen = one.scores.get("gen")
            if gen is not None:
                lacking |= {id: ranking[id] for id in list(ranking)[:most] if id not in gen}
        return self.enricher.enrich(self.index.read(lacking, {})) if lacking else 0

    def _explain_nothing(self, asks: Sequence[Ask]) -> None:
        """Logs why a search that nothing limited found nothing."""
        coverage, points = self.index.coverage(), self.index.count()
        spaces = [space for space in SPACES if any(space in ask.probes for ask in asks)]
        if points and not any(coverage[space] for space in spaces):
            logger.warning(
                "none of the %d documents has a %s vector: index them with mode=both, or search another mode",
                points,
                " or ".join(spaces),
            )


def _one(query: Any) -> Any:
    if not isinstance(query, Embedding) and not split_batch(query)[1]:
        raise ConfigError("search takes one query: use search_batch for several")
    return query


def _several(queries: Any) -> list[Any]:
    items, single = split_batch(queries)
    if single:
        raise ConfigError("search_batch takes a list of queries: use search for a single one")
    return items


def _encoded(asks: Sequence[Ask], embeddings: Any) -> list[Ask]:
    """Returns what to ask, with the vectors of what was to be encoded."""
    left = iter([embeddings] if isinstance(embeddings, Embedding) else embeddings)
    return [ask if ask.item is None else replace(ask, embedding=next(left)) for ask in asks]


def _like_a_document(item: MultimodalInput) -> MultimodalInput:
    """Returns a wordless picture or video with its documents' instruction, anything else as it is."""
    if (item.text and item.text.strip()) or item.instruction is not None:
        return item
    return replace(item, instruction=INSTRUCTIONS["image" if item.video is None else "clip"].document)
