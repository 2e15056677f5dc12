"""``UmeR1QdrantVectorStore``: langchain-qdrant's store over a collection of this package."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

from langchain_core.documents import Document
from langchain_core.runnables import run_in_executor

from langchain_ume_r1.documents import metadata_of, own_metadata
from langchain_ume_r1.incoming import batches, text_documents, visual_documents
from langchain_ume_r1.indexed import IndexedStore
from ume_r1_rag import types
from ume_r1_rag.describe import shorten
from ume_r1_rag.errors import ConfigError
from ume_r1_rag.index import Filter
from ume_r1_rag.index import payload as payloads
from ume_r1_rag.types import Hit

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

logger = logging.getLogger(__name__)

BATCH: Final = 64
"""Documents that are encoded and written at a time."""


class UmeR1QdrantVectorStore(IndexedStore):
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
        return self._add(text_documents(texts, metadatas, ids), batch_size)

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
        return await self._aadd(lambda: text_documents(texts, metadatas, ids), batch_size)

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
        return self._add(visual_documents("image", uris, metadatas, ids), batch_size)

    def add_videos(
        self,
        uris: Sequence[Any],
        metadatas: list[dict[str, Any]] | None = None,
        ids: Sequence[str | int | None] | None = None,
        batch_size: int = BATCH,
    ) -> list[str]:
        """Adds videos, each as a whole (``ume-r1 index`` cuts long ones); see :meth:`add_images`."""
        return self._add(visual_documents("clip", uris, metadatas, ids), batch_size)

    async def aadd_images(
        self,
        uris: Sequence[Any],
        metadatas: list[dict[str, Any]] | None = None,
        ids: Sequence[str | int | None] | None = None,
        batch_size: int = BATCH,
    ) -> list[str]:
        """``add_images`` without blocking the event loop."""
        return await self._aadd(lambda: visual_documents("image", uris, metadatas, ids), batch_size)

    async def aadd_videos(
        self,
        uris: Sequence[Any],
        metadatas: list[dict[str, Any]] | None = None,
        ids: Sequence[str | int | None] | None = None,
        batch_size: int = BATCH,
    ) -> list[str]:
        """``add_videos`` without blocking the event loop."""
        return await self._aadd(lambda: visual_documents("clip", uris, metadatas, ids), batch_size)

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
            found = super().similarity_search_with_score_by_vector(
                embedding, k, self.index.where(filter), **options
            )
        if not found and filter is None and self.index.count():
            logger.warning(
                "none of the %d documents has a %s vector, by which this store ranks: index them with "
                "mode='both', or take another vector_name=",
                self.index.count(),
                self.vector_name,
            )
        return found

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

    def _add(self, documents: Iterable[types.Document], batch_size: int) -> list[str]:
        added: list[str] = []
        for batch in batches(documents, batch_size):
            self.index.upsert(batch, self._ours.encode([one.input for one in batch], "document", self.mode))
            added += [one.key for one in batch]
        return added

    async def _aadd(self, make: Callable[[], Iterable[types.Document]], batch_size: int) -> list[str]:
        added: list[str] = []
        # Looking at files, opening the index and writing are work, too.
        for batch in await run_in_executor(None, lambda: list(batches(make(), batch_size))):
            embeddings = await self._ours.aencode([one.input for one in batch], "document", self.mode)
            await run_in_executor(None, lambda: self.index.upsert(batch, embeddings))  # noqa: B023 -- awaited
            added += [one.key for one in batch]
        return added

    @classmethod
    def _document_from_point(cls, scored_point: Any, *_: str) -> Document:
        """Returns what langchain-qdrant makes of a point, without its own keys in the metadata."""
        return _document(payloads.hit(scored_point.payload or {}, str(scored_point.id)))


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
