"""What is stored and found is the same embedded, over loopback and on a server; see ``stores.py``."""

import math

import pytest
from points import FINGERPRINT, D, document, embedding, unit
from qdrant_client import models

from ume_r1_rag.errors import ConfigError, IndexMismatch, IndexRetired
from ume_r1_rag.index import Storage
from ume_r1_rag.index import payload as payloads
from ume_r1_rag.index.payload import point_id

pytestmark = pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")

NEXT = {**FINGERPRINT, "weights": "f" * 8, "model": "next"}
QUERY = unit(1, 2, 0, 0)


def keys(hits):
    return [hit.key for hit in hits]


def test_a_collection_is_made_once_and_found_again(store):
    made = store.filled()
    found = store.open()
    assert found.info() == made.info()
    info = found.info()
    assert (info.points, info.dimension, info.schema) == (4, D, 2)
    assert (info.physical, info.collection) == (f"{store.prefix}_papers--1", f"{store.prefix}_papers")
    assert (info.fingerprint, info.storage, info.deferred) == (FINGERPRINT, Storage(), False)
    assert info.embedded == (store.kind == "embedded")
    assert info.coverage == {"disc": 3, "gen": 3, "text": 4}
    # By its name it is found by those, too, who know nothing of versions.
    assert found.share_client().count(found.collection).count == 4
    with pytest.raises(ConfigError, match="no collection"):
        store.open("absent")


def test_another_encoder_and_another_shape_are_refused(store):
    store.filled()
    with pytest.raises(IndexMismatch, match="weights: stored '00000000', this encoder 'ffffffff'"):
        store.open(fingerprint=NEXT)
    with pytest.raises(IndexMismatch, match="4 dimensions, the encoder gives 8"):
        store.open(fingerprint={**FINGERPRINT, "dimension": 8})
    with pytest.raises(ConfigError, match="datatype: stored 'float32', given 'float16'"):
        store.open(storage=Storage(datatype="float16"))


def test_what_is_written_is_what_is_read(store):
    index = store.open(fingerprint=FINGERPRINT)
    odd = document(
        "Ordner/ü \u202e\x00 \U0001f600.pdf#page=3",
        kind="page",
        page=3,
        document="Ordner/ü.pdf",
        text="naïve Æther 東京 3.14",
        content_hash="h",
        thumbnail=bytes(range(256)),
        metadata={"none": None, "list": [1, 2.5, "x", True], "deep": {"a": {"b": 2**53}}, "": "empty"},
    )
    made = embedding((3, 1, 2, 0), (0, 1, 0, 0), reasoning="r\n" * 9, summary="s", fingerprint="f")
    index.upsert([odd], [made])
    (hit,) = index.retrieve([odd.key])
    expected = payloads.build(odd, made, point_id(odd.key))
    assert hit.payload == {**expected, "ume_spaces": ["disc", "gen", "text"]}
    record = index.records([hit.id], vectors=True)[hit.id]
    assert record.vector["disc"] == pytest.approx(unit(3, 1, 2, 0).tolist(), abs=1e-6)
    assert len(record.vector["text"].indices) == len(set(record.vector["text"].indices)) > 5


def test_what_is_stored_is_told_by_key_and_by_file(store):
    index = store.filled()
    stored = index.stored(["b.pdf#page=2", "absent", "c.mp4"])
    assert {key: sorted(one.spaces) for key, one in stored.items()} == {
        "b.pdf#page=2": ["disc", "text"],
        "c.mp4": ["gen", "text"],
    }
    assert {one.key for one in index.stored_parts("b.pdf")} == {"b.pdf#page=1", "b.pdf#page=2"}
    assert keys(index.retrieve(["c.mp4", "absent", "a.png"])) == ["c.mp4", "a.png"]
    assert keys(index.lacking("gen")) == ["b.pdf#page=2"]
    assert keys(index.lacking("disc")) == ["c.mp4"]
    many = [document(f"m{n}") for n in range(600)]
    index.upsert(many, [embedding((1, 0, 0, n)) for n in range(600)])
    ids = [hit.id for hit in index.scroll(fields=["ume_key"])]
    assert len(ids) == 604
    assert ids == sorted(ids)
    assert len(index.scores(QUERY, "disc", ids)) == 603


def test_an_unchanged_document_keeps_the_vector_that_is_not_made_again(store):
    index = store.open(fingerprint=FINGERPRINT)
    made = embedding((1, 0, 0, 0), (0, 0, 3, 4), reasoning="long", summary="kept", fingerprint="f")
    index.upsert([document("k", content_hash="h")], [made])
    index.upsert([document("k", content_hash="h")], [embedding((0, 1, 0, 0), fingerprint="f")])
    (hit,) = index.search(unit(0, 0, 0, 1), "gen")
    assert hit.score == pytest.approx(0.8)
    assert (hit.payload["ume_summary"], index.count()) == ("kept", 1)
    index.upsert([document("k", content_hash="other")], [embedding((0, 1, 0, 0), fingerprint="f")])
    assert index.coverage() == {"disc": 1, "gen": 0, "text": 1}


