"""``ume-r1 info``, on an index that a cheap encoder filled."""

import json
import logging

import pytest
from typer.testing import CliRunner

from ume_r1_rag.cli.app import app
from ume_r1_rag.index import QdrantIndex, Storage
from ume_r1_rag.types import Document, MultimodalInput


def run(*arguments):
    return CliRunner().invoke(app, ["info", *map(str, arguments)])


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("UME_R1_TENANT", "UME_R1_PATH", "UME_R1_COLLECTION", "QDRANT_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path, make_encoder, caplog):
    encoder = make_encoder()
    storage = Storage(quantization="int8", hnsw_m=8)
    with (
        caplog.at_level(logging.ERROR),
        QdrantIndex(tmp_path, fingerprint=encoder.fingerprint, storage=storage) as index,
    ):
        documents = [
            Document(key, kind, MultimodalInput(text=key), content_hash="h", text=text)
            for key, kind, text in (("a", "page", "words"), ("b", "page", ""), ("c", "text", "words"))
        ]
        index.upsert(documents[:2], encoder.encode_document([d.input for d in documents[:2]]))
        index.upsert(documents[2:], encoder.encode_document([documents[2].input], mode="both"))
        with QdrantIndex(tmp_path, tenant="le\x1b[31mgal") as other:
            other.upsert(documents[:1], encoder.encode_document([documents[0].input]))
        index.build_next(make_encoder(model="m2").fingerprint)
    return tmp_path


def test_info_shows_coverage_versions_tenant_and_storage(folder):
    shown = run("--path", folder)
    assert shown.exit_code == 0, shown.output
    rows = dict(line.split(maxsplit=1) for line in shown.output.splitlines())
    assert rows["coverage"] == "disc 3 of 3, gen 1 of 3, text 2 of 3"
    assert rows["documents"] == "3: page 2, text 1"
    assert rows["version"] == "ume_r1--1 (live, 3), ume_r1--2 (being built, 0)"
    assert rows["tenant"] == "none"
    assert (
        rows["storage"]
        == "embedded: float32 in memory, exact search; for a server: quantization int8, hnsw_m 8"
    )
    found = json.loads(run("--path", folder, "--json").output)
    assert found["coverage"] == {"disc": 3, "gen": 1, "text": 2}
    assert (found["physical"], found["tenant"], found["storage"]["hnsw_m"]) == ("ume_r1--1", None, 8)
    assert [version["live"] for version in found["versions"]] == [True, False]


def test_info_of_a_tenant_counts_its_own(folder, monkeypatch):
    monkeypatch.setenv("UME_R1_TENANT", "le\x1b[31mgal")
    shown = run("--path", folder).output
    assert "documents   1: page 1\n" in shown
    assert "tenant      le[31mgal\n" in shown
    assert "\x1b" not in shown
    assert "documents   0\n" in run("--path", folder, "--tenant", "nobody").output


def test_a_name_that_is_none_is_refused(folder):
    done = run("--path", folder, "--tenant", " ")
    assert done.exit_code == 1
    assert "tenant=' ' names no tenant" in done.stderr
