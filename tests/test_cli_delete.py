"""``ume-r1 delete``: what goes, what is only listed, and that nobody reaches another tenant's documents."""

import json
import os
import sys

import pytest
from typer.testing import CliRunner

from ume_r1_rag.cli.app import app
from ume_r1_rag.errors import ConfigError
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.ingest import DeadLetters, ingest, remove
from ume_r1_rag.types import Document, MultimodalInput

TENANTS = ("acme", "globex", None)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in (*(n for n in os.environ if n.startswith("UME_R1_")), "QDRANT_URL", "QDRANT_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def files(tmp_path):
    root = tmp_path / "files"
    (root / "sub").mkdir(parents=True)
    for name in ("a.txt", "b.txt", "sub/a.txt"):
        (root / name).write_text(f"text of {name}")
    (root / "bad.png").write_bytes(b"rubbish")
    return root


@pytest.fixture
def place(tmp_path, files, make_encoder):
    """An index of the same files, one page and a failure each, for every tenant."""
    encoder = make_encoder()
    for tenant in TENANTS:
        with QdrantIndex(tmp_path / "index", fingerprint=encoder.fingerprint, tenant=tenant) as index:
            ingest(encoder, index, files, "disc")
            parts = [
                Document(f"/x/r.pdf#page={page}", "page", MultimodalInput(text="x"), title="r.pdf", page=page,
                         document="/x/r.pdf", uri="/x/r.pdf", metadata={"owner": str(tenant)})
                for page in (1, 2)
            ]  # fmt: skip
            index.upsert(parts, encoder.encode_document([part.input for part in parts]))
    return tmp_path / "index"


def run(place, *arguments, command="delete"):
    return CliRunner().invoke(app, [command, "--path", str(place), *map(str, arguments)])


def state(place):
    """Every tenant's keys and failures."""
    found = {}
    for tenant in TENANTS:
        with QdrantIndex(place, tenant=tenant) as index:
            keys = sorted(hit.key for hit in index.scroll())
            found[tenant] = keys, sorted(failure.title for failure in DeadLetters(index))
    return found


def test_without_yes_it_only_lists(place, files):
    before = state(place)
    done = run(place, "--document", files / "a.txt", "--document", "r.pdf")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "to delete  3 documents: page 2, text 1",
        *sorted(["  /x/r.pdf: 2", f"  {files}/a.txt: 1"]),
        f"from       ume_r1 in {place}, which holds 5",
        "1 file of these is still there: the next `ume-r1 index` of the folder brings back what it holds",
        "nothing was deleted: the same command with --yes does it",
    ]
    assert state(place) == before
    assert json.loads(run(place, "--all", "--json").stdout)["deleted"] is False
    assert state(place) == before


def test_a_file_goes_by_its_path_or_title_with_all_parts_and_failures(place, files, monkeypatch):
    monkeypatch.chdir(files)
    (files / "link.txt").symlink_to("b.txt")
    done = run(place, "--document", "sub/a.txt", "--document", "link.txt", "--document", "bad.png", "--yes")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("deleted    2 documents: text 2\n")
    assert "failures   1 struck out\n" in done.stdout
    assert run(place, "--document", "r.pdf", "--filter", "page=2", "--yes").exit_code == 0
    assert run(place, "--document", "/x/r.pdf#page=1", "--yes").exit_code == 0
    assert state(place)[None] == ([f"{files}/a.txt"], [])
    done = run(place, "--document", "r.pdf", "--document", "no\x1b[31mne", "--yes")
    assert done.exit_code == 1
    assert done.stderr == "nothing is called 'r.pdf'\nnothing is called 'no[31mne'\n"


