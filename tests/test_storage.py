"""Storage: what a server is told, what is recorded, and what it takes in bytes."""

import json
import logging
import warnings

import numpy as np
import pytest
from points import CORPUS, FINGERPRINT, D, document, embedding, unit

from ume_r1_rag.errors import ConfigError, InputError
from ume_r1_rag.index import QdrantIndex, Storage, reading, schema, writing
from ume_r1_rag.index.connection import Connection
from ume_r1_rag.retriever import Retriever

SMALL = Storage(
    "float16", "int8", oversampling=3.0, on_disk=True, hnsw_m=32, hnsw_ef_construct=200, hnsw_ef=128,
    shard_number=6, replication_factor=2,
)  # fmt: skip


class Watched:
    """A client that notes what it is asked; the answers are embedded Qdrant's."""

    def __init__(self, client):
        self._client = client
        self.calls = []

    def __getattr__(self, name):
        found = getattr(self._client, name)
        if not callable(found):
            return found

        def call(*args, **kwargs):
            self.calls.append((name, args, kwargs))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of all that embedded Qdrant does without
                return found(*args, **kwargs)

        return call

    def asked(self, name):
        return [kwargs for called, _, kwargs in self.calls if called == name]


@pytest.fixture
def serve(monkeypatch):
    """Makes an index that takes its client for a server's."""
    from qdrant_client import QdrantClient

    client = Watched(QdrantClient(":memory:"))
    monkeypatch.setattr(
        "ume_r1_rag.index.qdrant.connect", lambda *_: Connection(client, "http://server", embedded=False)
    )
    return lambda **options: QdrantIndex(url="http://server", **{"fingerprint": FINGERPRINT, **options})


def test_a_server_is_told_how_to_store(serve):
    from qdrant_client import models

    client = serve(storage=SMALL).share_client()
    (asked,) = client.asked("create_collection")
    assert asked["shard_number"] == 6
    assert asked["replication_factor"] == 2
    for space in ("disc", "gen"):
        params = asked["vectors_config"][space]
        assert (params.size, params.distance, params.datatype) == (
            D,
            models.Distance.COSINE,
            models.Datatype.FLOAT16,
        )
        assert params.on_disk is True
        assert (params.hnsw_config.m, params.hnsw_config.ef_construct) == (32, 200)
        assert params.quantization_config.scalar.type == models.ScalarType.INT8
        assert params.quantization_config.scalar.always_ram is True
    words = asked["sparse_vectors_config"]["text"]
    assert (words.modifier, words.index.on_disk) == (models.Modifier.IDF, True)
    indexes = {args[1]: args[2] for name, args, _ in client.calls if name == "create_payload_index"}
    assert indexes.keys() == {"ume_tenant", *schema.INDEXED}
    assert indexes["ume_tenant"].is_tenant is True
    assert indexes["ume_page"] == models.PayloadSchemaType.INTEGER


def test_by_default_a_server_decides(serve):
    (asked,) = serve().share_client().asked("create_collection")
    for params in asked["vectors_config"].values():
        assert params.model_dump(exclude_none=True).keys() == {"size", "distance"}
    assert asked["shard_number"] is asked["replication_factor"] is None


def test_binary_quantization_is_passed_on(serve):
    (asked,) = serve(storage=Storage(quantization="binary")).share_client().asked("create_collection")
    assert asked["vectors_config"]["gen"].quantization_config.binary.always_ram is True


def test_searches_rescore_and_exact_ones_go_round_the_small_copy(serve):
    index = serve(storage=SMALL)
    index.upsert(*zip(*CORPUS, strict=True))
    query = unit(1, 0, 0, 0)
    ids = list(index.nearest(query, "disc"))
    index.nearest_groups(query, "disc")
    index.nearest_batch([(query, "disc"), ("pdf", "text")])
    index.scores(query, "disc", ids)
    queried, exact = (one["search_params"] for one in index.share_client().asked("query_points"))
    (grouped,) = index.share_client().asked("query_points_groups")
    batch = next(args[1] for name, args, _ in index.share_client().calls if name == "query_batch_points")
    for params in (queried, grouped["search_params"], batch[0].params):
        assert (params.hnsw_ef, params.quantization.rescore, params.quantization.oversampling) == (
            128,
            True,
            3.0,
        )
    assert (exact.exact, exact.quantization.ignore) == (True, True)
    rough = Storage(**{**SMALL.to_metadata(), "rescore": False}).search_params()
    assert (rough.quantization.rescore, rough.quantization.oversampling) == (False, None)
    assert Storage().search_params() is None
    assert Storage(hnsw_ef=64).search_params().hnsw_ef == 64


