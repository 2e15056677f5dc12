"""The encoder: any input → its embeddings, whatever runs the model."""

from ume_r1_rag.encoder.encoder import UmeR1Encoder
from ume_r1_rag.encoder.fingerprint import digest, make_fingerprint
from ume_r1_rag.encoder.sentence_transformers import SentenceTransformerEncoder

__all__ = ["SentenceTransformerEncoder", "UmeR1Encoder", "digest", "make_fingerprint"]
