"""Versions, bulk writing, threads and whole ingestions, in all the places of ``stores.py``."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image
from points import CORPUS, FINGERPRINT, document, embedding, page, unit

from ume_r1_rag.errors import ConfigError, InputError
from ume_r1_rag.index import QdrantIndex, Storage
from ume_r1_rag.index.writing import DEFERRED
from ume_r1_rag.ingest import enrich, ingest
from ume_r1_rag.ingest.failures import DeadLetters
from ume_r1_rag.retriever import Retriever

pytestmark = pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")

NEXT = {**FINGERPRINT, "weights": "f" * 8, "model": "next"}
QUERY = unit(1, 2, 0, 0)


def keys(hits):
    return [hit.key for hit in hits]


def test_versions_are_built_swapped_rolled_back_and_dropped(store):
    index = store.filled()
    first, second = index.physical, index.physical.replace("--1", "--2")
    after = index.build_next(NEXT)
    after.upsert([document("new")], [embedding((1, 0, 0, 0))])
    assert [(v.physical, v.live, v.points) for v in index.versions()] == [
        (first, True, 4),
        (second, False, 1),
    ]
    index.make_live(after)
    assert (index.physical, keys(index.scroll())) == (second, ["new"])
    assert keys(store.open(fingerprint=NEXT).scroll()) == ["new"]
    assert index.share_client().count(index.collection).count == 1
    assert index.rollback() == first
    assert store.open().count() == 4
    assert [(v.live, v.retired) for v in index.versions()] == [(True, False), (False, True)]
    with pytest.raises(ConfigError, match="no earlier version"):
        index.rollback()
    index.make_live(after)
    assert index.drop_old() == [first]
    assert [v.physical for v in store.open().versions()] == [second]
    assert store.open().fingerprint == NEXT


def test_a_tenant_is_not_left_behind_by_a_swap(store):
    store.open(fingerprint=FINGERPRINT, tenant="one").upsert([document("a")], [embedding((1, 0, 0, 0))])
    whole = store.open()
    with pytest.raises(ConfigError, match=r"no documents of 1 tenants .*'one'"):
        whole.make_live(whole.build_next(NEXT))


def test_side_collections_hold_records_without_vectors(store):
    side = store.filled().side_collection("failures")
    assert (side.count(), side.get(["a"]), list(side.items())) == (0, {}, [])
    rest = {"text": "é", "none": None, "list": [1, "a"]}
    side.put({f"k{n}": {"ume_n": n, **rest} for n in range(300)})
    side.put({"k1": {"ume_n": "again"}})
    assert side.count() == len(dict(side.items())) == 300
    assert side.get(["k1", "k2", "absent"]) == {"k1": {"ume_n": "again"}, "k2": {"ume_n": 2, **rest}}
    side.delete([f"k{n}" for n in range(298)])
    assert list(side.items({"ume_n": 299})) == [("k299", {"ume_n": 299, **rest})]
    assert side.count() == 2


def test_bulk_defers_the_graph_and_takes_it_up_again(store):
    index = store.open(fingerprint=FINGERPRINT)

    def threshold():
        return index.share_client().get_collection(index.physical).config.optimizer_config.indexing_threshold

    own = threshold()
    remote = store.kind != "embedded"
    with contextlib.suppress(ZeroDivisionError), index.bulk():
        assert (index.info().deferred, threshold() == 0) == (remote, remote)
        index.upsert(*zip(*CORPUS, strict=True))
        assert keys(index.search(unit(1, 0, 0, 0), "disc", 1)) == ["a.png"]
        1 / 0  # noqa: B018 - a block that fails is left alike
    assert (index.info().deferred, threshold()) == (False, own)
    if remote:
        killed = index.bulk()  # a process that is killed within never leaves it
        killed.__enter__()
        assert store.open().info().deferred
        with store.open().bulk():
            assert threshold() == 0
        assert (index.info().deferred, threshold()) == (False, own)
        assert DEFERRED not in index.share_client().get_collection(index.physical).config.metadata
        killed.__exit__(None, None, None)


def test_storage_is_recorded_and_a_server_is_told(store):
    storage = Storage(
        datatype="float16", quantization="int8", on_disk=True, hnsw_m=8, hnsw_ef_construct=64, hnsw_ef=32
    )
    index = store.filled(storage=storage)
    assert store.open().storage == storage
    searching = Storage(**{**storage.to_metadata(), "rescore": False, "hnsw_ef": 99})
    assert store.open(storage=searching).storage.hnsw_ef == 99
    assert keys(store.open(storage=searching).search(unit(1, 0, 0, 0), "disc", 1)) == ["a.png"]
    config = index.share_client().get_collection(index.physical)
    params = config.config.params.vectors["disc"]
    if store.kind == "embedded":
        assert (params.datatype, params.quantization_config, config.payload_schema) == (None, None, {})
        return
    assert (params.datatype, params.on_disk) == ("float16", True)
    assert (params.hnsw_config.m, params.hnsw_config.ef_construct) == (8, 64)
    assert (params.quantization_config.scalar.type, params.quantization_config.scalar.always_ram) == (
        "int8",
        True,
    )
    assert config.config.params.sparse_vectors["text"].index.on_disk
    assert config.payload_schema["ume_tenant"].params.is_tenant
    kinds = {field: found.data_type.value for field, found in config.payload_schema.items()}
    assert (kinds["ume_document"], kinds["ume_page"], kinds["ume_gen_valid"]) == (
        "keyword",
        "integer",
        "bool",
    )


def test_large_documents_are_sent_in_several_requests(store):
    index = store.open(fingerprint=FINGERPRINT)
    # Metadata is stored flat, nested and in a node, so each of these is about 6 MiB.
    large = [document(f"l{n}", metadata={"notes": "x" * (3 << 19)}) for n in range(8)]
    index.upsert(large, [embedding((1, 0, 0, 0))] * 8)
    assert index.count() == 8
    assert len(index.retrieve(["l7"])[0].payload["ume_metadata"]["notes"]) == 3 << 19
    with pytest.raises(InputError, match=r"'huge' makes a point of about .* more than a server takes"):
        index.upsert([document("huge", metadata={"notes": "x" * (8 << 20)})], [embedding((1, 0, 0, 0))])
    if store.app is not None:
        sizes = [one.size for one in store.app.requests]
        assert max(sizes) < 24 << 20
        assert sum(size > 4 << 20 for size in sizes) >= 2


def test_threads_share_an_index(store):
    index = store.filled()

    def work(number):
        index.upsert([document(f"t{number}")], [embedding((1, number, 0, 0))])
        return len(index.search(unit(1, 0, 0, 0), "disc", 3))

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(32))) == {3}
    assert index.count() == 36


async def test_an_event_loop_is_served(store, make_encoder):
    encoder = make_encoder()
    index = store.open(fingerprint=encoder.fingerprint)
    index.upsert([document("apple"), page(1)], encoder.encode_document(["apple", "pear"], mode="both"))
    counts = await asyncio.gather(*(index.share_aclient().count(index.collection) for _ in range(4)))
    assert {found.count for found in counts} == {2}
    results = await asyncio.gather(
        *(Retriever(encoder, index).asearch(word, 1, "fused") for word in ("apple", "pear"))
    )
    assert [keys(result.hits) for result in results] == [["apple"], ["b.pdf#page=1"]]
    await index.aclose()


def test_files_are_ingested_searched_enriched_changed_and_pruned(store, make_encoder, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for word in ("apple", "bread", "cedar"):
        (folder / f"{word}.md").write_text(f"{word} with number 12-{len(word)}")
    red, green, blue = (Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue"))
    red.save(folder / "red.png")
    green.save(folder / "two.pdf", save_all=True, append_images=[blue])
    (folder / "bad.png").write_bytes(b"rubbish")
    encoder = make_encoder()
    index = store.open(fingerprint=encoder.fingerprint)
    report = ingest(encoder, index, folder, "disc", batch_size=2, bulk=True)
    assert (report.indexed, report.failed, index.count()) == (6, 1, 6)
    assert [failure.name for failure in DeadLetters(store.open())] == ["bad.png"]
    assert index.coverage() == {"disc": 6, "gen": 0, "text": 6}
    assert enrich(encoder, index).written == 6
    assert index.coverage()["gen"] == 6
    encoder.calls.clear()
    assert ingest(encoder, index, folder, "disc").unchanged == 6
    assert encoder.calls == []
    (folder / "apple.md").write_text("apricot")
    (folder / "bread.md").unlink()
    (folder / "bad.png").unlink()
    report = ingest(encoder, index, folder, "both", prune=True)
    assert (report.indexed, report.replaced, index.count()) == (1, 1, 5)
    assert list(DeadLetters(store.open())) == []
    names = [hit.payload["ume_title"] for hit in index.scroll()]
    assert sorted(names) == ["apple.md", "cedar.md", "red.png", "two.pdf", "two.pdf"]

    # What a retriever finds is what it finds in memory, to the last hit and to six digits of its score.
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as reference:
        ingest(encoder, reference, folder, "both")
        for query, options in [
            ("apricot", {}),
            ("12-5", {"spaces": ("disc", "text")}),
            ("cedar", {"fusion": "rrf", "weights": {"disc": 1.0, "gen": 2.0, "text": 0.5}}),
            ("cedar", {"fusion": "dbsf", "filter": {"kind": "text"}}),
            ("number", {"group_by": "document"}),
        ]:
            found, expected = (Retriever(encoder, one).search(query, 9, "fused", **options).hits
                               for one in (index, reference))  # fmt: skip
            assert keys(found) == keys(expected), (query, options)
            for ours, theirs in zip(found, expected, strict=True):
                assert ours.score == pytest.approx(theirs.score, abs=1e-6)
                assert dict(ours.scores) == pytest.approx(dict(theirs.scores), abs=1e-5)
            assert found
        batch = Retriever(encoder, index).search_batch(["apricot", "cedar"], 1, "fused")
        assert [hit.payload["ume_title"] for result in batch for hit in result.hits] == [
            "apple.md",
            "cedar.md",
        ]
