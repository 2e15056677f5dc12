"""What the classes for LlamaIndex and LangChain share; no framework is imported here."""

from ume_r1_rag.frameworks.hits import hit_metadata, hit_text
from ume_r1_rag.frameworks.lazy import EncoderOptions, LazyEncoder, options_for
from ume_r1_rag.frameworks.page_images import PageImages
from ume_r1_rag.frameworks.vectors import CostWarning, OneVector, SizeWarning, VectorMode

__all__ = [
    "CostWarning",
    "EncoderOptions",
    "LazyEncoder",
    "OneVector",
    "PageImages",
    "SizeWarning",
    "VectorMode",
    "hit_metadata",
    "hit_text",
    "options_for",
]
