"""The command line against a server: over loopback, by HTTP and by gRPC; see ``qdrant_app.py``."""

import json
import os

import pytest
import qdrant_client
from points import CORPUS, FINGERPRINT
from qdrant_grpc import GrpcApp
from typer.testing import CliRunner

from ume_r1_rag.cli.app import app
from ume_r1_rag.index import QdrantIndex


@pytest.fixture
def server(qdrant_app, monkeypatch):
    """A server with a filled collection, named as users name it: by the environment."""
    for name in (name for name in os.environ if name.startswith("UME_R1_")):
        monkeypatch.delenv(name)
    monkeypatch.setenv("QDRANT_URL", qdrant_app.url)
    monkeypatch.setenv("QDRANT_API_KEY", qdrant_app.api_key)
    for tenant in (None, "acme"):
        with QdrantIndex(fingerprint=FINGERPRINT, tenant=tenant) as index:
            index.upsert(*zip(*CORPUS, strict=True))
    return qdrant_app


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_grpc_is_spoken_where_it_is_asked_for(server, monkeypatch):
    with GrpcApp(server) as front:
        # A server's own port is 6334; this one has whichever was free.
        class Client(qdrant_client.QdrantClient):
            def __init__(self, *of, **options):
                super().__init__(*of, **{"grpc_port": front.port, **options})

        monkeypatch.setattr(qdrant_client, "QdrantClient", Client)
        plain = run("info", "--json")
        assert plain.exit_code == 0, plain.output
        assert front.calls == []
        shown = run("info", "--json", "--grpc")
        assert shown.exit_code == 0, shown.output
        assert "Count" in front.calls
        assert json.loads(shown.output) == json.loads(plain.output)


def test_tenants_are_listed_for_nobody_alone(server):
    assert json.loads(run("info", "--json").output)["tenants"] == ["acme"]
    assert "tenants     1: acme\n" in run("info").output
    assert "acme" not in run("info", "--tenant", "other").output


def test_grpc_to_a_folder_is_refused(server, tmp_path):
    for command in (["info"], ["search", "x"], ["index", tmp_path], ["enrich"], ["reindex", "--rollback"]):
        done = run(*command, "--grpc", "--path", tmp_path / "index")
        assert done.exit_code == 2, command
        assert "is a folder" in " ".join(done.stderr.split())
