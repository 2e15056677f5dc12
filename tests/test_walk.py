"""The walk: which files lie under some paths, each once, whatever links there are."""

import inspect
import os
import sys
import tracemalloc
from pathlib import Path

import pytest
from PIL import Image

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.ingest import Failure, Skipped, Walk
from ume_r1_rag.ingest import files as files_module
from ume_r1_rag.ingest.files import File, Folder, path_of


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)
    return path


def walked(*paths):
    """Titles of the files, and reasons of the skipped by name."""
    items = list(Walk(paths))
    files = [item for item in items if isinstance(item, File)]
    assert len({file.key for file in files}) == len(files), "each file once"
    return [file.title for file in files], {
        Path(item.uri).name: item.reason for item in items if isinstance(item, Skipped)
    }


AGAIN = "a second path to a file that is read anyway"


def test_files_come_in_order_and_by_their_path_below_the_given_one(tmp_path):
    for name in ("b.png", "a/z.txt", "a.png", "a/b/c.pdf", "c.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".hidden.png").touch()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.png").touch()
    (tmp_path / "data.BIN").touch()
    os.mkfifo(tmp_path / "pipe.txt")
    titles, skipped = walked(tmp_path)
    assert titles == ["a/b/c.pdf", "a/z.txt", "a.png", "b.png", "c.mp4"]
    assert skipped == {"data.BIN": "unknown extension '.bin'", "pipe.txt": "neither a file nor a folder"}
    file = next(item for item in Walk([tmp_path]) if isinstance(item, File))
    assert file.key == f"{tmp_path.resolve()}/a/b/c.pdf"
    assert (file.uri, file.kind) == (f"{tmp_path}/a/b/c.pdf", "page")
    folders = [item.key for item in Walk([tmp_path]) if isinstance(item, Folder)]
    assert folders == [f"{tmp_path.resolve()}{below}" for below in ("", "/a", "/a/b")]


