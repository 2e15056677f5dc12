"""Retrieval over pages, pictures and clips with UME-R1.

Importing the package loads nothing heavy: each public name is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ume_r1_rag.cache import CachedEncoder
    from ume_r1_rag.checkpoints import nano_path
    from ume_r1_rag.encoder import SentenceTransformerEncoder, UmeR1Encoder
    from ume_r1_rag.encoder.remote import RemoteEncoder
    from ume_r1_rag.errors import UmeR1Error
    from ume_r1_rag.index import QdrantIndex
    from ume_r1_rag.retriever import Retriever
    from ume_r1_rag.types import Document, Embedding, Encoder, Hit, MultimodalInput

    __version__: str

__all__ = [
    "CachedEncoder",
    "Document",
    "Embedding",
    "Encoder",
    "Hit",
    "MultimodalInput",
    "QdrantIndex",
    "RemoteEncoder",
    "Retriever",
    "SentenceTransformerEncoder",
    "UmeR1Encoder",
    "UmeR1Error",
    "nano_path",
]

_LAZY = {
    "CachedEncoder": "ume_r1_rag.cache",
    "Document": "ume_r1_rag.types",
    "Embedding": "ume_r1_rag.types",
    "Encoder": "ume_r1_rag.types",
    "Hit": "ume_r1_rag.types",
    "MultimodalInput": "ume_r1_rag.types",
    "QdrantIndex": "ume_r1_rag.index",
    "RemoteEncoder": "ume_r1_rag.encoder.remote",
    "Retriever": "ume_r1_rag.retriever",
    "SentenceTransformerEncoder": "ume_r1_rag.encoder",
    "UmeR1Encoder": "ume_r1_rag.encoder",
    "UmeR1Error": "ume_r1_rag.errors",
    "nano_path": "ume_r1_rag.checkpoints",
}
"""Where each public name lives. The imports above are the same list for type checkers."""

_EXTRAS = {
    "accelerate": "transformers",
    "torch": "transformers",
    "torchvision": "transformers",
    "transformers": "transformers",
    "sentence_transformers": "sentence-transformers",
    "vllm": "vllm",
    "fastapi": "serve",
    "prometheus_client": "serve",
    "uvicorn": "serve",
    "langchain_qdrant": "langchain",
}
"""Which extra installs an optional dependency."""


def __getattr__(name: str) -> object:
    """Returns a public name, importing its module on first use.

    Raises:
        AttributeError: the package has no such name.
        MissingExtra: an optional dependency of the name's module is not installed; an ``ImportError``.
    """
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("ume-r1-rag")
    elif name in _LAZY:
        value = _load(name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Returns what is there and what can be loaded."""
    return sorted({*globals(), *__all__, "__version__"})


def _load(name: str) -> object:
    """Returns a public name from its module."""
    from importlib import import_module

    try:
        return getattr(import_module(_LAZY[name]), name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        extra = _EXTRAS.get(missing)
        if extra is None:
            raise
        from ume_r1_rag.errors import MissingExtra

        raise MissingExtra(
            f'ume_r1_rag.{name} needs {missing}, which is not installed: pip install "ume-r1-rag[{extra}]"'
        ) from error
