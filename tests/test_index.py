"""The index: what it stores, refuses and finds, on embedded Qdrant."""

import gc
import json
import subprocess
import sys
import threading
import weakref
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from ume_r1_rag.describe import describe_url
from ume_r1_rag.errors import ConfigError, IndexLocked, IndexMismatch, IndexUnavailable, InputError
from ume_r1_rag.index import QdrantIndex, to_filter
from ume_r1_rag.index.connection import connect
from ume_r1_rag.index.payload import point_id
from ume_r1_rag.types import Document, Embedding, MultimodalInput

D = 4
FINGERPRINT = {"model": "fake", "weights": "0" * 8, "preset": "serving", "dimension": D, "think": "full"}


def unit(*values):
    vector = np.array(values, dtype=np.float32)
    return vector / np.linalg.norm(vector)


def document(key, **fields):
    return Document(key=key, **{"kind": "image", "input": MultimodalInput(text=key), "title": key, **fields})


def page(number, **fields):
    return document(f"b.pdf#page={number}", kind="page", page=number, document="b.pdf", **fields)


def embedding(disc=None, gen=None, **fields):
    return Embedding(
        disc=None if disc is None else unit(*disc), gen=None if gen is None else unit(*gen), **fields
    )


CORPUS = [
    (document("a.png"), embedding((1, 0, 0, 0), (0, 1, 0, 0), reasoning="thinking", summary="an a")),
    (page(1), embedding((1, 1, 0, 0), (1, 0, 0, 0))),
    (page(2, metadata={"lang": "de"}), embedding((0, 0, 1, 0))),
    (document("c.mp4", kind="clip", span_s=(0.0, 2.0)), embedding(gen=(1, 1, 0, 0))),
]


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
    assert index.coverage() == {"disc": 3, "gen": 3}
    info = index.info()
    assert (info.points, info.dimension, info.location, info.schema) == (4, D, ":memory:", 1)
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


def test_a_folder_is_found_again(tmp_path):
    with QdrantIndex(tmp_path / "db", fingerprint=FINGERPRINT) as index:
        index.upsert(*zip(*CORPUS, strict=True))
    with QdrantIndex(tmp_path / "db") as index:
        assert index.fingerprint == FINGERPRINT
        assert index.dimension == D
        assert index.search(unit(1, 0, 0, 0), "disc", 1)[0].key == "a.png"
        index.close()
        index.close()


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
    ours = {"ume_schema": 1, "ume_fingerprint": FINGERPRINT}
    euclid = models.VectorParams(size=D, distance=models.Distance.EUCLID)
    for name, vectors, metadata, message in [
        ("foreign", {"disc": size, "gen": size}, None, "not made by this package"),
        ("unnamed", size, ours, "not disc and gen"),
        ("partial", {"disc": size}, ours, "not disc and gen"),
        ("euclid", {"disc": size, "gen": euclid}, ours, "cosine"),
        ("future", {"disc": size, "gen": size}, {**ours, "ume_schema": 99}, "version 99"),
    ]:
        client.create_collection(name, vectors_config=vectors, metadata=metadata)
        with pytest.raises(IndexMismatch, match=message):
            QdrantIndex(client=client, collection=name)
    client.close()


