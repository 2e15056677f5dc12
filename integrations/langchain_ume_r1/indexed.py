"""IndexedStore: langchain-qdrant's store around an index of this package, opened when it is first used."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from langchain_qdrant import QdrantVectorStore

from langchain_ume_r1.embeddings import UmeR1Embeddings
from ume_r1_rag.errors import ConfigError
from ume_r1_rag.frameworks import by_own_name
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.retriever.canary import recheck
from ume_r1_rag.types import Mode, Space, spaces_of

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings
    from qdrant_client import QdrantClient


class IndexedStore(QdrantVectorStore):
    """What a store is made of: a place, embeddings, and the spaces that it writes and ranks by."""

    def __init__(
        self,
        client: QdrantClient | None = None,
        collection_name: str = "ume_r1",
        embedding: Embeddings | str | None = None,
        *,
        embeddings: Embeddings | str | None = None,
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
            embedding: ``UmeR1Embeddings``, or a model's name; by default the default model's.
            embeddings: the same by the name that retrievers have for it.
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
        named = by_own_name({"embedding": embedding, "embeddings": embeddings}, "embedding", "embeddings")
        given = named["embedding"]
        embedding = UmeR1Embeddings(given) if given is None or isinstance(given, str | Path) else given
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
    def _validate_collection_for_dense(cls, *_: Any, **__: Any) -> None:
        """Does nothing: the index checks its collection when it is opened, without embedding a dummy text."""
