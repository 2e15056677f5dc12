"""The index: what it stores, refuses and finds, on embedded Qdrant."""

import json

import numpy as np
import pytest
from points import CORPUS, FINGERPRINT, D, document, embedding, page, unit

from ume_r1_rag.errors import ConfigError, IndexMismatch, InputError
from ume_r1_rag.index import QdrantIndex, Stored, to_filter
from ume_r1_rag.index.payload import point_id
from ume_r1_rag.types import Embedding


@pytest.fixture
def index():
    with QdrantIndex(":memory:", fingerprint=FINGERPRINT) as index:
        index.upsert(*zip(*CORPUS, strict=True))
        yield index


def test_search_finds_by_each_space_best_first(index):
    hits = index.search(unit(1, 0, 0, 0), "disc", 10)
    assert [hit.key for hit in hits] == ["a.png", "b.pdf#page=1", "b.pdf#page=2"]
    assert [hit.score for hit in hits] == pytest.approx([1.0, 2**-0.5, 0.0], abs=1e-6)
    assert hits[0].scores == {"disc": hits[0].score}
    assert hits[0].payload["ume_reasoning"] == "thinking"
    assert hits[0].id == point_id("a.png")
    assert [hit.key for hit in index.search([1, 0, 0, 0], "gen", 2)] == ["b.pdf#page=1", "c.mp4"]


def test_equal_scores_are_ordered_by_id(index):
    twins = [document(f"twin{number}") for number in range(6)]
    index.upsert(twins, [embedding((0, 0, 0, 1))] * 6)
    found = list(index.nearest(unit(0, 0, 0, 1), "disc", 6))
    assert found == sorted(point_id(twin.key) for twin in twins)


def test_scores_are_exact_and_leave_out_what_has_no_vector(index):
    ids = [point_id(key) for key in ("b.pdf#page=1", "b.pdf#page=2", "c.mp4", "absent")]
    query = unit(1, 2, 3, 4)
    assert index.scores(query, "disc", ids) == pytest.approx(
        {ids[0]: float(query @ unit(1, 1, 0, 0)), ids[1]: float(query @ unit(0, 0, 1, 0))}, abs=1e-6
    )
    assert index.scores(query, "gen", []) == {}


def test_scores_of_many_ids_come_in_batches(index):
    many = [document(f"m{number}") for number in range(600)]
    index.upsert(many, (embedding((1, 0, 0, number)) for number in range(600)))
    found = index.scores(unit(1, 0, 0, 0), "disc", (point_id(one.key) for one in many))
    assert len(found) == 600
    assert len(list(index.scroll())) == 604


def test_filters(index):
    def keys(filter):
        return sorted(hit.key for hit in index.scroll(filter))

    pages = ["b.pdf#page=1", "b.pdf#page=2"]
    assert keys({"kind": "page"}) == pages
    assert keys({"kind": ["clip", "image"]}) == ["a.png", "c.mp4"]
    assert keys({"document": "b.pdf", "page": 2}) == pages[1:]
    assert keys({"page": [1, "x", 2]}) == pages
    assert (
        keys({"lang": "de"})
        == keys({"metadata.lang": "de"})
        == keys({"ume_metadata.lang": "de"})
        == pages[1:]
    )
    assert keys({"page": None}) == ["a.png", "c.mp4"]
    assert keys({"kind": []}) == []
    assert keys({"span_s": 2.0}) == ["c.mp4"]
    assert keys({}) == keys(None)
    assert [hit.key for hit in index.search(unit(1, 0, 0, 0), "disc", 9, {"kind": "page"})] == pages
    assert index.count({"kind": "page"}) == 2


def test_qdrants_own_filter_passes_through(index):
    from qdrant_client import models

    condition = models.FieldCondition(key="ume_page", range=models.Range(gte=2))
    own = models.Filter(must=[condition])
    assert to_filter(own) is own
    assert [hit.key for hit in index.scroll(own)] == ["b.pdf#page=2"]
    with pytest.raises(ConfigError, match="mapping"):
        index.count("kind=page")
    with pytest.raises(ConfigError, match="ume_kind"):
        index.count({"kind": {"nested": 1}})


def test_retrieve_keeps_the_order_of_keys(index):
    hits = index.retrieve(["c.mp4", "absent", "a.png"])
    assert [hit.key for hit in hits] == ["c.mp4", "a.png"]
    assert hits[0].payload["ume_span_s"] == [0.0, 2.0]


def test_scroll_reads_only_the_fields_asked_for(index):
    assert {tuple(hit.payload) for hit in index.scroll(fields=["ume_key"])} == {("ume_key",)}


