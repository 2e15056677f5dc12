"""UME-R1's index as a retriever of LlamaIndex, and what fills it: a reader and a transformation."""

from llama_index.retrievers.ume_r1.base import UmeR1Retriever
from llama_index.retrievers.ume_r1.filters import qdrant_filter
from llama_index.retrievers.ume_r1.query import UmeR1QueryBundle
from llama_index.retrievers.ume_r1.reader import UmeR1Reader
from llama_index.retrievers.ume_r1.writer import UmeR1IndexWriter

__all__ = ["UmeR1IndexWriter", "UmeR1QueryBundle", "UmeR1Reader", "UmeR1Retriever", "qdrant_filter"]
