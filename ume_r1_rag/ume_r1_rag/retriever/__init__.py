"""The retriever: a query in, ranked documents out: by disc, gen or words, or several of them fused."""

from ume_r1_rag.retriever.equating import equate
from ume_r1_rag.retriever.fusion import (
    Fusion,
    convex,
    default_weights,
    distribution_based,
    reciprocal_rank,
)
from ume_r1_rag.retriever.options import SearchMode, SearchOptions
from ume_r1_rag.retriever.question import Question, read_questions
from ume_r1_rag.retriever.result import SearchResult
from ume_r1_rag.retriever.retriever import Enricher, Retriever

__all__ = [
    "Enricher",
    "Fusion",
    "Question",
    "Retriever",
    "SearchMode",
    "SearchOptions",
    "SearchResult",
    "convex",
    "default_weights",
    "distribution_based",
    "equate",
    "read_questions",
    "reciprocal_rank",
]
