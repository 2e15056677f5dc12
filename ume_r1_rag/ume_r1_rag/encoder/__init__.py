"""The encoder: any input → both embeddings, whatever runs the model."""

from ume_r1_rag.encoder.encoder import UmeR1Encoder
from ume_r1_rag.encoder.fingerprint import digest, make_fingerprint

__all__ = ["UmeR1Encoder", "digest", "make_fingerprint"]
