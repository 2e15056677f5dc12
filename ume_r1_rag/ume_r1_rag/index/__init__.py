"""The index: documents with a disc and a gen vector side by side in one Qdrant collection."""

from ume_r1_rag.index.filters import Filter, to_filter
from ume_r1_rag.index.qdrant import IndexInfo, QdrantIndex

__all__ = ["Filter", "IndexInfo", "QdrantIndex", "to_filter"]