def test_coverage_and_info(index):
    assert index.coverage() == {"disc": 3, "gen": 3, "text": 4}
    info = index.info()
    assert (info.points, info.dimension, info.location, info.schema) == (4, D, ":memory:", 2)
    assert (info.collection, info.physical, info.tenant) == ("ume_r1", "ume_r1--1", None)
    assert (info.embedded, info.deferred) == (True, False)
    assert info.fingerprint == FINGERPRINT


def test_upsert_replaces_the_whole_point(index):
    assert index.upsert([document("a.png", title="new")], [embedding((0, 0, 0, 1))]) == 1
    (hit,) = index.retrieve(["a.png"])
    assert index.count() == 4
    assert hit.payload["ume_title"] == "new"
    assert "ume_reasoning" not in hit.payload
    assert index.scores(unit(1, 1, 1, 1), "gen", [hit.id]) == {}


def test_an_unchanged_document_keeps_the_vector_that_is_not_made_again(index):
    def write(embedding, content="v1", **fields):
        index.upsert([document("k.png", content_hash=content, **fields)], [embedding])
        (hit,) = index.retrieve(["k.png"])
        return hit.payload, {s: index.scores(unit(0, 0, 3, 4), s, [hit.id]) for s in ("disc", "gen")}

    gen = {"reasoning": "long", "summary": "a k", "gen_valid": False, "gen_issue": "format", "think": 9}
    write(embedding((0, 0, 1, 0), (0, 0, 0, 1), fingerprint="f", **gen))
    stored, scores = write(embedding((0, 0, 0, 1), fingerprint="f"), title="new")
    assert [*scores["disc"].values(), *scores["gen"].values()] == pytest.approx([0.8, 0.8])
    assert {name: stored[f"ume_{name}"] for name in gen} == gen
    assert (stored["ume_title"], stored["page_content"]) == ("new", "a k")
    stored, scores = write(embedding(gen=(0, 0, 1, 0), fingerprint="f", summary="anew"))
    assert [*scores["disc"].values(), *scores["gen"].values()] == pytest.approx([0.8, 0.6])
    assert stored["ume_summary"] == "anew"
    for changed in ({"fingerprint": "other"}, {"content": "v2", "fingerprint": "f"}):
        write(embedding((0, 0, 0, 1), (0, 0, 1, 0), fingerprint="f", summary="old"))
        content = changed.pop("content", "v1")
        stored, scores = write(embedding((0, 0, 0, 1), **changed), content)
        assert scores["gen"] == {}
        assert "ume_summary" not in stored


def test_delete(index):
    index.delete(["a.png", "absent"])
    index.delete(filter={"document": "b.pdf"})
    assert [hit.key for hit in index.scroll()] == ["c.mp4"]


def test_delete_refuses_to_empty_the_index_by_accident(index):
    from qdrant_client import models

    for arguments in ({}, {"keys": ["a"], "filter": {"kind": "page"}}, {"filter": {}},
                      {"filter": models.Filter()}, {"filter": models.Filter(must=[])}):  # fmt: skip
        with pytest.raises(ConfigError):
            index.delete(**arguments)
    index.delete([])
    assert index.count() == 4


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (Embedding(None, None), InputError),
        (Embedding(np.zeros(D, np.float32), None), InputError),
        (Embedding(np.array([1, np.nan, 0, 0], np.float32), None), InputError),
        (Embedding(None, unit(1, 2, 3)), IndexMismatch),
    ],
)
def test_vectors_that_no_search_could_use_are_refused(index, bad, error):
    with pytest.raises(error):
        index.upsert([document("x")], [bad])
    with pytest.raises(ValueError, match="zip"):
        index.upsert([document("x"), document("y")], [embedding((1, 0, 0, 0))])
    assert index.count() == 4


def test_queries_that_cannot_be_answered_are_refused(index):
    with pytest.raises(ConfigError, match="space='both'"):
        index.nearest(unit(1, 0, 0, 0), "both")
    with pytest.raises(ConfigError, match="limit=0"):
        index.nearest(unit(1, 0, 0, 0), "disc", 0)
    with pytest.raises(IndexMismatch, match=r"\(3,\).* 4 dimensions"):
        index.search([1, 0, 0], "disc")
    with pytest.raises(ConfigError, match="takes words"):
        index.nearest(unit(1, 0, 0, 0), "text")
    with pytest.raises(ConfigError, match="is no vector"):
        index.nearest(["a", "b", "c", "d"], "disc")
    with pytest.raises(ConfigError, match="missing='text'"):
        index.nearest(unit(1, 0, 0, 0), "disc", missing="text")
    with pytest.raises(ConfigError, match="space='text'"):
        list(index.lacking("text"))
    with pytest.raises(ConfigError, match="group_size=0"):
        index.nearest_groups(unit(1, 0, 0, 0), "disc", group_size=0)


