"""Canaries: an encoder that computes something else than it did is noticed when it opens a collection."""

from __future__ import annotations

import httpx
import numpy as np
import pytest

from ume_r1_rag import CachedEncoder, QdrantIndex, RemoteEncoder, Retriever
from ume_r1_rag.errors import IndexMismatch
from ume_r1_rag.ingest import ingest, reindex, swap
from ume_r1_rag.server import create_app


@pytest.fixture
def files(tmp_path):
    (tmp_path / "note.txt").write_text("a red circle on the left")
    return tmp_path


def drifted(nano_encoder):
    """The same model, computing something else."""
    made = object.__new__(type(nano_encoder))
    made.__dict__.update(nano_encoder.__dict__)
    vectors = nano_encoder.canaries()
    made._canaries = {name: np.roll(one, 3) if "gen" in name else one for name, one in vectors.items()}
    return made


def test_a_collection_keeps_canaries_and_refuses_who_gives_others(store, nano_encoder, files):
    index = store.open("canaries", fingerprint=nano_encoder.fingerprint)
    assert index.canaries() == {}
    assert ingest(nano_encoder, index, [files / "note.txt"], mode="disc").indexed == 1
    kept = index.canaries()
    assert kept.keys() == {"text disc", "text gen", "picture disc", "picture gen"}
    for name, one in nano_encoder.canaries().items():
        assert one @ kept[name] > 0.9999
    Retriever(nano_encoder, index)
    with pytest.raises(IndexMismatch, match=r"gives another vector than it did then \(\w+ gen: cosine"):
        Retriever(drifted(nano_encoder), index)
    with pytest.raises(IndexMismatch, match="ume-r1 verify"):
        ingest(drifted(nano_encoder), index, [files / "note.txt"], mode="disc")


def test_a_cache_does_not_hide_it(nano_encoder, tmp_path):
    index = QdrantIndex(":memory:", fingerprint=nano_encoder.fingerprint)
    index.keep_canaries(nano_encoder.canaries())
    with (
        CachedEncoder(drifted(nano_encoder), tmp_path / "cache.sqlite") as cached,
        pytest.raises(IndexMismatch, match="another vector"),
    ):
        Retriever(cached, index)


def test_who_has_none_is_passed_over(make_encoder):
    index = QdrantIndex(":memory:", fingerprint=make_encoder().fingerprint)
    Retriever(make_encoder(), index)
    assert index.canaries() == {}


def test_a_reader_writes_nothing(nano_encoder):
    index = QdrantIndex(":memory:", fingerprint=nano_encoder.fingerprint)
    Retriever(nano_encoder, index)
    assert index.canaries() == {}


def test_a_reindex_leaves_canaries_with_the_new_version(nano_encoder, make_encoder, files):
    old = make_encoder()
    with QdrantIndex(":memory:", fingerprint=old.fingerprint) as index:
        ingest(old, index, files, "disc")
        reindex(index, nano_encoder)
        with pytest.raises(IndexMismatch, match="another vector"):
            reindex(index, drifted(nano_encoder))
        with pytest.raises(IndexMismatch, match="another vector"):
            swap(index, drifted(nano_encoder))
        swap(index, nano_encoder)
        assert index.canaries().keys() == nano_encoder.canaries().keys()
        with pytest.raises(IndexMismatch, match="another vector"):
            Retriever(drifted(nano_encoder), index)


def remote(encoder):
    return RemoteEncoder("http://localhost", transport=httpx.ASGITransport(create_app(encoder)))


def test_a_servers_encoder_has_the_canaries_of_its_model(nano_encoder, make_encoder, files):
    index = QdrantIndex(":memory:", fingerprint=nano_encoder.fingerprint)
    with remote(nano_encoder) as ours:
        ingest(ours, index, files, "disc")
    kept = index.canaries()
    assert kept.keys() == {"text disc", "text gen", "picture disc", "picture gen"}
    for name, one in nano_encoder.canaries().items():
        np.testing.assert_allclose(kept[name], one, atol=1e-3)
    Retriever(nano_encoder, index)
    for space in ("disc", "gen"):
        index.keep_canaries({**kept, f"picture {space}": np.roll(kept[f"picture {space}"], 3)})
        with remote(nano_encoder) as ours, pytest.raises(IndexMismatch, match=f"picture {space}: cosine"):
            Retriever(ours, index)
    with remote(make_encoder()) as another:
        assert another.canaries() == {}
        plain = QdrantIndex(":memory:", fingerprint=another.fingerprint)
        ingest(another, plain, files, "disc")
        assert plain.canaries() == {}
