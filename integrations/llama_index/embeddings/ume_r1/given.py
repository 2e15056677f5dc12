"""Given: what a caller may pass as ``embed_model``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llama_index.embeddings.ume_r1.base import UmeR1Embedding
from ume_r1_rag.errors import ConfigError
from ume_r1_rag.types import Encoder


def embed_model_of(model: Any) -> UmeR1Embedding | Encoder:
    """Returns what encodes: our embedding or an encoder as it is, of a model's name an embedding.

    Raises:
        ConfigError: it is something else, such as another maker's embedding.
    """
    if isinstance(model, UmeR1Embedding):
        return model
    if isinstance(model, str | Path):
        return UmeR1Embedding(str(model))
    if not hasattr(model, "encode_document"):
        raise ConfigError(
            f"embed_model is a {type(model).__name__}: pages, pictures and clips need UmeR1Embedding(...), "
            'the name of a model ("nano", a folder, a hub id) or an encoder'
        )
    found: Encoder = model
    return found