def test_links_into_the_given_folders_are_left_to_their_targets(tmp_path):
    picture(tmp_path / "sub" / "x.png")
    (tmp_path / "copy.png").symlink_to(tmp_path / "sub" / "x.png")
    (tmp_path / "again").symlink_to(tmp_path / "sub", target_is_directory=True)
    (tmp_path / "sub" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    titles, skipped = walked(tmp_path)
    assert titles == ["sub/x.png"]
    assert skipped == {
        "copy.png": AGAIN,
        "gone.png": "a link that leads nowhere",
        "self": "a link that leads nowhere",
    }


def test_links_to_the_outside_are_followed_once(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    picture(outside / "deep" / "x.png")
    picture(outside / "y.png")
    (outside / "deep" / "back").symlink_to(outside, target_is_directory=True)
    for name in ("one", "two"):
        (inside / name).symlink_to(outside, target_is_directory=True)
    (inside / "three").symlink_to(outside / "deep", target_is_directory=True)
    (inside / "y.png").symlink_to(outside / "y.png")
    titles, skipped = walked(inside)
    assert titles == ["one/deep/x.png", "one/y.png"]
    assert skipped == {"y.png": AGAIN}


def test_a_link_met_before_the_folder_that_holds_its_target(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    picture(outside / "y.png")
    (inside / "a.png").symlink_to(outside / "y.png")
    (inside / "b").symlink_to(outside, target_is_directory=True)
    titles, skipped = walked(inside)
    assert titles == ["a.png"]
    assert skipped == {"y.png": AGAIN}


def test_a_store_of_contents_behind_links_is_read_by_the_links_names(tmp_path):
    """As the Hugging Face hub lays out its downloads: names link to files named by their hash."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    picture(tmp_path / "blobs" / "x.png").rename(tmp_path / "blobs" / "0a1b")
    (tmp_path / "snapshot" / "cat.png").symlink_to(tmp_path / "blobs" / "0a1b")
    for root in (tmp_path, tmp_path / "snapshot"):
        items = [item for item in Walk([root]) if isinstance(item, File)]
        assert [(item.kind, Path(item.key).name) for item in items] == [("image", "0a1b")]


def test_a_link_is_read_as_what_it_leads_to(tmp_path):
    picture(tmp_path / "out" / "x.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "latest").symlink_to(tmp_path / "out" / "x.png")
    titles, skipped = walked(tmp_path / "in")
    assert (titles, skipped) == (["latest"], {})


def test_given_paths_may_overlap_and_repeat(tmp_path, monkeypatch):
    picture(tmp_path / "sub" / "x.png")
    picture(tmp_path / "sub" / ".hidden" / "h.png")
    picture(tmp_path / "y.png")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linked").symlink_to("sub")
    assert walked("sub", ".")[0] == ["sub/x.png", "y.png"]
    assert walked(".", "sub", "sub/x.png", "linked")[0] == ["sub/x.png", "y.png"]
    titles, skipped = walked("sub/x.png", "linked/x.png", "sub/../sub/x.png")
    assert (titles, skipped) == (["x.png"], {"x.png": AGAIN})
    # What is passed over below one folder can be given by itself.
    assert walked("sub", "sub/.hidden")[0] == ["x.png", "h.png"]
    assert walked("linked", "linked/../y.png")[0] == ["x.png", "y.png"]


def test_a_given_file_that_a_linked_folder_holds_too(tmp_path):
    picture(tmp_path / "out" / "x.png")
    picture(tmp_path / "out" / "y.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out", target_is_directory=True)
    for paths in (
        [tmp_path / "in", tmp_path / "out" / "x.png"],
        [tmp_path / "out" / "x.png", tmp_path / "in"],
    ):
        assert sorted(walked(*paths)[0]) == ["link/y.png", "x.png"]


def test_a_folder_above_a_given_one_is_entered_through_a_link_without_it(tmp_path):
    picture(tmp_path / "top" / "mine" / "x.png")
    picture(tmp_path / "top" / "other" / "y.png")
    (tmp_path / "top" / "mine" / "up").symlink_to(tmp_path / "top", target_is_directory=True)
    assert sorted(walked(tmp_path / "top" / "mine")[0]) == ["up/other/y.png", "x.png"]


def test_absent_and_impossible_paths(tmp_path):
    (tmp_path / "file.txt").touch()
    for path in (tmp_path / "absent.pdf", tmp_path / "file.txt" / "child.png"):
        (failure,) = Walk([path])
        assert isinstance(failure, Failure)
        assert "does not exist" in failure.reason
    with pytest.raises(ConfigError, match="NUL"):
        Walk(["a\0b"])


def test_a_folder_that_cannot_be_read_is_a_failure_and_the_others_go_on(tmp_path, monkeypatch):
    """Root may read everything, so the refusal is made here."""
    picture(tmp_path / "a" / "x.png")
    picture(tmp_path / "b" / "y.png")
    scandir = os.scandir

    def refuses(path):
        if Path(path).name == "a":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuses)
    items = list(Walk([tmp_path]))
    (failure,) = [item for item in items if isinstance(item, Failure)]
    assert failure.key == f"{tmp_path.resolve()}/a"
    assert "Permission denied" in failure.reason
    assert [item.title for item in items if isinstance(item, File)] == ["b/y.png"]


def test_names_that_are_no_unicode_are_written_so_that_the_path_is_found_again(tmp_path):
    name = os.fsdecode(b"caf\xe9.txt")
    try:
        (tmp_path / name).write_text("coffee")
    except OSError:
        pytest.skip("this file system knows only Unicode")
    (file,) = [item for item in Walk([tmp_path]) if isinstance(item, File)]
    assert file.key == f"{tmp_path.resolve()}/" + r"caf\udce9.txt"
    (file.uri + file.title).encode()
    assert path_of(file.key) == f"{tmp_path.resolve()}/{name}"
    assert path_of(r"/a\udczz.txt") == r"/a\udczz.txt"
    (tmp_path / r"b\udce9.txt").touch()
    assert path_of(str(tmp_path / r"b\udce9.txt")) == str(tmp_path / r"b\udce9.txt")


def test_deep_folders_need_no_recursion(tmp_path):
    deep = tmp_path.joinpath(*["d"] * 200)
    deep.mkdir(parents=True)
    (deep / "x.png").touch()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        found = [item.title for item in Walk([tmp_path]) if isinstance(item, File)]
    finally:
        sys.setrecursionlimit(limit)
    assert found == ["d/" * 200 + "x.png"]


def test_memory_does_not_grow_with_the_files(tmp_path, monkeypatch):
    monkeypatch.setattr(files_module, "SORTED_NAMES", 100)

    def peak(count):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            (folder / f"{number:06}.png").touch()
        tracemalloc.start()
        assert sum(isinstance(item, File) for item in Walk([folder])) == count
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(10)  # whatever is made once
    assert peak(4000) < peak(200) + 50_000
