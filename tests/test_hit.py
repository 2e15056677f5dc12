"""What a hit tells of its document, whoever wrote the payload."""

import numpy as np
import pytest

from ume_r1_rag.index import payload
from ume_r1_rag.types import Document, Embedding, Hit, MultimodalInput

ABSENT = {
    "kind": "", "uri": "", "title": "", "text": "", "document": "",
    "page": None, "span_s": None, "summary": None, "reasoning": None,
}  # fmt: skip


def told(hit):
    return {name: getattr(hit, name) for name in ABSENT}


def stored(document, **generated):
    embedding = Embedding(np.ones(2, np.float32), np.ones(2, np.float32), **generated)
    return payload.hit(payload.build(document, embedding, "0"))


def test_what_was_stored_is_told():
    file = {"uri": "/data/a", "title": "a", "document": "a"}
    page = Document("a#page=2", "page", MultimodalInput(text="x"), text="layer", page=2, **file)
    assert told(stored(page, summary="sum", reasoning="why")) == {
        **ABSENT, **file, "kind": "page", "text": "layer", "page": 2, "summary": "sum", "reasoning": "why",
    }  # fmt: skip
    clip = Document("a#clip=1", "clip", MultimodalInput(text="x"), span_s=(0, 9.5), **file)
    assert told(stored(clip)) == {**ABSENT, **file, "kind": "clip", "span_s": (0, 9.5)}
    text = Document("a", "text", MultimodalInput(text="all of it"), **file)
    assert stored(text, summary="sum").text == "all of it"


@pytest.mark.parametrize("value", [None, 3.5, True, ["x"], [None, 1], {"a": 1}, ""])
def test_a_foreign_payload_is_no_trouble(value):
    foreign = {f"ume_{name}": value for name in ABSENT}
    empty = {
        name: "" if value == "" and name in ("summary", "reasoning") else ABSENT[name] for name in ABSENT
    }
    assert told(Hit("k", 0.5, {}, {**foreign, "page_content": value})) == empty
    assert told(Hit("k", 0.5, {}, {})) == ABSENT
