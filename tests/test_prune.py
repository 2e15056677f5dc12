"""Pruning: what is forgotten when files are gone, and what is kept because they only seem to be."""

import os
import shutil
from pathlib import Path

import pytest
from made_files import write_pdf

from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.ingest import DeadLetters, Pruned, ingest, prune
from ume_r1_rag.types import Document, MultimodalInput


@pytest.fixture
def encoder(make_encoder):
    return make_encoder()


@pytest.fixture
def index(encoder):
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index:
        yield index


@pytest.fixture
def root(tmp_path, encoder, index):
    """Indexed: a.txt, sub/b.txt, sub/c.pdf with two pages, other/d.txt."""
    root = tmp_path / "root"
    for name in ("a.txt", "sub/b.txt", "other/d.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    write_pdf(root / "sub" / "c.pdf", 2)
    assert ingest(encoder, index, root, "disc").indexed == 5
    return root


def titles(index):
    return sorted({hit.payload["ume_title"] for hit in index.scroll()})


EVERYTHING = ["a.txt", "other/d.txt", "sub/b.txt", "sub/c.pdf"]


def test_points_of_files_that_are_gone_are_deleted_on_request_only(root, index, encoder):
    (root / "sub" / "c.pdf").unlink()
    (root / "a.txt").unlink()
    assert ingest(encoder, index, root, "disc").pruned is None
    assert titles(index) == EVERYTHING
    assert prune(index, [root], dry_run=True) == Pruned(3)
    assert titles(index) == EVERYTHING
    report = ingest(encoder, index, root, "disc", prune=True)
    assert (report.pruned, report.ok) == (Pruned(3), True)
    assert titles(index) == ["other/d.txt", "sub/b.txt"]


def test_only_below_the_given_paths(root, index):
    shutil.rmtree(root / "sub")
    (root / "other" / "d.txt").unlink()
    (root / "other" / "keep").touch()
    assert prune(index, [root / "other"]) == Pruned(1)
    assert titles(index) == ["a.txt", "sub/b.txt", "sub/c.pdf"]
    assert prune(index, [root]) == Pruned(3)


def test_a_name_that_only_begins_alike_is_outside(tmp_path, index, encoder):
    for name in ("data/x.txt", "data/k.txt", "data2/y.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    ingest(encoder, index, tmp_path, "disc")
    (tmp_path / "data" / "x.txt").unlink()
    (tmp_path / "data2" / "y.txt").unlink()
    (tmp_path / "data2" / "keep").touch()
    assert prune(index, [tmp_path / "data"]) == Pruned(1)
    assert titles(index) == ["data/k.txt", "data2/y.txt"]


def test_nothing_is_deleted_below_a_path_that_is_not_there(root, index, encoder):
    root.rename(root.with_name("unmounted"))
    found = prune(index, [root])
    assert found.points == 0
    assert sum(found.kept.values()) == 5
    assert "cannot be reached (No such file or directory): is its drive mounted?" in next(iter(found.kept))
    assert titles(index) == EVERYTHING


def test_an_empty_folder_is_taken_for_a_drive_that_is_not_mounted(root, index, encoder):
    shutil.rmtree(root / "sub")
    (root / "sub").mkdir()
    report = ingest(encoder, index, root, "disc", prune=True)
    assert report.pruned.points == 0
    ((reason, count),) = report.pruned.kept.items()
    assert f"{root}/sub is empty, like a drive that is not mounted" in reason
    assert (count, report.ok) == (3, False)
    assert titles(index) == EVERYTHING
    # Deleting the folder itself says that it is meant.
    (root / "sub").rmdir()
    assert prune(index, [root]) == Pruned(3)


def test_an_empty_root_is_too(root, index, encoder):
    shutil.rmtree(root)
    root.mkdir()
    assert prune(index, [root]).points == 0
    assert len(titles(index)) == 4


def test_what_cannot_be_looked_at_is_kept(root, index, monkeypatch):
    """Root may look at everything, so the refusals are made here."""
    (root / "a.txt").unlink()
    (root / "sub" / "b.txt").unlink()
    stat, scandir = Path.stat, os.scandir

    def refused(function, name):
        def asked(path, *of, **options):
            if Path(path).name == name:
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, *of, **options)

        return asked

    monkeypatch.setattr(Path, "stat", refused(stat, "a.txt"))
    monkeypatch.setattr(os, "scandir", refused(scandir, "sub"))
    found = prune(index, [root])
    assert found.points == 0
    assert sorted(found.kept) == [
        f"{root}/a.txt cannot be reached (Permission denied)",
        f"{root}/sub cannot be read (Permission denied)",
    ]
    monkeypatch.undo()
    assert prune(index, [root]).points == 2


def test_a_file_that_became_a_folder_is_gone(root, index):
    (root / "a.txt").unlink()
    (root / "a.txt").mkdir()
    assert prune(index, [root]) == Pruned(1)


def test_files_behind_links_are_gone_when_they_are_and_not_when_the_link_is(tmp_path, index, encoder):
    (tmp_path / "out").mkdir()
    (tmp_path / "in").mkdir()
    for name in ("x.txt", "y.txt"):
        (tmp_path / "out" / name).write_text(name)
        (tmp_path / "in" / name).symlink_to(tmp_path / "out" / name)
    (tmp_path / "in" / "keep").touch()
    assert ingest(encoder, index, tmp_path / "in", "disc").indexed == 2
    (tmp_path / "in" / "x.txt").unlink()
    assert prune(index, [tmp_path / "in"]) == Pruned()
    (tmp_path / "out" / "y.txt").unlink()
    assert prune(index, [tmp_path / "in"]) == Pruned(1)
    assert titles(index) == ["x.txt"]


def test_a_folder_given_by_a_link_or_relatively(root, index, tmp_path, monkeypatch):
    (root / "a.txt").unlink()
    (tmp_path / "link").symlink_to(root, target_is_directory=True)
    assert prune(index, [tmp_path / "link"], dry_run=True) == Pruned(1)
    monkeypatch.chdir(tmp_path)
    assert prune(index, ["root"], dry_run=True) == Pruned(1)
    assert prune(index, ["."], dry_run=True) == Pruned(1)


def test_names_that_are_no_unicode_are_found_on_disk(tmp_path, index, encoder):
    name = os.fsdecode(b"caf\xe9.txt")
    try:
        (tmp_path / name).write_text("coffee")
    except OSError:
        pytest.skip("this file system knows only Unicode")
    (tmp_path / "other.txt").write_text("other")
    ingest(encoder, index, tmp_path, "disc")
    assert prune(index, [tmp_path]) == Pruned()
    (tmp_path / name).unlink()
    assert prune(index, [tmp_path]) == Pruned(1)


def test_documents_that_are_no_files_are_left_alone(root, index, encoder):
    ours = [
        Document(key=key, kind="text", input=MultimodalInput(text="x")) for key in ("doc-1", "https://a/b")
    ]
    index.upsert(ours, encoder.encode_document([one.input for one in ours], "disc"))
    (root / "a.txt").unlink()
    assert prune(index, [root, Path("/")]).points == 1
    assert len(index.retrieve(["doc-1", "https://a/b"])) == 2


def test_pruning_keeps_to_its_tenant(tmp_path, encoder):
    for name in ("x.txt", "y.txt"):
        (tmp_path / name).write_text(name)
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint, tenant="a") as mine:
        others = mine.for_tenant("b")
        nobodys = mine.for_tenant(None)
        for one in (mine, others, nobodys):
            ingest(encoder, one, tmp_path, "disc")
        (tmp_path / "x.txt").unlink()
        assert prune(mine, [tmp_path]) == Pruned(1)
        assert (mine.count(), others.count(), nobodys.count()) == (1, 2, 2)


def test_failures_of_files_that_are_gone_are_struck_out(tmp_path, index, encoder):
    for name in ("x.png", "y.png"):
        (tmp_path / name).write_bytes(b"rubbish")
    ingest(encoder, index, tmp_path, "disc")
    (tmp_path / "x.png").unlink()
    ingest(encoder, index, tmp_path, "disc", prune=True)
    assert [one.title for one in DeadLetters(index)] == ["y.png"]


def test_many_points_are_deleted_in_portions(tmp_path, index, encoder):
    for number in range(700):
        (tmp_path / f"{number}.txt").write_text(str(number))
    ingest(encoder, index, tmp_path, "disc", batch_size=64)
    for number in range(600):
        (tmp_path / f"{number}.txt").unlink()
    asked = []
    delete = index.delete
    index.delete = lambda keys: asked.append(len(keys)) or delete(keys=keys)
    assert prune(index, [tmp_path]) == Pruned(600)
    assert asked == [256, 256, 88]
    assert index.count() == 100
