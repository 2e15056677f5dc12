"""What only happens between a client and a server: keys, versions, failures, sizes, idle connections.

Over loopback, see ``qdrant_app.py``; a real server would have to be made to fail.
"""

import json
import urllib.error
import urllib.request

import pytest
from points import CORPUS, FINGERPRINT, document, embedding, unit
from qdrant_app import QdrantApp
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse
from typer.testing import CliRunner

from ume_r1_rag.cli.app import app as command
from ume_r1_rag.errors import IndexUnavailable
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.ingest import ingest

pytestmark = pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")


def opened(app, **options):
    return QdrantIndex(url=app.url, **{"api_key": app.api_key, "fingerprint": FINGERPRINT, **options})


@pytest.fixture
def index(qdrant_app):
    with opened(qdrant_app) as index:
        index.upsert(*zip(*CORPUS, strict=True))
        qdrant_app.requests.clear()
        yield index


def sent(app):
    """The kinds of requests since the last time, without collections' names."""
    found = [one.path.split("/", 3)[-1] if "points" in one.path else one.path for one in app.requests]
    app.requests.clear()
    return found


@pytest.mark.parametrize(("key", "says"), [(None, "Must provide an API key"), ("wrong", "Invalid API key")])
def test_a_wrong_key_is_refused_and_not_repeated(qdrant_app, monkeypatch, key, says):
    for name in ("QDRANT_URL", "QDRANT_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(IndexUnavailable, match=f"401.*{says}.*check .* the key") as caught:
        opened(qdrant_app, api_key=key)
    assert "wrong" not in str(caught.value)


def test_the_environment_names_server_and_key(qdrant_app, index, monkeypatch):
    monkeypatch.setenv("QDRANT_URL", qdrant_app.url)
    monkeypatch.setenv("QDRANT_API_KEY", qdrant_app.api_key)
    with QdrantIndex() as found:
        assert found.count() == 4
    shown = CliRunner().invoke(command, ["info", "--json"])
    assert shown.exit_code == 0, shown.output
    told = json.loads(shown.stdout)
    assert (told["points"], told["location"]) == (4, qdrant_app.url)
    # A server that is named by hand does not get the key of the one in the environment.
    failed = CliRunner().invoke(command, ["info", "--url", qdrant_app.url])
    assert failed.exit_code == 1
    assert "Must provide an API key" in " ".join(failed.stderr.split())


def test_a_server_that_goes_away_is_named_and_may_come_back(qdrant_app, index):
    qdrant_app.stop()
    for call in (
        index.count,
        lambda: index.upsert([document("x")], [embedding((1, 0, 0, 0))]),
        lambda: index.nearest(unit(1, 0, 0, 0), "disc"),
        lambda: list(index.scroll()),
        index.side_collection("notes").count,
        lambda: opened(qdrant_app),
    ):
        with pytest.raises(IndexUnavailable, match=f"{qdrant_app.url}' does not answer"):
            call()
    qdrant_app.start()
    assert index.count() == 4


@pytest.mark.parametrize(
    ("how", "says"), [("503", "503.*told to fail"), ("reset", "does not answer"), ("429", "told to fail")]
)
def test_a_request_that_fails_is_our_error_and_the_next_one_works(qdrant_app, index, how, says):
    for path, call in [
        ("points/query$", lambda: index.nearest(unit(1, 0, 0, 0), "disc")),
        ("points/query/batch", lambda: index.nearest_batch([("a", "text")])),
        ("points/count", index.count),
        ("points/scroll", lambda: index.stored_parts("b.pdf")),
        ("collections/[^/]*/points$", lambda: index.retrieve(["a.png"])),
        ("aliases$", index.versions),
    ]:
        expected = call()
        qdrant_app.fail(how, path)
        with pytest.raises(IndexUnavailable, match=says):
            call()
        assert call() == expected


@pytest.mark.parametrize("after", [False, True])
def test_a_write_whose_answer_is_lost_can_be_made_again(qdrant_app, index, after):
    qdrant_app.fail("reset", "PUT .*points$", after=after)
    new = [document("new", content_hash="h")], [embedding((1, 0, 0, 0), fingerprint="f")]
    with pytest.raises(IndexUnavailable):
        index.upsert(*new)
    assert index.count() == 4 + after
    index.upsert(*new)
    assert index.count() == 5
    pairs = [(index.stored(["new"])["new"], embedding(gen=(0, 1, 0, 0), summary="s", fingerprint="f"))]
    qdrant_app.fail("reset", "PUT .*points$", after=after)
    with pytest.raises(IndexUnavailable):
        index.write_gen(pairs)
    assert index.write_gen(pairs) == 1
    assert index.coverage() == {"disc": 4, "gen": 4, "text": 5}


def test_a_connection_that_the_server_closed_while_idle_is_made_anew(qdrant_app, index):
    for _ in range(3):
        qdrant_app.fail("silent close", "count")
        assert index.count() == 4


def test_an_ingestion_that_is_broken_off_goes_on(qdrant_app, make_encoder, tmp_path):
    for number in range(6):
        (tmp_path / f"{number}.txt").write_text(f"number {number}")
    encoder = make_encoder()
    with opened(qdrant_app, fingerprint=encoder.fingerprint) as index:
        qdrant_app.fail("reset", "PUT .*points$", after=True)
        with pytest.raises(IndexUnavailable):
            ingest(encoder, index, tmp_path, batch_size=2, bulk=True)
        assert not index.info().deferred
        done = index.count()
        assert done < 6
        report = ingest(encoder, index, tmp_path, batch_size=2)
        assert (index.count(), report.unchanged + report.indexed) == (6, 6)
        assert report.unchanged == done


def test_failures_over_grpc_are_our_errors(qdrant_app, grpc_client):
    with QdrantIndex(client=grpc_client, fingerprint=FINGERPRINT) as index:
        index.upsert(*zip(*CORPUS, strict=True))
        qdrant_app.api_key = "another"
        with pytest.raises(IndexUnavailable, match="Invalid API key or JWT") as caught:
            index.nearest(unit(1, 0, 0, 0), "disc")
        assert "a key" not in str(caught.value)
        qdrant_app.api_key = None
        assert index.count() == 4
        index.share_client().delete_collection(index.physical)
        with pytest.raises(IndexUnavailable, match="not found"):
            index.count()


@pytest.mark.parametrize("version", ["1.16.3", "1.9.0", "0.11.7"])
def test_an_old_server_is_refused_with_the_version_that_is_needed(version):
    with (
        QdrantApp(version=version) as app,
        pytest.raises(IndexUnavailable, match=rf"Qdrant {version}.* Qdrant 1\.17 or newer"),
    ):
        opened(app)


def test_tenants_need_a_newer_server_than_the_rest():
    with QdrantApp(version="1.18.3") as app:
        with pytest.raises(
            IndexUnavailable, match=r"Qdrant 1\.18\.3.*tenant='acme' use Qdrant 1\.19 or newer"
        ):
            opened(app, tenant="acme")
        with opened(app) as index:
            index.upsert(*zip(*CORPUS, strict=True))
            assert index.count() == 4


@pytest.mark.parametrize("version", ["1.17.0", "1.19.0-dev", "1.30.1", "2.0.0"])
def test_newer_servers_are_taken(version):
    with QdrantApp(version=version) as app, opened(app) as index:
        assert index.count() == 0


def test_a_server_that_hides_its_version_is_taken_with_a_warning(caplog):
    with QdrantApp(version="unknown") as app, opened(app):
        assert "does not say which Qdrant it is: it must be 1.17 or newer" in caplog.text


def test_a_search_takes_few_requests(qdrant_app, index):
    """What a search costs over a network is counted in round trips."""
    query = unit(1, 0, 0, 0)
    index.nearest(query, "disc")
    assert sent(qdrant_app) == ["points/query"]
    index.search(query, "disc")
    assert sent(qdrant_app) == ["points/query", "points"]
    index.nearest_batch([(query, "disc"), (query, "gen"), ("a", "text")])
    assert sent(qdrant_app) == ["points/query/batch"]
    index.nearest_groups(query, "disc")
    assert sent(qdrant_app) == ["points/query/groups"]


def test_what_goes_over_the_wire_is_what_the_interface_knows(qdrant_app):
    """The app refuses what it does not know, so that a case that passes shows something."""
    client = QdrantClient(url=qdrant_app.url, api_key=qdrant_app.api_key, check_compatibility=False)
    client.create_collection("c", vectors_config={"v": models.VectorParams(size=2, distance="Cosine")})
    body = {"points": [{"id": 1, "vector": {"v": [1, 0]}, "unknown": 1}]}
    for path, content, status in [
        ("points", json.dumps(body).encode(), 400),
        ("points", b"{", 400),
        ("nothing", b"{}", 404),
        ("points", b'{"points": [' + b" " * (32 << 20) + b"]}", 400),
    ]:
        request = urllib.request.Request(
            f"{qdrant_app.url}/collections/c/{path}", content, {"api-key": qdrant_app.api_key}, method="PUT"
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        assert caught.value.code == status
    with pytest.raises(UnexpectedResponse, match="Index required"):
        client.facet("c", "field")
    with pytest.raises(UnexpectedResponse, match="404"):
        client.count("absent")
    assert client.count("c").count == 0
    client.close()
