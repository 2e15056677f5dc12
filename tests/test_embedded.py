"""Vectors read from where embedded Qdrant holds them: the same as the client tells, and nobody else's."""

import numpy as np
import pytest
from points import CORPUS, FINGERPRINT, D, document, embedding, unit

from ume_r1_rag.index import QdrantIndex, embedded
from ume_r1_rag.index.payload import point_id

QUERY = unit(1, 2, 3, 4)


@pytest.fixture(params=["memory", "folder"])
def index(request, tmp_path):
    """A collection with points that were replaced and deleted, and more than a few of them."""
    place = ":memory:" if request.param == "memory" else tmp_path
    many = [document(f"m{number}") for number in range(300)]
    rng = np.random.default_rng(0)
    with QdrantIndex(place, fingerprint=FINGERPRINT) as index:
        index.upsert(*zip(*CORPUS, strict=True))
        index.upsert(many, (embedding(rng.normal(size=D), rng.normal(size=D)) for _ in many))
        index.upsert(many[:20], [embedding((1, 2, 0, number)) for number in range(20)])
        index.delete(f"m{number}" for number in range(20, 40))
        index.for_tenant("other").upsert([document("a.png")], [embedding((1, 1, 1, 1))])
        yield index


@pytest.mark.parametrize("space", ["disc", "gen"])
def test_what_is_taken_is_what_the_client_tells(index, space):
    ids = [hit.id for hit in index.scroll()]
    records = index.records(ids, fields=(), vectors=[space])
    told = {id: record.vector[space] for id, record in records.items() if space in record.vector}
    found, vectors = index.vectors(space, ids)
    assert vectors.dtype == np.float32
    assert dict(zip(found, vectors.tolist(), strict=True)) == told
    assert 0 < len(told) < len(ids)
    nearest = index.nearest(QUERY, space, len(ids))
    assert index.scores(QUERY, space, ids) == pytest.approx(nearest, abs=1e-6)
    # All of this came the direct way.
    assert embedded.take(index._client, index.physical, space, ids, lambda _: True) is not None


def test_the_client_tells_what_is_not_as_expected(index):
    known, gone = point_id("a.png"), point_id("m30")
    for ids in ([known, gone], [known.upper()], [known, "no id"]):
        assert index.vectors("disc", ids)[0] == [known]
    assert index.vectors("disc", []) == ([], pytest.approx(np.empty((0, D))))
    assert embedded.take(index._client, "absent", "disc", [], lambda _: True) is None
    assert embedded.take(index._client, index.physical, "other", [], lambda _: True) is None


def test_others_vectors_are_absent(index):
    theirs = [point_id("a.png", "other")]
    assert index.vectors("disc", theirs)[0] == []
    assert index.for_tenant("other").vectors("disc", theirs)[0] == theirs


def test_what_was_taken_does_not_change_with_the_store(index):
    ids = [point_id("a.png")]
    _, before = index.vectors("disc", ids)
    index.upsert([document("a.png")], [embedding((0, 0, 0, 1))])
    assert before.tolist() == [[1, 0, 0, 0]]
    assert index.vectors("disc", ids)[1].tolist() == [[0, 0, 0, 1]]
