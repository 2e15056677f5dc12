"""What the classes for LlamaIndex and LangChain share; no framework is imported here."""

from ume_r1_rag.frameworks.hits import hit_metadata, hit_text, told
from ume_r1_rag.frameworks.lazy import CONCURRENCY, EncoderOptions, LazyEncoder, options_for
from ume_r1_rag.frameworks.names import by_own_name
from ume_r1_rag.frameworks.page_images import PageImages
from ume_r1_rag.frameworks.vectors import CostWarning, OneVector, Role, SizeWarning, VectorMode

__all__ = [
    "CONCURRENCY",
    "CostWarning",
    "EncoderOptions",
    "LazyEncoder",
    "OneVector",
    "PageImages",
    "Role",
    "SizeWarning",
    "VectorMode",
    "by_own_name",
    "hit_metadata",
    "hit_text",
    "options_for",
    "told",
]
