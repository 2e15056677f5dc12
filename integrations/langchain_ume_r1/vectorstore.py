"""``UmeR1QdrantVectorStore``: langchain-qdrant's store over a collection of this package."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from langchain_core.documents import Document
from langchain_core.runnables import run_in_executor
from langchain_qdrant import QdrantVectorStore

from langchain_ume_r1.documents import metadata_of, own_metadata
from langchain_ume_r1.embeddings import UmeR1Embeddings
from langchain_ume_r1.incoming import batches, text_documents, visual_documents
from ume_r1_rag import types
from ume_r1_rag.describe import shorten
from ume_r1_rag.errors import ConfigError
from ume_r1_rag.index import Filter, QdrantIndex
from ume_r1_rag.index import payload as payloads
from ume_r1_rag.retriever.canary import recheck
from ume_r1_rag.types import Embedding, Hit, ItemKind, Mode, Space, spaces_of

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings
    from qdrant_client import QdrantClient

BATCH: Final = 64
"""Documents that are encoded and written at a time."""


class UmeR1QdrantVectorStore(QdrantVectorStore):
    """A vector store whose points hold a disc vector, a gen vector and words, side by side.

    It writes and reads collections of ``QdrantIndex``: what ``ume-r1 index`` wrote can be searched here, and
    what is added here by ``UmeR1Retriever``, ``ume-r1 search`` and stock stores. Searches of this class rank
    by one space, always the same: ``vector_name``. To rank by several, or by words, use ``UmeR1Retriever``
    over its ``index``.

    Any string is an id, and comes back. A document comes back as it was given; pages, pictures and clips with
    what the index knows of them in their metadata.

    Example:
        >>> store = UmeR1QdrantVectorStore(path="my-index", embedding=UmeR1Embeddings(model="nano"))
        >>> store.add_images(["cat.png"], ids=["cat"])
        ['cat']
        >>> store.similarity_search_by_image("cat.png", k=1)[0].id
        'cat'
    """

    def __init__(
        self,
        client: QdrantClient | None = None,
        collection_name: str = "ume_r1",
        embedding: Embeddings | None = None,
        *,
        path: str | Path | None = None,
        url: str | None = None,
        api_key: str | None = None,
        index: QdrantIndex | None = None,
        mode: Mode | None = None,
        vector_name: Space | None = None,
        tenant: str | None = None,
    ) -> None:
        """Notes where the collection is; it is opened, and the model loaded, when it is first used.

        Args:
            client: an open client.
            collection_name: the collection's name.
            embedding: ``UmeR1Embeddings``; by default of the default model.
            path: a folder, or ``":memory:"``, in place of a client.
            url: a Qdrant server, in place of a client.
            api_key: of that server.
            index: an open index, in place of client and name.
            mode: which vectors each document gets; ``"both"`` for both. By default the embeddings' own.
            vector_name: the space that searches rank by; by default the embeddings' own.
            tenant: whose documents are read and written.

        Raises:
            ConfigError: other embeddings; a ``vector_name`` that ``mode`` does not write; two places.
        """
        if embedding is None:
            embedding = UmeR1Embeddings()
        if not isinstance(embedding, UmeR1Embeddings):
            raise ConfigError(
                f"embedding is a {type(embedding).__name__}: a collection of two spaces needs "
                "UmeR1Embeddings; for any other take langchain-qdrant's own store"
            )
        if embedding.mode == "packed":
            raise ConfigError(
                'embeddings with mode="packed" are for stores of one vector a document: this one keeps two, '
                'so use UmeR1Embeddings(mode="gen") and mode="both" here'
            )
        self.mode: Mode = mode or embedding.mode
        space: Space = vector_name or embedding.mode
        if space not in spaces_of(self.mode):
            raise ConfigError(
                f'vector_name={space!r}, but mode={self.mode!r} writes no such vector: use mode="both"'
            )
        if index is not None and (client, path, url, tenant) != (None, None, None, None):
            raise ConfigError("index= is open already: leave client, path, url and tenant out")
        self.tenant = tenant if index is None else index.tenant
        self._given, self._opening = index, threading.Lock()
        self._ready: QdrantIndex | None = None
        self._place: dict[str, Any] = {"client": client, "path": path, "url": url, "api_key": api_key}
        super().__init__(
            client=client,  # type: ignore[arg-type]  # had from the index, see `client`
            collection_name=collection_name if index is None else index.collection,
            # Of the space that ranks, so that no query can be of another one.
            embedding=embedding.in_mode(space),
            vector_name=space,
            validate_embeddings=False,
            validate_collection_config=False,
        )

    @property
    def index(self) -> QdrantIndex:
        """The collection, opened now, or made, if it was not; the model is loaded for that.

        Raises:
            IndexMismatch: it was written by another encoder.
        """
        with self._opening:  # two of ":memory:" would be two places
            if self._ready is None:
                encoder = self._ours.encoder
                if self._given is None:
                    self._ready = QdrantIndex(
                        **self._place,
                        collection=self.collection_name,
                        fingerprint=encoder.fingerprint,
                        tenant=self.tenant,
                    )
                else:
                    self._given.check(encoder.fingerprint, ignore=())
                    self._ready = self._given
                recheck(encoder, self._ready, keep=True)
            return self._ready

    @property
    def client(self) -> QdrantClient:
        """The client; it knows nothing of tenants."""
        return self.index.share_client()

    @property
    def _ours(self) -> UmeR1Embeddings:
        assert isinstance(self._embeddings, UmeR1Embeddings)  # noqa: S101 -- see __init__
        return self._embeddings

    def close(self) -> None:
        """Closes what was opened here, so that a folder is free for another process; it is opened again."""
        with self._opening:
            ready, self._ready = self._ready, None
        if ready is not None and self._given is None:
            ready.close()

    @classmethod
    def construct_instance(cls, embedding: Embeddings | None = None, **options: Any) -> Self:  # type: ignore[override]
        """Returns a store; the constructor by the name that langchain-qdrant has for it."""
        return cls(embedding=embedding, **options)

    @classmethod
    def from_texts(  # type: ignore[override]
        cls,
        texts: list[str],
        embedding: Embeddings | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        ids: Sequence[str | int] | None = None,
        batch_size: int = BATCH,
        **options: Any,
    ) -> Self:
        """Returns a store with some texts in it.

        Args:
            texts: the texts.
            embedding: see the class.
            metadatas: one for each text.
            ids: one for each text; made up by default.
            batch_size: texts that are encoded and written at a time.
            **options: of the class.
        """
        store = cls(embedding=embedding, **options)
        store.add_texts(texts, metadatas, ids, batch_size)
        return store

    @classmethod
    def from_existing_collection(  # type: ignore[override]
        cls, collection_name: str, embedding: Embeddings | None = None, **options: Any
    ) -> Self:
        """Returns a store over a collection, such as one that ``ume-r1 index`` wrote."""
        return cls(collection_name=collection_name, embedding=embedding, **options)

    def add_texts(  # type: ignore[override]
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        ids: Sequence[str | int | None] | None = None,
        batch_size: int = BATCH,
        **kwargs: Any,
    ) -> list[str]:
        """Adds texts; one whose id is there already takes its place. Returns their ids.

        Args:
            texts: the texts.
            metadatas: one for each.
            ids: one for each; where there is none, one is made up.
            batch_size: texts that are encoded and written at a time.
            **kwargs: none.

        Raises:
            InputError: a text is empty.
            ValueError: there are not as many metadatas or ids as texts.
        """
        _refuse(kwargs)
        _no_single(texts, "texts")
        added: list[str] = []
        for batch in batches(text_documents(texts, metadatas, ids), batch_size):
            self._write(batch, self._ours.encode([one.input for one in batch], "document", self.mode))
            added += [one.key for one in batch]
        return added

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | int | None] | None = None,
        batch_size: int = BATCH,
        **kwargs: Any,
    ) -> list[str]:
        """``add_texts`` without blocking the event loop."""
        _refuse(kwargs)
        _no_single(texts, "texts")
        return await self._aadd(text_documents(texts, metadatas, ids), batch_size)

    def add_images(
        self,
        uris: Sequence[Any],
        metadatas: list[dict[str, Any]] | None = None,
        ids: Sequence[str | int | None] | None = None,
        batch_size: int = BATCH,
    ) -> list[str]:
        """Adds pictures; returns their ids.

        Args:
            uris: paths, URLs, data URLs, PIL images or encoded bytes.
            metadatas: one for each.
            ids: one for each; by default the file's path or the URL, so that adding one again replaces it.
            batch_size: pictures that are encoded and written at a time.

        Raises:
            InputError: one cannot be read; its position is named.
        """
        return self._add_visuals("image", uris, metadatas, ids, batch_size)

    def add_videos(
        self,
        uris: Sequence[Any],
        metadatas: list[dict[str, Any]] | None = None,
        ids: Sequence[str | int | None] | None = None,
        batch_size: int = BATCH,
    ) -> list[str]:
        """Adds videos, each as a whole (``ume-r1 index`` cuts long ones); see :meth:`add_images`."""
        return self._add_visuals("clip", uris, metadatas, ids, batch_size)

    async def aadd_images(
        self,
        uris: Sequence[Any],
        metadatas: list[dict[str, Any]] | None = None,
        ids: Sequence[str | int | None] | None = None,
        batch_size: int = BATCH,
    ) -> list[str]:
        """``add_images`` without blocking the event loop."""
        return await self._aadd_visuals("image", uris, metadatas, ids, batch_size)

    async def aadd_videos(
        self,
        uris: Sequence[Any],
        metadatas: list[dict[str, Any]] | None = None,
        ids: Sequence[str | int | None] | None = None,
        batch_size: int = BATCH,
    ) -> list[str]:
        """``add_videos`` without blocking the event loop."""
        return await self._aadd_visuals("clip", uris, metadatas, ids, batch_size)

    def delete(  # type: ignore[override]
        self, ids: list[str | int] | None = None, **kwargs: Any
    ) -> bool | None:
        """Deletes documents, of this tenant alone; unknown ids are no error.

        Args:
            ids: their ids; None for all of them.
            **kwargs: none.
        """
        _refuse(kwargs)
        _no_single(ids, "ids")
        if ids is None:
            self.index.delete([hit.key for hit in self.index.scroll(fields=["ume_key"])])
        else:
            self.index.delete([str(id) for id in ids])
        return True

    def get_by_ids(self, ids: Sequence[str | int], /) -> list[Document]:
        """Returns the documents of some ids, in their order; unknown ones are left out."""
        _no_single(ids, "ids")
        return [_document(hit) for hit in self.index.retrieve([str(id) for id in ids])]

    def similarity_search_with_score(  # type: ignore[override]
        self, query: str, k: int = 4, filter: Filter = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """Returns the nearest documents with their cosines.

        Args:
            query: the words.
            k: at most so many.
            filter: Qdrant's own, or ``{field: value}``; see ``ume_r1_rag.index.to_filter``.
            **options: further ones of Qdrant's query.
        """
        return self.similarity_search_with_score_by_vector(
            self._ours.embed_query(query), k, filter, **_plain(options)
        )

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """``similarity_search_with_score`` without blocking the event loop."""
        vector = await self._ours.aembed_query(query)
        search = self.similarity_search_with_score_by_vector
        return await run_in_executor(None, search, vector, k, filter, **_plain(options))

    async def asimilarity_search(self, query: str, k: int = 4, **options: Any) -> list[Document]:
        """``similarity_search`` without blocking the event loop."""
        return [found for found, _ in await self.asimilarity_search_with_score(query, k, **options)]

    def similarity_search_by_image(self, uri: Any, k: int = 4, **options: Any) -> list[Document]:
        """Returns what is most like a picture: a path, URL, data URL, PIL image or encoded bytes."""
        return [found for found, _ in self.similarity_search_by_image_with_score(uri, k, **options)]

    def similarity_search_by_image_with_score(
        self, uri: Any, k: int = 4, filter: Filter = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """Returns what is most like a picture, with its cosines."""
        vector = self._ours.embed_image(uri)
        return self.similarity_search_with_score_by_vector(vector, k, filter, **options)

    def similarity_search_by_video(self, uri: Any, k: int = 4, **options: Any) -> list[Document]:
        """Returns what is most like a video."""
        found = self.similarity_search_with_score_by_vector(self._ours.embed_video(uri), k, **options)
        return [one for one, _ in found]

    async def asimilarity_search_by_image(self, uri: Any, k: int = 4, **options: Any) -> list[Document]:
        """``similarity_search_by_image`` without blocking the event loop."""
        vector = await self._ours.aembed_image(uri)
        return await run_in_executor(None, self.similarity_search_by_vector, vector, k, **options)

    def similarity_search_with_score_by_vector(  # type: ignore[override]
        self, embedding: list[float], k: int = 4, filter: Filter = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """Returns the documents nearest to a vector of this store's space, with their cosines."""
        with self.index.hold():
            return super().similarity_search_with_score_by_vector(
                embedding, k, self.index.where(filter), **options
            )

    def max_marginal_relevance_search_with_score_by_vector(  # type: ignore[override]
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter = None,
        **options: Any,
    ) -> list[tuple[Document, float]]:
        """Returns documents that are near a vector and unlike each other, with their cosines."""
        with self.index.hold():
            return super().max_marginal_relevance_search_with_score_by_vector(
                embedding, k, fetch_k, lambda_mult, self.index.where(filter), **options
            )

    def _write(self, documents: Sequence[types.Document], embeddings: Sequence[Embedding]) -> None:
        self.index.upsert(documents, embeddings)

    async def _aadd(self, documents: Iterable[types.Document], batch_size: int) -> list[str]:
        added: list[str] = []
        for batch in batches(documents, batch_size):
            embeddings = await self._ours.aencode([one.input for one in batch], "document", self.mode)
            await run_in_executor(None, self._write, batch, embeddings)
            added += [one.key for one in batch]
        return added

    def _add_visuals(
        self, kind: ItemKind, uris: Sequence[Any], metadatas: Any, ids: Any, batch_size: int
    ) -> list[str]:
        added: list[str] = []
        for batch in batches(visual_documents(kind, uris, metadatas, ids), batch_size):
            self._write(batch, self._ours.encode([one.input for one in batch], "document", self.mode))
            added += [one.key for one in batch]
        return added

    async def _aadd_visuals(
        self, kind: ItemKind, uris: Sequence[Any], metadatas: Any, ids: Any, batch_size: int
    ) -> list[str]:
        # Looking at files is work, too.
        documents = await run_in_executor(None, lambda: list(visual_documents(kind, uris, metadatas, ids)))
        return await self._aadd(documents, batch_size)

    @classmethod
    def _document_from_point(cls, scored_point: Any, *_: str) -> Document:
        """Returns what langchain-qdrant makes of a point, without its own keys in the metadata."""
        return _document(payloads.hit(scored_point.payload or {}, str(scored_point.id)))

    @classmethod
    def _validate_collection_for_dense(cls, *_: Any, **__: Any) -> None:
        """Does nothing: the index checks its collection when it is opened, without embedding a dummy text."""


def _document(hit: Hit) -> Document:
    """Returns a document as it was added, or with what is known of the file that it is a part of."""
    content = hit.payload.get("page_content")
    metadata = metadata_of(hit) if hit.uri else own_metadata(hit)
    return Document(id=hit.key, page_content=content if isinstance(content, str) else "", metadata=metadata)


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a search by vector takes: langchain-qdrant's ``hybrid_fusion`` is for its own hybrids."""
    options = dict(options)
    if options.pop("hybrid_fusion", None) is not None:
        raise ConfigError(
            "hybrid_fusion: this store ranks by one space; UmeR1Retriever(index=…) fuses several"
        )
    return options


def _no_single(given: object, name: str) -> None:
    """Refuses a string where a list is meant: its letters would be taken one by one."""
    if isinstance(given, str | bytes):
        raise ConfigError(f"{name}={shorten(str(given), 40)!r} is one, and {name} is a list: put it into [ ]")


def _refuse(kwargs: Mapping[str, Any]) -> None:
    if kwargs:
        raise ConfigError(f"{', '.join(sorted(kwargs))}: this store knows no such option")
