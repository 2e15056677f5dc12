"""Failures: the list that is kept beside the index, and trying again."""

import os
from datetime import UTC, datetime

import pytest
from made_files import write_pdf
from PIL import Image

from ume_r1_rag.errors import InputError
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.ingest import DeadLetters, Failure, ingest, prune


@pytest.fixture
def encoder(make_encoder):
    return make_encoder()


@pytest.fixture
def index(encoder):
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        yield index


def listed(index):
    return {one.name: one for one in DeadLetters(index)}


def calls(encoder):
    count = sum(number for _, _, number in encoder.calls)
    encoder.calls.clear()
    return count


def test_failures_are_kept_with_reason_attempts_and_time(tmp_path, index, encoder):
    (tmp_path / "bad.png").write_bytes(b"rubbish")
    (tmp_path / "good.txt").write_text("good")
    began = datetime.now(UTC).replace(microsecond=0)
    for attempt in (1, 2):
        report = ingest(encoder, index, tmp_path)
        assert [one.attempts for one in report.failures] == [attempt]
    (one,) = DeadLetters(index)
    key = f"{tmp_path.resolve()}/bad.png"
    assert (one.key, one.document, one.uri, one.title) == (key, key, str(tmp_path / "bad.png"), "bad.png")
    assert (one.error, one.attempts, one.name, one.part) == ("InputError", 2, "bad.png", "")
    assert "is of no known format" in one.reason
    assert began <= datetime.fromisoformat(one.at) <= datetime.now(UTC)
    assert len(DeadLetters(index)) == 1
    assert key in DeadLetters(index)


def test_nothing_is_made_before_something_fails(tmp_path, index, encoder):
    (tmp_path / "good.txt").write_text("good")
    ingest(encoder, index, tmp_path)
    assert list(DeadLetters(index)) == []
    assert not any("failures" in one.name for one in index.share_client().get_collections().collections)


def test_success_strikes_out(tmp_path, index, encoder):
    (tmp_path / "x.png").write_bytes(b"rubbish")
    (tmp_path / "x.pdf").write_bytes(b"rubbish")
    ingest(encoder, index, tmp_path)
    assert set(listed(index)) == {"x.png", "x.pdf"}
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    write_pdf(tmp_path / "x.pdf", 2)
    assert ingest(encoder, index, tmp_path).ok
    assert listed(index) == {}


def test_a_part_that_is_no_more_is_struck_out(tmp_path, index, encoder, monkeypatch):
    from ume_r1_rag.media import PdfPages

    render = PdfPages.render

    def breaks(self, page, pixels):
        if page >= 2:
            raise ZeroDivisionError("odd page")
        return render(self, page, pixels)

    monkeypatch.setattr(PdfPages, "render", breaks)
    write_pdf(tmp_path / "x.pdf", 3)
    ingest(encoder, index, tmp_path)
    assert set(listed(index)) == {"x.pdf#page=2", "x.pdf#page=3"}
    write_pdf(tmp_path / "x.pdf", 2, "other")
    ingest(encoder, index, tmp_path)
    assert set(listed(index)) == {"x.pdf#page=2"}
    assert listed(index)["x.pdf#page=2"].attempts == 2


def test_only_what_failed_is_tried_again(tmp_path, index, make_encoder):
    refused = {"b.txt", "sub/d.txt"}
    (tmp_path / "sub").mkdir()
    for name in ("a.txt", "b.txt", "sub/c.txt", "sub/d.txt"):
        (tmp_path / name).write_text(name)
    encoder = make_encoder(fail=lambda one: InputError("no") if one.text in refused else None)
    ingest(encoder, index, tmp_path)
    assert set(listed(index)) == refused
    calls(encoder)
    (tmp_path / "new.txt").write_text("new")
    report = ingest(encoder, index, retry_failed=True)
    assert (report.indexed, report.failed, calls(encoder)) == (0, 2, 2)
    refused.clear()
    assert ingest(encoder, index, tmp_path / "sub", retry_failed=True).indexed == 1
    assert set(listed(index)) == {"b.txt"}
    report = ingest(encoder, index, retry_failed=True)
    assert (report.indexed, report.ok, calls(encoder)) == (1, True, 2)
    assert listed(index) == {}
    assert ingest(encoder, index, retry_failed=True).indexed == 0
    titles = sorted(hit.payload["ume_title"] for hit in index.scroll())
    assert titles == ["a.txt", "b.txt", "sub/c.txt", "sub/d.txt"], "under the names of the first run"