def test_another_encoder_is_refused_by_name_of_field(tmp_path):
    QdrantIndex(tmp_path, fingerprint=FINGERPRINT).close()
    other = {**FINGERPRINT, "weights": "f" * 8, "protocol": "1", "revision": "2", "model": "renamed"}
    with pytest.raises(IndexMismatch) as caught:
        QdrantIndex(tmp_path, fingerprint=other)
    message = str(caught.value)
    assert "weights: stored '00000000', this encoder 'ffffffff'" in message
    assert "protocol: stored 'nothing', this encoder '1'" in message
    # What a model is called is for people; its weights decide.
    assert "model:" not in message
    assert "revision:" not in message
    assert "index again into another collection" in message
    with pytest.raises(IndexMismatch, match="4 dimensions, the encoder gives 8"):
        QdrantIndex(tmp_path, fingerprint={**FINGERPRINT, "dimension": 8})
    # Neither attempt left the folder locked.
    QdrantIndex(tmp_path, fingerprint=FINGERPRINT).close()


def test_a_writer_must_think_alike_a_reader_need_not(tmp_path):
    less = {**FINGERPRINT, "think": "none"}
    with QdrantIndex(tmp_path, fingerprint=FINGERPRINT) as index:
        index.check(less)
        with pytest.raises(IndexMismatch, match="think"):
            index.check(less, ignore=())
    with pytest.raises(IndexMismatch, match="think"):
        QdrantIndex(tmp_path, fingerprint=less)


def test_a_fingerprint_survives_as_json(tmp_path):
    odd = {**FINGERPRINT, "sizes": (1, 2), "revision": None}
    QdrantIndex(tmp_path, fingerprint=odd).close()
    QdrantIndex(tmp_path, fingerprint=odd).close()


def test_a_foreign_collection_is_refused():
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    size = models.VectorParams(size=D, distance=models.Distance.COSINE)
    words = models.SparseVectorParams(modifier=models.Modifier.IDF)
    ours = {"ume_schema": 2, "ume_fingerprint": FINGERPRINT}
    euclid = models.VectorParams(size=D, distance=models.Distance.EUCLID)
    for name, vectors, sparse, metadata, message in [
        ("foreign", {"disc": size, "gen": size}, words, None, "not made by this package"),
        ("unnamed", size, words, ours, "not disc and gen"),
        ("partial", {"disc": size}, words, ours, "not disc and gen"),
        ("wordless", {"disc": size, "gen": size}, None, ours, "a sparse text"),
        ("plain", {"disc": size, "gen": size}, models.SparseVectorParams(), ours, "IDF"),
        ("euclid", {"disc": size, "gen": euclid}, words, ours, "cosine"),
        ("future", {"disc": size, "gen": size}, words, {**ours, "ume_schema": 99}, "version 99"),
    ]:
        client.create_collection(
            f"{name}--1",
            vectors_config=vectors,
            sparse_vectors_config=sparse and {"text": sparse},
            metadata=metadata,
        )
        alias = models.CreateAlias(alias_name=name, collection_name=f"{name}--1")
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
        with pytest.raises(IndexMismatch, match=message):
            QdrantIndex(client=client, collection=name)
    client.create_collection("bare", vectors_config={"disc": size, "gen": size})
    with pytest.raises(IndexMismatch, match="'bare' was not made by this package"):
        QdrantIndex(client=client, collection="bare", fingerprint=FINGERPRINT)
    client.close()


def test_embeddings_are_not_changed_by_upserting(index):
    before = embedding((3, 1, 2, 0))
    kept = before.disc.copy()
    index.upsert([document("z")], [before])
    assert (before.disc == kept).all()


def test_a_batch_of_queries_is_answered_like_each_of_them(index):
    queries = [(unit(1, 2, 0, 0), "disc"), ("b.pdf", "text"), ("", "text"), (unit(0, 1, 0, 0), "gen")]
    for filter in (None, {"kind": ["page", "clip"]}):
        found = index.nearest_batch(queries, 3, filter)
        assert found == [index.nearest(query, space, 3, filter) for query, space in queries]
        assert found[2] == {}
        assert all(found[at] for at in (0, 1, 3))
    assert index.nearest_batch([("?", "text")]) == [{}]
    assert index.nearest_batch([]) == []


