"""Vectors on disk: found again by content and encoder, never by mistake, whole or not at all."""

import json
import multiprocessing

import numpy as np
import pytest
from safetensors.numpy import load_file

from ume_r1_bench.encodings import EncodingStore, StoreUnusable, missing
from ume_r1_rag.errors import ConfigError

ABOUT = {"space": "disc", "encoder": {"weights": "w1", "dimension": 4}}


def vectors(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 4)).astype(np.float32)


def test_what_was_put_is_there_after_opening_again(tmp_path):
    store = EncodingStore(tmp_path, "disc", ABOUT)
    kept = vectors(3)
    store.put(["a", "b", "c"], kept, [{"text": "é"}, {}, {}])
    store.put(["d"], vectors(1, 1), [{}])
    again = EncodingStore(tmp_path, "disc", ABOUT)
    assert len(again) == 4
    assert np.array_equal(again.vectors(["c", "d", "a", "a"]), [kept[2], vectors(1, 1)[0], kept[0], kept[0]])
    assert again.row("a") == {"text": "é"}
    assert missing(again, ["e", "a", "e", "f"]) == ["e", "f"]
    assert again.vectors([]).shape == (0, 0)


def test_another_encoder_finds_nothing(tmp_path):
    EncodingStore(tmp_path, "disc", ABOUT).put(["a"], vectors(1), [{}])
    for about in (
        ABOUT | {"encoder": {"weights": "w2", "dimension": 4}},
        ABOUT | {"space": "gen", "think": "full"},
        ABOUT | {"space": "gen", "think": "none"},
    ):
        assert len(EncodingStore(tmp_path, "disc", about)) == 0
    assert len(list(tmp_path.iterdir())) == 4


def test_what_a_model_is_called_decides_nothing(tmp_path):
    EncodingStore(tmp_path, "disc", ABOUT | {"model": "here"}).put(["a"], vectors(1), [{}])
    assert "a" in EncodingStore(tmp_path, "disc", ABOUT | {"model": "there"})


def test_a_folder_that_was_renamed_is_refused(tmp_path):
    store = EncodingStore(tmp_path, "disc", ABOUT)
    about = json.loads((store.folder / "about.json").read_text())
    about["encoder"]["weights"] = "w2"
    (store.folder / "about.json").write_text(json.dumps(about))
    with pytest.raises(StoreUnusable, match="another encoder"):
        EncodingStore(tmp_path, "disc", ABOUT)


def test_samples_are_kept_by_content_too(tmp_path):
    store = EncodingStore(tmp_path, "samples", ABOUT)
    kept = np.stack([vectors(2), vectors(2, 1)])
    store.put(["a", "b"], kept, [{}, {}])
    assert np.array_equal(store.vectors(["b"]), kept[1:])


@pytest.mark.parametrize("harm", ["no vectors", "cut vectors", "cut lines", "empty vectors"])
def test_a_damaged_chunk_counts_as_absent_and_the_rest_is_kept(tmp_path, harm):
    store = EncodingStore(tmp_path, "disc", ABOUT)
    store.put(["a", "b"], vectors(2), [{}, {}])
    (lines,) = store.folder.glob("*.jsonl")
    store.put(["c"], vectors(1), [{}])
    tensors = lines.with_suffix(".safetensors")
    if harm == "no vectors":
        tensors.unlink()
    elif harm == "cut lines":
        lines.write_text(lines.read_text()[:20])
    else:
        tensors.write_bytes(tensors.read_bytes()[: -4 if harm == "cut vectors" else 0])
    again = EncodingStore(tmp_path, "disc", ABOUT)
    assert missing(again, ["a", "b", "c"]) == ["a", "b"]
    again.put(["a", "b"], vectors(2, 5), [{}, {}])
    assert np.array_equal(EncodingStore(tmp_path, "disc", ABOUT).vectors(["b"]), vectors(2, 5)[1:])


def test_a_disk_that_refuses_is_told_and_leaves_no_rest(tmp_path, monkeypatch):
    store = EncodingStore(tmp_path, "disc", ABOUT)

    def full(path, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(StoreUnusable, match="No space left"):
        store.put(["a"], vectors(1), [{}])
    assert [path.name for path in store.folder.iterdir()] == ["about.json"]
    assert "a" not in store


def test_as_many_vectors_as_contents(tmp_path):
    with pytest.raises(ConfigError, match="2 vectors for 1"):
        EncodingStore(tmp_path, "disc", ABOUT).put(["a"], vectors(2), [{}])


def test_nothing_is_pickled(tmp_path):
    store = EncodingStore(tmp_path, "disc", ABOUT)
    store.put(["a"], vectors(1), [{}])
    assert {path.suffix for path in store.folder.iterdir()} == {".json", ".jsonl", ".safetensors"}
    (tensors,) = store.folder.glob("*.safetensors")
    assert load_file(tensors)["vectors"].dtype == np.float32


def _write_some(root, number):
    store = EncodingStore(root, "disc", ABOUT)
    for at in range(5):
        store.put([f"{number}/{at}"], vectors(1, number * 5 + at), [{}])


def test_processes_write_side_by_side_and_see_each_other(tmp_path):
    watching = EncodingStore(tmp_path, "disc", ABOUT)
    context = multiprocessing.get_context("fork")
    running = [context.Process(target=_write_some, args=(tmp_path, number)) for number in range(2)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    assert len(watching) == 0
    watching.refresh()
    assert len(watching) == 10
    assert np.array_equal(watching.vectors(["1/3"]), vectors(1, 8))
