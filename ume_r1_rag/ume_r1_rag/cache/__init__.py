"""The cache: embeddings kept on disk, so that nothing is encoded twice."""

from ume_r1_rag.cache.encoder import CachedEncoder
from ume_r1_rag.cache.store import CacheInfo

__all__ = ["CacheInfo", "CachedEncoder"]
