"""Words of embedded collections: the answers are Qdrant's own, whatever was written and however often."""

import random

import pytest
from points import FINGERPRINT, document, embedding, unit

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.index import QdrantIndex, postings, sparse
from ume_r1_rag.index.payload import point_id
from ume_r1_rag.index.postings import Postings

WORDS = [f"w{n}" for n in range(60)]
QUERIES = ["w0", "w59 w58", "w5 nowhere w6 w7", " ".join(WORDS)]
FILTERS = [None, {"kind": ["image", "clip"], "owner": "o1"}]


def text(dice):
    # Few words are common and most are rare, as in any text.
    return " ".join(WORDS[min(int(dice.expovariate(0.12)), 59)] for _ in range(dice.randint(0, 30)))


def change(index, dice, times):
    """Writes, writes again and deletes at random."""
    for _ in range(times):
        keys = [f"k{dice.randint(0, 80)}" for _ in range(dice.randint(1, 6))]
        action = dice.random()
        if action < 0.7:
            documents = [
                document(
                    key,
                    kind=dice.choice(["page", "image", "clip"]),
                    title="",
                    text=text(dice),
                    document=f"d{dice.randint(0, 9)}",
                    metadata={"owner": f"o{dice.randint(0, 3)}"},
                )
                for key in dict.fromkeys(keys)
            ]
            index.upsert(documents, [embedding((1, 0, 0, dice.random()))] * len(documents))
        elif action < 0.95:
            index.delete(keys)
        else:
            index.delete(filter={"document": f"d{dice.randint(0, 9)}"})


def answers(index, ids):
    return [
        [
            index.nearest(query, "text", limit, filter),
            index.nearest(query, "text", limit, filter, missing="gen"),
            *index.nearest_batch(
                [(query, "text"), (unit(1, 0, 0, 0), "disc"), ("w9", "text")], limit, filter
            ),
            index.nearest_groups(query, "text", 3, "document", group_size, filter),
            index.scores(query, "text", ids),
        ]
        for query in QUERIES
        for filter in FILTERS
        for limit, group_size in ((3, 1), (200, 2))
    ]


def same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        for left, right in zip(one, other, strict=True):
            assert list(left.values()) == pytest.approx(list(right.values()), rel=1e-5)
            # Which of several equal ones come last is the store's whim.
            last = min(right.values(), default=0.0)
            assert all(left[id] == pytest.approx(right.get(id, last), rel=1e-5) for id in left)


@pytest.mark.parametrize("seed", range(2))
def test_answers_are_the_stores_own_after_any_changes(tmp_path, seed):
    dice = random.Random(seed)
    names = (None, "acme")[: 1 + seed]
    indexes = [QdrantIndex(tmp_path, fingerprint=FINGERPRINT, tenant=name) for name in names]
    ids = [point_id(f"k{n}", name) for n in range(80) for name in names]
    for _ in range(2):
        for index in indexes:
            change(index, dice, 12)
        ours = [answers(index, ids) for index in indexes]
        assert indexes[0]._connection.postings.keys() == {"ume_r1--1"}
        # The same questions to an index that does not trust its client's postings.
        held = indexes[0]._connection.holder.postings
        indexes[0]._connection.holder.postings = None
        for index, found in zip(indexes, ours, strict=True):
            same(found, answers(index, ids))
        indexes[0]._connection.holder.postings = held
    for index in indexes:
        index.close()


@pytest.mark.parametrize("foreign", [["acme"], {"acme": 1}, 7, "", None])
def test_a_foreign_owner_is_nobodys_key_to_a_tenants_words(tmp_path, foreign):
    """Others may have written anything into a collection before it was opened."""
    with QdrantIndex(tmp_path, fingerprint=FINGERPRINT, tenant="acme") as index:
        index.upsert([document("a", text="apple")], [embedding((1, 0, 0, 0))])
        client = index._connection.client
        client.set_payload(index.physical, {"ume_tenant": foreign}, [point_id("a", "acme")])
        index.upsert([document("b", text="apple")], [embedding((1, 0, 0, 0))])
    with QdrantIndex(tmp_path, tenant="acme") as index, QdrantIndex(tmp_path) as nobody:
        assert list(index.nearest("apple", "text")) == [point_id("b", "acme")]
        assert len(nobody.nearest("apple", "text")) == (foreign is None)
        assert index._connection.postings


def test_a_view_for_another_tenant_takes_nothing_away():
    with QdrantIndex(":memory:", fingerprint=FINGERPRINT) as index:
        index.upsert([document("a", text="apple")], [embedding((1, 0, 0, 0))])
        index.nearest("apple", "text")
        after = index.build_next({**FINGERPRINT, "weights": "f" * 8})
        own = after.for_tenant("acme")
        assert (own.physical, own.tenant, own.storage) == (after.physical, "acme", after.storage)
        own.upsert([document("a", text="apple")], [embedding((1, 0, 0, 0))])
        assert list(own.nearest("apple", "text")) == [point_id("a", "acme")]
        assert (index.count(), after.count(), index.for_tenant("acme").count()) == (1, 0, 0)
        assert index._connection.postings.keys() == {"ume_r1--1", "ume_r1--2"}
        with pytest.raises(ConfigError, match="names no tenant"):
            index.for_tenant(" ")


def test_whoever_takes_the_client_gets_the_stores_own_answers():
    from qdrant_client import models

    with QdrantIndex(":memory:", fingerprint=FINGERPRINT) as index:
        index.upsert([document("a", text="apple")], [embedding((1, 0, 0, 0))])
        assert len(index.nearest("apple", "text")) == 1
        assert index._connection.postings
        client = index.share_client()
        assert index._connection.postings is None
        client.upsert(index.collection, [models.PointStruct(id=point_id("a"), vector={}, payload={})])
        assert index.nearest("apple", "text") == {}
        assert index._connection.postings is None


