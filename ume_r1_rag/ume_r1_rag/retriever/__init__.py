"""The retriever: a query in, ranked documents out, by disc, by gen, or by both fused."""

from ume_r1_rag.retriever.fusion import Fusion, convex, reciprocal_rank
from ume_r1_rag.retriever.retriever import Retriever, SearchMode, SearchResult

__all__ = ["Fusion", "Retriever", "SearchMode", "SearchResult", "convex", "reciprocal_rank"]