def test_storage_is_recorded_and_found_again(tmp_path):
    with QdrantIndex(tmp_path, fingerprint=FINGERPRINT, storage=SMALL) as index:
        assert index.info().storage == SMALL
    with QdrantIndex(tmp_path) as index:
        assert index.storage == SMALL
        after = index.build_next({**FINGERPRINT, "weights": "x"})
        assert after.storage == SMALL
        other = index.build_next({**FINGERPRINT, "weights": "y"}, Storage("float16"))
        assert other.storage == Storage("float16")
    # How to search is each reader's own; how it is stored is not.
    quick = Storage(**{**SMALL.to_metadata(), "rescore": False, "hnsw_ef": 16})
    with QdrantIndex(tmp_path, storage=quick) as index:
        assert index.storage == quick
    with pytest.raises(ConfigError, match=r"quantization: stored 'int8', given None\).*reindex"):
        QdrantIndex(tmp_path, storage=Storage(**{**SMALL.to_metadata(), "quantization": None}))


def test_embedded_qdrant_says_once_what_it_does_without(tmp_path, caplog):
    mine = Storage(on_disk=True, hnsw_m=7)
    with caplog.at_level(logging.WARNING), warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("a", "b"):
            with QdrantIndex(tmp_path, collection=name, fingerprint=FINGERPRINT, storage=mine) as index:
                index.upsert(*zip(*CORPUS, strict=True))
                index.nearest(unit(1, 0, 0, 0), "disc")
        QdrantIndex(tmp_path, collection="c", fingerprint=FINGERPRINT).close()
    (record,) = caplog.records
    assert "does without" in record.message
    assert "on_disk=True, hnsw_m=7" in record.message


@pytest.mark.parametrize(
    "options",
    [{"datatype": "uint8"}, {"quantization": "int4"}, {"oversampling": 0.5}, {"oversampling": float("nan")},
     {"hnsw_m": -1}, {"hnsw_ef_construct": 0}, {"hnsw_ef": 1.5}, {"shard_number": 0},
     {"replication_factor": True}],
)  # fmt: skip
def test_impossible_storage_is_refused(options):
    (name,) = options
    with pytest.raises(ConfigError, match=name):
        Storage(**options)


def test_unknown_settings_of_a_newer_version_are_passed_over():
    assert Storage.from_metadata({"datatype": "float16", "turbo": 4}) == Storage("float16")


def test_bytes_are_arithmetic():
    plain = Storage().bytes_per_point(1536, terms=100, payload=1000)
    vectors, links, words = 2 * 1536 * 4, 2 * 32 * 4, 100 * 8
    assert (plain.disk, plain.memory, plain.payload) == (
        vectors + links + 2 * words + 1000,
        vectors + links + words,
        1000,
    )
    small = Storage("float16", "int8", on_disk=True).bytes_per_point(1536, terms=100, payload=1000)
    assert small.disk == vectors // 2 + 2 * (1536 + 4) + links + 2 * words + 1000
    assert small.memory == 2 * (1536 + 4) + links
    binary = Storage(quantization="binary", on_disk=True, hnsw_m=0).bytes_per_point(3584, spaces=1)
    assert binary.memory == 3584 // 8
    assert Storage().bytes_per_point(3584, spaces=1).memory < Storage().bytes_per_point(3584).memory


def test_requests_stay_below_what_a_server_takes(serve, monkeypatch):
    index = serve()
    monkeypatch.setattr(writing, "REQUEST_BYTES", 80_000)
    texts = ["x" * size for size in (10, 9000, 9000, 9000, 10, 15_000, 10)]
    index.upsert(
        [document(f"t{n}", metadata={"t": t}) for n, t in enumerate(texts)], [embedding((1, 0, 0, 0))] * 7
    )
    sizes = [len(one["points"]) for one in index.share_client().asked("upsert")]
    assert sum(sizes) == index.count() == 7
    assert len(sizes) > 2
    for asked in index.share_client().asked("upsert"):
        sent = json.dumps(
            {"points": [point.model_dump(mode="json") for point in asked["points"]]}, ensure_ascii=False
        )
        assert len(sent.encode()) <= 80_000
    with pytest.raises(InputError, match=r"'huge' makes a point of about \d+ bytes.*split its text"):
        index.upsert(
            [document("fits"), document("huge", metadata={"t": "x" * 30_000})], [embedding((1, 0, 0, 0))] * 2
        )
    # All of a batch are looked at before the first is written.
    assert index.stored(["fits"]) == {}