def test_groups_are_led_by_their_best(index):
    query = unit(0, 1, 1, 0)
    ids = {key: point_id(key) for key in ("a.png", "b.pdf#page=1", "b.pdf#page=2", "c.mp4")}
    assert list(index.nearest_groups(query, "disc")) == [ids["b.pdf#page=2"], ids["a.png"]]
    two = index.nearest_groups(query, "disc", 1, group_size=2)
    assert list(two) == [ids["b.pdf#page=2"], ids["b.pdf#page=1"]]
    assert two == pytest.approx(index.scores(query, "disc", two))
    kinds = index.nearest_groups("b.pdf c.mp4 a.png", "text", 9, group_by="kind")
    assert kinds.keys() - set(ids.values()) == set()
    assert len(kinds) == 3
    assert index.nearest_groups("...", "text") == {}


def test_what_has_no_gen_is_found_apart(index):
    query = unit(1, 0, 1, 0)
    assert list(index.nearest(query, "disc", 9, missing="gen")) == [point_id("b.pdf#page=2")]
    assert index.nearest(query, "disc", 9, {"kind": "image"}, missing="gen") == {}
    assert list(index.nearest("pdf", "text", missing="gen")) == [point_id("b.pdf#page=2")]
    assert [hit.key for hit in index.lacking("gen")] == ["b.pdf#page=2"]
    assert [hit.key for hit in index.lacking("disc")] == ["c.mp4"]
    assert list(index.lacking("gen", {"kind": "clip"})) == []
    index.upsert([document(f"d{n}") for n in range(5)], [embedding((1, 0, 0, n)) for n in range(5)])
    assert len(list(index.lacking("gen"))) == 6
    assert len(list(index.lacking("gen", limit=2))) == 2


def test_a_half_written_point_counts_as_lacking(index):
    id = point_id("b.pdf#page=2")
    from qdrant_client import models

    vectors = models.PointVectors(id=id, vector={"gen": [1.0, 0.0, 0.0, 0.0]})
    index.share_client().update_vectors(index.collection, points=[vectors])
    assert index.coverage()["gen"] == 4
    assert [hit.id for hit in index.lacking("gen")] == [id]


def test_what_is_stored_is_told_without_vectors(index):
    index.upsert(
        [page(3, content_hash="h3"), document("b.pdf2", content_hash="h4")],
        [embedding((1, 0, 0, 0), (1, 0, 0, 0), fingerprint="f"), embedding((1, 0, 0, 0), fingerprint="f")],
    )
    found = index.stored(["b.pdf#page=3", "absent", "b.pdf2", "c.mp4"])
    assert found == {
        "b.pdf#page=3": Stored(
            point_id("b.pdf#page=3"),
            "b.pdf#page=3",
            "b.pdf",
            "h3",
            frozenset({"disc", "gen", "text"}),
            "f",
            "f",
        ),
        "b.pdf2": Stored(point_id("b.pdf2"), "b.pdf2", "b.pdf2", "h4", frozenset({"disc", "text"}), "f"),
        "c.mp4": Stored(point_id("c.mp4"), "c.mp4", "c.mp4", spaces=frozenset({"gen", "text"})),
    }
    assert {part.key for part in index.stored_parts("b.pdf")} == {f"b.pdf#page={n}" for n in (1, 2, 3)}
    assert index.stored_parts("b") == []


def test_a_collection_says_whether_it_keeps_reasonings(tmp_path):
    made = embedding((1, 0, 0, 0), (1, 0, 0, 0), reasoning="zebra stripes", summary="an animal")
    with QdrantIndex(tmp_path, fingerprint=FINGERPRINT, store_reasoning=False) as index:
        assert index.info().store_reasoning is False
    # Whoever writes later need not know.
    with QdrantIndex(tmp_path, fingerprint=FINGERPRINT) as index:
        index.upsert([document("z")], [made])
        (hit,) = index.retrieve(["z"])
        assert "ume_reasoning" not in hit.payload
        assert "zebra" not in json.dumps(hit.payload)
        assert index.nearest("zebra", "text") == {}
        assert list(index.nearest("animal", "text")) == [hit.id]
        assert index.for_tenant("a").store_reasoning is False
        after = index.build_next({**FINGERPRINT, "model": "next"})
        assert after.store_reasoning is False
        after = index.build_next({**FINGERPRINT, "weights": "f" * 8}, store_reasoning=True)
        after.upsert([document("z")], [made])
        assert list(after.nearest("zebra", "text")) == [hit.id]
        with pytest.raises(ConfigError, match="--3' keeps reasonings"):
            index.build_next({**FINGERPRINT, "weights": "f" * 8}, store_reasoning=False)
    with pytest.raises(ConfigError, match=r"leaves out reasonings.*leave store_reasoning= out.*reindex"):
        QdrantIndex(tmp_path, store_reasoning=True)
    assert QdrantIndex(":memory:", fingerprint=FINGERPRINT).store_reasoning is True
