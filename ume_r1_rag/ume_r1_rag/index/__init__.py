"""The index: documents with a disc, a gen and a text vector side by side in one Qdrant collection.

From bottom to top: a ``Connection`` is a client; a ``Scope`` is a collection as one tenant sees it;
``Reading``, ``Searching`` and ``Writing`` are what can be done with it; ``QdrantIndex`` opens it by its name,
which is an alias of one of several versions.
"""

from ume_r1_rag.index.alias import Version
from ume_r1_rag.index.filters import Filter, to_filter
from ume_r1_rag.index.info import IndexInfo
from ume_r1_rag.index.qdrant import QdrantIndex
from ume_r1_rag.index.side import SideCollection
from ume_r1_rag.index.storage import PointBytes, Storage
from ume_r1_rag.index.stored import Stored

__all__ = [
    "Filter",
    "IndexInfo",
    "PointBytes",
    "QdrantIndex",
    "SideCollection",
    "Storage",
    "Stored",
    "Version",
    "to_filter",
]