def test_by_filter_failures_stay(place, files):
    assert run(place, "--filter", "kind=text", "--yes").exit_code == 0
    assert state(place)[None] == (["/x/r.pdf#page=1", "/x/r.pdf#page=2"], ["bad.png"])
    slip = run(place, "--filter", "onwer=None", "--yes")
    assert slip.exit_code == 2
    assert "Did you mean 'owner'?" in " ".join(slip.stderr.replace("│", " ").split())
    assert run(place, "--all", "--yes").exit_code == 0
    assert state(place)[None] == ([], [])
    assert run(place, "--all", "--yes").stdout.startswith("deleted    0 documents\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--all"],
        ["--document", "r.pdf"],
        ["--document", "/x/r.pdf"],
        ["--document", "/x/r.pdf#page=1"],
        ["--document", "bad.png"],
        ["--document", "globex"],
        ["--document", "*"],
        ["--document", ""],
        ["--filter", "owner=globex"],
        ["--filter", "ume_tenant=globex"],
        ["--filter", "tenant=null"],
        ["--filter", "ume_key=/x/r.pdf#page=1"],
        ["--filter", "ume_metadata.owner=None"],
        ["--filter", 'kind=["page","text"]'],
        ["--filter", "nothing=null"],
        ["--filter", "kind=page", "--document", "r.pdf"],
    ],
    ids=" ".join,
)
def test_no_call_of_a_tenant_reaches_another(place, arguments):
    before = state(place)
    for arguments_too in ([], ["--json"]):
        done = run(place, *arguments, *arguments_too, "--tenant", "acme")
        assert "globex" in " ".join(arguments) or "globex" not in done.output
        assert state(place) == before
    shown = run(place, *arguments, "--tenant", "acme", "--yes")
    assert shown.exit_code in (0, 1, 2)
    after = state(place)
    assert {name: after[name] for name in ("globex", None)} == {
        name: before[name] for name in ("globex", None)
    }
    # Nor does nobody reach a tenant's.
    run(place, *arguments, "--yes")
    last = state(place)
    assert {name: last[name] for name in ("acme", "globex")} == {
        name: after[name] for name in ("acme", "globex")
    }


def test_a_tenant_without_anything_deletes_nothing_and_hears_of_nobody(place):
    before = state(place)
    done = run(place, "--document", "r.pdf", "--tenant", "new", "--yes")
    assert done.exit_code == 1
    assert done.stderr == "nothing of tenant new is called 'r.pdf'\n"
    assert "acme" not in done.output
    assert state(place) == before


@pytest.mark.parametrize("arguments", [[], ["--all", "--document", "a"], ["--all", "--filter", "kind=page"]])
def test_a_wrong_call_exits_with_2(place, arguments):
    before = state(place)
    assert run(place, *arguments, "--yes").exit_code == 2
    assert state(place) == before


def test_earlier_versions_are_told_of(place, make_encoder):
    with QdrantIndex(place) as index:
        encoder = make_encoder(model="m2")
        after = index.build_next(encoder.fingerprint)
        one = Document("k", "text", MultimodalInput(text="x"))
        after.upsert([one], [encoder.encode_document(one.input)])
    said = run(place, "--all").stdout
    assert "other versions may hold them, too: ume_r1--2; see `ume-r1 reindex --drop-old`" in said


def test_the_library_wants_it_said_what_is_meant(place):
    from qdrant_client import models

    with QdrantIndex(place) as index:
        for options in (
            {},
            {"filter": {}},
            {"filter": models.Filter()},
            {"documents": ["a"], "everything": True},
        ):
            with pytest.raises(ConfigError):
                remove(index, **options)
        assert index.count() == 5


@pytest.mark.skipif(sys.platform == "win32", reason="names there are Unicode")
def test_a_name_that_is_no_unicode_can_be_given(tmp_path, make_encoder):
    encoder = make_encoder()
    name = os.fsdecode(b"caf\xe9.txt")
    (tmp_path / name).write_text("coffee")
    with QdrantIndex(tmp_path / "index", fingerprint=encoder.fingerprint) as index:
        ingest(encoder, index, tmp_path / name, "disc")
        assert remove(index, [str(tmp_path / name)]).points == 1
