"""Gen vectors that are written later: added to what is stored, and to nothing else."""

import pytest
from points import FINGERPRINT, D, document, embedding, page, unit

from ume_r1_rag.errors import IndexMismatch, InputError
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.index.payload import point_id
from ume_r1_rag.types import Embedding

GEN = {"reasoning": "a lighthouse", "summary": "a coast", "gen_valid": True, "think": 64, "fingerprint": "f"}


@pytest.fixture
def index():
    with QdrantIndex(":memory:", fingerprint=FINGERPRINT) as index:
        documents = [page(n, text=f"layer {n}", content_hash=f"h{n}", thumbnail=b"jpeg") for n in range(1, 4)]
        index.upsert(documents, [embedding((n, 1, 0, 0), fingerprint="f") for n in range(1, 4)])
        yield index


def key(number):
    return f"b.pdf#page={number}"


def made(*vector, **fields):
    return embedding(gen=vector, **{**GEN, **fields})


def test_it_is_added_with_its_words_and_everything_else_stays(index):
    (before,) = index.retrieve([key(2)])
    disc = index.scores(unit(1, 0, 0, 0), "disc", [before.id])
    stored = index.stored([key(1), key(2)])
    assert (
        index.write_gen([(stored[key(2)], made(0, 0, 0, 1, gen_valid=False, gen_issue="token limit"))]) == 1
    )
    assert index.coverage() == {"disc": 3, "gen": 1, "text": 3}
    (after,) = index.retrieve([key(2)])
    generated = {name for name in after.payload if name not in before.payload}
    assert generated == {f"ume_{name}" for name in (
        "reasoning", "summary", "gen_valid", "gen_issue", "think", "gen_fingerprint"
    )}  # fmt: skip
    changed = {name for name in before.payload if before.payload[name] != after.payload[name]}
    assert changed == {"page_content", "_node_content", "ume_spaces"}
    assert after.payload["page_content"] == "a coast"
    assert after.payload["ume_gen_issue"] == "token limit"
    assert index.nearest(unit(0, 0, 0, 1), "gen") == pytest.approx({after.id: 1.0})
    assert index.scores(unit(1, 0, 0, 0), "disc", [before.id]) == pytest.approx(disc)
    for word in ("lighthouse", "coast", "layer 2"):
        assert next(iter(index.nearest(word, "text"))) == after.id
    assert index.stored([key(2)])[key(2)].spaces == {"disc", "gen", "text"}
    assert [hit.key for hit in index.lacking("gen")] == sorted([key(1), key(3)], key=point_id)


def test_writing_it_again_changes_nothing(index):
    stored = index.stored([key(1)])[key(1)]
    pairs = [(stored, made(0, 1, 0, 0))]
    assert index.write_gen(pairs) == 1
    (first,) = index.retrieve([key(1)])
    scores = {
        s: index.nearest(q, s)
        for q, s in ((unit(1, 1, 0, 0), "disc"), (unit(1, 1, 0, 0), "gen"), ("coast", "text"))
    }
    assert index.write_gen(pairs * 2) == 2
    assert index.retrieve([key(1)])[0].payload == first.payload
    assert scores == {
        s: index.nearest(q, s)
        for q, s in ((unit(1, 1, 0, 0), "disc"), (unit(1, 1, 0, 0), "gen"), ("coast", "text"))
    }


def test_what_has_changed_or_gone_meanwhile_is_left_alone(index):
    stored = index.stored([key(1), key(2), key(3)])
    index.upsert([page(1, content_hash="new", text="new text")], [embedding((1, 0, 0, 0), fingerprint="f")])
    index.delete([key(2)])
    assert index.write_gen([(stored[key(n)], made(0, 1, 0, 0)) for n in (1, 2, 3)]) == 1
    assert [hit.key for hit in index.lacking("gen")] == [key(1)]
    assert index.count() == 2
    assert index.nearest("lighthouse", "text").keys() == {point_id(key(3))}


def test_another_encoders_is_refused(index):
    stored = index.stored([key(1)])[key(1)]
    with pytest.raises(IndexMismatch, match=r"encoder 'other'.*indexed with 'f'.*think budget"):
        index.write_gen([(stored, made(0, 1, 0, 0, fingerprint="other"))])
    with pytest.raises(InputError, match="no gen vector"):
        index.write_gen([(stored, embedding((1, 0, 0, 0), fingerprint="f"))])
    with pytest.raises(InputError, match="zero"):
        index.write_gen([(stored, Embedding(None, unit(1, 0, 0, 0) * 0, fingerprint="f"))])
    with pytest.raises(IndexMismatch, match=f"{D} dimensions"):
        index.write_gen([(stored, Embedding(None, unit(1, 0), fingerprint="f"))])
    assert index.coverage()["gen"] == 0


def test_reasoning_is_left_out_of_a_collection_without():
    index = QdrantIndex(":memory:", fingerprint=FINGERPRINT, store_reasoning=False)
    index.upsert([page(1, content_hash="h")], [embedding((1, 1, 0, 0), fingerprint="f")])
    stored = index.stored([key(1)])[key(1)]
    assert index.write_gen([(stored, made(0, 1, 0, 0))]) == 1
    (hit,) = index.retrieve([key(1)])
    assert "ume_reasoning" not in hit.payload
    assert index.nearest("lighthouse", "text") == {}
    assert list(index.nearest("coast", "text")) == [hit.id]


def test_many_are_written_in_batches(index):
    documents = [document(f"m{n}", content_hash="h") for n in range(150)]
    index.upsert(documents, [embedding((1, 0, 0, n), fingerprint="f") for n in range(150)])
    stored = index.stored(d.key for d in documents)
    assert len(stored) == 150
    assert index.write_gen((one, made(0, 1, 0, 0)) for one in stored.values()) == 150
    assert index.coverage()["gen"] == 150


def test_a_disc_that_is_indexed_again_keeps_it(index):
    stored = index.stored([key(1)])[key(1)]
    index.write_gen([(stored, made(0, 1, 0, 0))])
    index.upsert([page(1, content_hash="h1", title="new")], [embedding((0, 0, 1, 0), fingerprint="f")])
    (hit,) = index.retrieve([key(1)])
    assert (hit.payload["ume_title"], hit.payload["ume_gen_fingerprint"]) == ("new", "f")
    assert hit.payload["ume_spaces"] == ["disc", "gen", "text"]
    assert index.nearest("lighthouse", "text").keys() == {hit.id}
