"""A reader of LlamaIndex for folders of PDFs, pictures, clips and texts."""

from llama_index.readers.ume_r1.base import UmeR1Reader

__all__ = ["UmeR1Reader"]
