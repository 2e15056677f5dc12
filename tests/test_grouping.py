"""Grouping: files ranked by their best part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.retriever import Retriever
from ume_r1_rag.retriever.fusion import ranked
from ume_r1_rag.retriever.grouping import grouped
from ume_r1_rag.types import Document, MultimodalInput

FILES = ("a.pdf", "b.pdf", "c.pdf")


@given(
    st.dictionaries(st.sampled_from("stuvwxyz"), st.sampled_from([0.1, 0.2, 0.3, 0.4])).map(ranked),
    st.dictionaries(st.sampled_from("stuvwxyz"), st.sampled_from(FILES)),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_the_best_parts_of_the_best_files(ranking, documents, groups, size):
    found = grouped(ranking, documents, groups, size)
    file = {id: documents.get(id, id) for id in ranking}
    best = sorted(
        set(file.values()), key=lambda one: next(at for at, id in enumerate(ranking) if file[id] == one)
    )
    expected = [id for one in best[:groups] for id in [i for i in ranking if file[i] == one][:size]]
    assert list(found) == expected
    assert all(found[id] == ranking[id] for id in found)


@pytest.fixture(scope="module")
def retriever(make_encoder):
    encoder = make_encoder(dimension=48)
    pages = {
        # One long file that would fill every list, a short one, and a picture of its own.
        "long.pdf": [f"red circle number {number}" for number in range(60)],
        "short.pdf": ["green square", "red circle", "blue line"],
        "other.pdf": ["blue line of red", "nothing like it"],
    }
    documents = [
        Document(
            f"{file}#page={page}", "page", MultimodalInput(text=text), text=text, document=file, page=page
        )
        for file, texts in pages.items()
        for page, text in enumerate(texts, start=1)
    ]
    documents.append(Document("red.txt", "text", MultimodalInput(text="red sky"), text="red sky"))
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        found = encoder.encode_document([d.input for d in documents], "both")
        half = encoder.encode_document([d.input for d in documents], "disc")
        index.upsert(
            documents,
            [both if at % 2 else disc for at, (both, disc) in enumerate(zip(found, half, strict=True))],
        )
        yield Retriever(encoder, index)


MODES = [("disc", {}), ("gen", {}), ("text", {}), ("fused", {}), ("fused", {"fusion": "rrf"})]


@pytest.mark.parametrize(("mode", "options"), MODES)
def test_each_file_comes_once_by_its_best_part(retriever, mode, options):
    plain = retriever.search("red circle", 100, mode, candidates=100, **options)
    result = retriever.search("red circle", 4, mode, group_by="document", **options)
    files = [hit.payload["ume_document"] for hit in result.hits]
    assert sorted(files) == ["long.pdf", "other.pdf", "red.txt", "short.pdf"]
    assert list(result.groups) == files
    assert all(len(hits) == 1 for hits in result.groups.values())
    if mode in ("disc", "text"):  # the others' scores depend on what else was looked at
        best = {}
        for hit in plain.hits:
            best.setdefault(hit.payload["ume_document"], hit.score)
        assert dict(zip(files, (hit.score for hit in result.hits), strict=True)) == pytest.approx(best)
    assert [hit.score for hit in result.hits] == sorted((hit.score for hit in result.hits), reverse=True)


def test_a_long_file_does_not_crowd_out_the_others(retriever):
    crowded = retriever.search("red circle", 4, "fused", candidates=4)
    assert len(crowded.groups) < 4
    grouped_ones = retriever.search("red circle", 4, "fused", candidates=4, group_by="document")
    assert len(grouped_ones.groups) == 4


@pytest.mark.parametrize(("mode", "options"), MODES)
def test_several_parts_of_a_file_stand_together(retriever, mode, options):
    result = retriever.search("red circle", 2, mode, group_by="document", group_size=3, **options)
    assert len(result.groups) == 2
    assert [hit for hits in result.groups.values() for hit in hits] == list(result.hits)
    for hits in result.groups.values():
        assert len(hits) <= 3
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len(result.groups["long.pdf"]) == 3


def test_a_batch_is_grouped_too_and_filtered(retriever):
    options = {"group_by": "document", "filter": {"document": ["short.pdf", "red.txt"]}}
    batch = retriever.search_batch(["red circle", "blue line"], 5, "fused", **options)
    for one, query in zip(batch, ["red circle", "blue line"], strict=True):
        assert [hit.key for hit in one.hits] == [
            hit.key for hit in retriever.search(query, 5, "fused", **options).hits
        ]
        assert sorted(one.groups) == ["red.txt", "short.pdf"]
    assert batch[1].groups["short.pdf"][0].payload["ume_page"] == 3