def test_of_a_file_only_the_parts_that_failed_are_read_again(tmp_path, index, encoder, monkeypatch):
    from ume_r1_rag.media import PdfPages

    write_pdf(tmp_path / "x.pdf", 5)
    render, broken, rendered = PdfPages.render, {2, 4}, []

    def breaks(self, page, pixels):
        rendered.append(page)
        if page in broken:
            raise ZeroDivisionError("odd page")
        return render(self, page, pixels)

    monkeypatch.setattr(PdfPages, "render", breaks)
    assert ingest(encoder, index, tmp_path).indexed == 3
    rendered.clear()
    broken.clear()
    report = ingest(encoder, index, retry_failed=True)
    assert (report.indexed, report.unchanged) == (2, 3)
    assert set(rendered) == {2, 4}
    assert index.count() == 5


def test_a_folder_that_could_not_be_read_is_tried_again(tmp_path, index, encoder, monkeypatch):
    """Root may read everything, so the refusal is made here."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.txt").write_text("x")
    scandir = os.scandir

    def refuses(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuses)
    ingest(encoder, index, tmp_path)
    assert set(listed(index)) == {"sub"}
    monkeypatch.undo()
    report = ingest(encoder, index, retry_failed=True)
    assert (report.indexed, report.ok) == (1, True)
    assert listed(index) == {}


def test_a_file_that_is_gone_fails_until_it_is_pruned(tmp_path, index, encoder):
    (tmp_path / "bad.png").write_bytes(b"rubbish")
    (tmp_path / "good.txt").write_text("good")
    ingest(encoder, index, tmp_path)
    (tmp_path / "bad.png").unlink()
    report = ingest(encoder, index, retry_failed=True)
    assert "is gone: `ume-r1 index --prune FOLDER`" in report.failures[0].reason
    assert listed(index)["bad.png"].attempts == 2
    prune(index, [tmp_path], DeadLetters(index))
    assert listed(index) == {}


def test_failures_keep_to_their_tenant(tmp_path, encoder):
    (tmp_path / "bad.png").write_bytes(b"rubbish")
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint, tenant="a") as mine:
        others = mine.for_tenant("b")
        nobodys = mine.for_tenant(None)
        ingest(encoder, mine, tmp_path)
        assert (set(listed(mine)), listed(others), listed(nobodys)) == ({"bad.png"}, {}, {})
        assert ingest(encoder, others, retry_failed=True).failed == 0
        ingest(encoder, others, tmp_path)
        Image.new("RGB", (4, 4)).save(tmp_path / "bad.png")
        ingest(encoder, others, tmp_path)
        assert (set(listed(mine)), listed(others)) == ({"bad.png"}, {})


def test_they_survive_the_process(tmp_path, encoder):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "bad.png").write_bytes(b"rubbish")
    with QdrantIndex(tmp_path / "index", fingerprint=encoder.fingerprint) as index:
        ingest(encoder, index, tmp_path / "files")
    with QdrantIndex(tmp_path / "index") as index:
        assert set(listed(index)) == {"bad.png"}


def test_a_long_reason_is_cut_and_a_broken_record_is_read(index):
    letters = DeadLetters(index)
    (kept,) = letters.record([Failure("k", "k", "u", "t", "InputError", "x" * 5000)])
    assert len(kept.reason) == 2000
    index.side_collection("failures").put({"odd": {"attempts": "many"}})
    odd = next(one for one in DeadLetters(index) if one.key == "odd")
    assert (odd.attempts, odd.document, odd.reason) == (1, "odd", "")
    letters.remove(["k", "unknown"])
    assert "k" not in letters