def test_gen_is_added_to_what_has_not_changed_and_to_nothing_else(store):
    index = store.open(fingerprint=FINGERPRINT)
    names = ("kept", "changed", "deleted")
    index.upsert(
        [document(name, content_hash="h") for name in names], [embedding((1, 0, 0, 0), fingerprint="f")] * 3
    )
    stored = index.stored(names)
    index.upsert([document("changed", content_hash="h2")], [embedding((0, 1, 0, 0), fingerprint="f")])
    index.delete(["deleted"])
    generated = embedding((0, 0, 0, 1), (0, 1, 0, 0), summary="zebra", reasoning="why", fingerprint="f")
    pairs = [(stored[name], generated) for name in names]
    for _ in range(2):  # the second time changes nothing
        assert index.write_gen(pairs) == 1
        assert index.coverage() == {"disc": 2, "gen": 1, "text": 2}
        (hit,) = index.search("zebra", "text")
        assert (hit.key, hit.payload["ume_summary"], hit.payload["ume_reasoning"]) == ("kept", "zebra", "why")
        # The disc vector is the stored one, not that of the embedding that brought gen.
        assert index.search(unit(1, 0, 0, 0), "disc", 1)[0].score == pytest.approx(1.0)


@pytest.mark.parametrize("store", ["loopback", "server"], indirect=True)
def test_a_change_between_reading_and_writing_is_not_overwritten(store, monkeypatch):
    """A server must decide it in one step, as others write to it meanwhile; embedded, a lock does."""
    index, other = store.open(fingerprint=FINGERPRINT), store.open()
    names = ("changed", "deleted", "kept")
    index.upsert(
        [document(n, content_hash="h") for n in names], [embedding((1, 0, 0, 0), fingerprint="f")] * 3
    )
    stored = index.stored(names)
    own = index._write

    def late(points, **options):
        other.upsert([document("changed", content_hash="h2")], [embedding((0, 1, 0, 0), fingerprint="f")])
        other.delete(["deleted"])
        own(points, **options)

    monkeypatch.setattr(index, "_write", late)
    pairs = [(stored[n], embedding(gen=(0, 0, 1, 0), fingerprint="f")) for n in names]
    assert index.write_gen(pairs) == 1
    assert {key: one.content_hash for key, one in other.stored(names).items()} == {
        "changed": "h2",
        "kept": "h",
    }
    assert keys(other.lacking("gen")) == ["changed"]


@pytest.mark.parametrize("store", ["loopback", "server"], indirect=True)
def test_a_write_that_a_swap_overtakes_is_not_confirmed(store, monkeypatch):
    """Embedded, the lock keeps a swap out of a batch."""
    index, other = store.filled(), store.open()
    after = other.build_next(NEXT)
    own = index._write

    def late(points, **options):
        own(points, **options)
        other.make_live(after)

    monkeypatch.setattr(index, "_write", late)
    with pytest.raises(IndexRetired, match="open the collection again"):
        index.upsert([document("late")], [embedding((1, 0, 0, 0))])


def test_each_space_is_searched_best_first(store):
    index = store.filled()
    hits = index.search(unit(1, 0, 0, 0), "disc")
    assert keys(hits) == ["a.png", "b.pdf#page=1", "b.pdf#page=2"]
    assert [hit.score for hit in hits] == pytest.approx([1.0, 2**-0.5, 0.0], abs=1e-6)
    assert keys(index.search([1, 0, 0, 0], "gen", 2)) == ["b.pdf#page=1", "c.mp4"]
    assert keys(index.search("thinking", "text")) == ["a.png"]
    assert keys(index.search("C.MP4", "text")) == ["c.mp4"]
    assert index.search("absent", "text") == index.search("?", "text") == []
    assert list(index.nearest(QUERY, "disc", missing="gen")) == [point_id("b.pdf#page=2")]
    assert index.nearest(QUERY, "disc", filter={"kind": "image"}, missing="gen") == {}


def test_a_word_weighs_by_how_rare_it_is(store):
    index = store.open(fingerprint=FINGERPRINT)
    titles = {"one": "rare common", "two": "common", "three": "common plain"}
    index.upsert([document(k, title=t) for k, t in titles.items()], [embedding((1, 0, 0, 0))] * 3)
    (id,) = index.nearest("rare", "text")
    assert id == point_id("one")
    # BM25 with k1 = 1.2, b = 0.75 and a mean length of 256 words, by hand.
    term = 2.2 / (1 + 1.2 * (0.25 + 0.75 * 2 / 256))
    rare, common = (math.log(1 + (3 - n + 0.5) / (n + 0.5)) for n in (1, 3))
    assert index.nearest("rare common", "text")[id] == pytest.approx(term * (rare + common), rel=1e-5)
    scores = index.scores("rare", "text", [point_id(key) for key in (*titles, "absent")])
    assert scores == pytest.approx({id: term * rare, point_id("two"): 0.0, point_id("three"): 0.0}, rel=1e-5)