def test_nothing_is_made_for_a_reader(tmp_path):
    with pytest.raises(ConfigError, match="ume-r1 index"):
        QdrantIndex(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()
    QdrantIndex(tmp_path / "db", fingerprint=FINGERPRINT).close()
    with pytest.raises(ConfigError, match="no collection 'other'"):
        QdrantIndex(tmp_path / "db", collection="other")


def test_a_place_must_be_named_once(tmp_path, monkeypatch):
    monkeypatch.delenv("QDRANT_URL", raising=False)
    with pytest.raises(ConfigError, match="QDRANT_URL"):
        QdrantIndex(fingerprint=FINGERPRINT)
    with pytest.raises(ConfigError, match="one of them"):
        QdrantIndex(tmp_path, url="http://localhost:1")


def test_qdrant_url_is_used_when_no_place_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("QDRANT_URL", "http://127.0.0.1:9")  # discard: nothing answers
    with pytest.raises(IndexUnavailable, match=r"http://127\.0\.0\.1:9"):
        QdrantIndex(fingerprint=FINGERPRINT)
    QdrantIndex(tmp_path, fingerprint=FINGERPRINT).close()


def test_the_key_in_the_environment_goes_only_to_the_url_beside_it(monkeypatch):
    import qdrant_client

    seen = []

    class Client(qdrant_client.QdrantClient):
        def __init__(self, **options):
            seen.append((options.get("url"), options.get("api_key")))
            raise ValueError("far enough")

    monkeypatch.setattr(qdrant_client, "QdrantClient", Client)
    monkeypatch.setenv("QDRANT_URL", "https://mine")
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    for url in (None, "https://other"):
        with pytest.raises(ConfigError, match="far enough") as caught:
            QdrantIndex(url=url)
        assert "secret" not in str(caught.value)
    assert seen == [("https://mine", "secret"), ("https://other", None)]


def test_a_broken_folder_is_named_with_its_remedy(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(IndexUnavailable, match=r"file' cannot be used .*is a folder"):
        QdrantIndex(tmp_path / "file", fingerprint=FINGERPRINT)
    QdrantIndex(tmp_path / "db", fingerprint=FINGERPRINT).close()
    for broken in ("{", "[]", '{"collections": {"ume_r1": {"vectors": 3}}}'):
        (tmp_path / "db" / "meta.json").write_text(broken)
        with pytest.raises(IndexUnavailable, match=r"db' cannot be used .*index again"):
            QdrantIndex(tmp_path / "db")


@pytest.fixture
def server():
    """A server that knows its collections and fails at everything else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.path == "/collections"
            body = json.dumps({"result": {"collections": []}, "status": "ok", "time": 0}).encode()
            self.send_response(200 if found else 503)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_server_that_fails_later_is_named_without_its_password(server):
    url = f"http://ada:secret@127.0.0.1:{server.server_port}"
    with pytest.raises(IndexUnavailable, match=f"http://127.0.0.1:{server.server_port}' does not") as caught:
        QdrantIndex(url=url)
    assert "503" in str(caught.value)
    assert "secret" not in str(caught.value)
    connection = connect(url=url)
    assert connection.location == f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    with pytest.raises(IndexUnavailable, match="check that it runs"), connection.use():
        connection.client.get_collections()
    connection.close()


def test_a_password_in_a_wrong_url_is_not_printed():
    for url in ("http://ada:secret@host:port", "ada:secret@[host", "http://ada:secret@127.0.0.1:9"):
        with pytest.raises((ConfigError, IndexUnavailable)) as caught:
            QdrantIndex(url=url)
        assert "secret" not in str(caught.value)
    assert describe_url("ada:secret@host/x") == "host/x"


def test_indexes_that_share_a_client_share_its_lock():
    from qdrant_client import QdrantClient

    client = QdrantClient(":memory:")
    one = QdrantIndex(client=client, collection="a", fingerprint=FINGERPRINT)
    two = QdrantIndex(client=client, collection="b", fingerprint=FINGERPRINT)
    entered = threading.Event()

    def count(index):
        index.count()
        entered.set()

    with one._connection.use():
        thread = threading.Thread(target=count, args=(two,))
        thread.start()
        assert not entered.wait(0.2)
    assert entered.wait(5)
    thread.join()
    gone = weakref.ref(client)
    client.close()
    del one, two, client, thread
    gc.collect()
    assert gone() is None


def test_only_the_folder_is_given_by_position(tmp_path):
    with pytest.raises(TypeError, match="positional"):
        QdrantIndex(tmp_path, "http://localhost:6333")


def test_a_shared_client_stays_open():
    from qdrant_client import QdrantClient

    client = QdrantClient(":memory:")
    with QdrantIndex(client=client, fingerprint=FINGERPRINT) as index:
        assert index.client is client
        assert index.info().location == ":memory:"
    assert client.collection_exists("ume_r1")
    client.close()


def test_a_folder_held_by_another_process_is_locked_until_it_ends(tmp_path):
    # The holder forgets to close its index: that must neither keep the folder nor make noise at exit.
    holder = (
        "import sys; from ume_r1_rag.index import QdrantIndex; "
        "index = QdrantIndex(sys.argv[1], fingerprint={'dimension': 4}); print('held', flush=True); "
        "sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", holder, str(tmp_path)], text=True, **pipes) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(IndexLocked, match="QDRANT_URL"):
            QdrantIndex(tmp_path)
        out, err = process.communicate("")
    assert (process.returncode, out, err) == (0, "", "")
    with QdrantIndex(tmp_path) as index:
        assert index.fingerprint == {"dimension": 4}
        with pytest.raises(IndexLocked, match="another index in this one"):
            QdrantIndex(tmp_path)


def test_threads_may_share_an_index(index):
    from concurrent.futures import ThreadPoolExecutor

    def work(number):
        index.upsert([document(f"t{number}")], [embedding((1, number, 0, 0))])
        return len(index.search(unit(1, 0, 0, 0), "disc", 3))

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(64))) == {3}
    assert index.count() == 68


def test_langchain_reads_our_collection(index):
    from langchain_core.embeddings import Embeddings

    langchain_qdrant = pytest.importorskip("langchain_qdrant")

    class Words(Embeddings):
        def embed_query(self, text):
            return [1.0, 0.0, 0.0, 0.0]

        def embed_documents(self, texts):
            return [self.embed_query(text) for text in texts]

    store = langchain_qdrant.QdrantVectorStore(
        client=index.client,
        collection_name=index.collection,
        embedding=Words(),
        vector_name="disc",
        validate_embeddings=False,
    )
    found, score = store.similarity_search_with_score("a", k=1)[0]
    assert found.page_content == "an a"
    assert score == pytest.approx(1.0)
    assert (found.metadata["key"], found.metadata["kind"]) == ("a.png", "image")
    from qdrant_client import models

    german = models.FieldCondition(key="metadata.lang", match=models.MatchValue(value="de"))
    (page,) = store.similarity_search("a", k=4, filter=models.Filter(must=[german]))
    assert page.metadata["page"] == 2


def test_llama_index_reads_our_points(index):
    from llama_index.core.vector_stores.utils import metadata_dict_to_node

    nodes = [metadata_dict_to_node(dict(hit.payload)) for hit in index.scroll()]
    assert {node.node_id for node in nodes} == {hit.id for hit in index.scroll()}
    assert {node.ref_doc_id for node in nodes} == {"a.png", "b.pdf", "c.mp4"}


def test_stock_filters_find_our_metadata_flat_and_nested(index):
    from qdrant_client import models

    for key in ("kind", "metadata.kind"):
        page = models.FieldCondition(key=key, match=models.MatchValue(value="page"))
        assert index.count(models.Filter(must=[page])) == 2
    assert index.count({"metadata.lang": "de"}) == 1


def test_importing_the_index_loads_no_client():
    code = "import sys, ume_r1_rag.index, ume_r1_rag.retriever\n"
    code += "print(*sorted({'qdrant_client', 'numpy', 'PIL', 'llama_index', 'tqdm'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def test_embeddings_are_not_changed_by_upserting(index):
    before = embedding((3, 1, 2, 0))
    kept = before.disc.copy()
    index.upsert([document("z")], [replace(before)])
    assert (before.disc == kept).all()
