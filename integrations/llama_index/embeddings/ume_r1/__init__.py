"""UME-R1 as an embedding model of LlamaIndex: texts, pictures, clips and mixes of them."""

from llama_index.embeddings.ume_r1.base import UmeR1Embedding
from llama_index.embeddings.ume_r1.node_input import EMBED_KEY, node_input
from ume_r1_rag.frameworks import CostWarning, SizeWarning

__all__ = ["EMBED_KEY", "CostWarning", "SizeWarning", "UmeR1Embedding", "node_input"]
