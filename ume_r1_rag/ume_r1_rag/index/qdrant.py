"""Index: documents with a disc, a gen and a text vector side by side in one Qdrant collection."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.index import alias, schema
from ume_r1_rag.index.alias import Version
from ume_r1_rag.index.async_client import ThreadedClient
from ume_r1_rag.index.connection import connect
from ume_r1_rag.index.info import IndexInfo
from ume_r1_rag.index.opening import find, make_first
from ume_r1_rag.index.scope import Scope
from ume_r1_rag.index.server import check_server
from ume_r1_rag.index.side import SideCollection
from ume_r1_rag.index.storage import Storage
from ume_r1_rag.index.tenant import check_tenant
from ume_r1_rag.index.writing import DEFERRED, Writing

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, QdrantClient


class QdrantIndex(Writing):
    """A Qdrant collection with the vectors ``disc``, ``gen`` and ``text``, embedded or on a server.

    Safe to call from several threads. Close it, or use it as a context manager. Indexes of one process share
    a folder; two processes cannot.

    Attributes:
        collection: the collection's name, an alias.
        physical: the version of it that is open, a collection of its own.
        tenant: whose documents these are; None for documents of no tenant.
        dimension: the length D of every dense vector.
        fingerprint: the encoder's that wrote the collection.
        storage: how the vectors are kept, and searched.
        store_reasoning: whether reasonings are kept, and searched by their words; summaries are in any case.
    """

    fingerprint: Mapping[str, Any]

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        url: str | None = None,
        api_key: str | None = None,
        collection: str = "ume_r1",
        dimension: int | None = None,
        fingerprint: Mapping[str, Any] | None = None,
        client: QdrantClient | None = None,
        tenant: str | None = None,
        storage: Storage | None = None,
        store_reasoning: bool | None = None,
        version: int | None = None,
        prefer_grpc: bool = False,
    ) -> None:
        """Opens a collection, and makes it if it is absent and a fingerprint is given.

        A writer gives its encoder's ``fingerprint``, every field of which must equal the stored one's. A
        reader gives none and calls :meth:`check`, as ``Retriever`` does.

        Args:
            path: a folder, or ``":memory:"``.
            url: a server. With neither path, url nor client: the one in ``QDRANT_URL``.
            api_key: the server's key.
            collection: the collection's name.
            dimension: the encoder's D; by default the fingerprint's field ``dimension``.
            fingerprint: what the encoder's vectors depend on; values as in JSON.
            client: an open client to share, which is then not closed with the index.
            tenant: whose documents are read and written. Each tenant sees its own alone, and without one
                those that are nobody's.
            storage: how a new collection keeps its vectors; of an existing one, how it is searched.
            store_reasoning: whether a new collection keeps reasonings, and finds documents by their words;
                True by default. Of an existing one it may only repeat what that does.
            version: open this version, see :meth:`versions`, in place of the live one.
            prefer_grpc: whether to talk gRPC to a server.

        Raises:
            ConfigError: no place or two; an absent collection and no fingerprint to make it from; an
                absent version; an impossible name, tenant or storage; a collection that is stored otherwise.
            IndexMismatch: the collection was written by another encoder, or has another shape.
            IndexLocked: another process holds the folder.
            IndexUnavailable: the folder is broken, or the server does not answer or is too old; any later
                call may raise it too.
        """
        self.collection = alias.check_name(collection)
        checked = check_tenant(tenant)
        connection = connect(path, url, api_key, client, fingerprint is not None, prefer_grpc)
        self._aclient: AsyncQdrantClient | ThreadedClient | None = None
        # At exit too: the client's own destructor runs too late to import what it needs.
        self._finalizer = weakref.finalize(self, connection.close)
        try:
            if dimension is None and fingerprint is not None:
                dimension = fingerprint.get("dimension")
            check_server(connection, checked)
            with connection.use():
                physical = find(connection, collection, version)
                if physical is None:
                    physical = make_first(
                        connection, collection, dimension, fingerprint, storage, store_reasoning
                    )
                super().__init__(connection, physical, checked)
                self._open(physical, dimension, fingerprint, storage, store_reasoning)
        except BaseException:
            self.close()
            raise

    def share_client(self) -> QdrantClient:
        """Returns the client, e.g. for a framework's store; it knows nothing of tenants.

        Whoever has it may write through it. Words are therefore searched by the store alone from then on, by
        all indexes over this client and for as long as it is open, which takes longer in an embedded
        collection. For another tenant's view there is :meth:`for_tenant`, which costs nothing of the kind.
        """
        return self._connection.expose()

    def share_aclient(self) -> AsyncQdrantClient | ThreadedClient:
        """Returns a client for an event loop, the same one each time; see :meth:`share_client`.

        Embedded it is the one client in threads, as a folder admits no second one, with the same effect; on
        a server it is a client of its own, which :meth:`aclose` closes.
        """
        if self._aclient is None:
            self._aclient = self._async_client()
        return self._aclient

    def check(self, fingerprint: Mapping[str, Any], ignore: Collection[str] = ("think",)) -> None:
        """Raises ``IndexMismatch``, naming each field that differs, unless an encoder may query this index.

        Args:
            fingerprint: the encoder's.
            ignore: fields that may differ. By default the think budget: a query may think less than the
                documents did.
        """
        schema.check_fingerprint(self.fingerprint, fingerprint, self.collection, ignore)

    def info(self) -> IndexInfo:
        """Returns what the index holds."""
        with self._connection.use():
            metadata = self._client.get_collection(self.physical).config.metadata or {}
        return IndexInfo(
            location=self._connection.location,
            collection=self.collection,
            physical=self.physical,
            tenant=self.tenant,
            dimension=self.dimension,
            points=self.count(),
            coverage=self.coverage(),
            fingerprint=self.fingerprint,
            schema=schema.VERSION,
            storage=self.storage,
            store_reasoning=self.store_reasoning,
            embedded=self._connection.embedded,
            deferred=metadata.get(DEFERRED) is not None,
        )

    def for_tenant(self, tenant: str | None) -> QdrantIndex:
        """Returns this very version as another tenant sees it, over the same client.

        Args:
            tenant: whose documents are read and written; None for those of no tenant.

        Raises:
            ConfigError: the name cannot be a tenant's.
        """
        return QdrantIndex(
            client=self._client,
            collection=self.collection,
            tenant=tenant,
            storage=self.storage,
            version=alias.number_of(self.physical),
        )

    def versions(self) -> list[Version]:
        """Returns all versions of the collection, in order, the live one among them."""
        with self._connection.use():
            return alias.versions(self._client, self.collection, self._count_in)

    def tenants(self) -> list[str]:
        """Returns the tenants that have documents in the live version, in order of name.

        Raises:
            ConfigError: this index is a tenant's, who may not know of others; there are too many.
        """
        self._check_whole("tenants")
        with self._connection.use():
            return sorted(alias.tenants(self._client, self.physical))

    def build_next(
        self,
        fingerprint: Mapping[str, Any],
        storage: Storage | None = None,
        store_reasoning: bool | None = None,
    ) -> QdrantIndex:
        """Returns a version to be filled with another encoder's vectors, beside the live one.

        An unfinished one of the same encoder is opened again, with what is in it. It belongs to the same
        tenant, and can be used until this index is closed.

        Args:
            fingerprint: the other encoder's, with its ``dimension``.
            storage: how it keeps its vectors; like this version by default.
            store_reasoning: whether it keeps reasonings; like this version by default.

        Raises:
            ConfigError: the fingerprint names no dimension; an unfinished version is stored otherwise.
        """
        dimension = fingerprint.get("dimension")
        if not isinstance(dimension, int):
            raise ConfigError("the fingerprint of the next version must name its dimension")
        reasoning = self.store_reasoning if store_reasoning is None else store_reasoning
        layout = schema.Layout(dimension, fingerprint, storage or self.storage, reasoning)
        with self._connection.use():
            live = alias.resolve(self._client, self.collection)
            if live is not None:
                alias.retire_replaced(self._client, live)
            known = self.versions()
            unfinished = [
                version.number
                for version in known
                if not (version.live or version.retired)
                and not schema.differences(version.fingerprint, fingerprint)
            ]
            number = unfinished[-1] if unfinished else alias.next_number(self._client, self.collection)
            if not unfinished:
                schema.create(self._connection, alias.version_name(self.collection, number), layout)
            return QdrantIndex(
                client=self._client,
                collection=self.collection,
                fingerprint=fingerprint,
                tenant=self.tenant,
                storage=storage,
                store_reasoning=store_reasoning,
                version=number,
            )

    def make_live(self, to: QdrantIndex, *, allow_missing: bool = False) -> None:
        """Makes another version live; the collection's name leads to it from then on, and so does this index.

        This moves the name and no document: what was written to this version since the other one was filled
        is lost. ``ume_r1_rag.ingest.swap`` takes that over, too.

        Readers that are open keep to the version that they opened until they open the collection anew. Given
        the live version itself this finishes what a crash has left half done.

        Args:
            to: see :meth:`build_next`.
            allow_missing: whether a tenant may have documents in this version and none in the other one.

        Raises:
            ConfigError: this index is a tenant's, who cannot decide for others; it is a version of another
                collection; a tenant has documents in one of the two and none in the other.
        """
        self._check_whole("make_live")
        if to.collection != self.collection:
            raise ConfigError(f"{to.physical!r} is no version of {self.collection!r}")
        with self._connection.use():
            alias.make_live(self._client, self.collection, to.physical, allow_missing)
            self._open(to.physical)

    def earlier(self) -> QdrantIndex:
        """Returns the version that :meth:`rollback` would make live, over the same client.

        Raises:
            ConfigError: there is none.
        """
        with self._connection.use():
            _, physical = alias.earlier_of(self._client, self.collection)
            return QdrantIndex(
                client=self._client,
                collection=self.collection,
                tenant=self.tenant,
                version=alias.number_of(physical),
            )

    def rollback(self) -> str:
        """Makes the version live again that the present one replaced; returns its name.

        What was written since stays in the other version; ``ume_r1_rag.ingest.rollback_loss`` counts it.

        Raises:
            ConfigError: there is none; this index is a tenant's.
        """
        self._check_whole("rollback")
        with self._connection.use():
            physical = alias.rollback(self._client, self.collection)
            self._open(physical)
        return physical

    def drop_old(self) -> list[str]:
        """Deletes the versions that were live once and are no more, with all in them; returns their names.

        Raises:
            ConfigError: this index is a tenant's.
        """
        self._check_whole("drop_old")
        with self._connection.use():
            return alias.drop_old(self._client, self.collection)

    def drop_unfinished(self) -> list[str]:
        """Deletes the versions that were begun and never made live, with all in them; returns their names.

        Raises:
            ConfigError: this index is a tenant's.
        """
        self._check_whole("drop_unfinished")
        with self._connection.use():
            return alias.drop_unfinished(self._client, self.collection)

    def side_collection(self, suffix: str) -> SideCollection:
        """Returns a companion for small records without vectors, of the same tenant, e.g. ``"failures"``.

        Raises:
            ConfigError: the suffix is not made of small letters.
        """
        return SideCollection(self._connection, self.collection, suffix, self.tenant)

    def close(self) -> None:
        """Gives the client back and frees a folder with the last index in it; a second call does nothing."""
        self._finalizer()

    async def aclose(self) -> None:
        """``close`` for those who used :meth:`share_aclient`."""
        if self._aclient is not None:
            await self._aclient.close()
            self._aclient = None
        self.close()

    def __enter__(self) -> Self:
        """Returns the index itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it."""
        self.close()

    def _open(
        self,
        physical: str,
        dimension: int | None = None,
        fingerprint: Mapping[str, Any] | None = None,
        storage: Storage | None = None,
        store_reasoning: bool | None = None,
    ) -> None:
        """Reads what a version says of itself, and checks it against what a writer says."""
        layout = schema.read(self._client.get_collection(physical), physical, dimension)
        layout = schema.with_storage(layout, storage, physical)
        schema.check_reasoning(layout, store_reasoning, physical)
        if fingerprint is not None:
            schema.check_fingerprint(layout.fingerprint, fingerprint, self.collection)
            schema.index_payload(self._connection, physical)
        self.physical = physical
        self.dimension, self.fingerprint, self.storage = layout.dimension, layout.fingerprint, layout.storage
        self.store_reasoning = layout.store_reasoning
        self._known.clear()

    def _count_in(self, physical: str) -> int:
        """Returns how many points of a version are this tenant's."""
        return Scope(self._connection, physical, self.tenant).count()

    def _check_whole(self, what: str) -> None:
        if self.tenant is not None:
            raise ConfigError(
                f"{what} concerns the documents of all tenants: call it on an index without tenant="
            )

    def _async_client(self) -> AsyncQdrantClient | ThreadedClient:
        from qdrant_client import AsyncQdrantClient

        if self._connection.embedded or not self._connection.owned:
            return ThreadedClient(self._connection.expose(), self._connection.use)
        return AsyncQdrantClient(**self._client.init_options)
