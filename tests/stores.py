"""Places for indexes: the same cases run embedded, over loopback, and on a server if there is one.

Loopback is ``qdrant_app.py``, by REST or by gRPC: it shows that what is asked for goes over the wire and
comes back, and nothing of a server. For that, set ``QDRANT_URL`` and, if it has one, the key in
``QDRANT_API_KEY``, and run ``tests/test_server.py`` and ``tests/test_server_runs.py``: their collections have
names of their own there, and are deleted afterwards.
"""

from __future__ import annotations

import uuid

from points import CORPUS, FINGERPRINT

from ume_r1_rag.index import QdrantIndex


class Store:
    """A place for indexes.

    Attributes:
        kind: ``"embedded"``, ``"loopback"``, ``"grpc"`` or ``"server"``.
        app: what answers over loopback.
    """

    def __init__(self, kind, app=None, **place):
        self.kind, self.app, self.place = kind, app, place
        self.prefix = f"umetest{uuid.uuid4().hex[:12]}"
        self.indexes = []

    @classmethod
    def embedded(cls):
        """Returns a place in memory whose client is the package's own, as with a folder."""
        keeper = QdrantIndex(":memory:", collection="keeper", fingerprint=FINGERPRINT)
        store = cls("embedded", client=keeper._connection.client)
        store.indexes.append(keeper)
        return store

    def open(self, collection="papers", **options):
        """Opens a collection; several indexes may be open at a time."""
        index = QdrantIndex(**self.place, collection=f"{self.prefix}_{collection}", **options)
        self.indexes.append(index)
        return index

    def filled(self, **options):
        index = self.open(fingerprint=FINGERPRINT, **options)
        index.upsert(*zip(*CORPUS, strict=True))
        return index

    def clear(self):
        """Deletes all that was made, where it would stay."""
        if self.kind == "server" and self.indexes:
            client = self.indexes[0].share_client()
            for one in client.get_collections().collections:
                if one.name.startswith(self.prefix):
                    client.delete_collection(one.name)
        for index in reversed(self.indexes):
            index.close()
