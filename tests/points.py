"""Documents and embeddings of four dimensions, with which the tests of the index count by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from ume_r1_rag.types import Document, Embedding, MultimodalInput

D = 4
FINGERPRINT = {"model": "fake", "weights": "0" * 8, "preset": "serving", "dimension": D, "think": "full"}


def unit(*values: float) -> np.ndarray:
    vector = np.array(values, dtype=np.float32)
    return vector / np.linalg.norm(vector)


def document(key: str, **fields: Any) -> Document:
    return Document(key=key, **{"kind": "image", "input": MultimodalInput(text=key), "title": key, **fields})


def page(number: int, **fields: Any) -> Document:
    return document(f"b.pdf#page={number}", kind="page", page=number, document="b.pdf", **fields)


def embedding(disc: Any = None, gen: Any = None, **fields: Any) -> Embedding:
    return Embedding(
        disc=None if disc is None else unit(*disc), gen=None if gen is None else unit(*gen), **fields
    )


CORPUS = [
    (document("a.png"), embedding((1, 0, 0, 0), (0, 1, 0, 0), reasoning="thinking", summary="an a")),
    (page(1), embedding((1, 1, 0, 0), (1, 0, 0, 0))),
    (page(2, metadata={"lang": "de"}), embedding((0, 0, 1, 0))),
    (document("c.mp4", kind="clip", span_s=(0.0, 2.0)), embedding(gen=(1, 1, 0, 0))),
]