def test_a_point_is_never_larger_than_it_is_held_to_be():
    from qdrant_client import models

    rng = np.random.default_rng(0)
    for text in ("plain", "日本語" * 50, '\U0001f600"\\\n' * 30, "\u2028\x7f"):
        words = models.SparseVector(indices=[2**32 - 1, 7], values=[1 / 3, -1e-30])
        vector = {"disc": rng.standard_normal(500).astype(np.float32).tolist(), "text": words}
        point = models.PointStruct(id="0" * 32, vector=vector, payload={"t": text})
        assert len(point.model_dump_json().encode()) <= writing.point_bytes(point)


def test_bulk_defers_the_graph_and_restores_it(serve):
    index = serve()
    client = index.share_client()
    before = client.get_collection(index.physical).config.optimizer_config.indexing_threshold

    def told():
        return [
            o.indexing_threshold
            for o in (kwargs.get("optimizers_config") for kwargs in client.asked("update_collection"))
            if o is not None
        ]

    with index.bulk():
        assert index.info().deferred
        index.upsert(*zip(*CORPUS, strict=True))
        assert told() == [0]
    assert told() == [0, before]
    assert not index.info().deferred
    with pytest.raises(RuntimeError, match="midway"), index.bulk():
        raise RuntimeError("midway")
    assert told() == [0, before] * 2
    # One that was killed has left its note; the next one restores what stood before both.
    client.update_collection(index.physical, metadata={writing.DEFERRED: 777})
    with index.bulk():
        pass
    assert told()[-1] == 777
    assert not index.info().deferred


def test_bulk_has_nothing_to_do_embedded():
    with QdrantIndex(":memory:", fingerprint=FINGERPRINT) as index, index.bulk():
        index.upsert(*zip(*CORPUS, strict=True))
        assert not index.info().deferred


def test_a_server_replaces_a_point_only_if_it_is_what_was_read(serve):
    index = serve()
    index.upsert([document("a", content_hash="h")], [embedding((1, 0, 0, 0), fingerprint="f")])
    index.write_gen([(index.stored(["a"])["a"], embedding(gen=(0, 1, 0, 0), fingerprint="f"))])
    asked = index.share_client().asked("upsert")[-1]
    assert asked["update_mode"] == "update_only"
    assert "'h'" in repr(asked["update_filter"])
    assert "ume_tenant" in repr(asked["update_filter"])
    assert index.coverage()["gen"] == 1


def test_whether_there_is_gen_is_asked_once_and_not_by_counting(serve, monkeypatch, make_encoder):
    encoder = make_encoder(dimension=D)
    index, other = serve(fingerprint=encoder.fingerprint), serve(fingerprint=encoder.fingerprint)
    names = ("one", "two")
    made = [encoder.encode_document(name, mode="disc") for name in names]
    index.upsert([document(name, content_hash="h") for name in names], made)
    client = index._client
    client.calls.clear()
    retriever = Retriever(encoder, index)
    for _ in range(3):
        assert "gen" not in retriever.search("one", mode="fused", k=1).spaces
    assert [asked["limit"] for asked in client.asked("scroll")] == [1]
    assert client.asked("count") == []
    stored = index.stored(names)
    both = encoder.encode_document("one", mode="both")
    assert index.write_gen([(stored["one"], both)]) == 1
    assert "gen" in retriever.search("one", mode="fused", k=1).spaces
    assert (index.has("gen"), index.has("text"), len(client.asked("scroll"))) == (True, True, 3)
    other.delete(["one"])
    assert index.has("gen"), "what another one has done is seen after a while"
    monkeypatch.setattr(reading, "HAS_S", -1.0)
    assert not index.has("gen")
    with pytest.raises(ConfigError, match="space='colour'"):
        index.has("colour")
