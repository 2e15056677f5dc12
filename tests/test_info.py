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
    assert rows["tenants"] == "1: le[31mgal"
    assert "{" not in shown.output
    assert rows["documents"] == "3: page 2, text 1"
    assert rows["version"] == "ume_r1--1 (live, 3), ume_r1--2 (being built, 0)"
    assert rows["tenant"].startswith("none: what follows belongs to nobody")
    assert (
        rows["storage"]
        == "embedded: float32 in memory, exact search; for a server: quantization int8, hnsw_m 8"
    )
    found = json.loads(run("--path", folder, "--json").output)
    assert found["coverage"] == {"disc": 3, "gen": 1, "text": 2}
    assert (found["title_only"], found["tenants"]) == (0, ["le\x1b[31mgal"])
    assert (found["physical"], found["tenant"], found["storage"]["hnsw_m"]) == ("ume_r1--1", None, 8)
    assert [version["live"] for version in found["versions"]] == [True, False]


def test_info_of_a_tenant_counts_its_own(folder, monkeypatch):
    monkeypatch.setenv("UME_R1_TENANT", "le\x1b[31mgal")
    shown = run("--path", folder).output
    assert "documents   1: page 1\n" in shown
    assert "tenant      le[31mgal\n" in shown
    assert "\x1b" not in shown
    assert json.loads(run("--path", folder, "--json").output)["tenants"] is None


def test_a_tenant_without_documents_is_named_and_hears_of_no_other(folder):
    for arguments in ((), ("--json",), ("--failures",)):
        shown = run("--path", folder, "--tenant", "nobody", *arguments).output
        assert "gal" not in shown
    shown = run("--path", folder, "--tenant", "nobody").output
    assert "tenant      nobody, which has no documents in this collection\n" in shown
    assert "documents   0\n" in shown


def test_what_words_find_by_the_title_alone_is_told_apart(tmp_path, make_encoder):
    encoder = make_encoder()
    documents = [
        Document("scan", "page", MultimodalInput(text="x"), title="invoice.pdf"),
        Document("layer", "page", MultimodalInput(text="x"), title="report.pdf", text="words"),
        Document("note", "text", MultimodalInput(text="words")),
        Document("bare", "image", MultimodalInput(text="x")),
        Document("reasoned", "image", MultimodalInput(text="x"), title="photo.png"),
    ]
    with QdrantIndex(tmp_path, fingerprint=encoder.fingerprint) as index:
        index.upsert(documents[:4], encoder.encode_document([d.input for d in documents[:4]]))
        index.upsert(documents[4:], encoder.encode_document([documents[4].input], mode="both"))
        assert index.coverage()["text"] == 4
    assert (
        "coverage    disc 5 of 5, gen 1 of 5, text 3 of 5 (1 more by the title alone)\n"
        in run("--path", tmp_path).output
    )


def test_the_protocol_is_told_in_lines(tmp_path, nano_encoder):
    with QdrantIndex(tmp_path, fingerprint=nano_encoder.fingerprint):
        pass
    shown = run("--path", tmp_path).output
    assert "{" not in shown
    for line in (
        "preset      serving",
        "  images    at most 1,003,520 pixels",
        "  videos    8 frames of at most 100,352 pixels",
        "  reasoning think full, at most 1,024 new tokens; loops are stopped",
        "tenant      none",
    ):
        assert line in shown.splitlines()


def test_a_name_that_is_none_is_refused(folder):
    done = run("--path", folder, "--tenant", " ")
    assert done.exit_code == 1
    assert "tenant=' ' names no tenant" in done.stderr
