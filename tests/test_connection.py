"""Connections: folders, memory and servers, who shares them and what is said when they fail."""

import asyncio
import gc
import json
import subprocess
import sys
import threading
import weakref
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from points import CORPUS, FINGERPRINT, D, document, embedding, unit

from ume_r1_rag.describe import describe_url
from ume_r1_rag.errors import ConfigError, IndexLocked, IndexUnavailable
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.index.connection import connect


def test_a_folder_is_found_again(tmp_path):
    with QdrantIndex(tmp_path / "db", fingerprint=FINGERPRINT) as index:
        index.upsert(*zip(*CORPUS, strict=True))
    with QdrantIndex(tmp_path / "db") as index:
        assert index.fingerprint == FINGERPRINT
        assert index.dimension == D
        assert index.search(unit(1, 0, 0, 0), "disc", 1)[0].key == "a.png"
        index.close()
        index.close()


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
        assert index.share_client() is client
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


def test_threads_may_share_an_index():
    from concurrent.futures import ThreadPoolExecutor

    def work(number):
        index.upsert([document(f"t{number}")], [embedding((1, number, 0, 0))])
        return len(index.search(unit(1, 0, 0, 0), "disc", 3)), len(index.search("t1", "text", 3)) <= 3

    with QdrantIndex(":memory:", fingerprint=FINGERPRINT) as index, ThreadPoolExecutor(8) as pool:
        index.upsert(*zip(*CORPUS, strict=True))
        assert set(pool.map(work, range(64))) == {(3, True)}
        assert index.count() == 68


def test_importing_the_index_loads_no_client():
    code = "import sys, ume_r1_rag.index, ume_r1_rag.retriever\n"
    code += "print(*sorted({'qdrant_client', 'numpy', 'PIL', 'llama_index', 'tqdm'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def test_indexes_of_one_process_share_a_folder(tmp_path):
    one = QdrantIndex(tmp_path / "db", fingerprint=FINGERPRINT)
    (tmp_path / "link").symlink_to(tmp_path / "db")
    two = QdrantIndex(tmp_path / "link", collection="other", fingerprint=FINGERPRINT)
    assert one.share_client() is two.share_client()
    two.upsert([document("a")], [embedding((1, 0, 0, 0))])
    one.close()
    one.close()
    assert two.count() == 1
    again = QdrantIndex(tmp_path / "db", collection="other")
    two.close()
    assert again.count() == 1
    again.close()
    # The last one has freed the folder: a client that knows nothing of us may take it.
    from qdrant_client import QdrantClient

    foreign = QdrantClient(path=str(tmp_path / "db"))
    with pytest.raises(IndexLocked, match="not the index's"):
        QdrantIndex(tmp_path / "db")
    foreign.close()
    QdrantIndex(tmp_path / "db").close()


def test_an_index_that_is_forgotten_frees_its_folder(tmp_path):
    for _ in range(3):
        QdrantIndex(tmp_path, fingerprint=FINGERPRINT)
        gc.collect()
    from qdrant_client import QdrantClient

    QdrantClient(path=str(tmp_path)).close()


async def test_an_embedded_client_serves_an_event_loop(tmp_path):
    index = QdrantIndex(tmp_path, fingerprint=FINGERPRINT)
    index.upsert(*zip(*CORPUS, strict=True))
    assert index.share_aclient() is index.share_aclient()
    counts = await asyncio.gather(*(index.share_aclient().count(index.collection) for _ in range(8)))
    assert {found.count for found in counts} == {4}
    entered = threading.Event()
    with index._connection.use():
        # While a thread holds the client, the loop goes on and the call waits.
        waiting = asyncio.ensure_future(index.share_aclient().get_collections())
        waiting.add_done_callback(lambda _: entered.set())
        await asyncio.sleep(0.1)
        assert not entered.is_set()
    assert {one.name for one in (await waiting).collections} == {"ume_r1--1"}
    assert index.share_aclient().init_options["path"] == str(tmp_path)
    await index.aclose()
    with QdrantIndex(tmp_path) as again:
        assert again.count() == 4