def test_scores_are_exact_and_leave_out_what_has_no_vector(store):
    index = store.filled()
    ids = [point_id(key) for key in ("b.pdf#page=1", "b.pdf#page=2", "c.mp4", "absent")]
    expected = {ids[0]: float(QUERY @ unit(1, 1, 0, 0)), ids[1]: 0.0}
    assert index.scores(QUERY, "disc", ids) == pytest.approx(expected, abs=1e-6)
    assert index.scores(QUERY, "gen", []) == {}


def test_a_batch_is_answered_like_each_of_its_queries(store):
    index = store.filled()
    queries = [(QUERY, "disc"), ("b.pdf", "text"), ("", "text"), (unit(0, 1, 0, 0), "gen")]
    for filter in (None, {"kind": ["page", "clip"]}):
        found = index.nearest_batch(queries, 3, filter)
        expected = [index.nearest(query, space, 3, filter) for query, space in queries]
        assert [list(one) for one in found] == [list(one) for one in expected]
        assert all(a == pytest.approx(b) for a, b in zip(found, expected, strict=True))
        assert (found[2], all(found[at] for at in (0, 1, 3))) == ({}, True)


def test_groups_are_led_by_their_best(store):
    index = store.filled()
    query = unit(0, 1, 1.5, 0)
    second, first, image = (point_id(key) for key in ("b.pdf#page=2", "b.pdf#page=1", "a.png"))
    assert list(index.nearest_groups(query, "disc")) == [second, image]
    assert list(index.nearest_groups(query, "disc", 1, group_size=2)) == [second, first]
    assert len(index.nearest_groups("b.pdf c.mp4 a.png", "text", 9, group_by="kind")) == 3
    assert list(index.nearest_groups(query, "disc", filter={"page": [1]})) == [first]


def test_filters(store):
    index = store.filled()
    pages = ["b.pdf#page=1", "b.pdf#page=2"]
    gte = models.FieldCondition(key="ume_page", range=models.Range(gte=2))
    for filter, expected in [
        ({"kind": "page"}, pages),
        ({"kind": ["clip", "image"]}, ["a.png", "c.mp4"]),
        ({"document": "b.pdf", "page": 2}, pages[1:]),
        ({"page": [1, "x", 2]}, pages),
        ({"lang": "de"}, pages[1:]),
        ({"metadata.lang": "de"}, pages[1:]),
        ({"page": None}, ["a.png", "c.mp4"]),
        ({"kind": []}, []),
        ({"span_s": 2.0}, ["c.mp4"]),
        ({"spaces": "gen"}, ["a.png", "b.pdf#page=1", "c.mp4"]),
        ({"title": "a.png"}, ["a.png"]),
        (models.Filter(must=[gte]), pages[1:]),
        (models.Filter(must_not=[gte]), ["a.png", "b.pdf#page=1", "c.mp4"]),
    ]:
        assert sorted(keys(index.scroll(filter))) == expected, filter
        assert index.count(filter) == len(expected)
        assert set(keys(index.search(QUERY, "disc", filter=filter))) == set(expected) - {"c.mp4"}


def test_deletion(store):
    index = store.filled()
    index.delete(["a.png", "absent"])
    index.delete(filter={"document": "b.pdf"})
    assert keys(index.scroll()) == ["c.mp4"]
    assert index.nearest(QUERY, "disc") == {}


def test_tenants_are_kept_apart(store):
    one, two, nobody = (store.open(fingerprint=FINGERPRINT, tenant=name) for name in ("one", "two", None))
    for index, count in ((one, 1), (two, 2), (nobody, 3)):
        documents = [document(f"d{n}", title=f"word w{count}", content_hash="h") for n in range(count)]
        index.upsert(documents, [embedding((1, n, 0, 0), fingerprint="f") for n in range(count)])
        index.side_collection("notes").put({"note": {"of": str(count)}})
    before = one.nearest("word", "text")
    two.upsert([document(f"x{n}", title="word") for n in range(9)], [embedding((1, 0, 0, 0))] * 9)
    assert one.nearest("word", "text") == pytest.approx(before)  # rarity is counted among one's own
    theirs = [hit.id for hit in two.scroll()]
    assert len(theirs) == 11
    assert [index.count() for index in (one, two, nobody)] == [1, 11, 3]
    assert [len(index.nearest(QUERY, "disc", 99)) for index in (one, two, nobody)] == [1, 11, 3]
    assert list(one.nearest("w1 w2 w3", "text")) == [point_id("d0", "one")]
    assert len(nobody.nearest_groups(QUERY, "disc", 99, "key", filter={"tenant": "two"})) == 0
    assert one.read(dict.fromkeys(theirs, 1.0)) == []
    assert one.scores(QUERY, "disc", theirs) == {}
    assert (
        one.write_gen(
            [(s, embedding(gen=(0, 0, 1, 0), fingerprint="f")) for s in two.stored(["d0"]).values()]
        )
        == 0
    )
    one.delete(filter={"content_hash": "h"})
    assert [index.count() for index in (one, two, nobody)] == [0, 11, 3]
    assert [dict(index.side_collection("notes").items()) for index in (one, two, nobody)] == [
        {"note": {"of": "1"}},
        {"note": {"of": "2"}},
        {"note": {"of": "3"}},
    ]
    assert nobody.tenants() == ["two"]