async def test_so_does_whoever_takes_the_async_client():
    with QdrantIndex(":memory:", fingerprint=FINGERPRINT) as index:
        index.upsert([document("a", text="apple")], [embedding((1, 0, 0, 0))])
        assert len(index.nearest("apple", "text")) == 1
        await index.share_aclient().delete(index.collection, [point_id("a")])
        assert index.nearest("apple", "text") == {}


def test_a_client_from_elsewhere_is_never_trusted():
    from qdrant_client import QdrantClient

    client = QdrantClient(":memory:")
    with QdrantIndex(client=client, fingerprint=FINGERPRINT) as index:
        index.upsert([document("a", text="apple")], [embedding((1, 0, 0, 0))])
        assert len(index.nearest("apple", "text")) == 1
        client.delete(index.collection, [point_id("a")])
        assert index.nearest("apple", "text") == {}
    client.close()


def test_indexes_of_one_folder_see_each_others_words(tmp_path):
    with QdrantIndex(tmp_path, fingerprint=FINGERPRINT) as one, QdrantIndex(tmp_path) as two:
        assert two.nearest("apple", "text") == {}
        one.upsert([document("a", text="apple")], [embedding((1, 0, 0, 0))])
        assert len(two.nearest("apple", "text")) == 1
        after = one.build_next({**FINGERPRINT, "weights": "f" * 8})
        after.upsert([document("a", text="pear")], [embedding((1, 0, 0, 0))])
        assert two.nearest("pear", "text") == {}
        assert len(after.nearest("pear", "text")) == 1
        one.make_live(after)
        after.upsert([document("b", text="pear")], [embedding((1, 0, 0, 0))])
        assert len(one.nearest("pear", "text")) == 2


def test_a_write_that_fails_leaves_nothing_stale(tmp_path, monkeypatch):
    from qdrant_client import QdrantClient

    with QdrantIndex(tmp_path, fingerprint=FINGERPRINT) as index:
        index.upsert([document("a", text="apple")], [embedding((1, 0, 0, 0))])
        assert len(index.nearest("apple", "text")) == 1
        upsert = QdrantClient.upsert

        def half(self, name, points, **options):
            upsert(self, name, points[:1], **options)
            raise KeyboardInterrupt

        monkeypatch.setattr(QdrantClient, "upsert", half)
        with pytest.raises(KeyboardInterrupt):
            index.upsert(
                [document("a", text="pear"), document("b", text="pear")], [embedding((1, 0, 0, 0))] * 2
            )
        monkeypatch.undo()
        assert index.nearest("apple", "text") == {}
        assert index.nearest("pear", "text").keys() == {point_id("a")}


def test_dead_rows_are_cleared_away(monkeypatch):
    monkeypatch.setattr(postings, "_PAGE", 7)
    with QdrantIndex(":memory:", fingerprint=FINGERPRINT) as index:
        index.upsert([document(f"k{n}", text="w0") for n in range(20)], [embedding((1, 0, 0, 0))] * 20)
        before = index.nearest("w0", "text", 99)
        assert len(before) == 20
        words = index._connection.postings["ume_r1--1"]
        for _ in range(60):
            index.upsert([document(f"k{n}", text="w0") for n in range(20)], [embedding((1, 0, 0, 0))] * 20)
        assert words.worn
        assert index.nearest("w0", "text", 99) == before
        assert index._connection.postings["ume_r1--1"] is not words


def test_nothing_has_no_scores():
    assert Postings().scores(sparse.query_vector("a b"), None) == {}
    with QdrantIndex(":memory:", fingerprint=FINGERPRINT) as index:
        assert index.nearest("a", "text") == {}
        assert index.nearest_groups("a", "text") == {}
        assert index.scores("a", "text", [point_id("a")]) == {}


@pytest.mark.parametrize("group_by", ["document", "owner", "page", "metadata.many", "key", "mixed", "absent"])
def test_groups_are_the_stores_own(group_by):
    dice = random.Random(4)
    with QdrantIndex(":memory:", fingerprint=FINGERPRINT) as index:
        documents = [
            document(
                f"k{n}",
                kind="page",
                page=n % 4,
                document=f"d{n % 7}",
                text=text(dice),
                metadata={
                    "owner": f"o{n % 3}",
                    "many": ["a", f"m{n % 5}"][: n % 3],
                    "mixed": [None, True, "x", 1.5, ["x", True], 3][n % 6],
                },
            )
            for n in range(60)
        ]
        made = [embedding([dice.gauss(0, 1) for _ in range(4)]) for _ in documents]
        index.upsert(documents, made)
        path = {"document": "ume_document", "page": "ume_page", "key": "ume_key"}.get(
            group_by, group_by if "." in group_by else f"ume_metadata.{group_by}"
        )
        for query, space, asked in (
            (unit(1, 1, 1, 1), "disc", unit(1, 1, 1, 1).tolist()),
            ("w0 w1 w2", "text", sparse.query_vector("w0 w1 w2")),
        ):
            for limit, size in ((1, 1), (3, 2), (100, 100)):
                ours = index.nearest_groups(query, space, limit, group_by, size)
                theirs = index._client.query_points_groups(
                    "ume_r1", group_by=path, query=asked, using=space, limit=limit, group_size=size
                ).groups
                assert ours == pytest.approx({p.id: p.score for g in theirs for p in g.hits}, rel=1e-5)
                assert list(ours.values()) == sorted(ours.values(), reverse=True)
