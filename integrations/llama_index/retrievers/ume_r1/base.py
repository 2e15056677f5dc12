"""UmeR1Retriever: an index of ours behind LlamaIndex's interface."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack, cast

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, QueryType

from llama_index.embeddings.ume_r1 import UmeR1Embedding
from llama_index.embeddings.ume_r1.given import embed_model_of
from llama_index.retrievers.ume_r1.filters import qdrant_filter
from llama_index.retrievers.ume_r1.nodes import hit_node
from llama_index.retrievers.ume_r1.query import is_bare, query_inputs
from ume_r1_rag.describe import describe
from ume_r1_rag.errors import ConfigError, InputError
from ume_r1_rag.frameworks import EncoderOptions, LazyEncoder, PageImages, by_own_name, options_for, told
from ume_r1_rag.retriever import Retriever, SearchMode, SearchOptions, SearchResult
from ume_r1_rag.types import Embedding, Encoder, Mode, MultimodalInput

if TYPE_CHECKING:
    from llama_index.core.callbacks.base import CallbackManager

    from llama_index.retrievers.ume_r1.filters import AnyFilter
    from ume_r1_rag.index import QdrantIndex
    from ume_r1_rag.retriever import Enricher


class UmeR1Retriever(BaseRetriever):
    """Finds pages, pictures, clips and texts by text, picture, clip or a mix, in any fusion of the spaces.

    Nodes come as :func:`llama_index.retrievers.ume_r1.nodes.hit_node` makes them: pages and pictures as
    ``ImageNode`` with a path, so that ``RetrieverQueryEngine.from_args(retriever, llm, multimodal=True)``
    shows them to the model. Metadata hold the score in each space, reasoning, summary, page, ``uri`` and
    ``span_s``; the model is told title, page, span and summary.

    Example:
        >>> retriever = UmeR1Retriever(path="my-index", k=3)
        >>> retriever.retrieve("invoices over 500 euro")
        >>> retriever.retrieve(QueryBundle("", image_path="like-this.png"))

    Attributes:
        k: at most so many nodes; grouped, so many files.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        url: str | None = None,
        api_key: str | None = None,
        collection: str = "ume_r1",
        index: QdrantIndex | None = None,
        tenant: str | None = None,
        embed_model: UmeR1Embedding | Encoder | str | Path | None = None,
        k: int | None = None,
        similarity_top_k: int | None = None,
        mode: SearchMode = "fused",
        filters: AnyFilter = None,
        enricher: Enricher | None = None,
        page_images: str | Path | PageImages | None = None,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
        **options: Unpack[SearchOptions],
    ) -> None:
        """Names the index; it is opened, and the model loaded, when first asked.

        Args:
            path: folder of an index, as ``ume-r1 index`` or :class:`UmeR1IndexWriter` writes it.
            url: a Qdrant server.
            api_key: the server's key.
            collection: name of the collection.
            index: an open index, in place of the four before.
            tenant: whose documents are searched; of an open ``index`` another tenant's view.
            embed_model: what encodes queries: our embedding (its mode has no part in a search), an encoder,
                or a model's name; by default the model that wrote the index.
            k: at most so many nodes, 10 by default; grouped, so many files.
            similarity_top_k: ``k`` by LlamaIndex's name.
            mode: ``"fused"`` (all that query and index have), ``"disc"``, ``"gen"`` or ``"text"``.
            filters: LlamaIndex's ``MetadataFilters``, a mapping, or Qdrant's own filter.
            enricher: what gives gen vectors to what was found without, see ``ume_r1_rag.ingest.Enricher``.
            page_images: folder for the pictures of pages, see ``ume_r1_rag.frameworks.PageImages``.
            callback_manager: LlamaIndex's.
            verbose: LlamaIndex's.
            **options: ``spaces``, ``weights``, ``fusion``, ``group_by``, ``kind``, ``think`` …, see
                ``ume_r1_rag.retriever.SearchOptions``.

        Raises:
            ConfigError: an option cannot work, or is unknown.
        """
        unknown = sorted(options.keys() - (SearchOptions.__annotations__.keys() - {"filter"}))
        if unknown:
            known = ", ".join(sorted(SearchOptions.__annotations__.keys() - {"filter"}))
            hint = ": its name is filters=" if unknown == ["filter"] else f": known are {known}"
            raise ConfigError(f"{', '.join(unknown)} is no option of a search{hint}")
        if index is not None and not hasattr(index, "for_tenant"):
            raise ConfigError(f"index={describe(index)} is no open index: say path={describe(index)}")
        if index is not None and (path, url, api_key) != (None, None, None):
            raise ConfigError("path=, url= and api_key= say where an index is, but an open one is given")
        if embed_model is not None:
            embed_model = embed_model if isinstance(embed_model, str | Path) else embed_model_of(embed_model)
        most = by_own_name({"k": k, "similarity_top_k": similarity_top_k}, "k", "similarity_top_k")["k"]
        super().__init__(callback_manager=callback_manager, verbose=verbose)
        self.k, self._mode, self._filters = 10 if most is None else int(most), mode, filters
        self._options = dict(options)
        self._place = {"path": path, "url": url, "api_key": api_key, "collection": collection}
        self._given, self._tenant, self._embed_model = index, tenant, embed_model
        self._enricher = enricher
        self._pages = page_images if isinstance(page_images, PageImages) else PageImages(page_images)
        self._lock = threading.Lock()
        self._opened: Retriever | None = None
        self._own: LazyEncoder | None = None
        _request(self.k, mode, self._options)  # refuses what cannot work now and not at the first question

    @property
    def similarity_top_k(self) -> int:
        """``k`` by LlamaIndex's name."""
        return self.k

    @similarity_top_k.setter
    def similarity_top_k(self, value: int) -> None:
        self.k = value

    @property
    def index(self) -> QdrantIndex:
        """The index, opened now if it was not before."""
        return self._retriever().index

    def retrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """Returns what is found for a text or a ``QueryBundle``, best first.

        Raises:
            InputError: the query is something else, holds nothing or cannot be read.
        """
        return super().retrieve(_bundle(str_or_query_bundle))

    async def aretrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithScore]:
        """:meth:`retrieve` without blocking the event loop."""
        return await super().aretrieve(_bundle(str_or_query_bundle))

    def search(self, query: str | QueryBundle, **options: Any) -> SearchResult:
        """Returns the library's own answer, with the query's reasoning, and hits in place of nodes.

        Args:
            query: as of :meth:`retrieve`.
            **options: ``k``, ``mode``, ``filters`` and any of ``SearchOptions``, for this once.

        Raises:
            ConfigError: an option cannot work.
            InputError: the query cannot be encoded.
        """
        bundle = _bundle(query)
        retriever = self._retriever()
        asked = self._asked(retriever, bundle, options)
        embedding = asked.embedding
        if asked.several:
            encoder = cast("Encoder", retriever.encoder)
            embedding = _mean(encoder.encode_query(asked.several, asked.encode_mode, **asked.encoding))
        return told(retriever.search(embedding or asked.one, **asked.options))

    async def asearch(self, query: str | QueryBundle, **options: Any) -> SearchResult:
        """:meth:`search` without blocking the event loop."""
        bundle = _bundle(query)
        retriever = await asyncio.to_thread(self._retriever)
        asked = await asyncio.to_thread(self._asked, retriever, bundle, options)
        embedding = asked.embedding
        if asked.several:
            encoder = cast("Encoder", retriever.encoder)
            found = await encoder.aencode_query(asked.several, asked.encode_mode, **asked.encoding)
            embedding = _mean(found)
        return told(await retriever.asearch(embedding or asked.one, **asked.options))

    def close(self) -> None:
        """Closes an index and frees a model that were opened here; what was given stays open."""
        with self._lock:
            if self._opened is not None and self._opened.index is not self._given:
                self._opened.index.close()
            if self._own is not None:
                self._own.close()
            self._opened = self._own = None

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Closes the index."""
        self.close()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._nodes(self.search(query_bundle))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        # Rendering a page is work, too.
        return await asyncio.to_thread(self._nodes, await self.asearch(query_bundle))

    def _nodes(self, found: SearchResult) -> list[NodeWithScore]:
        return [hit_node(hit, self._pages) for hit in found.hits]

    def _retriever(self) -> Retriever:
        with self._lock:
            if self._opened is None:
                self._opened = self._open()
            elif isinstance(self._embed_model, UmeR1Embedding) and self._opened.encoder is not None:
                encoder = self._embed_model.encoder
                if encoder is not self._opened.encoder:  # the embedding was closed, and has loaded it anew
                    self._opened = Retriever(encoder, self._opened.index, self._enricher)
            return self._opened

    def _open(self) -> Retriever:
        from ume_r1_rag.index import QdrantIndex

        if self._given is None:
            index = QdrantIndex(**cast("dict[str, Any]", self._place), tenant=self._tenant)
        elif self._tenant is not None and self._tenant != self._given.tenant:
            index = self._given.for_tenant(self._tenant)
        else:
            index = self._given
        try:
            return Retriever(self._encoder(index), index, self._enricher)
        except BaseException:
            if index is not self._given:
                index.close()
            raise

    def _encoder(self, index: QdrantIndex) -> Encoder | None:
        if self._mode == "text":
            return None  # words alone need no model
        model = self._embed_model
        if isinstance(model, UmeR1Embedding):
            return model.encoder
        if model is None or isinstance(model, str | Path):
            name = None if model is None else str(model)
            self._own = LazyEncoder(options_for(index.fingerprint, EncoderOptions(model=name)))
            return self._own.get()
        return model

    def _asked(self, retriever: Retriever, bundle: QueryBundle, options: dict[str, Any]) -> _Asked:
        merged: dict[str, Any] = {"k": self.k, "mode": self._mode, **self._options, **options}
        merged["filter"] = qdrant_filter(merged.pop("filters", self._filters))
        if is_bare(bundle):
            return _Asked(None, [], _embedding(bundle, merged, retriever.index.dimension), merged)
        items = query_inputs(bundle)
        if len(items) == 1:
            if items[0].text != bundle.query_str and bundle.query_str.strip():
                merged.setdefault("text", bundle.query_str)
            return _Asked(items[0], [], None, merged)
        if retriever.encoder is None or merged["mode"] == "text":
            return _Asked(MultimodalInput(text=bundle.query_str), [], None, merged)
        if merged.get("text") is None and bundle.query_str.strip():
            merged["text"] = bundle.query_str  # words are searched by what was asked
        return _Asked(None, items, None, merged, retriever.index.has("gen"), retriever.encoder)


def _bundle(query: Any) -> QueryBundle:
    """Returns a query as a bundle; a string is text, whatever it looks like."""
    if isinstance(query, str):
        return QueryBundle(query)
    if not isinstance(query, QueryBundle):
        raise InputError(
            f"the query {describe(query)} is neither text nor a QueryBundle: ask with a picture as "
            'QueryBundle("", image_path=...), with a clip as UmeR1QueryBundle(video_path=...)'
        )
    return query


class _Asked:
    """One query, ready to be asked."""

    def __init__(
        self,
        one: MultimodalInput | None,
        several: list[MultimodalInput],
        embedding: Embedding | None,
        options: dict[str, Any],
        gen: bool = False,
        encoder: Encoder | None = None,
    ) -> None:
        self.one, self.several, self.embedding, self.options = one, several, embedding, options
        self.encode_mode: Mode = "disc"
        self.encoding: dict[str, Any] = {}
        if several and encoder is not None:
            # They are encoded before the search, which cannot be asked afterwards what it would need.
            wanted = options["mode"]
            spaces = options.get("spaces") or (("disc", "gen") if gen else ("disc",))
            if "gen" in encoder.spaces and (wanted == "gen" or (wanted == "fused" and "gen" in spaces)):
                self.encode_mode = "both" if "disc" in encoder.spaces else "gen"
            given = {name: options.pop(name, None) for name in ("kind", "think")}
            self.encoding = {name: value for name, value in given.items() if value is not None}


def _mean(embeddings: Sequence[Embedding]) -> Embedding:
    """Returns the mean of several vectors in each space, of unit length again."""
    import numpy as np

    def mean(vectors: list[Any]) -> Any:
        if any(vector is None for vector in vectors):
            return None
        total = np.mean(np.stack(vectors), axis=0)
        length = float(np.linalg.norm(total))
        if length == 0:
            raise ConfigError("the texts of this query cancel each other out: ask with one of them")
        return (total / length).astype(np.float32)

    first = embeddings[0]
    return Embedding(
        disc=mean([one.disc for one in embeddings]),
        gen=mean([one.gen for one in embeddings]),
        think=first.think,
        fingerprint=first.fingerprint,
    )


def _embedding(bundle: QueryBundle, options: dict[str, Any], dimension: int) -> Embedding:
    """Returns the vector that a query brings along.

    Raises:
        ConfigError: nobody says of which space it is, or it has another length.
    """
    import numpy as np

    if options["mode"] not in ("disc", "gen"):
        raise ConfigError(
            f"QueryBundle.embedding with mode={options['mode']!r}: a bare vector does not say of which space "
            'it is; use mode="disc" or "gen", or leave the embedding out'
        )
    vector = np.asarray(bundle.embedding, np.float32)
    length = float(np.linalg.norm(vector)) if vector.ndim == 1 else 0.0
    if vector.shape != (dimension,) or not length:
        raise ConfigError(f"QueryBundle.embedding of shape {vector.shape}: the index has {dimension}")
    vector = vector / length
    disc = options["mode"] == "disc"
    return Embedding(disc=vector if disc else None, gen=None if disc else vector)


def _request(k: int, mode: SearchMode, options: dict[str, Any]) -> None:
    from ume_r1_rag.retriever.options import Request

    Request(k, mode, **options)
