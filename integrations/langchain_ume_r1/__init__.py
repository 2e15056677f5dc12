"""UME-R1 in LangChain: embeddings, a retriever, a vector store, and what a chat model is to see of a hit.

Importing the package loads neither torch nor Qdrant: each name is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_ume_r1.blocks import cite, content_blocks
    from langchain_ume_r1.embeddings import UmeR1Embeddings
    from langchain_ume_r1.retriever import UmeR1Retriever
    from langchain_ume_r1.vectorstore import UmeR1QdrantVectorStore

__all__ = [
    "UmeR1Embeddings",
    "UmeR1QdrantVectorStore",
    "UmeR1Retriever",
    "cite",
    "content_blocks",
]

_LAZY = {
    "UmeR1Embeddings": "langchain_ume_r1.embeddings",
    "UmeR1QdrantVectorStore": "langchain_ume_r1.vectorstore",
    "UmeR1Retriever": "langchain_ume_r1.retriever",
    "cite": "langchain_ume_r1.blocks",
    "content_blocks": "langchain_ume_r1.blocks",
}
"""Where each public name lives. The imports above are the same list for type checkers."""


def __getattr__(name: str) -> object:
    """Returns a public name, importing its module on first use.

    Raises:
        AttributeError: the package has no such name.
        MissingExtra: langchain-qdrant is not installed; an ``ImportError``.
    """
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        value: object = getattr(import_module(_LAZY[name]), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "langchain_qdrant":
            raise
        from ume_r1_rag.errors import MissingExtra

        raise MissingExtra(
            f"langchain_ume_r1.{name} needs langchain-qdrant, which is not installed: "
            'pip install "ume-r1-rag[langchain]"'
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Returns what is there and what can be loaded."""
    return sorted({*globals(), *__all__})
